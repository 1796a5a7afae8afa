"""`validate`: one side's run, layer by layer: is it finite, and does each layer hand on what its rule hands on?

Every layer is taken by itself, on what it received in that run. What it passes on is held against what the method's
rule passes on of the same, as the reference computes it: a rule that does not conserve relevance is no fault.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from harness.api import as_model
from harness.backends import Backend, backend_named, defaults_of
from harness.case import Case as AskedCase
from harness.comparison.floor import MULTIPLE
from harness.comparison.metrics import Statistics, statistics_of
from harness.counts import counts_of, named_factor
from harness.diagnosis.case import Case
from harness.diagnosis.measure import apart, explained
from harness.engine import engine, require_support
from harness.errors import InvalidInputError
from harness.graph import Layer
from harness.methods import Backward, Method
from harness.methods import method as method_named
from harness.steps import Arrays, Step


@dataclass(frozen=True)
class Balance:
    """One layer of the run.

    ``statistics``: of the relevance of its output. ``passed``: the sum of all that it hands on, None where the
    candidate runs no single steps and its relevances do not show it. ``by_rule``: what the rule hands on of the same.
    ``right``: whether the two are as near as rounding explains; ``off``: else the factor between them, None where
    nothing comes of it (a sum near zero). ``reason``: that factor in words, where it is one of the network's numbers.
    """

    layer: str
    kind: str
    statistics: Statistics
    passed: float | None = None
    by_rule: float | None = None
    right: bool = True
    off: float | None = None
    reason: str = ""

    @property
    def received(self) -> float:
        """The sum of its output's relevance."""
        return self.statistics.sum

    @property
    def factor(self) -> float | None:
        """What it passes on, by what it received; None where that is not known."""
        return None if self.passed is None or not self.received else self.passed / self.received

    @property
    def finite(self) -> bool:
        return not (self.statistics.nan or self.statistics.inf)


@dataclass(frozen=True)
class Validation:
    """``layers``: in backward order. ``start`` and ``end``: the sums at the output and of the attribution."""

    model: str
    method: str
    backend: str
    dtype: str
    target: tuple[int, ...]
    start: float
    end: float
    layers: tuple[Balance, ...]

    @property
    def sentences(self) -> tuple[str, ...]:
        """What is wrong, a sentence each; none where nothing is."""
        found = []
        strange = [each for each in self.layers if not each.finite]
        if strange:
            first = strange[0]
            figures = first.statistics
            found.append(
                f"{first.layer}: {figures.nan} NaN and {figures.inf} infinite values; {len(strange)} of "
                f"{len(self.layers)} layers have some"
            )
        for each in self.layers:
            if not each.right:
                by = "" if each.off is None else f", {each.off:.6g} times as much"
                reason = f": {each.reason}" if each.reason else ""
                sums = f"passes on {each.passed:.6g}, by its rule {each.by_rule:.6g}"
                found.append(f"{each.layer} ({each.kind}) {sums}{by}{reason}")
        return tuple(found)

    @property
    def passed(self) -> bool:
        return all(each.finite and each.right for each in self.layers)

    def to_json(self) -> dict[str, Any]:
        """JSON-able facts."""
        own = {key: value for key, value in asdict(self).items() if key != "layers"}
        layers = [{**asdict(each), "received": each.received, "factor": each.factor} for each in self.layers]
        return {**own, "passed": self.passed, "sentences": list(self.sentences), "layers": layers}


