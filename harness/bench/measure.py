"""Both sides run in turn on one case, whole and step by step, and compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from harness.api import as_model
from harness.backends import Backend, Prepared, Steps, backend_named, defaults_of
from harness.bench.result import TOTAL, Bench, BenchRow, Spread
from harness.bench.timing import medians, peak_bytes
from harness.case import Case
from harness.checks import checked_device
from harness.engine import compare, engine, operands_of, require_support
from harness.errors import HarnessError, InvalidInputError
from harness.graph import Layer
from harness.methods import Method
from harness.methods import method as method_named
from harness.trace import LayerTrace

#: Called with what is being measured.
Progress = Callable[[str], None]


def bench(
    model: Any,
    x: Any,
    method: str | Method,
    reference: str | Backend | None = None,
    candidate: str | Backend | None = None,
    target: Any = None,
    dtype: str = "float32",
    device: str = "cpu",
    repeat: int = 5,
    progress: Progress | None = None,
) -> Bench:
    """How long both sides take and how far they are apart, by layer and in all.

    Arguments as for `harness.diagnose`; ``device`` is the candidate's. Each side is run once, which also warms it up,
    then ``repeat`` times in turn; a layer is timed by its single step on the reference's operands, where both sides run
    single steps. Preparing the model is no part of it.

    Raises what `harness.explain` raises, and InvalidInputError for a number of repeats below 1.
    """
    if repeat < 1:
        raise InvalidInputError(f"repeat must be 1 or more, found {repeat}")
    report = progress or (lambda what: None)
    resolved = method_named(method)
    usual = defaults_of(resolved)
    sides = (
        backend_named(usual.reference if reference is None else reference),
        backend_named(usual.candidate if candidate is None else candidate),
    )
    cases = [
        Case.checked(as_model(model), x, resolved, target, dtype, True, each)
        for each in ("cpu", checked_device(device))
    ]
    for case, side in zip(cases, sides, strict=True):
        require_support(side, case)
    report("running both sides")
    first = engine().run(cases[0], sides[0], again=True, keep=False)
    cases = [case.with_target(first.target) for case in cases]
    second = engine().run(cases[1], sides[1], again=True, keep=False)
    prepared = [
        engine().prepared(case.model, side, dtype, case.device)
        for case, side in zip(cases, sides, strict=True)
    ]
    report("the whole run")
    runs = [partial(_run, each, case) for each, case in zip(prepared, cases, strict=True)]
    whole = medians(runs, repeat), [peak_bytes(run) for run in runs]
    comparison = compare(first, second)
    steps = [engine().steps(case, side) for case, side in zip(cases, sides, strict=True)]
    operands = operands_of(engine(), first) if all(steps) else {}
    notes = tuple(
        f"{side.name} runs no single steps of {resolved.name}: layers are not timed"
        for side, each in zip(sides, steps, strict=True)
        if each is None
    )
    if any(getattr(side, "runs_elsewhere", False) for side in sides) or device != "cpu":
        notes += ("memory of another process or of a device is not measured",)
    verdicts = {row.layer: row.verdict for row in comparison.rows}
    rows = []
    for layer in cases[0].model.graph.backward():
        if layer.name not in first.layers or layer.name not in second.layers:
            continue
        report(layer.name)
        timed = _timed(layer, steps, operands, resolved, repeat) if all(steps) else _UNTIMED
        pair = first.layers[layer.name].relevance, second.layers[layer.name].relevance
        rows.append(_row(layer.name, layer.kind, timed, pair, verdicts.get(layer.name, "")))
    ends = first.attribution_array, second.attribution_array
    rows.append(_row(TOTAL, "", whole, ends, comparison.verdict))
    names = first.backend, second.backend
    return Bench(
        cases[0].model.name, resolved.name, *names, dtype, device, repeat, tuple(rows), comparison, notes
    )


_Timed = tuple[list[float], list[float]]
_UNTIMED: _Timed = ([float("nan")] * 2, [float("nan")] * 2)


def _run(prepared: Prepared, case: Case) -> object:
    assert case.target is not None
    return prepared.run(case.x.copy(), case.method, case.target.copy(), False)


def _timed(
    layer: Layer,
    steps: list[Steps | None],
    operands: Mapping[str, LayerTrace],
    method: Method,
    repeat: int,
) -> _Timed:
    """Median seconds and peak bytes of both sides' step on ``operands``."""
    relevance = operands[layer.name].relevance
    inputs = [operands[name].activation for name in layer.inputs if name in operands]
    known = [np.array(each) for each in inputs if each is not None]
    if not layer.inputs or relevance is None or len(known) != len(layer.inputs):
        return _UNTIMED
    received = np.array(relevance)
    calls = [partial(each.step, layer, tuple(known), received, method) for each in steps if each is not None]
    try:
        for call in calls:
            call()
        return medians(calls, repeat), [peak_bytes(call) for call in calls]
    except HarnessError:  # a side that runs single steps, but not this one
        return _UNTIMED


def _row(
    name: str, kind: str, timed: _Timed, pair: tuple[np.ndarray | None, np.ndarray | None], verdict: str
) -> BenchRow:
    seconds, peaks = timed
    reference, candidate = pair
    difference = None
    if reference is not None and candidate is not None:
        with np.errstate(all="ignore"):
            difference = np.asarray(candidate, np.float64) - np.asarray(reference, np.float64)
    apart = np.abs(difference) if difference is not None else None
    return BenchRow(
        layer=name,
        kind=kind,
        ref_seconds=seconds[0],
        cand_seconds=seconds[1],
        ref_peak_bytes=peaks[0],
        cand_peak_bytes=peaks[1],
        mae=Spread.of(apart).mean,
        max_abs=Spread.of(apart).max,
        reference=Spread.of(reference),
        candidate=Spread.of(candidate),
        difference=Spread.of(difference),
        verdict=verdict,
    )
