"""Smaller cases of one layer: a sample, a few channels, a window of the space."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import product

import numpy as np

from harness.diagnosis.reproducer.evidence import Evidence
from harness.graph import Layer, has_channels, per_place, windows, with_channels
from harness.steps import Arrays

#: Output channels, or units of a layer without space, that are kept.
CHANNELS = 4
UNITS = 16
#: Places of the input that a window has: 64 along one axis, 8 x 8 along two.
PLACES = 64


@dataclass(frozen=True, eq=False)
class Part:
    """A case of a layer. ``cuts``: what was cut, in words; nothing for the whole layer.

    ``kept``: the indices of the output's last axis that are left, None for all of them.
    """

    layer: Layer
    inputs: Arrays
    relevance: np.ndarray | None
    kept: np.ndarray | None = None
    cuts: tuple[str, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether nothing was cut."""
        return not self.cuts

    @property
    def words(self) -> str:
        """How much of the layer it is."""
        return ", ".join(self.cuts) or "the whole layer"

    @property
    def size(self) -> int:
        """Bytes of its arrays."""
        given = () if self.relevance is None else (self.relevance,)
        return sum(array.nbytes for array in (*self.inputs, *given, *self.layer.weights.values()))


def parts(evidence: Evidence, layer: Layer) -> Iterator[Part]:
    """Cases of ``layer``, the smallest first; the last is the whole."""
    error = _error(evidence)
    sample = int(np.argmax(error.reshape(len(error), -1).sum(axis=1)))
    batch = len(error)
    samples = [slice(None)] if batch == 1 else [slice(sample, sample + 1), slice(None)]
    cases = []
    for rows, few, near in product(samples, (True, False), (_largest, _typical, None)):
        part: Part | None = _samples(evidence, layer, rows)
        if near is not None and part is not None:
            part = _window(part, evidence, error[sample], near)
        if few and part is not None:
            part = _channels(part)
        if part is not None:
            cases.append(part)
    for part in sorted(cases, key=lambda part: (part.whole, part.size)):
        yield _in_dtype(part, evidence.dtype)


def _error(evidence: Evidence) -> np.ndarray:
    """Where the two sides differ: (batch, ...) absolute, in the first array that both have, NaN as the most."""
    for reference, candidate in zip(evidence.expected, evidence.observed, strict=True):
        if candidate is not None and reference.shape == candidate.shape:
            with np.errstate(invalid="ignore", over="ignore"):
                error = np.abs(np.asarray(candidate, np.float64) - reference)
            largest = float(error[np.isfinite(error)].max(initial=0.0))
            return np.where(np.isfinite(error), error, 2 * largest + 1)
    return np.ones_like(evidence.expected[0], dtype=np.float64)


def _samples(evidence: Evidence, layer: Layer, rows: slice) -> Part:
    """The layer on some samples of the batch, or on all of them."""
    return Part(
        layer,
        tuple(x[rows] for x in evidence.inputs),
        None if evidence.relevance is None else evidence.relevance[rows],
        cuts=() if rows == slice(None) else (f"sample {rows.start}",),
    )


def _in_dtype(part: Part, dtype: str) -> Part:
    """The case with arrays of their own; large ones only now, one case at a time."""
    weights = {name: np.ascontiguousarray(weight, dtype) for name, weight in part.layer.weights.items()}
    return replace(
        part,
        layer=replace(part.layer, weights=weights),
        inputs=tuple(np.ascontiguousarray(x, dtype) for x in part.inputs),
        relevance=None if part.relevance is None else np.ascontiguousarray(part.relevance, dtype),
    )


# --- channels -----------------------------------------------------------------------------------------


def _channels(part: Part) -> Part | None:
    """The channels of the output with the most relevance; None where they cannot be cut, or are few already."""
    layer = part.layer
    count = layer.shape[-1]
    limit = UNITS if len(layer.shape) == 1 and not layer.traits.one_kernel else CHANNELS
    if count <= limit or not has_channels(layer):
        return None
    kept = _loudest(part, limit)
    smaller = with_channels(layer, kept)
    inputs = tuple(
        x if x.shape[1:] == shape else x[..., kept]
        for x, shape in zip(part.inputs, smaller.input_shapes, strict=True)
    )
    return replace(
        part,
        layer=smaller,
        inputs=inputs,
        relevance=None if part.relevance is None else part.relevance[..., kept],
        kept=kept,
        cuts=(*part.cuts, f"{len(kept)} of {count} output channels"),
    )


