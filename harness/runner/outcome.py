"""One case through both sides, compared."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace

from harness.backends import Backend, why_unsupported
from harness.case import Case
from harness.comparison import Comparison, Tolerance
from harness.engine import compare, engine, run_ahead
from harness.errors import MissingFrameworkError, blamed, described, is_interrupt
from harness.methods import Method
from harness.runner.alone import differs_alone, is_sampled
from harness.trace import Trace


@dataclass(frozen=True)
class Outcome:
    """What came of one case: a comparison, or the message of the side that raised.

    ``seconds`` are wall times: of the reference's run, the candidate's, and the whole case. ``alone``: the sides that
    also computed it with nothing shared between methods, and gave the same bit for bit (`harness.runner.alone`).
    """

    method: Method
    dtype: str
    comparison: Comparison | None
    reference: Trace | None
    candidate: Trace | None
    message: str = ""
    seconds: dict[str, float] = field(default_factory=dict)
    alone: tuple[str, ...] = ()

    @property
    def verdict(self) -> str:
        return self.comparison.verdict if self.comparison else "error"

    @property
    def passed(self) -> bool:
        return bool(self.comparison and self.comparison.passed)


def run_case(
    case: Case, reference: Backend, candidate: Backend, device: str = "cpu", tolerance: Tolerance = None
) -> Outcome:
    """``case`` through the reference, then through the candidate with the reference's target, and compared.

    The candidate computes on ``device``; ``tolerance``: see `harness.compare`.

    Whatever a side raises, `sys.exit()` included, becomes an outcome with the verdict "error", so that a
    suite goes on; only the user's own interrupt is passed on, and MissingFrameworkError, which every case would raise.
    """
    started, sampled = time.perf_counter(), is_sampled(case)
    seconds: dict[str, float] = {}
    traces: list[Trace] = []
    ahead = run_ahead(engine(), replace(case, device=device), reference, candidate)
    for side, backend in (("reference", reference), ("candidate", candidate)):
        try:
            if reason := why_unsupported(backend, case.method, case.model.graph):
                message = f"{side} {backend.name!r} does not implement {case.method.name!r}: {reason}"
                return _failed(case, traces, message, seconds)
            engine().prepared(case.model, backend, case.dtype, case.device)
            begun = time.perf_counter()
            traces.append(engine().run(case, backend))
            seconds[side] = time.perf_counter() - begun + ahead.get(side, 0.0)
        except MissingFrameworkError:  # one sentence for the command, not one a case
            raise
        except BaseException as error:  # a faulty side is a finding about that side, not about the suite
            if is_interrupt(error):
                raise
            return _failed(case, traces, blamed(side, backend.name, error), seconds)
        case = replace(case.with_target(traces[0].target), device=device)
    try:
        comparison = compare(traces[0], traces[1], tolerance)
    except BaseException as error:  # single steps of both sides are run here
        if is_interrupt(error):
            raise
        return _failed(case, traces, f"candidate cannot be compared: {described(error)}", seconds)
    seconds["total"] = time.perf_counter() - started
    alone = []
    if sampled:
        for trace, backend in zip(traces, (reference, candidate), strict=True):
            differs = differs_alone(trace, backend)
            if differs:
                return _failed(case, traces, differs, seconds)
            if differs is not None:
                alone.append(backend.name)
    return Outcome(case.method, case.dtype, comparison, traces[0], traces[1], "", seconds, tuple(alone))


def _failed(case: Case, traces: list[Trace], message: str, seconds: dict[str, float]) -> Outcome:
    sides = dict(zip(("reference", "candidate"), traces, strict=False))
    return Outcome(
        case.method,
        case.dtype,
        None,
        sides.get("reference"),
        sides.get("candidate"),
        message,
        seconds,
    )
