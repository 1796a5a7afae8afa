"""What loads of the torch networks that people have, and what comes of four methods on them.

    python -m evidence.models.torch_table [--only NAME]... [--again] [--load] [--only-page]

Each network is a process of its own with a time limit; its row is kept in ``reports/models-torch.json`` at once, and
measured again with ``--again`` only. ``--load`` measures loading alone. ``--only-page`` writes the page from the rows
that are kept. timm has to be importable for its rows: ``pip install --target FOLDER --no-deps timm``, and
``PYTHONPATH=FOLDER``. Writes ``reports/models-torch.md``.

A network is *end to end* where all four methods are equivalent on it, or are refused by name because no rule exists
for a layer while ``gradient`` is equivalent; and where ``gradient`` is what the network's own autograd gives.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
import warnings
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from evidence.models.torch_networks import NETWORKS, built
from harness.files import write_text

METHODS = ("gradient", "lrp.epsilon:epsilon=0.25", "lrp.alpha_1_beta_0", "lrp.sequential_preset_a")
ROOT = Path(__file__).parents[2]
KEPT = ROOT / "reports" / "models-torch.json"
PAGE = ROOT / "reports" / "models-torch.md"
#: Seconds for one network.
LIMIT_S = 900
#: Largest relative L2 difference of ``gradient`` from the network's own autograd, both in double precision: in single
#: precision rounding puts units of two computations of one network on two sides of a kink.
AUTOGRAD_BOUND = 1e-8


@dataclass(frozen=True)
class Row:
    """One network. ``refusal``: the sentence where it does not load. ``double``: it loads in double precision only,
    because rounding moves its output too far in single. ``twins``: the larger relative difference of a twin's output
    from the network's own. ``verdicts``: by method, or the sentence of its refusal after ``refused: ``. ``autograd``:
    the larger relative difference of a side's ``gradient`` from the network's own autograd, all in double precision.
    ``memory_gb``: the largest resident set of the process.
    """

    network: str
    pixels: int
    refusal: str = ""
    double: bool = False
    layers: int = 0
    twins: float | None = None
    verdicts: dict[str, str] = field(default_factory=dict)
    autograd: float | None = None
    seconds: float = 0.0
    memory_gb: float = 0.0

    @property
    def loads(self) -> bool:
        return not self.refusal

    @property
    def end_to_end(self) -> bool:
        """What the module's docstring says."""
        fine = [
            verdict in ("identical", "equivalent")
            or (method != "gradient" and verdict.startswith("refused: "))
            for method, verdict in self.verdicts.items()
        ]
        proven = self.autograd is not None and self.autograd <= AUTOGRAD_BOUND
        return self.loads and len(fine) == len(METHODS) and all(fine) and proven


def measured(name: str, load_only: bool) -> Row:
    """The row of a network, measured in this process."""
    import numpy as np
    import torch

    import harness

    network = NETWORKS[name]
    module, example = built(network)
    start = time.monotonic()
    row = Row(name, network.pixels)
    try:
        try:
            model = _loaded(module, example)
        except harness.HarnessError as error:
            if "load it in double precision" not in str(error):
                raise
            row = replace(row, double=True)
            module, example = module.double(), example.double()
            model = _loaded(module, example)
    except harness.HarnessError as error:
        return _closed(replace(row, refusal=str(error)), start)
    except Exception as error:  # a raw one is a fault, which the table shows
        return _closed(replace(row, refusal=f"RAW {type(error).__name__}: {error}"), start)
    with torch.no_grad():
        own = module(example.clone()).numpy()
    x = np.ascontiguousarray(np.moveaxis(example.numpy(), 1, -1))
    row = replace(
        row, layers=len(model.layers), twins=_twins(model, x, own, "float64" if row.double else "float32")
    )
    if load_only:
        return _closed(row, start)
    verdicts = {}
    for method in METHODS:
        try:
            dtype = "float64" if row.double else "float32"
            reference = harness.explain(model, x, method, dtype=dtype)
            candidate = harness.explain(model, x, method, backend="torch", dtype=dtype)
            verdicts[method] = harness.compare(reference, candidate).verdict
        except harness.HarnessError as error:
            verdicts[method] = f"refused: {error}"
        except Exception as error:
            verdicts[method] = f"RAW {type(error).__name__}: {error}"
    autograd = _autograd(model, module, example)
    return _closed(replace(row, verdicts=verdicts, autograd=autograd), start)


def _loaded(module: Any, example: Any) -> Any:
    import harness

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return harness.load_model(module, example=example)


def _autograd(model: Any, module: Any, example: Any) -> float:
    """How far ``gradient`` of the largest output, on either side, is from the network's own autograd, in float64."""
    import numpy as np

    import harness

    x = example.double().requires_grad_()
    output = module.double()(x)
    output.max().backward()
    own = np.moveaxis(x.grad.numpy(), 1, -1)
    inputs = np.ascontiguousarray(np.moveaxis(x.detach().numpy(), 1, -1))
    target = int(output.argmax())
    sides = (
        harness.explain(model, inputs, "gradient", backend, target, "float64", layers=False)
        for backend in ("tensorflow", "torch")
    )
    return max(_apart(side.attribution, own) for side in sides)


