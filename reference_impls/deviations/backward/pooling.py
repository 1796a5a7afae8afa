"""How a pooling layer shares out among the entries of a window."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np

from harness.methods import Epsilon, Gradient, Pass, Z
from harness.steps import Deviation, Step
from reference_impls.deviations.backward.altering import (
    Change,
    deviation,
    named,
    then,
    with_attributes,
    with_formula,
    with_rule,
)
from reference_impls.deviations.backward.carrying import by_rule
from reference_impls.deviations.backward.mapping import gradient_times_input
from reference_impls.deviations.backward.stabilizers import COMMON, STABILIZING
from reference_impls.oracle import forward
from reference_impls.oracle.linear import Arrays
from reference_impls.oracle.parts import away_from_zero
from reference_impls.oracle.windows import Windows, pooling_windows

#: From the entries that the windows meet at each offset, (offsets, batch, *windows, channel), to their shares,
#: which a window's relevance is multiplied by. Padded places are -inf.
Shares = Callable[[np.ndarray], np.ndarray]


def poolings(step: Step, observed: Arrays) -> Iterator[Deviation]:
    """Other ways for max and average pooling; the other rules with a reading there are among them."""
    if step.layer.traits.family == "maximum":
        yield from _of_max(step)
    elif step.layer.traits.family == "average":
        yield from _of_average(step)


def _deviation(words: str, change: Change, **parameters: float) -> Deviation:
    return deviation("pooling", words, change, parameters)


# Max pooling -------------------------------------------------------------------------------------------


def _of_max(step: Step) -> Iterator[Deviation]:
    globally = step.layer.traits.places == "pooled"
    rule = "the equal largest share it equally" if globally else "the first of them gets it"
    padded = not globally and np.any(step.layer.attributes["padding"])
    readings: list[tuple[str, Shares]] = [
        (
            f"all entries equal to the largest get the whole relevance of the window instead that {rule}",
            _largest,
        ),
        (f"of equal largest entries the last gets the relevance instead that {rule}", _last),
        ("every entry gets an equal share, as in average pooling, instead of the largest", _evenly),
        ("every entry gets the whole relevance of the window instead of the largest", np.ones_like),
        ("relevance is shared in proportion to the entries instead of going to the largest", _by_value),
        (
            "relevance is shared in proportion to the positive entries instead of going to the largest",
            _by_positive,
        ),
        ("relevance is shared by the softmax of the entries instead of going to the largest", _by_softmax),
    ]
    if padded:
        words = "every entry gets an equal share, as in an average that leaves out padded places"
        readings.append((f"{words}, instead of the largest", _evenly_inside))
    if globally:
        readings.append(
            (f"of equal largest entries the first gets the relevance instead that {rule}", _first)
        )
    else:
        readings.append((f"equal largest entries share the relevance equally instead that {rule}", _tied))
    for words, share in readings:
        yield _deviation(words, with_formula(partial(_shared, share)))
    words = "where windows overlap, an entry keeps the relevance of the last one instead of the sum"
    yield _deviation(words, with_formula(_overwritten))
    if padded:
        words = "padded places count as 0 and take the relevance of windows without a larger entry"
        yield _deviation(words, with_formula(_zero_padded))
    if not isinstance(step.rule, Gradient):
        yield _deviation(f"it has the gradient instead of {named(step.rule)}", with_rule(Gradient()))
    if step.layer.input_shapes == (step.layer.shape,) and not isinstance(step.rule, Pass):
        yield _deviation("relevance is handed on as it is", with_rule(Pass()))
    for epsilon in (each for each in COMMON if each <= STABILIZING):
        for form, stabilized in (
            ("on the side of the sign of z", away_from_zero),
            ("whatever the sign of z", np.add),
        ):
            words = f"relevance is multiplied by z and divided by z + {epsilon:g}, {form}, where z is the largest entry"
            yield _deviation(words, with_formula(partial(_divided, stabilized, epsilon)), epsilon=epsilon)


def _divided(stabilized: Callable[[np.ndarray, float], np.ndarray], epsilon: float, step: Step) -> Arrays:
    """The epsilon rule, read as input times gradient over the output, at a maximum."""
    z = np.asarray(forward.apply(step.layer, step.inputs), np.float64)
    with np.errstate(all="ignore"):
        quotient = z / stabilized(z, epsilon)
    return by_rule(replace(step, relevance=step.relevance * quotient))


def _met(windows: Windows, x: np.ndarray, value: float) -> np.ndarray:
    padded, counts = windows.pad(x, value=value), windows.counts(x.shape[1:-1])
    return np.stack([windows.met(padded, offset, counts) for offset in windows.offsets()])


def _back(windows: Windows, shares: np.ndarray, x: np.ndarray) -> np.ndarray:
    """``shares`` (offsets, batch, *windows, channel) added where they belong, (batch, *space, channel)."""
    back = np.zeros(windows.pad(x).shape)
    for share, offset in zip(shares, windows.offsets(), strict=True):
        windows.met(back, offset, shares.shape[2:-1])[...] += share
    return windows.unpad(back)


def _shared(share: Shares, step: Step) -> Arrays:
    (x,), windows = step.inputs, pooling_windows(step.layer)
    entries = _met(windows, x, -np.inf)
    relevance = step.relevance.reshape(entries.shape[1:])
    shares = np.where(np.isfinite(entries), share(entries), 0.0)
    return (_back(windows, shares * relevance, x),)


def _largest(entries: np.ndarray) -> np.ndarray:
    return entries == entries.max(axis=0, keepdims=True)


def _tied(entries: np.ndarray) -> np.ndarray:
    largest = _largest(entries)
    return largest / largest.sum(axis=0, keepdims=True)


def _first(entries: np.ndarray) -> np.ndarray:
    largest = _largest(entries)
    return (largest & (largest.cumsum(axis=0) == 1)).astype(np.float64)


def _last(entries: np.ndarray) -> np.ndarray:
    return _first(entries[::-1])[::-1]


def _evenly(entries: np.ndarray) -> np.ndarray:
    return np.full(entries.shape, 1.0 / len(entries))


def _evenly_inside(entries: np.ndarray) -> np.ndarray:
    inside = np.isfinite(entries)
    return inside / inside.sum(axis=0, keepdims=True)


def _in_proportion(value: Callable[[np.ndarray], np.ndarray], entries: np.ndarray) -> np.ndarray:
    values = value(np.where(np.isfinite(entries), entries, 0.0))
    total = values.sum(axis=0, keepdims=True)
    return values / np.where(total == 0, np.inf, total)


_by_value, _by_absolute = partial(_in_proportion, np.positive), partial(_in_proportion, np.abs)
_by_positive = partial(_in_proportion, partial(np.maximum, 0.0))


def _by_softmax(entries: np.ndarray) -> np.ndarray:
    powers = np.exp(entries - entries.max(axis=0, keepdims=True))
    return powers / powers.sum(axis=0, keepdims=True)


def _zero_padded(step: Step) -> Arrays:
    (x,), windows = step.inputs, pooling_windows(step.layer)
    entries = _met(windows, x, 0.0)
    return (_back(windows, _first(entries) * step.relevance.reshape(entries.shape[1:]), x),)


def _overwritten(step: Step) -> Arrays:
    """As `max_unpool` does it: every window writes its relevance at its largest entry, the last one stays."""
    (x,), windows = step.inputs, pooling_windows(step.layer)
    entries = _met(windows, x, -np.inf)
    winner = _first(entries).argmax(axis=0)
    relevance = step.relevance.reshape(entries.shape[1:])
    back, offsets = np.zeros(windows.pad(x).shape), list(windows.offsets())
    for place in np.ndindex(*relevance.shape):
        batch, *window, channel = place
        at = tuple(
            w * stride + inside
            for w, stride, inside in zip(window, windows.strides, offsets[winner[place]], strict=True)
        )
        back[(batch, *at, channel)] = relevance[place]
    return (windows.unpad(back),)


# Average pooling ---------------------------------------------------------------------------------------


def _of_average(step: Step) -> Iterator[Deviation]:
    rule, size = step.rule, pooling_windows(step.layer).entries
    if not isinstance(rule, Gradient):
        words = f"every entry gets an equal share (the gradient) instead of {named(rule)}"
        yield _deviation(words, with_rule(Gradient()))
    if not isinstance(rule, Z | Epsilon):
        for other in (Z(), Epsilon(1e-7), Epsilon(1e-6)):
            words = (
                f"relevance is shared in proportion to the entries, {named(other)}, instead of {named(rule)}"
            )
            yield _deviation(words, with_rule(other))
    for words, change in (
        ("the window's relevance is divided by its size twice", then(lambda part: part / size)),
        ("the window's relevance is not divided by its size", then(lambda part: part * size)),
    ):
        yield _deviation(words, change, size=size)
    for words, share in (
        ("all relevance of a window goes to its largest entry, as in max pooling", _first),
        ("relevance is shared in proportion to the positive entries", _by_positive),
        ("relevance is shared in proportion to the absolute entries", _by_absolute),
    ):
        yield _deviation(f"{words}, instead of {named(rule)}", with_formula(partial(_shared, share)))
    if "count_include_pad" in step.layer.attributes and np.any(step.layer.attributes["padding"]):
        counts = step.layer.attributes["count_include_pad"]
        here, there = ("leaves out", "counts") if counts else ("counts", "leaves out")
        words = f"the average {here} the padded places instead of how the layer does, which {there} them"
        yield _deviation(words, with_attributes(count_include_pad=not counts))
        words = f"the average of the transpose alone {here} the padded places"
        yield _deviation(words, with_formula(partial(_transposed_counting_pad, not counts)))
    if step.layer.input_shapes == (step.layer.shape,) and not isinstance(rule, Pass):
        yield _deviation("relevance is handed on as it is", with_rule(Pass()))
    if not isinstance(rule, Gradient):
        yield _deviation("relevance is the gradient times the input", with_formula(gradient_times_input))


def _transposed_counting_pad(counts: bool, step: Step) -> Arrays:
    """The rule, with each window's relevance times the ratio of the two counts."""
    ones = (np.ones(step.inputs[0].shape),)
    own, other = (
        forward.apply(with_attributes(count_include_pad=each)(step).layer, ones)
        for each in (step.layer.attributes["count_include_pad"], counts)
    )
    return by_rule(replace(step, relevance=step.relevance * other / own))
