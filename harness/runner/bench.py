"""One model and one input on the bench: every method run through both sides, the floor measured, compared."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from harness.backends import Backend, Model, Prepared, run_on_copies, to_watch
from harness.comparison import Comparison, Rerun, compare
from harness.errors import blamed, described, is_interrupt
from harness.methods import Method
from harness.pairs import of_model
from harness.trace import Trace


@dataclass(frozen=True)
class Outcome:
    """What came of one case: a comparison, or the message of the side that raised.

    ``seconds`` are wall times: of the reference's run, the candidate's, and the whole case.
    """

    method: Method
    dtype: str
    comparison: Comparison | None
    reference: Trace | None
    candidate: Trace | None
    message: str = ""
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        return self.comparison.verdict if self.comparison else "error"

    @property
    def passed(self) -> bool:
        return bool(self.comparison and self.comparison.passed)


class Bench:
    """Holds what methods on one input share: prepared backends, moved models, the last float64 reference run."""

    def __init__(self, model: Model, x: np.ndarray, reference: Backend, candidate: Backend) -> None:
        self.model = model
        self._inputs = {dtype: np.ascontiguousarray(x, dtype=dtype) for dtype in ("float32", "float64")}
        self._backends = {"reference": reference, "candidate": candidate}
        self._prepared: dict[tuple[str, str], Prepared] = {}
        self._reruns: dict[tuple[str, str], Rerun] = {}
        self._exact: Trace | None = None

    def run(self, method: Method, dtype: str) -> Outcome:
        """Explain through the reference, then through the candidate with the reference's target, and compare.

        Whatever a side raises, `sys.exit()` included, becomes an outcome with the verdict "error", so that a
        suite goes on; only the user's own interrupt is passed on. Each side gets arrays of its own.
        """
        started = time.perf_counter()
        seconds: dict[str, float] = {}
        traces: dict[str, Trace] = {}
        target = None
        for side in ("reference", "candidate"):
            backend = self._backends[side]
            try:
                if not backend.supports(method):
                    message = f"{side} {backend.name!r} does not implement {method.name!r}"
                    return Outcome(method, dtype, None, traces.get("reference"), None, message, seconds)
                prepared = self._prepare(side, dtype)
                begun = time.perf_counter()
                x, watched = self._inputs[dtype], to_watch(backend, self.model)
                run = run_on_copies(prepared, x, method, target, watched=watched)
                seconds[side] = time.perf_counter() - begun
                traces[side] = of_model(run, self.model)
                traces[side].rerun = self._rerun(side, dtype)
            except BaseException as error:  # a faulty side is a finding about that side, not about the suite
                if is_interrupt(error):
                    raise
                message = blamed(side, backend.name, error)
                return Outcome(method, dtype, None, traces.get("reference"), None, message, seconds)
            target = traces["reference"].target
        if dtype == "float64":
            self._exact = traces["reference"]
        try:
            floor = traces["reference"].rerun.floor(
                traces["reference"], self._exact_run(method, target, dtype)
            )
            comparison = compare(traces["reference"], traces["candidate"], floor=floor)
        except BaseException as error:  # single steps of both sides are run here
            if is_interrupt(error):
                raise
            message = f"candidate cannot be compared: {described(error)}"
            return Outcome(method, dtype, None, traces["reference"], traces["candidate"], message, seconds)
        seconds["total"] = time.perf_counter() - started
        return Outcome(method, dtype, comparison, traces["reference"], traces["candidate"], "", seconds)

    def _prepare(self, side: str, dtype: str) -> Prepared:
        key = (side, dtype)
        if key not in self._prepared:
            self._prepared[key] = self._backends[side].prepare(self.model, dtype)
        return self._prepared[key]

    def _rerun(self, side: str, dtype: str) -> Rerun:
        key = (side, dtype)
        if key not in self._reruns:
            self._reruns[key] = Rerun(
                self.model,
                self._inputs[dtype],
                self._backends[side],
                dtype,
                self._prepare(side, dtype),
                lambda name: self._prepare(side, name),
            )
        return self._reruns[key]

    def _exact_run(self, method: Method, target: Any, dtype: str) -> Trace | None:
        """The float64 reference run of the same method and target, if it was the last one made here."""
        exact = self._exact
        if dtype != "float32" or exact is None or exact.method != method:
            return None
        return exact if np.array_equal(exact.target, target) else None