def _loudest(part: Part, limit: int) -> np.ndarray:
    """Ascending indices of the channels with the most relevance; forwards, of the largest inputs or weights."""
    if part.relevance is not None:
        loudness = part.relevance
    elif part.layer.traits.one_kernel:
        loudness = part.layer.weights["kernel"]
    else:
        loudness = next(x for x in part.inputs if x.shape[-1] == part.layer.shape[-1])
    total = np.abs(np.nan_to_num(loudness)).reshape(-1, loudness.shape[-1]).sum(axis=0)
    return np.sort(np.argsort(-total, kind="stable")[:limit])


# --- space --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Axis:
    """One spatial axis: an output belongs to ``factor / stride`` inputs and looks at ``extent`` of them."""

    stride: int
    factor: int
    extent: int
    outputs: Callable[[int], int]


def _largest(loudness: np.ndarray) -> int:
    """Where the largest error sits."""
    return int(np.argmax(loudness))


def _typical(loudness: np.ndarray) -> int:
    """Where the median of the errors that there are sits.

    The largest may be one denominator of almost nothing, beside which nothing else shows.
    """
    order = np.argsort(loudness, axis=None, kind="stable")
    return int(order[(np.count_nonzero(loudness == 0) + len(order) - 1) // 2])


def _window(
    part: Part, evidence: Evidence, error: np.ndarray, near: Callable[[np.ndarray], int]
) -> Part | None:
    """A window around an error, padded as the layer is; None where there is none, or it is the whole.

    ``error``: of the sample, at the inputs (rule) or at the output (forward). ``near``: which.
    """
    layer = part.layer
    axes = _axes(layer)
    space = max((shape[:-1] for shape in layer.input_shapes), key=np.prod)
    if axes is None or not axes:
        return None
    place = _place(error, near, axes, space, backward=evidence.relevance is not None)
    side = max(2, round(PLACES ** (1 / len(axes))))
    taken, given = [], []
    for axis, length, centre in zip(axes, space, place, strict=True):
        count = min(length, max(side, axis.extent + 3 * axis.stride))
        start = min(max(centre - count // 2, 0), length - count) // axis.stride * axis.stride
        first = start // axis.stride * axis.factor
        taken.append(slice(start, start + count))
        given.append(slice(first, first + axis.outputs(count)))
    if all(cut == slice(0, length) for cut, length in zip(taken, space, strict=True)):
        return None
    inputs = tuple(x[(slice(None), *taken)] if x.shape[1:-1] == space else x for x in part.inputs)
    pooled = layer.traits.places == "pooled"
    inside = layer.shape[:-1] if pooled else tuple(cut.stop - cut.start for cut in given)
    relevance = part.relevance
    if relevance is not None and not pooled:
        relevance = relevance[(slice(None), *given)]
    smaller = replace(
        layer, input_shapes=tuple(x.shape[1:] for x in inputs), shape=(*inside, layer.shape[-1])
    )
    size = " x ".join(str(cut.stop - cut.start) for cut in taken)
    words = f"a window of {size} at {tuple(cut.start for cut in taken)}"
    return replace(part, layer=smaller, inputs=inputs, relevance=relevance, cuts=(*part.cuts, words))


def _place(
    error: np.ndarray,
    near: Callable[[np.ndarray], int],
    axes: list[_Axis],
    space: tuple[int, ...],
    backward: bool,
) -> tuple[int, ...]:
    """Where in the input an error sits, or belongs to."""
    if error.ndim != len(space) + 1:
        return tuple(length // 2 for length in space)
    loudness = error.sum(axis=-1)
    place = np.unravel_index(near(loudness), loudness.shape)
    if backward and error.shape[:-1] == space:
        return tuple(int(p) for p in place)
    return tuple(int(p) * axis.stride // axis.factor for p, axis in zip(place, axes, strict=True))


def _axes(layer: Layer) -> list[_Axis] | None:
    """The spatial axes of a layer that can be cut; None for one that cannot, or has none."""
    lengths = layer.input_shapes[0][:-1]
    attributes = layer.attributes
    if not lengths:
        return None
    if layer.traits.places == "window":
        return [_Axis(window.stride, 1, window.extent, window.count) for window in windows(layer)]
    if layer.traits.places == "stretched":
        factors = attributes["size" if "size" in attributes else "strides"]
        return [
            _Axis(1, factor, 1, partial(_stretched, longer, length, factor))
            for factor, length, longer in zip(factors, lengths, layer.shape[:-1], strict=True)
        ]
    if layer.traits.places == "pooled" or per_place(layer):
        return [_Axis(1, 1, 1, int) for _ in lengths]
    return None


def _stretched(longer: int, length: int, factor: int, count: int) -> int:
    return longer - (length - count) * factor
