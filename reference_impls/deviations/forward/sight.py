"""What the search looks at: the whole of a small layer, a few boxes of positions of a large one.

A box is cut out of a step after the step has been altered, so that any alteration of the layer is seen: the
four corners (padding shows there) and the middle.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from math import prod

import numpy as np

from harness.graph import Box, Layer, has_boxes, in_box, with_box
from harness.steps import ForwardStep
from reference_impls.deviations.distance import everywhere
from reference_impls.deviations.forward.altering import Pointwise, carry_forward
from reference_impls.oracle import linear

#: Multiplications that one look at a step may cost: a hundredth of a second in float64.
AFFORDABLE = 3 * 10**7
#: What one value of an activation costs, in multiplications of a matrix product (erf, above all).
ELEMENTWISE_COST = 150


@dataclass(frozen=True, eq=False)
class Sight:
    """The part of a step that is looked at.

    ``base`` and ``seen``: the step's own output and the observed one there, (..., channel), of one shape.
    ``boxes``: None where it is everything.
    """

    step: ForwardStep
    observed: np.ndarray
    boxes: tuple[Box, ...] | None
    base: np.ndarray
    seen: np.ndarray

    def of(self, step: ForwardStep) -> np.ndarray:
        """The output of an altered step, as much of it as is looked at."""
        return _looked_at(step, self.boxes)

    def part(self, array: np.ndarray) -> np.ndarray:
        """The same part of any array of the shape of the output."""
        return _part(array, self.boxes)

    def residual(self, step: ForwardStep) -> float:
        """How far an altered step is from what was observed."""
        return everywhere((self.of(step),), (self.seen,))

    def outer(self) -> float:
        """How far the step itself is from what was observed."""
        return everywhere((self.base,), (self.seen,))

    def inner(self) -> float:
        """How far the step itself is from what was observed in the middle, away from the padding."""
        if self.boxes is None:
            return self.outer()
        middle = self.boxes[-1:]
        return everywhere((_looked_at(self.step, middle),), (_part(self.observed, middle),))


def look(step: ForwardStep, observed: np.ndarray) -> Sight:
    """The sight of a step whose output has the shape of ``observed``."""
    boxes = _boxes(step)
    return Sight(step, observed, boxes, _looked_at(step, boxes), _part(observed, boxes))


def cost(layer: Layer, batch: int) -> int:
    """About how many multiplications a step takes."""
    kernels = [weight.size // (weight.shape[-1] or 1) for weight in layer.weights.values() if weight.ndim > 1]
    pool = prod(layer.attributes.get("pool_size", (1,)))
    return batch * prod(layer.shape) * max([ELEMENTWISE_COST, pool, *kernels])


def _boxes(step: ForwardStep) -> tuple[Box, ...] | None:
    layer = step.layer
    space = layer.shape[:-1]
    total = cost(layer, len(step.inputs[0]))
    if total <= AFFORDABLE or not space or not _can_cut(step):
        return None
    positions = prod(space)
    side = max(2, int((AFFORDABLE * positions / total / (2 ** len(space) + 1)) ** (1 / len(space))))
    if any(side * 2 >= length for length in space):
        return None
    corners = product(*(((0, side), (length - side, length)) for length in space))
    middle = tuple(((length - side) // 2, (length - side) // 2 + side) for length in space)
    return (*corners, middle)


def _can_cut(step: ForwardStep) -> bool:
    if any(not isinstance(change, Pointwise) for change in step.after):
        return False
    return has_boxes(step.layer)


def _looked_at(step: ForwardStep, boxes: tuple[Box, ...] | None) -> np.ndarray:
    if boxes is None:
        return carry_forward(step)
    if not _can_cut(step):
        return _part(carry_forward(step), boxes)
    # Converted once, not once for each box.
    doubles = replace(step, layer=replace(step.layer, weights=linear.weights_of(step.layer)))
    parts = [carry_forward(cut(doubles, box)) for box in boxes]
    return np.concatenate([part.reshape(-1, part.shape[-1]) for part in parts])


def _part(array: np.ndarray, boxes: tuple[Box, ...] | None) -> np.ndarray:
    if boxes is None:
        return array
    parts = [array[in_box(box)] for box in boxes]
    return np.concatenate([part.reshape(-1, part.shape[-1]) for part in parts])


def cut(step: ForwardStep, box: Box) -> ForwardStep:
    """The step that computes only ``box`` of the output."""
    after = tuple(
        Pointwise(change.change, tuple(array[in_box(box)] for array in change.arrays))
        for change in step.after
        if isinstance(change, Pointwise)
    )
    small, reads = with_box(step.layer, box)
    inputs = tuple(x[index] for x, index in zip(step.inputs, reads, strict=True))
    return replace(step, layer=small, inputs=inputs, after=after)
