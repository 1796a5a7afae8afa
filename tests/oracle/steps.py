"""One step as plain data, and what the oracle's deviations make of an observation of it."""

from __future__ import annotations

import numpy as np

from harness.graph import Layer
from harness.methods import Assignment, Composite, Gradient, Method, Rule
from harness.steps import Arrays, Deviation, Step
from reference_impls.deviations.backward import carry_out, deviations
from tests.oracle.layers import graph

EPS = np.finfo(np.float64).eps


def step(
    layer: Layer,
    rule: Rule,
    inputs: np.ndarray | Arrays,
    relevance: np.ndarray,
    before: tuple[Layer, ...] = (),
    after: tuple[Layer, ...] = (),
    others: dict[str, Rule] | None = None,
) -> Step:
    """``layer`` in a small network under a method that gives it ``rule``, and ``others`` theirs by name."""
    first = before[0] if before else layer
    network = graph(*before, layer, *after, input_shape=first.input_shapes[0])
    assignments = [Assignment(each, names=(name,)) for name, each in (others or {}).items()]
    composite = Composite((Assignment(rule, names=(layer.name,)), *assignments, Assignment(Gradient())))
    batch = inputs if isinstance(inputs, tuple) else (inputs,)
    arrays = tuple(np.asarray(x, dtype=np.float64) for x in batch)
    return Step(layer, rule, arrays, np.asarray(relevance, dtype=np.float64), network, Method("m", composite))


def distance(found: Arrays, observed: Arrays) -> float:
    """Relative L2 over all inputs; infinite where NaN or infinity is not at the same places."""
    one, other = (np.concatenate([part.ravel() for part in arrays]) for arrays in (found, observed))
    numbers = np.isfinite(other)
    if not np.array_equal(np.isfinite(one), numbers) or not np.array_equal(
        one[~numbers], other[~numbers], equal_nan=True
    ):
        return float("inf")
    return float(np.linalg.norm(one[numbers] - other[numbers]) / np.linalg.norm(other[numbers]))


def explanations(of: Step, observed: np.ndarray | Arrays, bound: float) -> list[Deviation]:
    """The deviations that reproduce ``observed`` to ``bound``, what only describes it last.

    Fails where the step as specified does already: then there would be nothing to explain.
    """
    seen = observed if isinstance(observed, tuple) else (observed,)
    assert distance(carry_out(of), seen) > 100 * bound, "the observation is the step as specified"
    fitting = [each for each in deviations(of, seen) if distance(carry_out(each.alter(of)), seen) <= bound]
    return sorted(fitting, key=lambda each: each.generic)


def cause_of(of: Step, observed: np.ndarray | Arrays, bound: float) -> tuple[str, str]:
    """Cause and words of the first explanation."""
    found = explanations(of, observed, bound)
    assert found, f"nothing reproduces the observation to {bound:.1e}"
    return found[0].cause, found[0].words


def roundings(terms: int, absolute: np.ndarray, result: np.ndarray) -> float:
    """What ``terms`` roundings of numbers as large as ``absolute`` come to beside ``result`` (relative L2)."""
    return float(terms * EPS * np.linalg.norm(absolute) / np.linalg.norm(result))
