"""Two local processes against one, each held to one thread, on small models; start-up left out.

    python -m benchmarks.two_processes [--rounds 3] [--out FILE.json]

Starting a process (its imports, its models) costs the same whatever there is to do. So each executor runs a short and a
long list of names, and the time of the longer one less that of the shorter one is what the names in between take.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from harness.engine import Store
from harness.engine.executors import LocalProcesses
from harness.methods import ALL_METHODS
from harness.runner import Selection, run

_MODELS = ("digits-cnn", "ecg-cnn1d")
#: Enough that both processes have loaded both models.
_SHORT = 12


def seconds(count: int, names: tuple[str, ...]) -> float:
    """Of a run of ``names`` on the small models by ``count`` processes, nothing kept."""
    selection = Selection(_MODELS, names, ("float32",))
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        run(selection, Path(folder), store=Store(Path(folder) / "store", 0), executor=LocalProcesses(count))
        return time.perf_counter() - started


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--names", type=int, default=len(ALL_METHODS), help="how many of the catalogue")
    options.add_argument("--out", type=Path)
    chosen = options.parse_args()
    for variable in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        os.environ[variable] = "1"
    names = ALL_METHODS[: chosen.names]
    rounds: list[dict[str, Any]] = []
    for _ in range(chosen.rounds):
        taken = {count: seconds(count, names) - seconds(count, names[:_SHORT]) for count in (1, 2)}
        rounds.append(
            {
                "one": taken[1],
                "two": taken[2],
                "ratio": taken[1] / taken[2],
            }
        )
        print(json.dumps(rounds[-1]), file=sys.stderr, flush=True)
    result = {
        "models": _MODELS,
        "cases": 2 * (len(names) - _SHORT),
        "ratio": statistics.median(each["ratio"] for each in rounds),
        "rounds": rounds,
    }
    if chosen.out:
        chosen.out.parent.mkdir(parents=True, exist_ok=True)
        chosen.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
