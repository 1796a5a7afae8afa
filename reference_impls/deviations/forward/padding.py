"""Padding on other sides, of other amounts, with other values."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import product
from math import prod
from typing import Any

import numpy as np

from harness.graph import Layer, windows
from harness.steps import Deviation, ForwardStep
from reference_impls.deviations.forward.altering import computed, first, then, with_attributes, with_layer
from reference_impls.deviations.forward.numbers import shown
from reference_impls.deviations.forward.sight import Sight

CAUSE = "forward-padding"
Pair = tuple[int, int]
Padding = tuple[Pair, ...]
#: More combinations of the axes than this are not tried: then all axes alike, and each alone.
MOST_COMBINATIONS = 16
#: What fills the padding, by NumPy's name for it.
MODES = {
    "reflect": "reflects the input without its edge",
    "edge": "repeats the edge of the input",
    "symmetric": "reflects the input with its edge",
    "wrap": "goes on at the other end of the input",
}


def readings(step: ForwardStep, sight: Sight) -> Iterator[Deviation]:
    """Other paddings with the output shape of the step."""
    yield from resized(step, step.layer.shape)
    traits = step.layer.traits
    padding = step.layer.attributes.get("padding", ())
    pads = step.layer.kind == "zero_pad"
    if (
        (pads or (traits.kernel and traits.places == "window"))
        and any(map(any, padding))
        and _only_at_the_edge(sight)
    ):
        yield from _filled(step)
    if traits.family == "maximum" and traits.places == "window" and any(map(any, padding)):
        words = "pads with 0 instead of minus infinity, so that 0 may be the largest"
        change = first(partial(_fill, mode="constant"))
        yield Deviation(CAUSE, words, change, {"padding_value": 0.0, "expected": "-inf"})
    if pads:
        yield from _constant(step, sight)


def resized(step: ForwardStep, shape: tuple[int, ...]) -> Iterator[Deviation]:
    """Other paddings that give an output of ``shape`` (without the batch axis)."""
    layer = step.layer
    if layer.traits.places == "window":
        options = _window_options(layer, shape)
    elif layer.traits.transposed or layer.traits.family == "edge":
        options = _shift_options(layer, shape)
    else:
        return
    was = tuple((before, after) for before, after in layer.attributes["padding"])
    verb = "crops" if layer.traits.transposed or layer.kind == "crop" else "pads"
    for padding in _combinations(was, options):
        words = f"{verb} {_said(padding)} instead of {_said(was)}{_habit(padding, was)}"
        change = with_attributes(shape, padding=padding)
        yield Deviation(CAUSE, words, change, {"padding": padding, "expected": was})


def _window_options(layer: Layer, shape: tuple[int, ...]) -> list[list[Pair]]:
    """Per axis, the paddings with which as many windows fit as ``shape`` has entries, one for each ``before``.

    Where the last window ends depends on ``before`` alone; what is padded after that is never read, and of the
    paddings that come to the same the one that frameworks write is taken: torch's symmetric one, else the least,
    as TensorFlow's 'same' has it.
    """
    options = []
    for window, length, outputs in zip(windows(layer), layer.input_shapes[0][:-1], shape[:-1], strict=True):
        mine: list[Pair] = []
        for before in range(window.extent):
            needed = max((outputs - 1) * window.stride + window.extent - length - before, 0)
            for after in (before, needed):
                padded = window._replace(before=before, after=after)
                if after >= needed and padded.count(length) == outputs:
                    mine.append((before, after))
                    break
        options.append(mine)
    return options


def _shift_options(layer: Layer, shape: tuple[int, ...]) -> list[list[Pair]]:
    """Per axis, the same total with every share before; for a ``shape`` of another total, that total."""
    sign = 1 if layer.kind == "zero_pad" else -1
    options = []
    for axis, (before, after) in enumerate(layer.attributes["padding"]):
        total = before + after + sign * (shape[axis] - layer.shape[axis])
        options.append([(share, total - share) for share in range(total + 1)])
    return options


def _combinations(was: Padding, options: list[list[Pair]]) -> Iterator[Padding]:
    others = [
        [pair for pair in pairs if pair[0] != mine[0]] or pairs
        for pairs, mine in zip(options, was, strict=True)
    ]
    if prod(map(len, options)) <= MOST_COMBINATIONS:
        candidates = list(product(*options))
    else:
        candidates = list(zip(*others, strict=False))
        for axis, pairs in enumerate(others):
            candidates += [(*was[:axis], pair, *was[axis + 1 :]) for pair in pairs]
    yield from (
        padding
        for padding in dict.fromkeys(candidates)
        if any(pair[0] != mine[0] for pair, mine in zip(padding, was, strict=True))
        or any(sum(pair) < sum(mine) for pair, mine in zip(padding, was, strict=True))
    )


def _said(padding: Padding) -> str:
    pairs = [f"{before} before and {after} after" for before, after in padding]
    if len(set(padding)) == 1:
        return "nothing" if not any(padding[0]) else pairs[0]
    return ", ".join(f"{pair} on axis {axis}" for axis, pair in enumerate(pairs, start=1))


def _habit(padding: Padding, was: Padding) -> str:
    """Whose padding it is, where it is one framework's habit."""
    if all(before == after for before, after in padding) and any(b != a for b, a in was):
        return ", as torch's symmetric padding does"
    if any(a > b for b, a in padding) and all(a - b in (0, 1) for b, a in padding):
        return ", as TensorFlow's 'same' does"
    return ""


def _only_at_the_edge(sight: Sight) -> bool:
    # What fills the padding shows at the edge only, and to carry it out takes the whole of a large layer.
    return sight.boxes is None or sight.inner() < sight.outer()


def _filled(step: ForwardStep) -> Iterator[Deviation]:
    for mode, does in MODES.items():
        edge = 1 if mode == "reflect" else 0
        sides = zip(step.layer.input_shapes[0], step.layer.attributes["padding"], strict=False)
        if all(length - edge >= max(pair) for length, pair in sides):
            words, change = f"the padding {does} instead of being 0", first(partial(_fill, mode=mode))
            yield Deviation(CAUSE, words, change, {"mode": mode, "expected": "zero"})


def _fill(step: ForwardStep, result: np.ndarray, mode: str) -> np.ndarray:
    """The layer without padding on an input that is padded already; the layer's own result is not used."""
    width = ((0, 0), *step.layer.attributes["padding"], (0, 0))
    chosen: Any = mode
    padded = np.pad(np.asarray(step.inputs[0], dtype=np.float64), width, mode=chosen)
    if step.layer.kind == "zero_pad":
        return padded
    bare = with_attributes(padding=((0, 0),) * (len(width) - 2))(step)
    return computed(with_layer(input_shapes=(padded.shape[1:],))(bare).layer, (padded,))


def _constant(step: ForwardStep, sight: Sight) -> Iterator[Deviation]:
    """One other number in the padding of a padding layer."""
    if sight.boxes is not None:
        return
    padding = _padding_mask(step.layer)
    values = np.unique(sight.seen[:, padding])
    if len(values) == 1 and values[0] != 0:
        value = float(values[0])
        put = then(lambda step, result: np.where(_padding_mask(step.layer), value, result))
        parameters = {"padding_value": value, "expected": 0.0}
        yield Deviation(CAUSE, f"pads with {shown(value)} instead of 0", put, parameters)


def _padding_mask(layer: Layer) -> np.ndarray:
    mask = np.ones(layer.shape, dtype=bool)
    space = zip(layer.attributes["padding"], layer.shape, strict=False)
    mask[tuple(slice(before, length - after) for (before, after), length in space)] = False
    return mask
