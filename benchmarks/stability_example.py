"""The worked example of `docs/stability.md`: the composite of the notebook on numerical instability, on `vgg16-mri`.

    python benchmarks/stability_example.py [--backend tensorflow] [--only-page]

Runs it on the model's two example slices, as the notebook writes it and with a stabilizer, stores all figures in
`reports/stability.json`, and writes them into the page, between its ``<!-- figures: NAME -->`` marks.
``--only-page`` takes the figures that are stored.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from harness.api import load_model
from harness.files import write_json, write_text
from harness.graph import ACTIVATION_KINDS, AVERAGE_POOLING_KINDS, WEIGHTED_KINDS
from harness.methods import (
    Assignment,
    Bounded,
    Composite,
    Epsilon,
    Gamma,
    Gradient,
    Method,
    Pass,
    SignedEpsilon,
    Stabilizer,
    Unprotected,
    Z,
)
from harness.stability import analyse

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "stability.md"
FIGURES = ROOT / "reports" / "stability.json"
MODEL = "vgg16-mri"
#: What the notebook's layers are of: linear and convolutional, average pooling. Ours: these, and lines per channel.
LINEAR = (*WEIGHTED_KINDS, *AVERAGE_POOLING_KINDS)
#: Zennit's default, the constant of the first form in the notebook's library.
SIGNED = SignedEpsilon(1e-6)


def notebook_method(stabilizer: Stabilizer) -> Method:
    """The notebook's rules by layer index, with one stabilizer wherever it names no epsilon.

    Its index counts the modules of torchvision's VGG16 from 0, activations and poolings too; here the input is
    layer 0, so that its n is place n + 1. Its LRP-gamma is that of inputs without negative values
    (``signed=False``); with gamma 0 it is LRP-0.
    """
    return Method(
        "notebook" if isinstance(stabilizer, Unprotected) else "notebook, stabilized",
        Composite(
            (
                # n == 0; the input, and so its bounds, lies in 0..1.
                Assignment(Bounded(0.0, 1.0, stabilizer), kinds=LINEAR, until_index=1),
                # 1 <= n <= 16
                Assignment(Gamma(0.0, signed=False, stabilizer=stabilizer), kinds=LINEAR, until_index=17),
                # 17 <= n <= 30
                Assignment(Epsilon(0.25), kinds=LINEAR, until_index=31),
                # 31 <= n
                Assignment(Z(stabilizer=stabilizer), kinds=LINEAR),
                Assignment(Pass(), kinds=ACTIVATION_KINDS),
                # Max pooling is no target type in the notebook and keeps its gradient; so does flatten.
                Assignment(Gradient()),
            )
        ),
    )


def measure(backend: str) -> dict[str, Any]:
    """All figures of the page."""
    model = load_model(MODEL)
    runs, seconds = {}, {}
    for slice_name, example in model.examples.items():
        x = np.asarray(example())
        for stabilizer in (Unprotected(), SIGNED):
            method = notebook_method(stabilizer)
            started = time.perf_counter()
            name = f"{slice_name}, {method.name}"
            runs[name] = _kept(analyse(model, x, method, backend=backend).to_json())
            seconds[name] = round(time.perf_counter() - started, 1)
            print(f"{name}: {seconds[name]} s: {runs[name]['sentence']}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    return {"model": MODEL, "backend": backend, "runs": runs, "seconds": seconds, "peak_gib": round(peak, 2)}


def _kept(run: dict[str, Any]) -> dict[str, Any]:
    """What the page needs of a run: of one that ends in NaN no more than where it came from."""
    if run["origin"] is None:
        return {key: value for key, value in run.items() if key != "method"}
    return {key: run[key] for key in ("sentence", "origin", "input", "totals")}


def render(page: str, figures: dict[str, Any]) -> str:
    """``page`` with every marked block written anew."""

    def block(match: re.Match[str]) -> str:
        name = match["name"]
        return f"<!-- figures: {name} -->\n\n{BLOCKS[name](figures)}\n\n<!-- end -->"

    return re.sub(r"<!-- figures: (?P<name>[\w-]+) -->.*?<!-- end -->", block, page, flags=re.DOTALL)


def _run(figures: dict[str, Any], stabilized: bool, place: int = 0) -> dict[str, Any]:
    chosen = [run for name, run in figures["runs"].items() if name.endswith("stabilized") == stabilized]
    run: dict[str, Any] = chosen[place]
    return run


def _table(columns: list[str], rows: list[list[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _number(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.3g}"


def _first_run(figures: dict[str, Any]) -> str:
    return f"> {_run(figures, stabilized=False)['sentence']}"


def _second_run(figures: dict[str, Any]) -> str:
    return f"> {_run(figures, stabilized=True)['sentence']}"


def _slices(figures: dict[str, Any]) -> str:
    rows = []
    for name, run in figures["runs"].items():
        counts, origin = run["input"]["counts"], run["origin"]
        where = f"{origin['kind']} at {origin['layer']}, {origin['count']} outputs" if origin else "none"
        total = run["totals"][0]
        signs = [str(counts[key]) for key in ("negative", "zero", "positive", "nan")]
        rows.append([name, where, *signs, _number(total["received"]), _number(total["passed"])])
    columns = ["slice, method", "NaN from", "negative", "zero", "positive", "NaN", "sum at the output"]
    return _table([*columns, "sum at the input"], rows)


def _steps(figures: dict[str, Any]) -> str:
    return _worst_steps(_run(figures, stabilized=True), above=10)


def _steps_of_the_other(figures: dict[str, Any]) -> str:
    run = _run(figures, stabilized=True, place=1)
    return f"> {run['sentence']}\n\n{_worst_steps(run, above=1000)}"


def _worst_steps(run: dict[str, Any], above: float) -> str:
    rows = [
        [
            row["layer"],
            row["rule"].split("(")[0],
            _number(row["condition"]),
            _number(row["growth"]),
            *(
                [_number(row["denominators"]["smallest"]), _number(row["denominators"]["rms"])]
                if row["denominators"]
                else ["", ""]
            ),
            _number(row["denominators"]["passing"][1]) if row["denominators"] else "",
        ]
        for row in run["layers"]
        if not isinstance(row["condition"], str) and row["condition"] > above
    ]
    columns = ["layer", "rule", "condition", "growth", "smallest S(z)", "rms z", "of R below rms / 1000"]
    return _table(columns, rows)


def _ledger(figures: dict[str, Any]) -> str:
    run = _run(figures, stabilized=True)
    names = ("received", "passed", "bias", "stabilizer", "at_zero", "unexplained")
    (total,) = run["totals"]
    worth = 0.01 * abs(total["received"])
    rows = [
        [entry["layer"], *(_number(entry[name]) for name in names)]
        for entry in [*run["ledger"], total]
        if abs(entry["received"] - entry["passed"]) > worth
    ]
    return _table(["layer", *names], rows)


def _extremes(figures: dict[str, Any]) -> str:
    rows = [
        [
            f"{each['end']} {each['of']}",
            ", ".join(f"{axis} {index}" for axis, index in each["place"].items() if axis != "batch"),
            *(_number(each[name]) for name in ("input", "gradient", "relevance")),
        ]
        for each in _run(figures, stabilized=True)["input"]["extremes"]
    ]
    return _table(["extreme", "place", "input", "gradient", "relevance"], rows)


def _forms(figures: dict[str, Any]) -> str:
    rows = []
    for place in range(2):
        run = _run(figures, stabilized=True, place=place)
        (name,) = [name for name, each in figures["runs"].items() if each is run]
        for form in run["forms"]["results"]:
            rows.append(
                [
                    name.split(",")[0],
                    form["form"],
                    _number(form["smallest"]),
                    str(form["zeros"]),
                    str(form["turned"]),
                    f"{form['through_turned']:.1%}",
                    f"{_number(form['low'])} to {_number(form['high'])}",
                    str(form["nan"] + form["inf"]),
                    _number(form["distance"]["method"]),
                    *(_number(form["distance"].get(other, "")) for other in ("signed", "rms", "plain")),
                ]
            )
    columns = ["slice", "form", "smallest D", "zero", "turned", "R through turned", "relevance", "NaN, Inf"]
    return _table([*columns, "from the method", "from signed", "from rms", "from plain"], rows)


def _turned(figures: dict[str, Any]) -> str:
    layers = _run(figures, stabilized=True)["forms"]["layers"]
    worst = sorted({row["layer"] for row in layers if row["through_turned"] > 0.01}, key=_place_in(layers))
    rows = []
    for name in worst:
        of_layer = {row["form"]: row for row in layers if row["layer"] == name}
        rows.append(
            [
                name,
                str(of_layer["rms"]["denominators"]),
                *(
                    f"{of_layer[form]['turned']} ({of_layer[form]['through_turned']:.1%})"
                    for form in ("signed", "rms", "plain")
                ),
            ]
        )
    return _table(["layer", "denominators", "signed", "rms", "plain"], rows)


def _place_in(layers: list[dict[str, Any]]) -> Callable[[str], int]:
    order = [row["layer"] for row in layers]
    return order.index


def _cost(figures: dict[str, Any]) -> str:
    slowest = max(figures["seconds"].values())
    return (
        f"One analysis in float32 with the backend {figures['backend']}, three stabilizer forms included, took "
        f"{slowest:.0f} s at most on 2 cores; the four together needed {figures['peak_gib']:.1f} GiB at their peak."
    )


BLOCKS: dict[str, Callable[[dict[str, Any]], str]] = {
    "first-run": _first_run,
    "second-run": _second_run,
    "slices": _slices,
    "steps": _steps,
    "steps-of-the-other": _steps_of_the_other,
    "ledger": _ledger,
    "extremes": _extremes,
    "forms": _forms,
    "turned": _turned,
    "cost": _cost,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backend", default="tensorflow")
    parser.add_argument("--only-page", action="store_true", help="take the stored figures")
    arguments = parser.parse_args()
    if not arguments.only_page:
        write_json(FIGURES, measure(arguments.backend))
    figures = json.loads(FIGURES.read_text(encoding="utf-8"))
    write_text(PAGE, render(PAGE.read_text(encoding="utf-8"), figures))


if __name__ == "__main__":
    main()
