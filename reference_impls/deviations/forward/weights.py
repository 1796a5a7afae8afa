"""Weights in another order, missing, counted twice, of another layer: everything that has a name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import permutations

import numpy as np

from harness.graph import Layer
from harness.steps import Deviation, ForwardStep
from reference_impls.deviations.forward.altering import with_weights
from reference_impls.deviations.forward.numbers import STANDARD_ERRORS, shown, solved_factor
from reference_impls.deviations.forward.sight import Sight

CAUSE = "forward-weights"
#: Samples agree on a change of the bias to this part of it.
_AGREE = 1e-6
Orders = Callable[[np.ndarray], Iterator[tuple[str, np.ndarray]]]


def readings(step: ForwardStep, sight: Sight) -> Iterator[Deviation]:
    """Of a layer with a kernel: the kernel rearranged, another bias, the weights of another layer, a factor.

    Of one with a number for each place: these shifted, in another order, or missing.
    """
    if step.layer.traits.placed:
        yield from _placed(step, sight)
    if not step.layer.traits.weighted:
        return
    yield from _biases(step, sight)
    yield from _rearranged(step.layer, _orders)
    yield from _of_other_layers(step)
    yield from _factors(step, sight)


def _altered(words: str, **weights: np.ndarray | None) -> Deviation:
    return Deviation(CAUSE, words, with_weights(**weights), {"weights": tuple(weights)})


def _biases(step: ForwardStep, sight: Sight) -> Iterator[Deviation]:
    layer = step.layer
    if "bias" in layer.weights:
        bias = np.asarray(layer.weights["bias"], dtype=np.float64)
        yield _altered("the bias is left out", bias=None)
        yield _altered("the bias is added twice", bias=2 * bias)
        yield _altered("the bias is subtracted", bias=-bias)
        if len(bias) > 1:
            yield _altered("the bias has its channels in reverse order", bias=bias[::-1])
    for other in step.graph:
        other_bias = other.weights.get("bias")
        if other_bias is not None and other_bias.shape == (layer.shape[-1],) and other.name != layer.name:
            yield _altered(f"has the bias of {other.name}", bias=other_bias)
    yield from _solved_bias(step, sight)


def _placed(step: ForwardStep, sight: Sight) -> Iterator[Deviation]:
    """Numbers of single places: moved along an axis by some places, in reverse order, zero at one place, left out."""
    axes = step.layer.axes[1:]
    for name, known in step.layer.weights.items():
        neutral = 1.0 if name == "kernel" else 0.0
        yield _altered(f"the {name} is left out", **{name: None})
        for axis, called in enumerate(axes):
            size = known.shape[axis]
            for by in (each for each in (1, -1, 2, -2) if 0 < abs(each) < size):
                words = f"the {name} is moved by {by} along the axis {called}"
                yield _altered(words, **{name: np.roll(known, by, axis)})
                yield _altered(
                    f"{words}, {neutral:g} in what is left free", **{name: _moved(known, by, axis, neutral)}
                )
            if size > 1:
                yield _altered(
                    f"the {name} is in reverse order along the axis {called}", **{name: np.flip(known, axis)}
                )
                for place in (0, size - 1):
                    missing = np.array(known)
                    np.moveaxis(missing, axis, 0)[place] = neutral
                    words = f"the {name} is left out at place {place} of the axis {called}"
                    yield _altered(words, **{name: missing})
    if "bias" in step.layer.weights and np.isfinite(sight.seen).all() and len(sight.seen) > 1:
        changes = (sight.seen - sight.base).reshape(-1, *step.layer.shape)
        change = changes.mean(axis=0)
        if changes.std(axis=0).max() <= _AGREE * np.abs(change).max():
            bias = step.layer.weights["bias"] + change
            yield Deviation(CAUSE, "has another bias at single places", with_weights(bias=bias), generic=True)


def _moved(known: np.ndarray, by: int, axis: int, neutral: float) -> np.ndarray:
    moved = np.roll(known, by, axis)
    np.moveaxis(moved, axis, 0)[slice(0, by) if by > 0 else slice(by, None)] = neutral
    return moved


def _solved_bias(step: ForwardStep, sight: Sight) -> Iterator[Deviation]:
    """``b' = b + mean(y - z)`` at the channels where that is more than chance makes it; positions must agree on it."""
    rows = (sight.seen - sight.base).reshape(-1, sight.seen.shape[-1])
    if len(rows) < 2 or not np.isfinite(rows).all():
        return
    known = np.asarray(step.layer.weights.get("bias", np.zeros(rows.shape[-1])), dtype=np.float64)
    change = rows.mean(axis=0)
    error = STANDARD_ERRORS * rows.std(axis=0, ddof=1) / np.sqrt(len(rows))
    bias = np.where(np.abs(change) > error, known + change, known)
    if np.array_equal(bias, known):
        return
    most = int(np.abs(bias - known).argmax())
    value, own = float(bias[most]), float(known[most])
    words = f"has another bias, at channel {most} {shown(value)} instead of {shown(own)}"
    parameters = {"channel": most, "bias": value, "expected": own}
    yield Deviation(CAUSE, words, with_weights(bias=bias), parameters, generic=True)


