"""What the harness adds to the frameworks: wall time and peak memory of one `vgg16-mri` case.

    python benchmarks/overhead.py [--model vgg16-mri] [--method lrp.epsilon] [--dtype float32] [--rounds 3]

Ratio: wall time of a whole case (both sides with every layer kept, the noise floor, the comparison of
every layer, tables and picture) over the sum of the framework calls that it makes, made bare in the same
process, in turn with the case: the reference's run, the candidate's, the reference's further runs for the
floor (one in float64 for a float32 case, three moved ones for a float64 case), and for a float32 case the
reference's single steps, in both precisions, on the candidate's activations. Peak memory: resident set of
a fresh process that runs the case once.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from harness.api import load_model
from harness.backends import backend_named, capability
from harness.case import Case
from harness.comparison import RUNS
from harness.comparison.floor import moved_by_units
from harness.comparison.rerun import walk_back
from harness.engine import Engine
from harness.methods import method
from harness.report import heatmap_figure, table_csv
from harness.runner import chosen_input, run_case


def bare_calls(model: Any, x: np.ndarray, name: str, dtype: str) -> float:
    """Seconds spent in the framework calls of one case, and nothing else."""
    resolved = method(name)
    reference, candidate = backend_named("tensorflow"), backend_named("torch")
    calls = [(reference, model, dtype), (candidate, model, dtype)]
    if dtype == "float32":
        calls.append((reference, model, "float64"))
    else:
        for seed in range(RUNS):
            generator = np.random.default_rng(seed)
            moved = model.with_weights(
                lambda layer, weight, array, generator=generator: moved_by_units(
                    array.astype(np.float64), generator
                )
            )
            calls.append((reference, moved, dtype))
    target = np.empty(0, np.int64)
    seconds = 0.0
    built, prepared = [], []
    for backend, subject, precision in calls:
        array = x.astype(precision)
        started = time.perf_counter()
        prepared.append(backend.prepare(subject, precision))
        if not len(target):
            target = capability(prepared[0], "logits").logits(array).argmax(axis=1)
        built.append(prepared[-1].run(array, resolved, target, True))
        seconds += time.perf_counter() - started
    if dtype == "float32":
        steps = [capability(side, "steps") for side in (prepared[0], prepared[2])]
        del built
        candidate_trace = Engine().run(Case(model, x, resolved, target, dtype), candidate)
        started = time.perf_counter()
        for _ in zip(*(walk_back(side, model.graph, candidate_trace) for side in steps), strict=True):
            pass
        seconds += time.perf_counter() - started
    return seconds


def whole_case(model: Any, x: np.ndarray, name: str, dtype: str, folder: Path) -> float:
    """Seconds of the case as `xai-harness run` makes it, files included."""
    started = time.perf_counter()
    case = Case(model, x, method(name), None, dtype)
    outcome = run_case(case, backend_named("tensorflow"), backend_named("torch"))
    if outcome.comparison is None or outcome.reference is None or outcome.candidate is None:
        raise SystemExit(outcome.message)
    table_csv(outcome.comparison.table, folder / "case.csv")
    table_csv(outcome.comparison.forward_table, folder / "case.forward.csv")
    heatmap_figure(
        outcome.reference.attribution,
        outcome.candidate.attribution,
        folder / "case.png",
        title=name,
        axes=outcome.comparison.attribution.axes,
    )
    return time.perf_counter() - started


def peak_memory(arguments: argparse.Namespace) -> float:
    """Largest resident set, in GB, of a fresh process that runs the case once."""
    command = [sys.executable, __file__, "--once", "--model", arguments.model]
    command += ["--method", arguments.method, "--dtype", arguments.dtype]
    return float(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["gb"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="vgg16-mri")
    parser.add_argument("--method", default="lrp.epsilon")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--once", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    model = load_model(arguments.model)
    x, _ = chosen_input(model, None)
    with tempfile.TemporaryDirectory() as folder:
        if arguments.once:
            whole_case(model, x, arguments.method, arguments.dtype, Path(folder))
            print(json.dumps({"gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6}))
            return
        memory = peak_memory(arguments)
        whole_case(model, x, arguments.method, arguments.dtype, Path(folder))  # twins and kernels warm
        pairs = []
        for _ in range(arguments.rounds):
            bare = bare_calls(model, x, arguments.method, arguments.dtype)
            pairs.append((whole_case(model, x, arguments.method, arguments.dtype, Path(folder)), bare))
    for case, bare in pairs:
        print(f"case {case:.2f} s, bare calls {bare:.2f} s, ratio {case / bare:.3f}")
    print(
        f"median ratio {statistics.median(case / bare for case, bare in pairs):.3f}, peak memory {memory:.2f} GB"
    )


if __name__ == "__main__":
    main()
