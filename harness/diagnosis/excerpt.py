"""A small part of a large layer's step that behaves as the whole does.

One output of a convolution at one place is a dot product of a patch of the input with the kernel. Where
relevance sits at places so far apart that their patches do not meet, the relevance of each patch is its
own: the step is that of a dense layer with one row a patch. The candidate is run on the whole layer, with
relevance at these places only; the oracle needs the rows alone. Where a step takes two relevances, which lie one behind
the other along the batch (`harness.backends.pairs`), both have the same patches, and the rows are two halves as well.

Of a candidate whose whole run alone is seen, an excerpt is a box of outputs side by side (:func:`box_in_run`): inputs
that no output outside of it reads have all of their relevance from it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from harness.graph import (
    Layer,
    Window,
    box_of_most,
    in_box,
    read_by_no_other,
    windows,
    with_box,
    with_channels,
)
from harness.steps import Arrays, Step

#: Multiplications in one application of a layer from which an excerpt is worth its while.
LARGE = 20_000_000
#: The same for a dense layer, whose excerpt is the layer itself with fewer outputs.
LARGE_DENSE = 500_000
#: Pairs of deviations are tried on the whole of a layer of up to this many.
PAIRS_UP_TO = 5_000_000
#: Patches and outputs of an excerpt.
PATCHES = 48
UNITS = 16
#: Output channels of a convolution that is looked at in all places.
CHANNELS = 2
#: Multiplications in one application of a box, and the least outputs of one channel that it has.
OF_A_BOX, LEAST_PLACES = 2_000_000, 144


@dataclass(frozen=True, eq=False)
class Excerpt:
    """``step``: the dense step of the rows; ``observed``: the candidate's result for it.

    ``stray``: the part of the candidate's result (in L2) that lies outside the patches; 0 for every rule that
    looks at nothing but its own outputs. ``everywhere``: it is a convolution in all places, not rows of patches.
    ``box``: it is a convolution in a box, and what others read as well is 0 in ``observed`` and in the step's result.
    """

    step: Step
    observed: Arrays
    stray: float
    everywhere: bool = False
    box: bool = False


def multiplications(layer: Layer, batch: int) -> int:
    """How many a forward pass of ``layer`` takes."""
    kernels = [array for name, array in layer.weights.items() if name not in ("bias",) and array.ndim > 1]
    places = math.prod(layer.shape[:-1])
    return batch * places * sum(array.size for array in kernels)


def excerpts(step: Step, observe: Callable[[Step], Arrays]) -> Iterator[Excerpt]:
    """Excerpts of ``step``, with the outputs of most relevance first; none where the layer is small, or of a kind
    that has none.
    """
    layer = step.layer
    count = multiplications(layer, len(step.relevance))
    if layer.kind == "dense" and len(layer.shape) == 1:
        if count >= LARGE_DENSE:
            yield from _of_dense(step, observe)
    elif count >= LARGE and layer.traits.plain_convolution and layer.attributes["groups"] == 1:
        yield from _of_convolution(step, observe)


def box_in_run(step: Step, expected: Arrays, observed: tuple[np.ndarray | None, ...]) -> Excerpt | None:
    """A box of a large convolution, where ``expected`` and ``observed``, of the whole, differ most.

    Nothing is run. None where pairs can be tried on the whole, where the layer is of another kind or hardly larger than
    a box, and where the step's result is changed afterwards.
    """
    layer = step.layer
    if multiplications(layer, len(step.relevance)) <= PAIRS_UP_TO or step.after or observed[0] is None:
        return None
    if not layer.traits.plain_convolution or layer.attributes["groups"] != 1:
        return None
    places = max(LEAST_PLACES, OF_A_BOX // layer.weights["kernel"].size)
    # NaN and infinity on one side count as much as the largest value.
    largest = float(np.abs(expected[0]).max(initial=0.0, where=np.isfinite(expected[0])))
    difference = np.nan_to_num(expected[0] - observed[0], nan=largest, posinf=largest, neginf=-largest)
    box = box_of_most(layer, np.square(difference).sum(axis=(0, -1)), places)
    if box is None:
        return None
    cut, (index,) = with_box(layer, box)
    its_own = np.zeros((1, *layer.input_shapes[0][:-1], 1), bool)
    its_own[(slice(None), *read_by_no_other(layer, box))] = True
    own = its_own[index]
    small = replace(
        step,
        layer=cut,
        inputs=(step.inputs[0][index],),
        relevance=step.relevance[in_box(box)],
        whole=step,
        rows=np.arange(len(step.relevance)),
        units=np.arange(layer.shape[-1]),
        after=(lambda _, shares: tuple(np.where(own, each, 0.0) for each in shares),),
    )
    seen = np.where(own, np.asarray(observed[0], np.float64)[index], 0.0)
    return Excerpt(small, (seen,), 0.0, box=True)


def channels_of(step: Step, observe: Callable[[Step], Arrays]) -> Iterator[Excerpt]:
    """A large convolution with few of its output channels, in all places; none where the layer is none.

    For what patches cannot show: places or channels of the result in another order.
    """
    layer = step.layer
    if multiplications(layer, len(step.relevance)) < LARGE:
        return
    if not layer.traits.plain_convolution or layer.attributes["groups"] != 1:
        return
    axes = tuple(range(step.relevance.ndim - 1))
    for kept in _groups(np.abs(step.relevance).sum(axis=axes), CHANNELS):
        masked = np.zeros_like(step.relevance)
        masked[..., kept] = step.relevance[..., kept]
        small = replace(
            step,
            layer=with_channels(layer, kept),
            relevance=step.relevance[..., kept],
            whole=step,
            rows=np.arange(len(masked)),
            units=kept,
        )
        yield Excerpt(small, observe(replace(step, relevance=masked)), 0.0, everywhere=True)


def _groups(weight: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """The indices of the ``size`` largest entries, in ascending order, then those of the next; zeros never alone
    but at first.
    """
    order = np.argsort(-weight, kind="stable")
    for start in range(0, len(order), size):
        group = order[start : start + size]
        if start and not weight[group].any():
            return
        yield np.sort(group)


def _dense(step: Step, kernel: np.ndarray, units: np.ndarray) -> Layer:
    """The dense layer of the rows of ``kernel`` (in, out), with ``units`` of its outputs."""
    whole = replace(
        step.layer,
        kind="dense",
        input_shapes=((len(kernel),),),
        shape=(kernel.shape[-1],),
        axes=("batch", "feature"),
        attributes={},
        weights={**step.layer.weights, "kernel": kernel},
    )
    return with_channels(whole, units)


def _of_dense(step: Step, observe: Callable[[Step], Arrays]) -> Iterator[Excerpt]:
    for units in _groups(np.abs(step.relevance).sum(axis=0), UNITS):
        masked = np.zeros_like(step.relevance)
        masked[:, units] = step.relevance[:, units]
        small = replace(
            step,
            layer=_dense(step, step.layer.weights["kernel"], units),
            relevance=step.relevance[:, units],
            whole=step,
            rows=np.arange(len(masked)),
            units=units,
        )
        yield Excerpt(small, observe(replace(step, relevance=masked)), 0.0)


def _of_convolution(step: Step, observe: Callable[[Step], Arrays]) -> Iterator[Excerpt]:
    layer, (x,), relevance = step.layer, step.inputs, step.relevance
    kernel = layer.weights["kernel"]
    axes = windows(layer)
    parts = len(step.method.parts)
    loudness = np.abs(relevance).sum(axis=-1)
    samples = len(relevance) // parts
    places = _places(loudness.reshape(parts, samples, *loudness.shape[1:]).sum(axis=0), x.shape[1:-1], axes)
    if not len(places):
        return
    # The same patches for each relevance of the step: (patch of all parts, [place in the batch, *space]).
    behind = np.asarray([samples, *(0 for _ in axes)])
    places = np.concatenate([places + part * behind for part in range(parts)])

    def patch(array: np.ndarray, place: np.ndarray) -> np.ndarray:
        index = tuple(
            slice(*window.covers(p, p + 1), window.dilation)
            for p, window in zip(place[1:], axes, strict=True)
        )
        return array[(place[0], *index)].reshape(-1)

    rows = np.stack([patch(x, place) for place in places])
    total = np.sum([np.abs(relevance[tuple(place)]) for place in places], axis=0)
    for units in _groups(total, UNITS):
        masked = np.zeros_like(relevance)
        for place in places:
            masked[(*place, units)] = relevance[(*place, units)]
        (shares,) = observe(replace(step, relevance=masked))
        observed = np.stack([patch(shares, place) for place in places])
        everything, inside = float(np.square(shares).sum()), float(np.square(observed).sum())
        small = replace(
            step,
            layer=_dense(step, kernel.reshape(-1, kernel.shape[-1]), units),
            inputs=(rows,),
            relevance=np.stack([relevance[(*place, units)] for place in places]),
            whole=step,
            rows=np.asarray([place[0] for place in places]),
            units=units,
        )
        stray = math.sqrt(max(0.0, everything - inside) / everything) if everything > 0 else 0.0
        yield Excerpt(small, (observed,), stray if stray > 1e-6 else 0.0)


def _places(loudness: np.ndarray, space: tuple[int, ...], axes: tuple[Window, ...]) -> np.ndarray:
    """Places (patch, [sample, *space]) whose patches lie inside the input and do not meet, the loudest first.

    ``loudness``: (batch, *output space), the relevance of all outputs of a place.
    """
    inside = [
        [p for p in range(count) if window.covers(p, p + 1)[0] >= 0 and window.covers(p, p + 1)[1] <= length]
        for count, length, window in zip(loudness.shape[1:], space, axes, strict=True)
    ]
    if not all(inside):
        return np.zeros((0, loudness.ndim), int)
    grid = [
        range(each[0], each[-1] + 1, -(-window.extent // window.stride))
        for each, window in zip(inside, axes, strict=True)
    ]
    index = np.ix_(range(len(loudness)), *grid)
    flat = loudness[index]
    chosen = np.argsort(-flat, axis=None, kind="stable")[:PATCHES]
    coordinates = np.unravel_index(chosen, flat.shape)
    return np.stack([axis.ravel()[c] for axis, c in zip(index, coordinates, strict=True)], axis=1)