def validate(
    model: Any,
    x: Any,
    method: str | Method,
    candidate: str | Backend | None = None,
    target: Any = None,
    dtype: str = "float64",
) -> Validation:
    """The run of ``candidate`` by itself, layer by layer. Arguments as for `harness.diagnose`.

    Raises what `harness.explain` raises, and InvalidInputError for a candidate that shows no relevance of layers, and
    for a method that is no single run.
    """
    resolved = method_named(method)
    usual = defaults_of(resolved)
    side = backend_named(usual.candidate if candidate is None else candidate)
    asked = AskedCase.checked(as_model(model), x, resolved, target, dtype)
    require_support(side, asked)
    if not (resolved.stepwise and isinstance(resolved.procedure, Backward)):
        raise InvalidInputError(
            f"{resolved.name!r} is no single run from the output back to the input, so that no layer has a balance; "
            "choose a method that is"
        )
    run = engine().run(asked, side)
    if not any(layer.relevance is not None for layer in run.layers.values()):
        raise InvalidInputError(
            f"{side.name!r} shows the relevance of no layer; only `diagnose` can judge an attribution alone"
        )
    usual_side = backend_named(usual.reference)
    case = Case(asked.model, asked.x, resolved, usual_side, side, run.target, dtype)
    case.candidate_run = run
    output = run.layers[case.graph.output].relevance
    return Validation(
        case.model.name,
        resolved.name,
        side.name,
        dtype,
        tuple(int(each) for each in run.target),
        float("nan") if output is None else _sum(output),
        _sum(run.attribution_array),
        tuple(_balances(case)),
    )


def _balances(case: Case) -> Iterator[Balance]:
    counts = counts_of(case.graph, len(case.x))
    for layer in reversed(case.graph.layers):
        shown = case.candidate_run.layers.get(layer.name)
        if shown is None or shown.relevance is None:
            continue
        relevance = np.asarray(shown.relevance)
        own = Balance(layer.name, layer.kind, statistics_of(relevance))
        step = _step(case, layer, relevance)
        yield own if step is None else _judged(case, own, step, counts)


def _step(case: Case, layer: Layer, relevance: np.ndarray) -> Step | None:
    """The layer's step on what the run shows; None where it does not show all of it, or not all of it is finite."""
    run = case.candidate_run.layers
    inputs = [run[name].activation if name in run else None for name in layer.inputs]
    if not inputs or any(x is None for x in inputs) or not np.isfinite(relevance).all():
        return None
    return case.step(layer, tuple(np.asarray(x) for x in inputs), relevance)


def _judged(case: Case, own: Balance, step: Step, counts: Mapping[str, int]) -> Balance:
    expected, observed = case.expected(step), _passed(case, step)
    by_rule = sum(map(_sum, expected))
    if observed is None:
        return replace(own, by_rule=by_rule)
    passed, size = sum(map(_sum, observed)), sum(_sum(np.abs(each)) for each in expected)
    error = apart(expected, observed)
    floor = case.step_floor(step, expected, error)
    right = explained(error, floor) or _near(expected, observed, MULTIPLE * floor)
    off = None if right or abs(by_rule) <= MULTIPLE * floor * size else passed / by_rule
    reason = "" if off is None else named_factor(off, counts)
    return replace(own, passed=passed, by_rule=by_rule, off=off, right=right, reason=reason)


def _passed(case: Case, step: Step) -> Arrays | None:
    """What the candidate hands to each input; None where neither a step nor its relevances show it."""
    if case.candidate_steps is not None:
        return case.observed(step)
    (source, *others) = step.layer.inputs
    alone = not others and len(case.graph.consumers(source)) == 1
    shown = case.candidate_run.layers[source].relevance
    return (np.asarray(shown),) if alone and shown is not None else None


def _near(expected: Arrays, observed: Arrays, bound: float) -> bool:
    """Whether the sums of every sample are within ``bound`` of the sizes of what they are made of."""
    wanted, found = (np.sum([_by_sample(each) for each in side], axis=0) for side in (expected, observed))
    sizes = np.sum([_by_sample(np.abs(each)) for each in (*expected, *observed)], axis=0)
    return bool(np.all(np.abs(found - wanted) <= bound * sizes))


def _by_sample(values: np.ndarray) -> np.ndarray:
    """(batch,)"""
    sums: np.ndarray = values.reshape(len(values), -1).sum(axis=1, dtype=np.float64)
    return sums


def _sum(values: np.ndarray) -> float:
    return float(np.sum(values, dtype=np.float64))
