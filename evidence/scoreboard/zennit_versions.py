"""What changed between Zennit 0.5.1 and 1.0.0, measured on both; writes `reports/zennit-versions.md`.

python -m evidence.scoreboard.zennit_versions
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from evidence.scoreboard.rows import Row, calls_of, library_named
from harness.api import explain, load_model
from harness.backends import backend_named
from harness.backends.worker import surroundings_of_another
from harness.errors import HarnessError
from harness.files import write_text
from harness.peers import python_of
from harness.runner import chosen_input

PAGE = Path(__file__).parents[2] / "reports" / "zennit-versions.md"
OLD, NEW = "zennit-0.5", "zennit-1.0"
MODELS = ("digits-cnn", "ecg-cnn1d", "fer-xception")
#: Prints what each version does, as JSON; keys are the rows of the second table.
PROBES = """
import inspect, json
import ported_impls.torchvision_shim
import torch, torchvision, zennit
from zennit.canonizers import SequentialMergeBatchNorm
from zennit.core import BasicHook

def merged():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 1), torch.nn.BatchNorm2d(2, eps=0.5)).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    kept = model[0].weight
    handles = SequentialMergeBatchNorm().apply(model)
    during = isinstance(model[0].weight, torch.nn.Parameter), model[1].eps
    for handle in handles:
        handle.remove()
    after = all(torch.equal(value, model.state_dict()[name]) for name, value in before.items())
    return *during, model[0].weight is kept, after

parameter, eps, same, restored = merged()
print(json.dumps({
    "arguments of `BasicHook.forward`": ", ".join(list(inspect.signature(BasicHook.forward).parameters)[1:]),
    "arguments of `BasicHook.pre_forward`": ", ".join(list(inspect.signature(BasicHook.pre_forward).parameters)[1:]),
    "`FrozenBatchNorm2d` is a `zennit.types.BatchNorm`":
        isinstance(torchvision.ops.FrozenBatchNorm2d(1), zennit.types.BatchNorm),
    "`MultiheadAttention` is a `zennit.types.Activation`":
        isinstance(torch.nn.MultiheadAttention(2, 1), zennit.types.Activation),
    "while a batch norm is merged, the weight is a `Parameter`": parameter,
    "while a batch norm is merged, its epsilon (0.5 before) is": eps,
    "after merging is undone, the weight is the object it was": same,
    "after merging is undone, `state_dict` has the values it had": restored,
}))
"""


def attributions() -> Iterator[tuple[str, str, float | str]]:
    """Method, network, and how far the two are apart (relative L2, float64), or why one of them has none."""
    one, other = backend_named(OLD), backend_named(NEW)
    try:
        for name in MODELS:
            model = load_model(name)
            x, _ = chosen_input(model, None)
            for method in calls_of(library_named(OLD)):
                chosen = Row(OLD, method, "", name).method_for(x)
                try:
                    runs = [
                        explain(model, x, chosen, each, np.zeros(len(x), int), "float64", layers=False)
                        for each in (one, other)
                    ]
                except HarnessError as error:
                    yield method, name, str(error)
                    continue
                old, new = (np.asarray(run.attribution, np.float64) for run in runs)
                yield method, name, distance(old, new)
    finally:
        for each in (one, other):
            getattr(each, "close", lambda: None)()


def distance(old: np.ndarray, new: np.ndarray) -> float:
    """Relative L2; 0 for arrays that are equal bit for bit, NaN in the same places."""
    if np.array_equal(old, new, equal_nan=True):
        return 0.0
    return float(np.linalg.norm(old - new) / (np.linalg.norm(old) or 1.0))


def probed(library: str) -> Mapping[str, Any]:
    """What `PROBES` prints in the interpreter of ``library``."""
    environment = {"PATH": "/usr/bin:/bin", "PYTHONNOUSERSITE": "1", **surroundings_of_another()}
    command = [str(python_of(library)), "-c", PROBES]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment, check=True)
    answers: Mapping[str, Any] = json.loads(done.stdout)
    return answers


def page(measured: list[tuple[str, str, float | str]], old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """The Markdown page."""
    cells = {(method, name): value for method, name, value in measured}
    lines = [
        "# Zennit 0.5.1 and 1.0.0",
        "",
        "Written by `python -m evidence.scoreboard.zennit_versions`: stock Zennit, each version in its own interpreter",
        "beside the same torch. The tests of the port run on both: `tox -e zennit-0.5`, `tox -e zennit-1.0`.",
        "",
        "## What they compute",
        "",
        "How far the two attributions are apart (relative L2, float64, class 0): 0 is bit for bit.",
        "",
        f"| method | {' | '.join(MODELS)} |",
        f"| --- | {' | '.join('---' for _ in MODELS)} |",
    ]
    for method in dict.fromkeys(method for method, _, _ in measured):
        shown = (cells.get((method, name), "") for name in MODELS)
        texts = (f"{each:.1e}" if isinstance(each, float) and each else str(each) for each in shown)
        lines.append(f"| `{method}` | {' | '.join('0' if text == '0.0' else text for text in texts)} |")
    lines += ["", "## What else they do", "", "| | 0.5.1 | 1.0.0 |", "| --- | --- | --- |"]
    lines += [f"| {what} | {answer} | {new[what]} |" for what, answer in old.items()]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Measure both, write the page."""
    write_text(PAGE, page(list(attributions()), probed(OLD), probed(NEW)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
