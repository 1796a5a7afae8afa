"""How the time of a run grows with the number of methods, of layers and of pixels: a plot each, with the exponent.

    python -m benchmarks.growth [--rounds 3] [--small] [--out FILE.json] [--plots FOLDER]

Reference and candidate, every layer compared, float32, files included. The exponent is the slope of a line
through the logarithms of all points: 1 is proportional. Small runs cost what a case costs at least; the exponent of the
three largest says how it goes on.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.names import read_names
from harness.api import load_model
from harness.engine import Store, engine
from harness.estimate.machine import convolutions
from harness.runner import Selection, run

_METHOD = "lrp.epsilon"


def seconds(model: Any, names: Sequence[str], rounds: int) -> float:
    """The median of the seconds of a run of ``names`` on ``model``, loaded and prepared before."""
    x = np.random.default_rng(0).random((1, *model.input_shape), dtype=np.float32)
    selection = Selection((model,), tuple(names), ("float32",), input=x)
    times = []
    for _ in range(rounds + 1):
        engine().clear()
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            run(selection, Path(folder), store=Store(limit=0))
            times.append(time.perf_counter() - started)
    return statistics.median(times[1:])


def by_methods(counts: Sequence[int], rounds: int) -> dict[int, float]:
    """A network of four convolutions, so many of signxai's names that run it once."""
    model = load_model(convolutions("growth_methods", 32, (16,) * 4))
    names = [
        name for name in read_names() if not name.startswith(("smooth", "var", "integrated", "g", "random"))
    ]
    # Spread over the list, where neighbours are alike.
    return {count: seconds(model, names[:: len(names) // count][:count], rounds) for count in counts}


def by_layers(counts: Sequence[int], rounds: int) -> dict[int, float]:
    """So many convolutions, each with a ReLU, on 32x32 places with 16 channels."""
    return {
        count: seconds(
            load_model(convolutions(f"growth_layers_{count}", 32, (16,) * count)), (_METHOD,), rounds
        )
        for count in counts
    }


def by_pixels(sides: Sequence[int], rounds: int) -> dict[int, float]:
    """Two convolutions on so many places."""
    return {
        side * side: seconds(
            load_model(convolutions(f"growth_pixels_{side}", side, (16, 16))), (_METHOD,), rounds
        )
        for side in sides
    }


def exponent(points: dict[int, float], largest: int | None = None) -> float:
    """The slope of the least-squares line through the logarithms, of so many ``largest`` points; None: of all."""
    if largest is not None:
        points = dict(sorted(points.items())[-largest:])
    return float(np.polyfit(np.log(list(points)), np.log(list(points.values())), 1)[0])


def plot(points: dict[int, float], what: str, path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.5, 3.2), layout="constrained")
    axes = figure.add_subplot()
    axes.loglog(list(points), list(points.values()), "o-")
    axes.set_xlabel(f"number of {what}")
    axes.set_ylabel("seconds of a run")
    axes.set_title(f"time grows as {what} to the {exponent(points):.2f}, at last {exponent(points, 3):.2f}")
    axes.grid(True, which="both", alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--small", action="store_true", help="the small sizes only, to try it")
    options.add_argument("--out", type=Path)
    options.add_argument("--plots", type=Path, default=Path("reports"))
    chosen = options.parse_args()
    most = 3 if chosen.small else 6
    measured: dict[str, Callable[[], dict[int, float]]] = {
        "methods": lambda: by_methods((2, 4, 8, 16, 32, 64)[:most], chosen.rounds),
        "layers": lambda: by_layers((4, 16, 64, 128, 256, 512)[:most], chosen.rounds),
        "pixels": lambda: by_pixels((32, 128, 256, 512, 768, 1024)[:most], chosen.rounds),
    }
    result: dict[str, dict[str, Any]] = {}
    for what, points_of in measured.items():
        points = points_of()
        plot(points, what, chosen.plots / f"growth-{what}.png")
        result[what] = {
            "exponent": exponent(points),
            "exponent_of_the_largest": exponent(points, 3),
            "seconds": points,
        }
        print(what, json.dumps(result[what]), file=sys.stderr, flush=True)
    if chosen.out:
        chosen.out.parent.mkdir(parents=True, exist_ok=True)
        chosen.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({what: round(each["exponent"], 2) for what, each in result.items()}))


if __name__ == "__main__":
    main()
