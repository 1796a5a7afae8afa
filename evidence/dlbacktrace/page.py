"""The page of what was measured."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from evidence.dlbacktrace.measure import NONE, OF_ATTENTION, OURS, VERSIONS, Block, Distance, Flow

#: What makes two rows of the table of speed belong to one run (`benchmarks.backtrace`).
OF_A_RUN = ("version", "samples", "threads", "device", "dtype")
_SECONDS = ("package_s", "port_s", "bound_s")
#: Above this a version is not the same function in float64.
SAME = 1e-12
_HEAD = """# DLBacktrace: a slow reference, a fast port, and the versions of the package

dl-backtrace 0.1.24 has each of its layer handlers in several versions. They run here as they are released, each in an
interpreter of its own (`xai-harness peers install dl-backtrace`, `dl-backtrace-torch`), on the same operands, in
float64, and are held against the version `original`. Nothing of the package is in this repository. The page is written
by `python -m evidence.dlbacktrace`.

## Versions, kind by kind

Relative L2 distance from `original`; two samples a case, values of both signs. What a version raises is quoted; "none"
where it has no such handler.
"""
_BLOCKS = """
## Transformers

Whole networks in default mode, float64, two samples: the handlers of `original` from layer to layer against ours, at
every layer that the package has. Attention is one handler of it, which takes query, key and value; ours has a rule at
each of its two products (`AttentionShare`), and what lies between them is no layer of the package. `encoder-net` has a
mask and a class token, `vit-digits` is trained and has four heads; both have feed-forward blocks with GELU, layer norm
and residual additions.
"""
_READ = """
What the figures come from:

- `pytorch` convolution turns its operands into float32 first: all its cases are off by about 1e-7, and no more.
- `pytorch` max pooling treats the channels as a spatial axis: it raises, or gives another result where the sizes happen
  to fit.
- `pytorch` attention does not share the relevance of values, queries and keys anew by their sizes at the end, as
  `original` does; its second version, `pytorch_v2`, does.
- `original` attention hands a quarter of each head's relevance to its queries, a quarter to its keys and half to its
  values, each shared by the sizes of what is there: the quotients of its formula fall out of those sums, unless one is
  kept from 0. A mask therefore changes nothing, given to it (`masked_fill`) or not.
- All handlers transpose arrays as a whole, so that height comes where width is expected: windows, strides or paddings
  that differ between the axes are exchanged. The backends refuse such layers by name.
- `original` average pooling pads with minus infinity: each padded window gives NaN. Ours pads with zeros.
- `original` max pooling counts ties in single precision: three equal largest values get parts that are off by 3e-8.

What the package's own walk (`run_evaluation`) does besides, as it is written:

- it ignores `scaler`, `thresholding` and `mode`: relevance starts from 100 at the largest output, and there is no
  contrast mode. Contrast mode here is that of 0.0.25, the last version with one, to 1e-15 on its handlers of dense
  layers, convolutions, sums and average pooling;
- it never calls its handlers of max and average pooling: relevance of a pooled tensor is repeated up to the size of the
  input and scaled to the old sum, whatever the values were. Here the handlers are used;
- it gives every layer the activation "None", so that nothing is saturated; the table of ranges is read by nobody;
- it sets negative relevance of a concatenation to zero and scales the rest to the sum over the whole batch. Here a
  concatenation is taken apart (`negative-clipped` names the other);
- it hands relevance through a transposed convolution and bends it into shape; here a transposed convolution shares by
  the contributions of each output.

## Negative relevance, and sums that grow

By the reference, which equals `original` on every shared case. `negative`: the first layer on the way back with
negative relevance. `grows at`: the first layer of which the input gets more than it received, in absolute values.
"""
_NETWORKS = """
## Reference against port

Whole networks, one sample; the layers that are bit for bit the same or no further apart than rounding explains.
`furthest`: the layer with most floors between the two. `python -m evidence.dlbacktrace.networks` measures it.
"""
_SPEED = """
## Speed

