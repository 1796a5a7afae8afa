"""The case under diagnosis: model, input and both sides, run and prepared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from harness.backends import Backend, Prepared, Steps, step_on_copies, steps_of
from harness.case import Case as AskedCase
from harness.comparison.deviations import moved_deviations
from harness.comparison.floor import MULTIPLE, RUNS, moved_by_units, unit_roundoff
from harness.comparison.summation import forward_terms, longest_sum, units_of
from harness.diagnosis.measure import MOVES, apart, explained, summation_floor
from harness.engine import engine, floor_of, operands_of
from harness.errors import HarnessError
from harness.graph import Graph, Layer
from harness.methods import Method
from harness.steps import Arrays, Deviating, Step
from harness.trace import LayerTrace, Trace

#: Errors of a single step beyond these are no rounding of a denominator: not worth measuring for more than once.
DOUBTFUL = {"float32": np.inf, "float64": 1e-6}
#: A step of which float32 keeps less than this much may be one that leaves nothing but rounding: any movement gives
#: another result then.
NOTHING_LEFT = 0.01


@dataclass(eq=False)
class Case:
    """Both sides in one dtype. ``x``: (batch, *input shape) in that dtype; ``target``: (batch,).

    ``device``: the candidate's; the reference computes on the CPU.
    """

    model: Any
    x: np.ndarray
    method: Method
    reference: Backend
    candidate: Backend
    target: np.ndarray
    dtype: str
    #: Layers that the candidate has otherwise, as far as the forward pass shows: its steps are judged with these.
    mended: Mapping[str, Layer] = field(default_factory=dict)
    device: str = "cpu"

    @property
    def graph(self) -> Graph:
        """The network's."""
        graph: Graph = self.model.graph
        return graph

    @cached_property
    def reference_run(self) -> Trace:
        """The reference's run."""
        return engine().run(self.asked, self.reference)

    @cached_property
    def candidate_run(self) -> Trace:
        """The candidate's run."""
        return engine().run(self.asked_of_candidate, self.candidate)

    def forget(self) -> None:
        """Let go of both runs, which are large; they are made again where they are asked for."""
        for name, asked, backend in (
            ("reference_run", self.asked, self.reference),
            ("candidate_run", self.asked_of_candidate, self.candidate),
        ):
            self.__dict__.pop(name, None)
            engine().forget(asked, backend)

    def with_mended(self, mended: Mapping[str, Layer]) -> Case:
        """The same runs, judged by other layers."""
        other = replace(self, mended=mended)
        other.__dict__.update(reference_run=self.reference_run, candidate_run=self.candidate_run)
        return other

    def again(self) -> Trace:
        """Another run of the candidate."""
        return engine().run(self.asked_of_candidate, self.candidate, again=True, keep=False)

    @cached_property
    def operands(self) -> Mapping[str, LayerTrace]:
        """By layer, the activations and relevances of the reference's run that steps take."""
        return operands_of(engine(), self.reference_run)

    @property
    def asked(self) -> AskedCase:
        """What both sides are asked to compute, the reference on the CPU."""
        return AskedCase(self.model, self.x, self.method, self.target, self.dtype)

    @property
    def asked_of_candidate(self) -> AskedCase:
        return replace(self.asked, device=self.device)

    @cached_property
    def oracle(self) -> Deviating:
        """What computes deviations, in float64."""
        oracle: Deviating = engine().oracle(self.model, self.method, "deviations")
        return oracle

    @cached_property
    def candidate_steps(self) -> Steps | None:
        """The candidate's single steps; None where it has none."""
        return steps_of(self.candidate_prepared, self.method)

    @cached_property
    def candidate_prepared(self) -> Prepared:
        return engine().prepared(self.model, self.candidate, self.dtype, self.device)

    @cached_property
    def reference_steps(self) -> Steps | None:
        """The reference's single steps; None where it has none."""
        return self._reference_steps_in(self.dtype)

    def expected(self, step: Step, moved_case: AskedCase | None = None) -> Arrays:
        """The reference's result of a step, or the oracle's where the reference runs none.

        ``moved_case``: the network whose weights the layer has instead, but where it is not the graph's own.
        """
        name, steps = step.layer.name, self.reference_steps
        if moved_case is not None and name not in self.mended:
            steps = engine().steps(moved_case, self.reference)
            step = replace(step, layer=moved_case.model.graph[name])
        if steps is None or name in self.mended:
            return self.oracle.carry_out(step)
        return _propagated(steps, step, self.dtype)

    def shown(self, step: Step) -> Arrays | None:
        """The reference's result of a step on the operands of its own run, where that run shows it.

        It does where the step's one input has no other reader: all of its relevance came from this step.
        """
        sources = step.layer.inputs
        if step.layer.name in self.mended or len(sources) != 1 or not step.relevance.any():
            return None
        (source,) = sources
        relevance = self.operands[source].relevance
        return None if relevance is None or len(self.graph.consumers(source)) != 1 else (relevance,)

    def observed(self, step: Step) -> Arrays:
        """The candidate's result of a step."""
        assert self.candidate_steps is not None
        return _propagated(self.candidate_steps, step, self.dtype)

    def least(self, step: Step) -> float:
        """What the order of the sums of a step alone may change."""
        return summation_floor(self.terms, self.dtype)

    def step_floor(self, step: Step, expected: Arrays, error: float) -> float:
        """What rounding explains of a step, measured until it explains ``error`` or there is no more to measure.

        First the reference's distance between float32 and float64 on the same operands, for float64 times
        the ratio of the two unit roundoffs, as in `harness.comparison.rerun`; then how far its step moves when
        a standard deviation does that its rule takes, by its own rounding, and when the operands do, by one unit in
        the last place; where that nearly explains it, when the sums move as another order of their terms moves
        them. A denominator within rounding of zero changes its sign in some of these runs only.
        """
        floor = self.least(step)
        for distance in self._roundings(step, expected, error):
            if np.isfinite(distance):
                floor = max(floor, distance)
            if explained(error, floor):
                return floor
        # Where a sum nearly cancels and is divided by, another order of it changes more than moved operands do.
        if error <= MULTIPLE * floor * 4 * np.sqrt(forward_terms(step.layer)):
            for distance in self._orders_of_sums(step):
                if np.isfinite(distance):
                    floor = max(floor, distance)
                if explained(error, floor):
                    break
        return floor

    def _orders_of_sums(self, step: Step) -> Iterator[float]:
        """How far the oracle's step moves when its sums do as another order of their terms would move them."""
        if step.layer.traits.linear == "no":
            return
        base = self.oracle.carry_out(step)
        for seed in range(RUNS):
            layer = with_moved_weights(step.layer, self.dtype, seed, sums=True)
            yield apart(base, self.oracle.carry_out(replace(step, layer=layer)))

    def other_orders(self) -> Iterator[AskedCase]:
        """The case with its kernels moved as another order of their sums would move them, again and again."""
        return engine().moved(self.asked, self.reference, sums=True)

    def _roundings(self, step: Step, expected: Arrays, error: float) -> Iterator[float]:
        other = "float64" if self.dtype == "float32" else "float32"
        steps = self._reference_steps_in(other)
        distance = np.inf
        if steps is not None and step.layer.name not in self.mended:
            scale = min(1.0, unit_roundoff(self.dtype) / unit_roundoff(other))
            distance = apart(_propagated(steps, step, other), expected)
            yield scale * distance
        if error <= DOUBTFUL[self.dtype]:
            if self.dtype == "float64":
                for rule in moved_deviations(step.rule, step.layer):
                    yield apart(self.oracle.carry_out(step), self.oracle.carry_out(replace(step, rule=rule)))
            for seed in range(MOVES):
                yield apart(expected, self.expected(moved(step, self.dtype, seed)))
        elif distance > NOTHING_LEFT:
            # Its inputs stay: moved, those that are exactly at a threshold of its rule would cross it. Rounding that
            # is all there is may be larger on one side than on the other.
            other_relevance = moved(step, self.dtype, 0, inputs=False)
            yield apart(expected, self.expected(other_relevance))
            if self.candidate_steps is not None:
                yield apart(self.observed(step), self.observed(other_relevance))

    def _reference_steps_in(self, dtype: str) -> Steps | None:
        """The reference's single steps in another dtype; None where it has none, or does not compute in it."""
        steps: Steps | None = None
        with suppress(HarnessError):
            steps = engine().steps(self.asked.in_dtype(dtype), self.reference)
        return steps

    @cached_property
    def coupled(self) -> bool:
        """Whether the candidate's result for the first or the last sample changes when the others are not there.

        The first alone would not show a candidate that gives all samples what it makes of the first.
        """
        return len(self.x) > 1 and any(self._changes_alone(place) for place in (0, len(self.x) - 1))

    def _changes_alone(self, place: int) -> bool:
        """Whether the candidate's result for the sample at ``place`` changes when the others are not there."""
        one_sample = slice(place, place + 1)
        alone = replace(self, x=self.x[one_sample], target=self.target[one_sample])
        together = self.candidate_run
        try:
            _ = alone.candidate_run
        except Exception:
            return False  # a candidate that takes no single sample
        pairs = [(alone.candidate_run.attribution_array, together.attribution_array)]
        for name, layer in alone.candidate_run.layers.items():
            other = together.layers.get(name)
            for what in ("activation", "relevance"):
                one, two = getattr(layer, what), getattr(other, what, None)
                if one is not None and two is not None:
                    pairs.append((one, two))
        # Another batch size is another order of summation.
        floor = max(self.attribution_floor, summation_floor(self.terms, self.dtype))
        return any(not explained(apart((one,), (two[one_sample],)), floor) for one, two in pairs)

    @cached_property
    def terms(self) -> int:
        """The longest sum of the network."""
        return longest_sum(self.graph)

    @cached_property
    def attribution_floor(self) -> float:
        """What rounding explains of the attribution, in the reference's full run."""
        measured = float(floor_of(engine(), self.reference_run).of_attribution())
        return max(measured, summation_floor(self.terms, self.dtype))

    def step(self, layer: Layer, inputs: Arrays, relevance: np.ndarray) -> Step:
        """The step of ``layer`` as specified."""
        rule = self.method.composite.rule_for(layer, self.graph)
        return Step(
            layer=self.mended.get(layer.name, layer),
            rule=rule,
            inputs=tuple(np.asarray(x, np.float64) for x in inputs),
            relevance=np.asarray(relevance, np.float64),
            graph=self.graph,
            method=self.method,
            network_input=self.x,
        )


