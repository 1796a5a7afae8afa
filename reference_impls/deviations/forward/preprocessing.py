"""The network's input in another order of channels, on another scale, turned or clipped.

Seen where the input is handed in, or at the layers that read it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np

from harness.graph import Graph, Layer
from harness.steps import Deviation, ForwardStep
from reference_impls.deviations.forward.altering import with_weights
from reference_impls.deviations.forward.numbers import STANDARD_ERRORS, shown, simplest
from reference_impls.deviations.forward.sight import Sight

CAUSE = "preprocessing"
Transform = Callable[[np.ndarray], np.ndarray]
#: torchvision's normalisation of inputs in [0, 1], and Caffe's of inputs in [0, 255] (in the order of RGB).
IMAGENET_MEAN, IMAGENET_STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
CAFFE_MEAN = np.array([123.68, 116.779, 103.939])
#: Mixtures of channels are solved for up to this many of them.
_MOST_MIXED = 4


def readings(step: ForwardStep, sight: Sight) -> Iterator[Deviation]:
    """What may have been done to the input of a layer that reads the network's."""
    layer = step.layer
    if layer.kind != "input" and not _reads_input(step.graph, layer):
        return
    yield from habits(step)
    if _is_solved(layer) and not step.after and np.isfinite(sight.seen).all():
        yield from _solved(step, sight)


def habits(step: ForwardStep) -> Iterator[Deviation]:
    """What people do to an input, done to that of ``step``."""
    for words, transform in _named(step.inputs[0], step.graph):
        change = partial(_with_input, transform=transform)
        yield Deviation(CAUSE, f"its input {words}", change, {"input": words})


def _is_solved(layer: Layer) -> bool:
    """Whether a scale and an offset are solved for: at the input, its padding, or a kernel that reads it."""
    traits = layer.traits
    return traits.family == "input" or layer.kind == "zero_pad" or (traits.kernel and not traits.transposed)


def _reads_input(graph: Graph, layer: Layer) -> bool:
    # A layer that is not of the graph (an excerpt, a test's) reads names that the graph does not know.
    names = {each.name for each in graph}
    return all(name in names for name in layer.inputs) and graph.reads_input(layer)


def _with_input(step: ForwardStep, transform: Transform) -> ForwardStep:
    x = np.asarray(step.inputs[0], dtype=np.float64)
    return replace(step, inputs=(transform(x), *step.inputs[1:]))


def _has_channels(x: np.ndarray, graph: Graph) -> bool:
    return x.ndim > 2 and x.shape[-1] in {source.shape[-1] for source in graph.sources}


def _named(x: np.ndarray, graph: Graph) -> Iterator[tuple[str, Transform]]:
    has_channels = _has_channels(x, graph)
    scales = dict(_scales(3 if has_channels and x.shape[-1] == 3 else 1))
    # What leaves the channels in order comes first: where all are equal, the forward pass shows no order.
    yield from scales.items()
    if has_channels and x.shape[-1] > 1:
        reversed_words = "has its channels in reverse order"
        yield (
            reversed_words + (" (BGR instead of RGB, or the other way round)" if x.shape[-1] == 3 else ""),
            _reversed,
        )
        for words, scale in scales.items():
            yield f"{reversed_words} and {words}", partial(_reversed, scale=scale)
    if has_channels:
        yield from _turned(x.shape[1:-1])
    axes = tuple(range(1, x.ndim))
    yield (
        "is standardised, each sample by its own mean and standard deviation",
        lambda x: (x - x.mean(axis=axes, keepdims=True)) / x.std(axis=axes, keepdims=True),
    )
    yield "is divided by the largest value of each sample", lambda x: x / x.max(axis=axes, keepdims=True)


def _reversed(x: np.ndarray, scale: Transform | None = None) -> np.ndarray:
    return scale(x[..., ::-1]) if scale else x[..., ::-1]


def _scales(channels: int) -> Iterator[tuple[str, Transform]]:
    yield "is divided by 255", lambda x: x / 255.0
    yield "is multiplied by 255", lambda x: x * 255.0
    yield "is divided by 127.5 and has 1 subtracted", lambda x: x / 127.5 - 1.0
    yield "is taken from [0, 1] to [-1, 1] (2 * x - 1)", lambda x: 2.0 * x - 1.0
    yield "is taken from [-1, 1] to [0, 1] ((x + 1) / 2)", lambda x: (x + 1.0) / 2.0
    yield "is taken from [-1, 1] to [0, 255] ((x + 1) * 127.5)", lambda x: (x + 1.0) * 127.5
    yield "is inverted (1 - x)", lambda x: 1.0 - x
    yield "is inverted (255 - x)", lambda x: 255.0 - x
    yield "is clipped to [0, 1]", lambda x: np.clip(x, 0.0, 1.0)
    yield "is clipped to [-1, 1]", lambda x: np.clip(x, -1.0, 1.0)
    yield "is clipped to [0, 255]", lambda x: np.clip(x, 0.0, 255.0)
    yield "is rounded to whole numbers", np.rint
    yield "is cut to whole numbers", np.trunc
    if channels == 3:
        yield "is normalised by ImageNet's mean and std", lambda x: (x - IMAGENET_MEAN) / IMAGENET_STD
        yield (
            "is divided by 255 and normalised by ImageNet's mean and std",
            lambda x: (x / 255.0 - IMAGENET_MEAN) / IMAGENET_STD,
        )
        yield (
            "has the normalisation by ImageNet's mean and std undone",
            lambda x: x * IMAGENET_STD + IMAGENET_MEAN,
        )
        yield "has Caffe's mean (123.68, 116.779, 103.939) subtracted", lambda x: x - CAFFE_MEAN
        yield (
            "has Caffe's mean (103.939, 116.779, 123.68) subtracted, in the order of BGR",
            lambda x: x - CAFFE_MEAN[::-1],
        )
        yield (
            "is multiplied by 255 and has Caffe's mean (123.68, 116.779, 103.939) subtracted",
            lambda x: x * 255.0 - CAFFE_MEAN,
        )
        yield (
            "is multiplied by 255 and has Caffe's mean (103.939, 116.779, 123.68) subtracted",
            lambda x: x * 255.0 - CAFFE_MEAN[::-1],
        )


