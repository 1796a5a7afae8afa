"""The part of a step that a value is looked for on: it says the same of the value, and takes less time."""

from __future__ import annotations

from dataclasses import replace
from weakref import WeakKeyDictionary

import numpy as np

from harness.graph import Box, box_of_most, in_box, read_by_no_other, with_box
from harness.steps import Step
from reference_impls.deviations.backward.carrying import carry_out
from reference_impls.oracle.linear import Arrays, weights_of
from reference_impls.oracle.terms import has_terms, terms_of

#: Rows that a value is looked for on: it is one number, and each row has as many as the layer has inputs.
ROWS = 16
#: Inputs that it is looked for on: of a dense layer, and (channels) of a convolution.
COLUMNS, CHANNELS = 64, 8
#: Outputs of a convolution, of one channel, that it is looked for on.
PLACES = 1024
_CARRIED: WeakKeyDictionary[Step, Arrays] = WeakKeyDictionary()


def as_it_stands(step: Step) -> Arrays:
    """`carry_out` of ``step``, computed once."""
    if step not in _CARRIED:
        _CARRIED[step] = carry_out(step)
    return _CARRIED[step]


def telling(step: Step, observed: Arrays) -> tuple[Step, Arrays]:
    """The step and the observation, cut down to the rows that differ most: they say most about a value."""
    rows = len(step.relevance)
    if rows <= ROWS or any(len(part) != rows for part in observed):
        return step, observed
    differences = np.zeros(rows)
    for result, seen in zip(as_it_stands(step), observed, strict=True):
        difference = np.nan_to_num((result - seen).reshape(rows, -1), nan=0.0, posinf=0.0, neginf=0.0)
        differences += (difference**2).sum(axis=1)
    chosen = np.sort(np.argsort(differences)[-ROWS:])
    of = np.arange(rows) if step.rows is None else step.rows
    part = replace(
        step,
        inputs=tuple(x[chosen] for x in step.inputs),
        relevance=step.relevance[chosen],
        whole=step if step.whole is None else step.whole,
        rows=of[chosen],
    )
    return part, tuple(each[chosen] for each in observed)


def narrowed(step: Step, observed: Arrays) -> tuple[Step, Arrays]:
    """The step and the observation for some of the inputs and places alone, ``z`` being kept as the whole has it.

    For what changes what is divided by and nothing that ``z`` is made of. The step itself where it is no
    dense layer or convolution under a rule that divides.
    """
    step, observed = telling(step, observed)
    layer = step.layer
    convolution = layer.traits.plain_convolution and layer.attributes["groups"] == 1
    if not (convolution or layer.kind == "dense") or "z" in step.notes:
        return step, observed
    if has_terms(step.rule) and any(term.only for term in terms_of(step.rule).terms):
        # It looks at its input twice: which of its divisions counts is no matter of what it divides by.
        return step, observed
    kept = CHANNELS if convolution else COLUMNS
    box = _box(step, observed) if convolution else None
    if step.inputs[0].shape[-1] <= kept and box is None:
        return step, observed
    every = divisions(step)
    if not every:
        return step, observed
    part = replace(
        step,
        whole=step if step.whole is None else step.whole,
        rows=np.arange(len(step.relevance)) if step.rows is None else step.rows,
        notes={**step.notes, "z": every},
    )
    if step.inputs[0].shape[-1] > kept:
        part, observed = _with_inputs(part, observed, kept)
    return (part, observed) if box is None else _in_box(part, observed, box)


def _with_inputs(step: Step, observed: Arrays, count: int) -> tuple[Step, Arrays]:
    """``count`` of the inputs of a dense layer, or of the channels of a convolution."""
    layer = step.layer
    chosen = np.linspace(0, step.inputs[0].shape[-1] - 1, count).astype(int)
    weights = weights_of(layer)
    weights["kernel"] = weights["kernel"][..., chosen, :]
    shape = (*layer.input_shapes[0][:-1], count)
    part = replace(
        step,
        layer=replace(layer, weights=weights, input_shapes=(shape,)),
        inputs=(step.inputs[0][..., chosen],),
    )
    return part, (observed[0][..., chosen],)


def _box(step: Step, observed: Arrays) -> Box | None:
    """About :data:`PLACES` of the outputs of a convolution, side by side, where the inputs differ most.

    None for a convolution that is hardly larger, where something is done to all of the result afterwards, and where the
    observation has another shape.
    """
    if step.after or observed[0].shape != step.inputs[0].shape:
        return None
    difference = np.nan_to_num(as_it_stands(step)[0] - observed[0], nan=0.0, posinf=0.0, neginf=0.0)
    return box_of_most(step.layer, np.square(difference).sum(axis=(0, -1)), PLACES)


def _in_box(step: Step, observed: Arrays, box: Box) -> tuple[Step, Arrays]:
    """The outputs of ``box`` alone; where others read an input as well, what was observed of it is NaN."""
    layer, (index,) = with_box(step.layer, box)
    seen = np.full_like(observed[0], np.nan)
    inside = (slice(None), *read_by_no_other(step.layer, box))
    seen[inside] = observed[0][inside]
    cut = in_box(box)
    part = replace(
        step,
        layer=layer,
        inputs=(step.inputs[0][index],),
        relevance=step.relevance[cut],
        notes={**step.notes, "z": tuple(z[cut] for z in step.notes["z"])},
    )
    return part, (seen[index],)


def divisions(step: Step) -> tuple[np.ndarray, ...]:
    """Every ``z`` that the step stabilises, in order."""
    seen: list[np.ndarray] = []

    def record(_: Step, z: np.ndarray) -> np.ndarray:
        seen.append(z)
        return np.ones(z.shape)

    carry_out(replace(step, denominator=record))
    return tuple(seen)
