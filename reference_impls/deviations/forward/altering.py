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

#: What is done to a result: it may need the whole of it, or the whole input, unless it is a :class:`Pointwise`.
Change = Callable[[ForwardStep, np.ndarray], np.ndarray]
Alteration = Callable[[ForwardStep], ForwardStep]


@dataclass(frozen=True, eq=False)
class Pointwise:
    """A change of every position by itself: of an excerpt it is the excerpt of the change.

    ``change`` gets step, result and ``arrays``, which have the shape of the result and are cut with it. The last
    axis, channels, is never cut.
    """

    change: Callable[..., np.ndarray]
    arrays: tuple[np.ndarray, ...] = ()

    def __call__(self, step: ForwardStep, result: np.ndarray) -> np.ndarray:
        return self.change(step, result, *self.arrays)


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


def with_layer(**changes: Any) -> Alteration:
    """Other fields of the layer."""
    return lambda step: replace(step, layer=replace(step.layer, **changes))


def with_attributes(shape: tuple[int, ...] | None = None, **attributes: Any) -> Alteration:
    """Some other attributes of the layer, and another ``shape`` of its output where that follows from them."""
    return lambda step: with_layer(
        attributes={**step.layer.attributes, **attributes}, shape=shape or step.layer.shape
    )(step)


def with_weights(**weights: np.ndarray | None) -> Alteration:
    """Some other weights of the layer; None takes one away."""

    def alter(step: ForwardStep) -> ForwardStep:
        merged = {**step.layer.weights, **weights}
        return with_layer(weights={name: each for name, each in merged.items() if each is not None})(step)

    return alter


def first(change: Change) -> Alteration:
    """``change`` done to the layer's result before anything else."""
    return lambda step: replace(step, after=(change, *step.after))


def then(change: Change) -> Alteration:
    """``change`` done at the end."""
    return lambda step: replace(step, after=(*step.after, change))
