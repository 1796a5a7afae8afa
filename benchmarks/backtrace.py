"""DLBacktrace: the port against the package's own handlers, on vgg19-cifar10, layer by layer.

``python -m benchmarks.backtrace --version original --layers block5_conv4 fc1`` times single layers, without
``--layers`` all of them; ``--out FILE`` writes a row a layer as CSV, in the place of those of the same run (version,
samples, threads, device, dtype). Both get the same operands, in turn, with the same number of threads; seconds are of
the handler alone, in its own process, and of the port's step. The handlers of ``original`` take one sample after the
other: 20 to 40 seconds each.

Beside them stands what no port in torch can be below: each layer applied once, for its denominators, and its transpose
once, for the way back, with the weights as they are. Then a whole run of the port is timed, and by how much it makes
this process grow at most.

The package's interpreters are made by ``xai-harness peers install dl-backtrace`` (and ``dl-backtrace-torch``).
``--device cuda`` runs the port on a GPU, where there is one; the handlers stay on the CPU.
"""

from __future__ import annotations

import argparse
import csv
import io
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from harness.api import explain, load_model
from harness.backends import Arrays, backend_named
from harness.bench.timing import peak_bytes
from harness.diagnosis.excerpt import multiplications
from harness.engine import engine
from harness.errors import HarnessError
from harness.files import write_text
from harness.methods import method as method_named

MODEL, METHOD = "vgg19-cifar10", "backtrace.default"
#: Layers that the package has handlers for.
HANDLED = ("dense", "conv2d", "max_pool2d")
#: How often the port and the bound are timed for each time of the handler, after once to warm up.
TIMES = 9
#: What makes two rows of the table belong to one run.
OF_A_RUN = ("version", "samples", "threads", "device", "dtype")
WHOLE = "(whole run)"


def rows(
    version: str, names: Sequence[str], dtype: str, device: str, samples: int, repeat: int
) -> Iterator[dict[str, Any]]:
    """One layer after the other, output first: median seconds of both, and how far apart they are.

    A layer that ``version`` has no handler for, or whose handler raises, is left out.
    """
    model, method = load_model(MODEL), method_named(METHOD)
    x = inputs(samples, dtype)
    package: Any = backend_named("dl-backtrace" if version == "original" else f"dl-backtrace-{version}")
    run = explain(model, x, method, dtype=dtype)
    port: Any = engine().prepared(model, backend_named("backtrace-torch"), dtype, device)
    twin = model.torch(dtype)
    for layer in model.graph.backward():
        if layer.kind not in HANDLED or (names and layer.name not in names):
            continue
        given = tuple(np.array(run.layers[name].activation) for name in layer.inputs)
        relevance = np.array(run.layers[layer.name].relevance)
        rule = method.composite.rule_for(layer, model.graph)
        handler = partial(package.step, layer, given, relevance, rule)
        step = partial(port.step, layer, given, relevance, method)
        bound = _applied_and_transposed(twin.get_submodule(layer.name), given[0], relevance)
        try:
            handler() if version.startswith("pytorch") else None  # its first call compiles
            taken: dict[str, list[float]] = {"package_s": [], "port_s": [], "bound_s": []}
            for _ in range(repeat):
                (of_package,), seconds = handler()
                taken["package_s"].append(seconds)
                (of_port,), own = _timed(step)
                taken["port_s"] += own
                taken["bound_s"] += _timed(bound)[1]
        except HarnessError as error:
            print(f"{layer.name}: {' '.join(str(error).split())[:150]}", flush=True)
            continue
        apart = float(np.linalg.norm(of_port - of_package) / (np.linalg.norm(of_package) or 1.0))
        medians = {name: statistics.median(each) for name, each in taken.items()}
        yield {
            "layer": layer.name,
            "kind": layer.kind,
            "multiplications": multiplications(layer, samples),
            **medians,
            "times": medians["package_s"] / medians["port_s"],
            "relative_l2": apart,
        }


