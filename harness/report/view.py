"""What the page of a case shows beside its tables: the maps of both sides, the input and the network, as plain data."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np

from harness.comparison import relative_l2
from harness.counts import counts_of
from harness.drawable import MOST_AXES, flat
from harness.graph import Graph, parted
from harness.naming import printable
from harness.token_texts import TokenTexts

View = dict[str, Any]

#: The most rows or columns of a map that is kept for the page; larger ones are summed over blocks.
MOST_PLACES, MOST_PLACES_FAILED = 112, 256
#: The same along the time of a series, which has few channels.
MOST_STEPS = 600
#: How a map is kept: 0 to 254 for -largest to largest, exactly 127 for zero; 255 for what is no finite number.
ZERO, NOT_FINITE = 127, 255


def case_view(
    graph: Graph,
    x: np.ndarray,
    reference: np.ndarray,
    candidate: np.ndarray | None,
    names: Sequence[str] = (),
    passed: bool = True,
    texts: TokenTexts = (),
) -> View:
    """The maps of every sample, the worst first, the layers of the network with what they read, and what it has a
    number of (`harness.counts`), by which the page names factors.

    ``x``, ``reference`` and ``candidate`` (None where there is none): (batch, *input shape). ``names``: of the samples.
    ``passed``: a case that passed is kept at a coarser resolution. ``texts``: of the tokens of each sample
    (`harness.token_texts`), which are then shown as coloured text. Of several inputs each has maps of its own. Arrays
    of other shapes, and axes without a picture, leave no maps.
    """
    axes = graph.input.axes[1:]
    samples: list[View] = []
    if reference.shape == x.shape and x.ndim == len(axes) + 1 and 1 <= len(axes) <= MOST_AXES:
        others = candidate if candidate is not None and candidate.shape == reference.shape else None
        whole = (x, reference, others)
        called = [names[place] if len(names) == len(x) else f"sample {place}" for place in range(len(x))]
        for each in graph.inputs:
            if len(each.shape) <= MOST_AXES:
                parts = [None if array is None else parted((each,), array)[each.name] for array in whole]
                named = [f"{name}, input {each.name!r}" for name in called]
                samples += _samples(named, each.axes[1:], parts, passed, ())
        if not graph.inputs:
            samples = _samples(called, axes, whole, passed, texts)
        samples.sort(key=lambda sample: -(np.inf if sample["rel_l2"] is None else sample["rel_l2"]))
    return {
        "axes": list(axes),
        "samples": samples,
        "network": network(graph),
        "counts": counts_of(graph, len(x)),
    }


def _samples(
    names: Sequence[str],
    axes: Sequence[str],
    arrays: Sequence[np.ndarray | None],
    passed: bool,
    texts: TokenTexts,
) -> list[View]:
    """The maps of every sample of ``arrays``: the input, the reference's attribution and the candidate's, if any."""
    limit = MOST_STEPS if len(axes) == 2 else MOST_PLACES if passed else MOST_PLACES_FAILED
    return [
        _sample(
            name,
            axes,
            [None if array is None else array[place] for array in arrays],
            limit,
            texts[place] if len(texts) == len(names) else None,
        )
        for place, name in enumerate(names)
    ]


def network(graph: Graph) -> list[list[Any]]:
    """Of each layer in forward order: its name, its kind, and the places of the layers that it reads."""
    places = {layer.name: place for place, layer in enumerate(graph.layers)}
    return [
        [layer.name, layer.kind, [places[name] for name in layer.inputs if name in places]]
        for layer in graph.layers
    ]


def _sample(
    name: str,
    axes: Sequence[str],
    arrays: Sequence[np.ndarray | None],
    limit: int,
    tokens: Sequence[str] | None,
) -> View:
    x, reference, candidate = (
        None if array is None else np.asarray(array, dtype=np.float64) for array in arrays
    )
    assert x is not None and reference is not None
    view: View = {"name": name, "labels": list(flat(reference, axes)[1]), "rel_l2": None}
    view["input"] = _input(x, axes, limit)
    view["reference"] = _map(reference, axes, limit, tokens)
    if tokens is not None:
        view["input"]["tokens"] = [printable(token) for token in tokens]
    if candidate is not None:
        apart = relative_l2(reference, candidate)
        with np.errstate(invalid="ignore"):
            difference = candidate - reference
        view["rel_l2"] = float(apart) if np.isfinite(apart) else None
        view["candidate"] = _map(candidate, axes, limit, tokens)
        view["difference"] = _map(difference, axes, limit, tokens)
    return view


def _map(values: np.ndarray, axes: Sequence[str], limit: int, tokens: Sequence[str] | None) -> View:
    """``values`` as :func:`quantised`; of tokens that have a text also ``numbers``, one a token, None for no number."""
    drawn = flat(values, axes)[0]
    found = quantised(drawn, limit)
    if tokens is not None:
        found["numbers"] = [float(f"{value:.6g}") if np.isfinite(value) else None for value in drawn]
    return found


def quantised(values: np.ndarray, limit: int) -> View:
    """A map of one or two axes in bytes: ``shape``, ``largest`` (absolute, of what is kept), ``block`` (places summed
    to one along rows and columns) and ``not_finite`` (how many values are no number); ``bytes`` in base64.
    """
    values = np.asarray(values, dtype=np.float64)
    strange = int(values.size - np.isfinite(values).sum())
    blocks = [1 + (length - 1) // limit if values.ndim == 2 else 1 for length in values.shape]
    values = _summed(values, blocks)
    finite = np.isfinite(values)
    largest = float(np.abs(values, where=finite, out=np.zeros_like(values)).max(initial=0.0))
    # The largest first becomes 1: numbers near the ends of the range neither overflow nor vanish.
    scaled = np.where(finite, values, 0.0) / (largest or 1.0)
    levels = np.where(finite, np.rint(ZERO + ZERO * scaled), NOT_FINITE).astype(np.uint8)
    return {
        "shape": list(levels.shape),
        "largest": largest,
        "block": blocks,
        "not_finite": strange,
        "bytes": _text(levels),
    }


def _summed(values: np.ndarray, blocks: Sequence[int]) -> np.ndarray:
    """``values`` summed over blocks of that many places along each axis; the last ones may be smaller."""
    with np.errstate(invalid="ignore"):
        for axis, block in enumerate(blocks):
            if block > 1:
                values = np.add.reduceat(values, np.arange(0, values.shape[axis], block), axis=axis)
    return values


def _input(x: np.ndarray, axes: Sequence[str], limit: int) -> View:
    """The input as it is seen: an image of three channels in colour, everything else in gray or as a curve.

    ``bytes``: 0 for ``low`` to 255 for ``high``, of each channel of a colour image one after the other.
    """
    picture = x.ndim == 3 and x.shape[-1] == 3 and axes[-1] == "channel"
    values = x if picture else flat(x, axes)[0]
    finite = np.isfinite(values)
    low = float(values.min(where=finite, initial=np.inf)) if finite.any() else 0.0
    high = float(values.max(where=finite, initial=-np.inf)) if finite.any() else 0.0
    blocks = [1 + (length - 1) // limit for length in values.shape[:2]] if values.ndim > 1 else []
    for axis, block in enumerate(blocks):
        values = np.take(values, np.arange(0, values.shape[axis], block), axis=axis)
    span = high / 2 - low / 2
    shares = (np.nan_to_num(values, nan=low, posinf=high, neginf=low) / 2 - low / 2) / (span or 1.0)
    levels = np.rint(255 * np.clip(shares, 0, 1)).astype(np.uint8)
    return {
        "shape": list(levels.shape[:2]),
        "colour": picture,
        "low": low,
        "high": high,
        "bytes": _text(np.moveaxis(levels, -1, 0) if picture else levels),
    }


def _text(levels: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(levels).tobytes()).decode()