def moved(step: Step, dtype: str, seed: int, inputs: bool = True) -> Step:
    """``step`` with its relevance and ``inputs`` moved by one unit in the last place of ``dtype``, at random."""
    generator = np.random.default_rng(seed)

    def move(array: np.ndarray) -> np.ndarray:
        return moved_by_units(array.astype(dtype), generator).astype(np.float64)

    operands = tuple(move(x) for x in step.inputs) if inputs else step.inputs
    return replace(step, inputs=operands, relevance=move(step.relevance))


def with_moved_weights(layer: Layer, dtype: str, seed: int, sums: bool = False) -> Layer:
    """``layer`` with its weights moved by one unit in the last place of ``dtype``, at random.

    With ``sums`` kernels are moved as far as another order of their sums moves these, see `Engine.moved`.
    """
    generator = np.random.default_rng(seed)
    weights = {
        name: moved_by_units(each.astype(dtype), generator, units_of(layer, name) if sums else 1)
        for name, each in layer.weights.items()
    }
    return replace(layer, weights=weights)


def _propagated(steps: Steps, step: Step, dtype: str) -> Arrays:
    inputs = tuple(np.ascontiguousarray(x, dtype) for x in step.inputs)
    relevance = np.ascontiguousarray(step.relevance, dtype)
    shares = step_on_copies(steps, step.layer, inputs, relevance, step.method)
    for change in step.after:
        shares = change(step, shares)
    return shares
