"""Arithmetic in a format of fewer digits: operands rounded, the output rounded, or both.

A tensor core multiplies operands of the format and adds in float32; a layer run in the format rounds its
output as well. Which operands were rounded shows in the output, exactly; rounding of the sums does not, and is
bounded.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import numpy as np

from harness.graph import Layer
from harness.steps import Deviation, ForwardStep
from reference_impls.deviations.formats import FORMATS, Format
from reference_impls.deviations.forward.altering import Pointwise, carry_forward, then, with_weights
from reference_impls.deviations.forward.sight import Sight
from reference_impls.oracle import linear

CAUSE = "precision"
#: Higham and Mary 2019: a sum of n rounded terms is off by at most ``4 * sqrt(n)`` half units but once in
#: some thousands, where the worst case is ``n``.
SUM_OF_ROUNDINGS = 4.0
#: What is rounded, from the most usual to the least.
_OPERANDS = (
    ("inputs", "weights"),
    ("inputs", "weights", "bias"),
    ("weights",),
    ("weights", "bias"),
    ("inputs",),
)


def readings(step: ForwardStep, sight: Sight) -> Iterator[Deviation]:
    """The formats that explain a difference of the size observed, for operands, output, and both."""
    own = {"float16": 11, "float32": 24}.get(sight.observed.dtype.name, 53)
    # In the format that the candidate was asked to compute in there is nothing to find.
    formats = [each for each in FORMATS if each.bits < own]
    stored = next((each for each in formats if not each.operands_only and each.holds(sight.seen)), None)
    if stored is not None:
        for operands in (*_OPERANDS, ()) if step.layer.traits.weighted else ((),):
            yield _rounded(stored, operands, sight.observed)
        yield _consistent(stored, sight.observed)
    if step.layer.traits.weighted:
        for format in formats:
            if _large_enough(format, step, sight):
                yield from (_rounded(format, operands, None) for operands in _OPERANDS)


def _large_enough(format: Format, step: ForwardStep, sight: Sight) -> bool:
    """Whether operands rounded to the format can make a difference as large as the one observed.

    Each factor of a product is off by a relative ``2**-bits`` at most: ``|difference| <= 2.01 * 2**-bits *
    f(|x|; |W|, |b|)``, the square of ``2**-bits`` included.
    """
    if not np.isfinite(sight.seen).all():
        return True  # An overflow has no bound.
    most = 2.01 * 2.0**-format.bits * sight.of(_of_sizes(step))
    return float(np.linalg.norm(sight.base - sight.seen)) <= float(np.linalg.norm(most))


def _rounded(format: Format, operands: tuple[str, ...], observed: np.ndarray | None) -> Deviation:
    parts = [*operands, *(["output"] if observed is not None else [])]
    if parts == ["weights"]:
        words = f"its weights are rounded to {format.words}"
    elif not operands:
        words = f"its output is rounded to {format.words}"
    else:
        list_of_parts = f"{', '.join(parts[:-1])} and {parts[-1]}" if len(parts) > 1 else parts[0]
        words = f"computes in {format.words}: {list_of_parts} rounded"
    change = partial(_with_rounding, format=format, operands=operands, observed=observed)
    return Deviation(CAUSE, words, change, {"format": format.name, "rounded": tuple(parts)})


def _with_rounding(
    step: ForwardStep, format: Format, operands: tuple[str, ...], observed: np.ndarray | None
) -> ForwardStep:
    if "inputs" in operands:
        inputs = tuple(format.round(np.asarray(x, dtype=np.float64)) for x in step.inputs)
        step = replace(step, inputs=inputs)
    if "weights" in operands:
        # A bias is added to the sum, in the format of the sum, unless it is stored in the short one.
        weights = linear.weights_of(step.layer)
        kept = () if "bias" in operands else ("bias",)
        rounded = {name: format.round(each) for name, each in weights.items() if name not in kept}
        step = with_weights(**rounded)(step)
    if observed is None:
        return step
    return then(Pointwise(partial(_round_output, format=format), (observed,)))(step)


def _round_output(step: ForwardStep, z: np.ndarray, observed: np.ndarray, format: Format) -> np.ndarray:
    """``z`` rounded; where its sum, made in float32, may have fallen to either side of a tie, to the side observed."""
    reach = rounding_of_sums(step, z, 2.0**-24)
    low, high = format.round(z - reach), format.round(z + reach)
    return np.where((low <= observed) & (observed <= high), observed, format.round(z))


def _consistent(format: Format, observed: np.ndarray) -> Deviation:
    words = (
        f"computes in {format.name}: every value is one of that format, and off by no more than its rounding"
    )
    change = then(Pointwise(partial(_within_rounding, format=format), (observed,)))
    parameters = {"format": format.name, "rounded": ("sums", "output")}
    return Deviation(CAUSE, words, change, parameters, generic=True)


def _within_rounding(step: ForwardStep, z: np.ndarray, observed: np.ndarray, format: Format) -> np.ndarray:
    reach = rounding_of_sums(step, z, 2.0**-format.bits)
    return np.where(np.abs(observed - z) <= reach, observed, z)


def rounding_of_sums(step: ForwardStep, z: np.ndarray, unit: float) -> np.ndarray:
    """``4 * sqrt(n) * unit * f(|x|; |W|, |b|)`` for sums of ``n`` products, at least ``4 * unit * |z|``."""
    layer = step.layer
    if not layer.traits.weighted:
        return SUM_OF_ROUNDINGS * unit * np.abs(z)
    sizes = carry_forward(_of_sizes(step))
    # What comes after the layer (an activation) has the shape of the layer's output, or else no bound but |z|.
    sizes = np.maximum(sizes, np.abs(z)) if sizes.shape == z.shape else np.abs(z)
    return SUM_OF_ROUNDINGS * np.sqrt(_terms(layer)) * unit * sizes


def _of_sizes(step: ForwardStep) -> ForwardStep:
    """``f(|x|; |W|, |b|)``, the layer alone."""
    weights = {name: np.abs(weight) for name, weight in step.layer.weights.items()}
    inputs = tuple(np.abs(x) for x in step.inputs)
    return replace(step, layer=replace(step.layer, weights=weights), inputs=inputs, after=())


def _terms(layer: Layer) -> int:
    """How many products one output sums up, and its bias."""
    kernels = [weight for weight in layer.weights.values() if weight.ndim > 1]
    return 1 + sum(kernel.size // kernel.shape[-1] for kernel in kernels)
