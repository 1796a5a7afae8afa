"""The derivative of another activation, with another slope, or taken where it does not belong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from harness.methods import Gradient, GuidedReLU
from harness.steps import Deviation, Step
from reference_impls.deviations.backward.altering import deviation, with_formula
from reference_impls.deviations.backward.estimating import is_as_specified, rounded
from reference_impls.deviations.backward.mapping import relevance_of_slope
from reference_impls.deviations.distance import where_finite
from reference_impls.oracle.activations import ELEMENTWISE
from reference_impls.oracle.linear import Arrays

Slope = Callable[[np.ndarray], np.ndarray]
#: The defaults of the libraries.
ALPHAS: dict[str, tuple[float, ...]] = {"leaky_relu": (0.01, 0.1, 0.2, 0.3), "elu": (1.0,)}

#: Kinds that `_others` yields in other words.
_BELOW = ("mish", "hard_sigmoid", "hard_swish", "clip")


def derivatives(step: Step, observed: Arrays) -> Iterator[Deviation]:
    """At an activation that has the gradient: another derivative in its place."""
    kind = step.layer.kind
    if kind not in ELEMENTWISE or not isinstance(step.rule, Gradient | GuidedReLU):
        return
    yield from _of_other_slope(step, observed)
    own = _in_words(kind, step.layer.attributes)
    for name, slope in _others(kind):
        if name != own:
            words = f"the derivative is that of {name} instead of {own}"
            yield deviation("forward-activation", words, with_formula(partial(_times, slope)))
    if kind in ("sigmoid", "tanh"):
        formula: Slope = (lambda x: x * (1 - x)) if kind == "sigmoid" else (lambda x: 1 - x**2)
        in_the_output = "y * (1 - y)" if kind == "sigmoid" else "1 - y**2"
        words = f"the derivative is {in_the_output} at the input, which is taken for the output y"
        yield deviation("preactivation", words, with_formula(partial(_times, formula)))


def _in_words(kind: str, attributes: Any) -> str:
    match kind:
        case "leaky_relu" | "elu":
            return f"{kind} (alpha {attributes['alpha']:g})"
        case "gelu":
            return "gelu (tanh form)" if attributes["approximate"] == "tanh" else "gelu"
    return kind


def _others(own: str) -> Iterator[tuple[str, Slope]]:
    """The activations that there are, and what is taken for them; another alpha is found elsewhere."""
    yield "softplus", _logistic
    for kind, (_, slope) in ELEMENTWISE.items():
        if kind in _BELOW or (kind in ("leaky_relu", "elu") and own in ("relu", kind)):
            continue
        variants: tuple[dict[str, Any], ...] = ({},)
        if kind in ALPHAS:
            variants = tuple({"alpha": alpha} for alpha in ALPHAS[kind])
        elif kind == "gelu":
            variants = ({"approximate": "none"}, {"approximate": "tanh"})
        for attributes in variants:
            yield _in_words(kind, attributes), partial(_with, slope, attributes)
    yield "softsign", lambda x: 1 / (1 + np.abs(x)) ** 2
    yield "mish", _mish
    yield "hard sigmoid (x / 6 + 0.5)", lambda x: np.where(np.abs(x) < 3, 1 / 6, 0.0)
    yield "hard sigmoid (0.2 * x + 0.5)", lambda x: np.where(np.abs(x) < 2.5, 0.2, 0.0)
    yield "hard tanh", lambda x: np.where(np.abs(x) < 1, 1.0, 0.0)
    yield "hard swish", lambda x: np.where(np.abs(x) < 3, x / 3 + 0.5, np.where(x >= 3, 1.0, 0.0))
    yield "x * sigmoid(1.702 * x)", _quick_gelu


def _with(slope: Callable[..., np.ndarray], attributes: dict[str, Any], x: np.ndarray) -> np.ndarray:
    return slope(x, attributes)


def _logistic(x: np.ndarray) -> np.ndarray:
    return ELEMENTWISE["sigmoid"][0](x, {})


def _quick_gelu(x: np.ndarray) -> np.ndarray:
    gate = _logistic(1.702 * x)
    return gate + 1.702 * x * gate * (1 - gate)


def _mish(x: np.ndarray) -> np.ndarray:
    # x * tanh(softplus(x)), Misra 2019
    curved = np.tanh(np.logaddexp(0.0, x))
    return curved + x * (1 - curved**2) * _logistic(x)


# Another slope below zero ------------------------------------------------------------------------------


def _of_other_slope(step: Step, observed: Arrays) -> Iterator[Deviation]:
    """relu, leaky relu and elu differ below zero by one factor, which is found by least squares."""
    own, kind = step.layer.attributes.get("alpha", 0.0), step.layer.kind
    if kind not in ("relu", "leaky_relu", "elu"):
        return
    shapes: tuple[tuple[str, Slope], ...] = (("leaky_relu", np.ones_like), ("elu", np.exp))
    for other, curve in shapes:
        if kind != "relu" and kind != other:
            continue
        estimate = _estimated(step, observed, curve)
        offered = {
            f"{alpha:g}": alpha for alpha in (*ALPHAS[other], *(() if estimate is None else (estimate,)))
        }
        offered.pop(f"{own:g}", None)
        if other == "leaky_relu":
            # With 1 relevance is handed on as it is, which is the rule Pass.
            offered.pop("1", None)
        for shown, alpha in offered.items():
            words = f"the alpha of its derivative below 0 is {shown} instead of {own:g}"
            if kind == "relu":
                words = f"the derivative is that of {other} (alpha {shown}) instead of relu"
            change = with_formula(partial(_times, partial(_sloped, curve, alpha)))
            yield deviation("forward-activation", words, change, {"alpha": alpha, "specified": own})


def _sloped(curve: Slope, alpha: float, x: np.ndarray) -> np.ndarray:
    return np.where(x > 0, 1.0, alpha * curve(np.minimum(x, 0.0)))


def _estimated(step: Step, observed: Arrays, curve: Slope) -> float | None:
    if is_as_specified(step, observed):
        return None
    (x,), (seen,) = step.inputs, observed
    relevance = relevance_of_slope(step)
    (unit,) = _times(partial(_sloped, curve, 1.0), step)
    below = (x <= 0) & np.isfinite(seen) & np.isfinite(relevance)
    size = float(unit[below] @ unit[below])
    if size == 0:
        return None
    slope = float(unit[below] @ seen[below]) / size

    def error(alpha: float) -> float:
        return where_finite(_times(partial(_sloped, curve, alpha), step), observed)

    return rounded(slope, error, observed)


def _times(slope: Slope, step: Step) -> Arrays:
    return (relevance_of_slope(step) * slope(step.inputs[0]),)