`vgg19-cifar10`, the versions of the package against the port: the same operands of each layer, in turn. `original`
takes one sample after the other, on one thread. `bound`: each layer applied once, for its denominators, and its
transpose once, for the way back, by torch itself with the weights as they are: `2 * multiplications` that no port can
do without, and no sizes made of the weights, no quotients. `at most` is `package / bound`, the factor that no port in
torch can exceed on this machine; `multiplications` are those of one application, and `G/s` is
`2 * multiplications / bound`, in 1e9 a second; `for 1,000`: what they would have to be for 1,000 times the speed.
`python -m benchmarks.backtrace --samples 8 --out reports/dlbacktrace-speed.csv` measures a row; `--device cuda` puts
the port on a GPU, of which none was there.
"""


def speed_tables(rows: Sequence[Mapping[str, str]]) -> Iterator[str]:
    """All runs of the benchmark, a row each; and the layers of the first of `original`."""
    runs: dict[tuple[str, ...], list[Mapping[str, str]]] = {}
    for row in rows:
        runs.setdefault(tuple(row[key] for key in OF_A_RUN), []).append(row)
    header = [
        *OF_A_RUN,
        "layers",
        "package, s",
        "port, s",
        "times",
        "bound, s",
        "at most",
        "G/s",
        "for 1,000",
    ]
    yield _table(
        [*header, "port / bound", "whole run, s", "peak, MB"], [_run_cells(*run) for run in runs.items()]
    )
    kinds = ["version", "samples", "threads", "kind", "package, s", "port, s", "times", "at most"]
    yield _table(kinds, [cells for key, own in runs.items() for cells in _kind_cells(key, own)])
    first = next((own for key, own in runs.items() if key[0] == "original"), [])
    names = ("package_s", "port_s", "bound_s")
    yield _table(
        ["layer", "original, s", "port, s", "bound, s", "times", "relative L2"],
        [
            [
                row["layer"],
                *(f"{float(row[name]):.4f}" for name in names),
                f"{float(row['times']):.0f}",
                f"{float(row['relative_l2']):.1e}",
            ]
            for row in first
            if row["kind"]
        ],
    )


def _run_cells(key: tuple[str, ...], rows: Sequence[Mapping[str, str]]) -> list[str]:
    layers = [row for row in rows if row["kind"]]
    package, port, bound, products = (_sum(layers, name) for name in (*_SECONDS, "multiplications"))
    whole = next(row for row in rows if not row["kind"])
    return [
        *key,
        str(len(layers)),
        *(f"{package:.2f}", f"{port:.4f}", f"{package / port:.0f}", f"{bound:.4f}", f"{package / bound:.0f}"),
        *(f"{2e-9 * products / bound:.0f}", f"{2e-6 * products / package:.0f}", f"{port / bound:.1f}"),
        f"{float(whole['port_s']):.3f}",
        f"{float(whole['peak_bytes']) / 1e6:.0f}",
    ]


def _kind_cells(key: tuple[str, ...], rows: Sequence[Mapping[str, str]]) -> Iterator[list[str]]:
    for kind in dict.fromkeys(row["kind"] for row in rows if row["kind"]):
        package, port, bound = (_sum([row for row in rows if row["kind"] == kind], name) for name in _SECONDS)
        seconds = f"{package:.3f}", f"{port:.4f}", f"{package / port:.0f}", f"{package / bound:.0f}"
        yield [*key[:3], kind, *seconds]


def _sum(rows: Sequence[Mapping[str, str]], name: str) -> float:
    return sum(float(row[name]) for row in rows)


def page(
    distances: Sequence[Distance],
    blocks: Iterable[Block],
    flows: Iterable[Flow],
    networks: Sequence[Mapping[str, str]],
    speed: Sequence[Mapping[str, str]],
) -> str:
    """The whole page as Markdown. ``networks``, ``speed``: rows of the two tables that are measured apart."""
    names = [*VERSIONS, "pytorch_v2", *OURS]
    by_case: dict[str, dict[str, Distance]] = {}
    for each in distances:
        by_case.setdefault(each.case, {})[each.version] = each
    rows = [[case, *(_cell(of.get(name)) for name in names)] for case, of in by_case.items()]
    counts = [
        [
            name,
            str(sum(each.version == name and each.distance <= SAME for each in distances)),
            str(sum(each.version == name and each.distance > SAME for each in distances)),
            str(
                sum(each.version == name and bool(each.raised) and each.raised != NONE for each in distances)
            ),
            str(sum(each.version == name and each.raised == NONE for each in distances)),
        ]
        for name in dict.fromkeys((*VERSIONS, *OF_ATTENTION, *OURS))
    ]
    parts = [
        _HEAD,
        _table(["version", "the same to 1e-12", "another", "raises", "none"], counts),
        _table(["case", *names], rows),
        _BLOCKS,
        _table(
            ["network", "ours", "layers compared", "attentions", "furthest layer", "relative L2"],
            [
                [
                    each.model,
                    each.backend,
                    str(each.layers),
                    str(each.attentions),
                    each.furthest,
                    f"{each.distance:.0e}",
                ]
                for each in blocks
            ],
        ),
        _READ,
        _table(
            ["network", "method", "negative", "least", "grows at", "times", "because"],
            [_flow_cells(each) for each in flows],
        ),
    ]
    if networks:
        parts += [_NETWORKS, _table(list(networks[0]), [list(row.values()) for row in networks])]
    if speed:
        parts += [_SPEED, *speed_tables(speed)]
    return "\n".join(parts)


def _cell(distance: Distance | None) -> str:
    if distance is None:
        return ""
    if distance.raised == NONE:
        return NONE
    if distance.raised:
        return f"raises {distance.raised}".replace("|", "/").replace("<", "").replace(">", "")
    return f"{distance.distance:.0e}"


def _block_cells(block: Block) -> list[str]:
    counts = str(block.layers), str(block.attentions)
    return [block.model, block.backend, *counts, block.furthest, f"{block.distance:.0e}"]


def _flow_cells(flow: Flow) -> list[str]:
    return [
        flow.model,
        f"`{flow.method}`",
        flow.negative or "",
        f"{flow.least:.2g}" if flow.negative else "",
        flow.growing or "",
        f"{flow.times:.3g}" if flow.growing else "",
        flow.cause,
    ]


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
