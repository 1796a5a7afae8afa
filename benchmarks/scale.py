"""What a case costs in time, memory and bytes on models of several sizes, beside what `xai-harness estimate` says.

    python -m benchmarks.scale [--model NAME]... [--method NAME]... [--dtype float32] [--out FILE.json]

A process a model: its peak is that model's. The seconds are those of a case on a model that is loaded and has run once,
by the clock and of all processors together (which a busy machine changes less); the bytes those of the files and of the
entry in the store.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from harness.api import load_model
from harness.backends import backend_named
from harness.engine import Store, engine
from harness.estimate import estimate, measured_machine
from harness.methods import method
from harness.runner import Selection, chosen_input, run

_MODELS = ("digits-cnn", "ecg-cnn1d", "fer-xception", "efficientnet-lite0", "vgg16-mri")
_METHODS = ("gradient", "lrp.epsilon", "lrp.alpha_2_beta_1")


def measure(name: str, methods: tuple[str, ...], dtype: str) -> list[dict[str, Any]]:
    """A row a method: what was estimated and what it took."""
    sides = [backend_named("tensorflow"), backend_named("torch")]
    machine = measured_machine(sides[0], sides[1], dtype, Store())
    model: Any = load_model(name)
    x, _ = chosen_input(model, None)
    rows = []
    for each in methods:
        estimated = estimate(model.graph, method(each), len(x), dtype, machine)
        with tempfile.TemporaryDirectory() as folder:
            for attempt, given in enumerate((np.flip(x, 1).copy(), x)):
                engine().clear()
                store = Store(Path(folder) / f"store{attempt}", 2**32)
                chosen = Selection((model,), (each,), (dtype,), input=given)
                before = time.process_time()
                (row,) = run(chosen, Path(folder) / str(attempt), store=store)
                processors = time.process_time() - before
            size = sum(path.stat().st_size for path in Path(folder, "1").rglob("*.*")) + store.size()
        rows.append(
            {
                "model": name,
                "method": each,
                "layers": estimated.work.layers,
                "multiply_adds": estimated.work.multiply_adds,
                "seconds": row["seconds_with_files"],
                "seconds_estimated": estimated.seconds,
                "processor_seconds": processors,
                "bytes_on_disk": size,
                "bytes_on_disk_estimated": estimated.disk,
                "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
                "peak_bytes_estimated": estimated.memory,
            }
        )
    return rows


def _line(row: dict[str, Any]) -> str:
    pairs = (("seconds", 1.0, "s"), ("peak_bytes", 1e9, "GB"), ("bytes_on_disk", 1e3, "kB"))
    errors = "; ".join(
        f"{row[key] / unit:.2f} {name}, estimated {row[f'{key}_estimated'] / unit:.2f}"
        for key, unit, name in pairs
    )
    return f"{row['model']:20s} {row['method']:20s} {row['processor_seconds']:.2f} processor s; {errors}"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--model", action="append")
    options.add_argument("--method", action="append")
    options.add_argument("--dtype", default="float32", choices=("float32", "float64"))
    options.add_argument("--out", type=Path)
    options.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    chosen = options.parse_args()
    models, methods = tuple(chosen.model or _MODELS), tuple(chosen.method or _METHODS)
    if chosen.here:
        print(json.dumps(measure(models[0], methods, chosen.dtype)))
        return
    rows: list[dict[str, Any]] = []
    for name in models:
        more = [part for each in methods for part in ("--method", each)]
        command = (
            sys.executable,
            "-m",
            "benchmarks.scale",
            "--here",
            "--model",
            name,
            "--dtype",
            chosen.dtype,
            *more,
        )
        ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        rows += json.loads(ended.stdout.splitlines()[-1])
        for row in rows[-len(methods) :]:
            print(_line(row), flush=True)
    if chosen.out:
        chosen.out.parent.mkdir(parents=True, exist_ok=True)
        chosen.out.write_text(
            json.dumps({"dtype": chosen.dtype, "rows": rows}, indent=1) + "\n", encoding="utf-8"
        )


if __name__ == "__main__":
    main()
