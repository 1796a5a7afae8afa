"""Another activation function, one that is missing, one too many; dropout that drops."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from harness.steps import Deviation, ForwardStep
from reference_impls.deviations.forward.altering import Pointwise, first, then, with_layer
from reference_impls.deviations.forward.functions import (
    IDENTITY,
    KINDS,
    OTHERS,
    Function,
    function,
    logistic,
    named,
)
from reference_impls.deviations.forward.numbers import (
    shown,
    simplest,
    solved_factor,
    weighted,
)
from reference_impls.deviations.forward.sight import Sight

CAUSE = "forward-activation"


def readings(step: ForwardStep, sight: Sight) -> Iterator[Deviation]:
    """Of an activation layer another function; of any other one function more."""
    traits = step.layer.traits
    if traits.elementwise and not step.layer.weights:
        yield from _instead(step, sight)
    elif not (traits.activation or traits.keeps_values or traits.family == "input"):
        yield from _besides(step, sight)
    yield from dropped(step, sight)


def _instead(step: ForwardStep, sight: Sight) -> Iterator[Deviation]:
    layer = step.layer
    was = named(layer.kind, layer.attributes)
    x = sight.part(step.inputs[0]).astype(np.float64)
    for kind, attributes in (IDENTITY, *KINDS, *_solved_kinds(x, sight.seen)):
        if kind == layer.kind and dict(attributes) == dict(layer.attributes):
            continue
        if (kind, attributes) == IDENTITY:
            words = f"{was} is left out"
        else:
            words = f"{named(kind, attributes)} instead of {was}"
        yield Deviation(
            CAUSE,
            words,
            partial(with_layer, kind=kind, attributes=attributes),
            {"function": kind, **attributes, "expected": layer.kind},
        )
    for name, f in (*OTHERS.items(), *_solved_functions(x, sight.seen)):
        yield Deviation(
            CAUSE,
            f"{name} instead of {was}",
            partial(_replaced, f=f),
            {"function": name, "expected": layer.kind},
        )


def _replaced(step: ForwardStep, f: Function) -> ForwardStep:
    # The layer becomes the identity, and the function is what is done to its result.
    kind, attributes = IDENTITY
    return first(with_layer(step, kind=kind, attributes=attributes), _pointwise(f))


def _pointwise(f: Function) -> Pointwise:
    return Pointwise(lambda step, result: f(result))


def _solved_kinds(x: np.ndarray, y: np.ndarray) -> Iterator[tuple[str, dict[str, Any]]]:
    """Leaky slope and elu alpha from the values at negative inputs."""
    below = x < 0
    slope = solved_factor(x[below], y[below])
    if np.isfinite(slope) and slope not in (0.0, 1.0):
        yield "leaky_relu", {"alpha": slope}
    alpha = solved_factor(np.expm1(x[below]), y[below])
    if np.isfinite(alpha) and alpha not in (0.0, 1.0):
        yield "elu", {"alpha": alpha}


def _solved_functions(x: np.ndarray, y: np.ndarray) -> Iterator[tuple[str, Function]]:
    """A cap from the largest output, the beta of swish, slopes per channel, two slopes."""
    if not x.size:
        return
    cap, floor = float(y.max()), float(y.min())
    if 0 < cap < float(x.max()):
        yield f"relu capped at {shown(cap)}", lambda z: np.clip(z, 0.0, cap)
        if floor < 0 and float(x.min()) < floor:
            yield f"clipping to {shown(floor)} and {shown(cap)}", lambda z: np.clip(z, floor, cap)
    beta = _swish_beta(x, y)
    if np.isfinite(beta) and beta not in (0.0, 1.0, 1.702):
        yield f"swish with beta {shown(beta)}", lambda z: z * logistic(beta * z)
    above, below = solved_factor(x[x > 0], y[x > 0]), solved_factor(x[x < 0], y[x < 0])
    if np.isfinite(above) and np.isfinite(below) and above != 1.0:
        yield (
            f"slope {shown(above)} above zero and {shown(below)} below",
            lambda z: np.where(z > 0, above * z, below * z),
        )
    if x.ndim > 2 or len(x) > 1:
        columns = zip(x.reshape(-1, x.shape[-1]).T, y.reshape(-1, x.shape[-1]).T, strict=True)
        slopes = np.array([solved_factor(each[each < 0], of[each < 0]) for each, of in columns])
        usable = np.nan_to_num(slopes)
        if len(set(usable[np.isfinite(slopes)])) > 1:
            low, high = shown(float(usable.min())), shown(float(usable.max()))
            yield (
                f"prelu with a slope per channel ({low} to {high})",
                lambda z: np.where(z > 0, z, usable * z),
            )


def _swish_beta(x: np.ndarray, y: np.ndarray) -> float:
    """``beta = logit(y / x) / x``, each weighed by how well it is determined: ``(x * s * (1 - s))**2 x**2``."""
    with np.errstate(divide="ignore", invalid="ignore"):
        s = y / x
        usable = (s > 0) & (s < 1)
        x, s = x[usable], s[usable]
        return simplest(*weighted(np.log(s / (1 - s)) / x, (x**2 * s * (1 - s)) ** 2))


def _besides(step: ForwardStep, sight: Sight) -> Iterator[Deviation]:
    """A function applied to the output of a layer that has none."""
    z, y = sight.base, sight.seen
    functions = [(named(kind, attributes), function(kind, attributes)) for kind, attributes in KINDS]
    functions += [
        (named(kind, attributes), function(kind, attributes)) for kind, attributes in _solved_kinds(z, y)
    ]
    functions += [(name, f) for name, f in OTHERS.items() if not name.startswith("exp")]
    for name, f in functions:
        if name == "sigmoid" and step.layer.name == step.graph.output:
            continue  # The end of a network that was to be removed: `ends`.
        yield Deviation(
            CAUSE,
            f"{name} is applied to its output",
            partial(then, change=_pointwise(f)),
            {"function": name, "expected": "none"},
        )


def dropped(step: ForwardStep, sight: Sight) -> Iterator[Deviation]:
    """Dropout left on: some values 0, all others multiplied by ``1 / (1 - p)``; or scaled and not dropped.

    Which values are dropped is random and read from the output; that their share is ``p`` to four standard
    deviations, and that one factor holds for all others, is what the data must show.
    """
    z, y = sight.base, sight.seen
    live = z != 0
    kept = live & (y != 0)
    share = 1.0 - kept.sum() / max(int(live.sum()), 1)
    if 0 < share < 1:
        scaling = solved_factor(z[kept], y[kept])
        rate = simplest(1.0 - 1.0 / scaling, 2.0**-22) if scaling > 1 else share
        spread = 4.0 * np.sqrt(rate * (1.0 - rate) / live.sum()) if 0 < rate < 1 else 0.0
        whole_channels = 1.0 / max(z.shape[-1], 1)
        if scaling > 1 and abs(share - rate) <= max(spread, whole_channels):
            yield _dropout(sight.observed, rate, 1.0 / (1.0 - rate), f"dropout is left on (p={rate:.4g})")
        elif scaling == 1 and step.layer.kind == "dropout":
            words = f"dropout is left on and does not rescale ({share:.0%} of the values are 0)"
            yield _dropout(sight.observed, float(share), 1.0, words)
    if step.layer.kind == "dropout":
        rate = float(step.layer.attributes.get("rate", 0.0))
        for value in (1.0 - rate, 1.0 / (1.0 - rate) if rate < 1 else 1.0):
            yield Deviation(
                CAUSE,
                f"dropout multiplies by {shown(value)} and drops nothing",
                partial(then, change=_pointwise(partial(np.multiply, value))),
                {"factor": value, "expected": 1.0},
            )


def _dropout(observed: np.ndarray, rate: float, scaling: float, words: str) -> Deviation:
    mask = np.where(observed != 0, scaling, 0.0)
    change = Pointwise(lambda step, result, factors: result * factors, (mask,))
    return Deviation(
        CAUSE, words, partial(then, change=change), {"p": rate, "scaling": scaling, "expected": 0.0}
    )