def _rearranged(layer: Layer, orders: Orders) -> Iterator[Deviation]:
    for name, kernel in layer.weights.items():
        if kernel.ndim < 2:
            if layer.kind == "scale" and name == "kernel" and kernel.size > 1:
                yield _altered("the kernel has its channels in reverse order", kernel=kernel[::-1])
            continue
        what = "the kernel" if name == "kernel" else f"the {name.replace('_', ' ')}"
        for words, changed in orders(kernel):
            if changed.shape == kernel.shape and not np.array_equal(changed, kernel):
                yield _altered(f"{what} {words}", **{name: changed})


def _orders(kernel: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """The kernel (*space, in, out) in the other orders that have a name."""
    ins, outs = kernel.ndim - 2, kernel.ndim - 1
    space = tuple(range(kernel.ndim - 2))
    names = _axes(kernel)
    for axis in space:
        if kernel.shape[axis] > 1:
            yield f"is flipped along its {names[axis]}", np.flip(kernel, axis)
    if len(space) == 2:
        exchanged = kernel.swapaxes(0, 1)
        yield "is rotated by 180 degrees (convolution instead of correlation)", np.flip(kernel, space)
        yield "has height and width exchanged", exchanged
        yield "is rotated by 90 degrees", np.rot90(kernel, 1, axes=(0, 1))
        yield "is rotated by 270 degrees", np.rot90(kernel, 3, axes=(0, 1))
        yield "is mirrored at its other diagonal", np.flip(exchanged, space)
    yield "has its input channels in reverse order", np.flip(kernel, ins)
    yield "has its output channels in reverse order", np.flip(kernel, outs)
    yield "has input and output channels exchanged", kernel.swapaxes(ins, outs)
    if len(space) == 2:
        yield "has height and width, and input and output channels exchanged", exchanged.swapaxes(ins, outs)


def misread(step: ForwardStep, sight: Sight) -> Iterator[Deviation]:
    """The kernel with its axes in any order, or read in the shape of another order."""
    if step.layer.traits.weighted:
        yield from _rearranged(step.layer, _misread)


def _misread(kernel: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    names = _axes(kernel)
    for order in permutations(range(kernel.ndim)):
        moved = kernel.transpose(order)
        order_words = ", ".join(names[axis] for axis in order)
        if moved.shape == kernel.shape:
            yield f"has its axes in the order ({order_words}) instead of ({', '.join(names)})", moved
            continue
        yield f"is laid out as ({order_words}) and read as ({', '.join(names)})", moved.reshape(kernel.shape)
        back = kernel.reshape(moved.shape).transpose(np.argsort(order))
        yield f"is laid out as ({', '.join(names)}) and read as ({order_words})", back


def _axes(kernel: np.ndarray) -> tuple[str, ...]:
    count = kernel.ndim - 2
    return (*(("height", "width") if count == 2 else ("length",) * count), "in", "out")


def _of_other_layers(step: ForwardStep) -> Iterator[Deviation]:
    layer = step.layer
    for other in step.graph:
        same = other.weights.keys() == layer.weights.keys() and all(
            other.weights[name].shape == weight.shape for name, weight in layer.weights.items()
        )
        if other.name != layer.name and same:
            words, parameters = f"has the weights of {other.name}", {"weights_of": other.name}
            yield Deviation(CAUSE, words, with_weights(**other.weights), parameters)
            if "bias" in layer.weights:
                kernels = {name: weight for name, weight in other.weights.items() if name != "bias"}
                words = f"has the kernel of {other.name} and its own bias"
                yield Deviation(CAUSE, words, with_weights(**kernels), parameters)


def _factors(step: ForwardStep, sight: Sight) -> Iterator[Deviation]:
    """``y - b = a * (z - b)``: the kernel times ``a``, the bias as it is."""
    bias = np.asarray(step.layer.weights.get("bias", 0.0), dtype=np.float64)
    if step.after or "bias" not in step.layer.weights:
        bias = np.zeros(())
    value = solved_factor(sight.base - bias, sight.seen - bias)
    if not np.isfinite(value) or value == 1.0:
        return
    what = "the kernel is" if bias.ndim else "the weights are"
    words = f"{what} negated" if value == -1.0 else f"{what} multiplied by {shown(value)}"
    if value == 0.0:
        words = "the kernel is zero: only the bias is left"
    yield Deviation(CAUSE, words, partial(_scaled, value=value), {"factor": value, "expected": 1.0})


def _scaled(step: ForwardStep, value: float) -> ForwardStep:
    # Of the two kernels of a separable convolution the last one takes the factor.
    name = "pointwise_kernel" if "pointwise_kernel" in step.layer.weights else "kernel"
    return with_weights(**{name: np.asarray(step.layer.weights[name], dtype=np.float64) * value})(step)
