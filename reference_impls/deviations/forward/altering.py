"""A forward step carried out, and the ways to alter one.

Whatever can be said as another layer (its attributes, its weights) is altered there, so that the altered layer
can be used on its own; the rest is done to the result.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from harness.graph import Layer
from harness.steps import ForwardStep
from reference_impls.oracle import forward
from reference_impls.oracle.linear import Arrays

#: What is done to a result: ``(step, result, *arrays) -> result``.
Change = Callable[..., np.ndarray]
Alteration = Callable[[ForwardStep], ForwardStep]


@dataclass(frozen=True, eq=False)
class Pointwise:
    """A change of every position by itself: of an excerpt it is the excerpt of the change.

    ``arrays`` have the shape of the result and are cut with it. The last axis, channels, is never cut.
    """

    change: Change
    arrays: tuple[np.ndarray, ...] = ()

    def __call__(self, step: ForwardStep, result: np.ndarray) -> np.ndarray:
        return self.change(step, result, *self.arrays)


@dataclass(frozen=True, eq=False)
class Whole:
    """A change that needs the whole result, or replaces it by something computed from the whole input."""

    change: Change

    def __call__(self, step: ForwardStep, result: np.ndarray) -> np.ndarray:
        return self.change(step, result)


def carry_forward(step: ForwardStep) -> np.ndarray:
    """The output of ``step.layer`` for ``step.inputs`` in float64, then ``step.after`` in its order.

    The input layer hands on what it is given. Raises UnsupportedLayerError for a kind that is none.
    """
    result = computed(step.layer, step.inputs)
    for change in step.after:
        result = change(step, result)
    return result


def computed(layer: Layer, inputs: Arrays) -> np.ndarray:
    """The output of ``layer`` alone, in float64."""
    doubles = tuple(np.asarray(x, dtype=np.float64) for x in inputs)
    return doubles[0] if layer.kind == "input" else forward.apply(layer, doubles)


def with_layer(step: ForwardStep, **changes: Any) -> ForwardStep:
    """The step of a layer that has other fields."""
    return replace(step, layer=replace(step.layer, **changes))


def with_attributes(step: ForwardStep, **attributes: Any) -> ForwardStep:
    """The step of a layer that has some other attributes."""
    return with_layer(step, attributes={**step.layer.attributes, **attributes})


def with_weights(step: ForwardStep, **weights: np.ndarray | None) -> ForwardStep:
    """The step of a layer that has some other weights; None takes one away."""
    merged = {**step.layer.weights, **weights}
    return with_layer(step, weights={name: each for name, each in merged.items() if each is not None})


def weighing(**weights: np.ndarray | None) -> Alteration:
    """:func:`with_weights` of whichever step is altered."""
    return lambda step: with_weights(step, **weights)


def first(step: ForwardStep, change: Pointwise | Whole) -> ForwardStep:
    """The step with ``change`` done to the layer's result before anything else."""
    return replace(step, after=(change, *step.after))


def then(step: ForwardStep, change: Pointwise | Whole) -> ForwardStep:
    """The step with ``change`` done at the end."""
    return replace(step, after=(*step.after, change))