def _twins(model: Any, x: Any, own: Any, dtype: str) -> float:
    import numpy as np
    import torch

    with torch.no_grad():
        torch_output = model.torch(dtype)(
            torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, 1)))
        ).numpy()
    keras_output = np.asarray(model.keras(dtype)(x, training=False))
    return max(_apart(torch_output, own), _apart(keras_output, own))


def _apart(candidate: Any, own: Any) -> float:
    import numpy as np

    return float(np.linalg.norm(candidate - own) / np.linalg.norm(own))


def _closed(row: Row, start: float) -> Row:
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return replace(row, seconds=round(time.monotonic() - start, 1), memory_gb=round(memory, 2))


def in_a_process(name: str, load_only: bool) -> Row:
    """The row of a network, measured in a process of its own that ends after :data:`LIMIT_S`."""
    command = [sys.executable, "-m", "evidence.models.torch_table", "--row", name]
    start = time.monotonic()
    try:
        ended = subprocess.run(
            [*command, *(["--load"] if load_only else [])],
            cwd=ROOT,
            env={"TF_CPP_MIN_LOG_LEVEL": "3", **os.environ},
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
        )
    except subprocess.TimeoutExpired:
        return Row(name, NETWORKS[name].pixels, f"no answer within {LIMIT_S} s", seconds=LIMIT_S)
    lines = ended.stdout.strip().splitlines()
    if ended.returncode or not lines:
        last = (ended.stderr.strip().splitlines() or [f"exit status {ended.returncode}"])[-1]
        return Row(name, NETWORKS[name].pixels, f"RAW {last}", seconds=round(time.monotonic() - start, 1))
    return Row(**json.loads(lines[-1]))


def kept_rows() -> dict[str, Row]:
    if not KEPT.exists():
        return {}
    return {name: Row(**row) for name, row in json.loads(KEPT.read_text()).items()}


def keep(rows: dict[str, Row]) -> None:
    ordered = {name: asdict(rows[name]) for name in NETWORKS if name in rows}
    write_text(KEPT, json.dumps(ordered, indent=1) + "\n")


def page(rows: dict[str, Row]) -> str:
    """The table as Markdown, libraries one after the other; refusals and unequal verdicts below it."""
    lines = [
        "# Torch networks",
        "",
        "Written by `python -m evidence.models.torch_table`. Seeded weights, batch-norm statistics of noise; single",
        "precision, batches of one. *twins*: relative difference of the twins' output from the network's own, the",
        "larger. *autograd*: the same of `gradient` from the network's own autograd, all in double precision. *end to",
        "end*: all four methods equivalent, or refused by name because no rule exists while `gradient` is equivalent;",
        f"and *autograd* within {AUTOGRAD_BOUND:g}.",
        "",
    ]
    for library in dict.fromkeys(network.library for network in NETWORKS.values()):
        own = [row for name, row in rows.items() if NETWORKS[name].library == library]
        loaded, complete = sum(row.loads for row in own), sum(row.end_to_end for row in own)
        lines += [
            f"## {library}: {loaded} of {len(own)} load, {complete} end to end",
            "",
            "| network | pixels | layers | twins | "
            + " | ".join(f"`{method}`" for method in METHODS)
            + " | autograd | end to end | seconds | GB |",
            "|" + " --- |" * (9 + len(METHODS) - 1),
            *(_line(row) for row in own),
            "",
            *(f"- `{row.network}`: {row.refusal}" for row in own if not row.loads),
            *(
                f"- `{row.network}`, `{method}`: {verdict}"
                for row in own
                for method, verdict in row.verdicts.items()
                if verdict.startswith(("refused", "RAW"))
            ),
            "",
        ]
    return "\n".join(lines)


def _line(row: Row) -> str:
    name = row.network.partition("/")[2] + (" (in double precision)" if row.double else "")
    if not row.loads:
        cells = ["", "does not load", *[""] * (len(METHODS) + 1)]
    else:
        verdicts = [row.verdicts.get(method, "").partition(":")[0] for method in METHODS]
        cells = [str(row.layers), _figure(row.twins), *verdicts, _figure(row.autograd)]
    ends = ["yes" if row.end_to_end else "no", f"{row.seconds:g}", f"{row.memory_gb:g}"]
    return "| " + " | ".join([name, str(row.pixels), *cells, *ends]) + " |"


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.1e}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m evidence.models.torch_table", description=__doc__)
    parser.add_argument("--only", action="append", help="networks whose name holds this text")
    parser.add_argument("--again", action="store_true", help="measure what is kept too")
    parser.add_argument("--load", action="store_true", help="measure loading alone")
    parser.add_argument("--only-page", action="store_true", help="measure nothing")
    parser.add_argument("--row", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.row:
        print(json.dumps(asdict(measured(arguments.row, arguments.load))))
        return 0
    rows = kept_rows()
    chosen = [name for name in NETWORKS if not arguments.only or any(word in name for word in arguments.only)]
    for name in [] if arguments.only_page else chosen:
        done = name in rows and (arguments.load or rows[name].verdicts or not rows[name].loads)
        if done and not arguments.again:
            continue
        rows[name] = row = in_a_process(name, arguments.load)
        keep(rows)
        print(f"{row.seconds:6.0f} s  {name}: {row.refusal or row.verdicts or 'loads'}", flush=True)
    write_text(PAGE, page({name: rows[name] for name in NETWORKS if name in rows}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
