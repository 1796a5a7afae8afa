"""Other weights altogether: the observed output as a linear function of the layer's own inputs, solved and proven.

The change of the weights is the smallest one that explains the difference: with the patches ``P`` (positions,
entries of a kernel, 1 for the bias) of half the positions and the difference ``D`` there, ``dW = pinv(P) D``. The
other half of the positions, on which it was not fitted, has to agree.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from harness.graph import Layer
from harness.steps import Deviation, ForwardStep
from reference_impls.deviations.distance import everywhere
from reference_impls.deviations.forward.altering import with_weights
from reference_impls.deviations.forward.channels import matched, order_words
from reference_impls.deviations.forward.numbers import STANDARD_ERRORS, shown
from reference_impls.deviations.forward.sight import Sight
from reference_impls.oracle.windows import convolution_windows

CAUSE = "forward-weights"
#: Unknowns for which the singular values take a second; more are not solved for.
MOST_UNKNOWNS = 1300
#: Rows for each unknown: as many again are needed to prove the solution on.
ROWS_PER_UNKNOWN = 2
#: Of the difference, what may be left on the positions that were not fitted for a solution to be one.
PROVEN = 1e-3


def readings(step: ForwardStep, sight: Sight) -> Iterator[Deviation]:
    """The solved weights, and what they are of the layer's own: a few others, input channels in another order."""
    layer = step.layer
    if not (layer.traits.plain_convolution or layer.kind == "dense") or step.after:
        return
    if layer.attributes.get("groups", 1) != 1 or not np.isfinite(sight.seen).all():
        return
    kernel = np.asarray(layer.weights["kernel"], dtype=np.float64)
    unknowns = kernel.size // kernel.shape[-1] + 1
    rows = _rows(step, sight.observed, 2 * ROWS_PER_UNKNOWN * unknowns) if unknowns <= MOST_UNKNOWNS else None
    if rows is None:
        return
    patches, observed = rows
    changes = _solved(patches, observed, kernel, layer)
    if changes is None:
        return
    kernel_change, bias_change, error = changes
    solved = kernel + kernel_change
    yield from _input_order(kernel, solved)
    bias = np.asarray(layer.weights.get("bias", np.zeros(kernel.shape[-1])), dtype=np.float64)
    words = _counted(kernel, solved, bias_change, error)
    if words is None:
        return
    change = with_weights(kernel=solved, bias=bias + bias_change)
    yield Deviation(CAUSE, words, change, {"solved": True}, generic=True)


def _rows(step: ForwardStep, observed: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray] | None:
    """At most that many positions, spread evenly at random: patches (rows, entries), outputs (rows, channel).

    None where there are not enough of them.
    """
    x = np.asarray(step.inputs[0], dtype=np.float64)
    outputs = observed.reshape(-1, observed.shape[-1])
    # The same positions every time: the answer to one question is one.
    chosen = np.sort(np.random.default_rng(0).permutation(len(outputs))[:most])
    if step.layer.kind == "dense":
        patches = x.reshape(-1, x.shape[-1])[chosen]
    else:
        patches = _patches(step.layer, x, np.unravel_index(chosen, observed.shape[:-1]))
    if len(chosen) < 1.5 * (patches.shape[1] + 1):
        return None
    return patches, outputs[chosen]


def _patches(layer: Layer, x: np.ndarray, places: tuple[np.ndarray, ...]) -> np.ndarray:
    windows = convolution_windows(layer, layer.weights["kernel"].shape)
    padded = windows.pad(x)
    sample, *space = places

    def entry(offset: tuple[int, ...]) -> np.ndarray:
        axes = zip(space, windows.strides, offset, windows.dilations, strict=True)
        return padded[(sample, *(at * stride + inside * dilation for at, stride, inside, dilation in axes))]

    return np.concatenate([entry(offset) for offset in windows.offsets()], axis=1)


def _solved(
    patches: np.ndarray, observed: np.ndarray, kernel: np.ndarray, layer: Layer
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """The changes of kernel and bias, and how far off each is, (entries + 1, out); None if not proven."""
    channels = kernel.shape[-1]
    bias = np.asarray(layer.weights.get("bias", np.zeros(channels)), dtype=np.float64)
    difference = observed - patches @ kernel.reshape(-1, channels) - bias
    design = np.concatenate([patches, np.ones((len(patches), 1))], axis=1)
    order = np.random.default_rng(1).permutation(len(design))
    # Two thirds are fitted: with as many as unknowns alone, noise would be magnified without bound.
    fitted, held_out = np.split(order, [2 * len(order) // 3])
    inverse = np.linalg.pinv(design[fitted], rcond=1e-7)
    change = inverse @ difference[fitted]
    left = difference[held_out] - design[held_out] @ change
    if everywhere((difference[held_out] - left,), (difference[held_out],)) > PROVEN:
        return None
    noise = np.sqrt((left**2).mean(axis=0))
    error = np.sqrt((inverse**2).sum(axis=1))[:, None] * noise
    return change[:-1].reshape(kernel.shape), change[-1], error


def _input_order(kernel: np.ndarray, solved: np.ndarray) -> Iterator[Deviation]:
    """The kernel with its input channels in the order in which the solved one has them."""
    order = matched(np.moveaxis(kernel, -2, -1), np.moveaxis(solved, -2, -1))
    if order is not None:
        words = f"the kernel has its input channels in {order_words(order)}"
        parameters = {"order": tuple(int(index) for index in order)}
        yield Deviation(CAUSE, words, partial(_with_input_order, order=order), parameters)


def _with_input_order(step: ForwardStep, order: np.ndarray) -> ForwardStep:
    return with_weights(kernel=step.layer.weights["kernel"][..., order, :])(step)


def _counted(
    kernel: np.ndarray, solved: np.ndarray, bias_change: np.ndarray, error: np.ndarray
) -> str | None:
    """How many weights differ by more than they are uncertain, and the one that does most; None where none does."""
    error = STANDARD_ERRORS * error
    change = np.abs(solved - kernel)
    differing = change > error[:-1].reshape(kernel.shape)
    of_bias = np.abs(bias_change) > error[-1]
    count = int(differing.sum())
    if not count and not of_bias.any():
        return None
    parts = [f"{count} of {kernel.size} weights of its kernel differ"]
    if count:
        most = np.unravel_index(np.where(differing, change, 0.0).argmax(), kernel.shape)
        place = tuple(int(index) for index in most)
        parts.append(
            f"most at {place}: {shown(float(f'{solved[most]:.4g}'))} instead of {shown(float(f'{kernel[most]:.4g}'))}"
        )
    if of_bias.any():
        parts.append(f"and {int(of_bias.sum())} of {of_bias.size} of its bias")
    return ", ".join(parts)
