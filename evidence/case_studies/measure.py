"""What every study measures: how far two maps are apart, what the harness says, what mending leaves."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from evidence.case_studies.planted import answers
from evidence.case_studies.ports import Port, mend
from evidence.kept import key_of
from harness.api import explain
from harness.backends import backend_named
from harness.comparison import compare_arrays
from harness.diagnosis import diagnose
from harness.engine import Store, compare
from harness.trace import Trace

DTYPE = "float64"
#: Whose code a figure depends on, beside that of the harness and the models.
_CODE = ("evidence.case_studies", "ported_impls", "reference_impls")
#: The case that needs the released package, and is kept when all others are measured again.
RELEASED = "released: digits-cnn"
Json = dict[str, Any]


def reference_run(model: Any, x: np.ndarray, method: str) -> Trace:
    """The TensorFlow reference, in float64, of the largest logit."""
    return explain(model, x, method, backend_named("tensorflow"), dtype=DTYPE)


def port_run(model: Any, x: np.ndarray, method: str, port: Port, reference: Trace) -> Trace:
    """The port's run of the class that the reference explained."""
    return explain(model, x, method, port.backend(), reference.target, DTYPE)


def agreement(reference: np.ndarray, candidate: np.ndarray) -> Json:
    """MAE, Pearson's r and relative L2 of two arrays; None where undefined."""
    distance = compare_arrays(reference, candidate)[0]
    figures = {"mae": distance.mae, "r": distance.pearson_r, "rel_l2": distance.rel_l2}
    return {name: float(value) if np.isfinite(value) else None for name, value in figures.items()}


def diagnosed(model: Any, x: np.ndarray, method: str, port: Port) -> Json:
    """What the harness says of a port, and how far it is from the reference with all of that mended."""
    started = time.monotonic()
    diagnosis = diagnose(model, x, method, candidate=port.backend(), dtype=DTYPE)
    seconds = time.monotonic() - started
    reference = diagnosis.case.reference_run
    mended = port_run(model, x, method, mend(port, diagnosis.findings), reference)
    return {
        **answers(port.planted, diagnosis.findings, diagnosis.case.graph),
        "left": agreement(reference.attribution, mended.attribution)["rel_l2"],
        "verdict": compare(reference, mended).verdict,
        "seconds": round(seconds, 1),
    }


class Kept:
    """Cases by name, each kept in ``store`` when it is done: an interrupted run is taken up where it stopped."""

    def __init__(self, store: Store, say: Callable[[str], None]) -> None:
        self.store, self.say = store, say
        self.cases: dict[str, Json] = {}

    def case(self, name: str, measure: Callable[[], Json]) -> Json:
        """The case of that name; measured where the store has it not."""
        key = key_of("case study", name, code=_CODE)
        case: Json | None = self.store.get(key)
        if case is None:
            self.say(name)
            case = measure()
            self.store.put(key, f"case study: {name}", case)
        self.cases[name] = case
        return case