def _turned(space: tuple[int, ...]) -> Iterator[tuple[str, Transform]]:
    if len(space) == 2:
        if space[0] == space[1]:
            yield "has height and width exchanged", lambda x: x.swapaxes(1, 2)
            yield "is rotated by 90 degrees", lambda x: np.rot90(x, 1, axes=(1, 2))
            yield "is rotated by 270 degrees", lambda x: np.rot90(x, 3, axes=(1, 2))
        yield "is flipped upside down", lambda x: np.flip(x, 1)
        yield "is flipped left to right", lambda x: np.flip(x, 2)
        yield "is rotated by 180 degrees", lambda x: np.flip(x, (1, 2))
    elif space:
        yield "is reversed along its length", lambda x: np.flip(x, 1)


# Any scale and offset, solved -------------------------------------------------------------------------


def _solved(step: ForwardStep, sight: Sight) -> Iterator[Deviation]:
    """``x' = a * x + b``: one for all channels, one for each, in reverse order, or any mixture of them.

    The layer is linear, so its output is ``sum over c, d of a[c, d] * f(x[d] at c) + sum over c of b[c] * f(1 at c)``
    and the coefficients are found by least squares.
    """
    x = np.asarray(step.inputs[0], dtype=np.float64)
    channels = x.shape[-1] if _has_channels(x, step.graph) else 1
    bare = with_weights(bias=None)(step) if "bias" in step.layer.weights else step
    target = (sight.seen - sight.of(replace(step, inputs=(np.zeros_like(x),)))).ravel()

    def response(to: np.ndarray) -> np.ndarray:
        return sight.of(replace(bare, inputs=(to,))).ravel()

    def placed(value: np.ndarray | float, channel: int) -> np.ndarray:
        only = np.zeros_like(x)
        only[..., channel] = value
        return only

    yield from _fit([response(x)], [response(np.ones_like(x))], target, lambda a, b: (np.full(1, a[0]), b))
    if not 1 < channels <= 4 * _MOST_MIXED:
        return
    offsets = [response(placed(1.0, c)) for c in range(channels)]
    kept = [response(placed(x[..., c], c)) for c in range(channels)]
    yield from _fit(kept, offsets, target, lambda a, b: (a, b))
    if channels > _MOST_MIXED:
        return
    mixed = [
        [kept[c] if c == d else response(placed(x[..., d], c)) for d in range(channels)]
        for c in range(channels)
    ]
    turned = [mixed[c][channels - 1 - c] for c in range(channels)]
    yield from _fit(turned, offsets, target, lambda a, b: (np.diag(a)[:, ::-1], b))
    every = [column for row in mixed for column in row]
    yield from _fit(every, offsets, target, lambda a, b: (a.reshape(channels, channels), b))


def _fit(
    slopes: list[np.ndarray],
    offsets: list[np.ndarray],
    target: np.ndarray,
    shape: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]],
) -> Iterator[Deviation]:
    design = np.stack([*slopes, *offsets], axis=1)
    if len(design) <= 2 * design.shape[1]:
        return
    # Columns of very different sizes (inputs up to 255, ones) are made alike before their rank is judged.
    size = np.linalg.norm(design, axis=0)
    if not size.all():
        return
    coefficients, _, rank, _ = np.linalg.lstsq(design / size, target, rcond=1e-9)
    if rank < design.shape[1]:
        return
    left = target - (design / size) @ coefficients
    inverse = np.linalg.inv((design / size).T @ (design / size))
    errors = STANDARD_ERRORS * np.sqrt(np.diag(inverse) * (left @ left) / len(target)) / size
    values = np.array(
        [simplest(float(v), float(e)) for v, e in zip(coefficients / size, errors, strict=True)]
    )
    a, b = shape(values[: len(slopes)], values[len(slopes) :])
    identical = np.array_equal(a, np.eye(len(a))) if a.ndim == 2 else bool(np.all(a == 1))
    negated = a.ndim == 1 and bool(np.all(a == -1))
    if (identical or negated) and not b.any():
        return  # Nobody negates an input; that is the kernel's sign.
    words = f"its input is {_in_words(a, b)} instead of x"
    parameters = {"slope": a.tolist(), "offset": b.tolist()}
    change = partial(_with_input, transform=lambda x: (x @ a.T if a.ndim == 2 else x * a) + b)
    yield Deviation(CAUSE, words, change, parameters, generic=a.ndim == 2 and not _turned_scale(a))


def _turned_scale(a: np.ndarray) -> bool:
    """Whether a matrix only reverses the channels and scales each."""
    return np.array_equal(np.diag(np.diag(a[:, ::-1]))[:, ::-1], a)


def _in_words(a: np.ndarray, b: np.ndarray) -> str:
    def listed(values: np.ndarray) -> str:
        each = [shown(float(value)) for value in values]
        return each[0] if len(set(each)) == 1 else f"({', '.join(each)})"

    offset = f" + {listed(b)}" if b.any() else ""
    if a.ndim == 1:
        return f"{listed(a)} * x{offset}"
    if _turned_scale(a):
        return f"{listed(np.diag(a[:, ::-1]))} * x with its channels in reverse order{offset}"
    rows = "; ".join(", ".join(shown(float(value)) for value in row) for row in a)
    return f"the mixture [{rows}] of its channels{offset}"