def inputs(samples: int, dtype: str) -> np.ndarray:
    """The network's example, and uniform noise behind it; (samples, height, width, channel)."""
    example = next(iter(load_model(MODEL).examples.values()))()
    noise = np.random.default_rng(19).random((samples - 1, *example.shape[1:]))
    return np.concatenate([example, noise]).astype(dtype)


def _applied_and_transposed(module: Any, x: np.ndarray, relevance: np.ndarray) -> Callable[[], object]:
    """``module`` of ``x`` and the product of its transpose with ``relevance``, both on the CPU."""
    import torch

    given, received = (
        torch.from_numpy(np.ascontiguousarray(np.moveaxis(each, -1, 1) if each.ndim > 2 else each))
        for each in (x, relevance)
    )
    given.requires_grad_()
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    return lambda: torch.autograd.grad(module(given), given, received)


def _timed(call: Callable[[], Any]) -> tuple[Any, list[float]]:
    """The result, and the seconds of each call after one that warms up."""
    call()
    taken = []
    for _ in range(TIMES):
        began = time.perf_counter()
        result = call()
        taken.append(time.perf_counter() - began)
    return result, taken


def whole_run(dtype: str, device: str, samples: int) -> tuple[float, float]:
    """Median seconds of a whole run of the port, and the bytes by which this process grew at most."""
    model, method = load_model(MODEL), method_named(METHOD)
    x = inputs(samples, dtype)
    port = engine().prepared(model, backend_named("backtrace-torch"), dtype, device)
    target = np.zeros(len(x), np.int64)

    def run() -> Arrays:
        return port.run(x, method, target, False)

    peak = peak_bytes(run)
    return statistics.median(_timed(run)[1]), peak


def write(path: Path, measured: Sequence[dict[str, Any]]) -> None:
    """Write the rows of a run into the table at ``path``; those of the same run before give way."""
    before = list(csv.DictReader(path.open(encoding="utf-8"))) if path.exists() else []
    own = [str(measured[0][key]) for key in OF_A_RUN]
    kept = [row for row in before if [row.get(key) for key in OF_A_RUN] != own]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(measured[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows([*kept, *measured])
    write_text(path, text.getvalue())


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument(
        "--version", default="original", choices=("original", "refactored", "pytorch", "none")
    )
    options.add_argument("--layers", nargs="*", default=())
    options.add_argument("--dtype", default="float32", choices=("float32", "float64"))
    options.add_argument("--device", default="cpu", help="of the port: cpu, cuda")
    options.add_argument("--samples", type=int, default=1, help="in one batch")
    options.add_argument("--repeat", type=int, default=1, help="how often each handler is timed")
    options.add_argument("--out", type=Path)
    chosen = options.parse_args()
    import torch

    facts = (chosen.version, chosen.samples, torch.get_num_threads(), chosen.device, chosen.dtype)
    of_a_run = dict(zip(OF_A_RUN, facts, strict=True))
    how = chosen.dtype, chosen.device, chosen.samples
    measured = []
    asked = () if chosen.version == "none" else rows(chosen.version, chosen.layers, *how, chosen.repeat)
    for row in asked:
        measured.append({**of_a_run, **row, "peak_bytes": ""})
        print(
            f"{row['layer']:<14} {row['package_s']:10.3f} s {row['port_s']:9.4f} s {row['times']:10.0f} times, "
            f"at most {row['package_s'] / row['bound_s']:.0f}  {row['relative_l2']:.1e}",
            flush=True,
        )
    if measured:
        package, own, bound = (
            sum(row[key] for row in measured) for key in ("package_s", "port_s", "bound_s")
        )
        print(
            f"all of these: {package:.1f} s and {own:.3f} s, {package / own:.0f} times; "
            f"at most {package / bound:.0f} times, {bound:.3f} s"
        )
    seconds, peak = whole_run(*how)
    print(f"a whole run of the port: {seconds:.3f} s, {peak / 1e6:.0f} MB")
    if chosen.out is not None and measured:
        whole = dict.fromkeys(measured[0], "") | of_a_run
        write(chosen.out, [*measured, whole | {"layer": WHOLE, "port_s": seconds, "peak_bytes": int(peak)}])


if __name__ == "__main__":
    main()
