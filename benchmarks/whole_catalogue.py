"""Our side of the whole-catalogue benchmark: every name of a list through both frameworks, every layer compared.

    python -m benchmarks.whole_catalogue [--model vgg16-mri] [--names FILE] [--dtype float32] [--out FILE.json]
    python -m benchmarks.whole_catalogue --single [--every 10]

Without ``--single``: one run of all names from an empty store, files included, imports, loading and preparing left
out (each side has run once before, on another input and a name of its own); the seconds of the whole, of each name
(from the row before it to its own: what is shared is paid by the first that needs it), and the peak resident set.

With ``--single``: each name (or one in so many) alone, on the model's example moved by another number of pixels each
time, so that nothing is shared with what ran before: seconds of the case, verdict and files included, over the seconds
of the two sides alone (`run_alone`), on the same input right after. The median over the names, and over those where
a bound decided, on either ground; those where rounding was measured on single steps; and those where the floor was.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.names import VGG16_MRI, read_names
from harness.api import load_model
from harness.backends import backend_named, capability
from harness.case import Case
from harness.engine import Store, engine
from harness.methods import method
from harness.runner import Progress, Selection, chosen_input, run

SIDES = ("tensorflow", "torch")
#: A derived bound, rounding measured on single steps, the measured floor.
EVIDENCE = ("bound", "steps", "floor")


def warmed(model: Any, dtype: str, names: tuple[str, ...], moved: np.ndarray) -> None:
    """Both sides prepared, and every operation of ``names`` compiled, on an input that is not measured.

    The reference in float64 keeps nothing of it: in what is measured it may never run another input in its place.
    """
    target = np.zeros(len(moved), np.int64)
    for side, precision in (*((side, dtype) for side in SIDES), (SIDES[0], "float64")):
        prepared: Any = engine().prepared(model, backend_named(side), precision)
        for name in names:
            run_once = prepared.run if precision == dtype else prepared.run_alone
            run_once(moved.astype(precision), method(name), target, precision == dtype)


def whole(model: Any, names: tuple[str, ...], dtype: str) -> dict[str, Any]:
    """All names in one run."""
    marks: list[tuple[str, float]] = []
    started = time.perf_counter()

    def finished(row: dict[str, Any], reused: bool) -> None:
        marks.append((row["method"], time.perf_counter()))

    with tempfile.TemporaryDirectory() as folder:
        selection = Selection((model,), names, (dtype,))
        rows = run(
            selection, Path(folder) / "run", Progress(finished=finished), Store(Path(folder) / "store")
        )
    before = [started, *(at for _, at in marks[:-1])]
    times = {name: at - start for (name, at), start in zip(marks, before, strict=True)}
    return {
        "names": len(rows),
        "seconds": marks[-1][1] - started,
        "passed": sum(bool(row["passed"]) for row in rows),
        "alone": sum(bool(row["alone"]) for row in rows),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "seconds_by_name": times,
    }


def single(model: Any, names: tuple[str, ...], dtype: str) -> dict[str, Any]:
    """Each name alone."""
    x, _ = chosen_input(model, None)
    cases = []
    for place, name in enumerate(names):
        moved = np.roll(x, place + 1, axis=2)
        engine().clear()
        with tempfile.TemporaryDirectory() as folder:
            selection = Selection((model,), (name,), (dtype,), input=moved)
            started = time.perf_counter()
            (row,) = run(selection, Path(folder) / "run", store=Store(Path(folder) / "store"))
            seconds = time.perf_counter() - started
        sides = sum(
            alone(Case(model, moved, method(name), np.asarray(row["target"]), dtype), side) for side in SIDES
        )
        cases.append({"name": row["method"], "seconds": seconds, "sides": sides, "by": evidence_of(row)})
        print(
            f"{row['method']:45s} {seconds:7.2f} s  sides {sides:6.2f} s  {seconds / sides:5.2f}", flush=True
        )
    ratios = {each["name"]: each["seconds"] / each["sides"] for each in cases}
    medians = {"median": statistics.median(ratios.values())}
    for evidence in EVIDENCE:
        of_these = [ratios[each["name"]] for each in cases if each["by"] == evidence]
        if of_these:
            medians[f"median_by_{evidence}"] = statistics.median(of_these)
    return {**medians, "cases": cases}


def evidence_of(row: dict[str, Any]) -> str:
    """What the verdict of a row of a run rests on: one of :data:`EVIDENCE`."""
    if not row["floor_from"].startswith("derived"):
        return "floor"
    return "steps" if "single steps" in row["decided_by"] else "bound"


def alone(case: Case, side: str) -> float:
    """Seconds that one side takes for ``case`` from end to end, with nothing from other runs."""
    prepared = engine().prepared(case.model, backend_named(side), case.dtype)
    assert capability(prepared, "alone") is not None
    assert case.target is not None
    started = time.perf_counter()
    prepared.run_alone(case.x.copy(), case.method, case.target.copy(), True)  # type: ignore[attr-defined]
    return time.perf_counter() - started


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--model", default="vgg16-mri")
    options.add_argument("--names", type=Path, default=VGG16_MRI)
    options.add_argument("--dtype", default="float32", choices=("float32", "float64"))
    options.add_argument("--single", action="store_true")
    options.add_argument("--every", type=int, default=1)
    options.add_argument("--out", type=Path)
    chosen = options.parse_args()
    names = read_names(chosen.names)[:: chosen.every]
    model = load_model(chosen.model)
    x, _ = chosen_input(model, None)
    warmed(
        model,
        chosen.dtype,
        ("lrp_z:dialect=signxai", "lrp_alpha_2_beta_1", "w2lrp_z", "flatlrp_z"),
        np.flip(x, 2),
    )
    result = (single if chosen.single else whole)(model, names, chosen.dtype)
    text = json.dumps({"model": chosen.model, "dtype": chosen.dtype, **result}, indent=1)
    if chosen.out:
        chosen.out.write_text(text + "\n", encoding="utf-8")
    json.dump(
        {key: value for key, value in result.items() if key not in ("cases", "seconds_by_name")}, sys.stdout
    )
    print()


if __name__ == "__main__":
    main()
