"""What is done differently on the way back through attention: products, softmax, norms, sampling at computed places."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from harness.graph import Layer
from harness.methods import (
    Gradient,
    HeldNorm,
    Linearized,
    Pass,
    ReplaceZero,
    Rule,
    ShareProduct,
    SignSplit,
    SoftmaxTaylor,
)
from harness.steps import Deviation, Step
from reference_impls.deviations.backward.altering import (
    Change,
    deviation,
    named,
    then,
    then_all,
    with_attributes,
    with_formula,
    with_rule,
)
from reference_impls.deviations.backward.mapping import gradient_times_input
from reference_impls.oracle import attention, derivative, forward, linear
from reference_impls.oracle.linear import Arrays
from reference_impls.oracle.parts import stabilize
from reference_impls.oracle.rules import propagate, stabilizer_of


def attentions(step: Step, observed: Arrays) -> Iterator[Deviation]:
    """At a product of two tensors, a softmax, a norm, a sampling, and an addition's split by sign."""
    kind = step.layer.kind
    if kind in ("matmul", "grid_sample") or (kind == "multiply" and isinstance(step.rule, ShareProduct)):
        yield from _of_product(step)
    if kind == "softmax":
        yield from _of_softmax(step)
    if kind in attention.NORM_KINDS:
        yield from _of_norm(step)
    if kind == "grid_sample":
        yield from _of_sampling(step)
    if kind == "add" and not isinstance(step.rule, SignSplit):
        rule = SignSplit(_stabilizer(step))
        words = f"relevance goes to the branches of the sum's sign alone instead of {named(step.rule)}"
        yield deviation("residual-split", words, with_rule(rule), {"rule": named(rule)})
    if kind in ("matmul", "grid_sample", "softmax"):
        yield from _of_heads(step)


def _stabilizer(step: Step) -> Any:
    own = stabilizer_of(step.rule)
    return own if own is not None else ReplaceZero()


# Products ----------------------------------------------------------------------------------------------

_WAYS = {
    "both": "relevance goes half to each operand",
    "first": "relevance goes to the first operand alone",
    "second": "relevance goes to the second operand alone",
}


def _of_product(step: Step) -> Iterator[Deviation]:
    sampling = step.layer.kind == "grid_sample"
    cause = "sampling" if sampling else "attention-rule"
    stabilizer = _stabilizer(step)
    for to, words in _WAYS.items():
        rule = ShareProduct(to, stabilizer)  # type: ignore[arg-type]
        if rule != step.rule and not (sampling and to != "first"):
            words = f"{words} instead of {named(step.rule)}"
            yield deviation(cause, words, with_rule(rule), {"rule": named(rule)})
    if not isinstance(step.rule, Gradient):
        words = f"the product is differentiated instead of {named(step.rule)}"
        yield deviation(cause, words, with_rule(Gradient()), {"rule": "Gradient"})
        words = f"relevance is the gradient times the input instead of {named(step.rule)}"
        yield deviation(cause, words, with_formula(gradient_times_input))
    if not isinstance(step.rule, Linearized):
        whole = Linearized(stabilizer)
        words = f"each operand gets all the relevance of the product instead of {named(step.rule)}"
        yield deviation(cause, words, with_rule(whole), {"rule": named(whole)})
    if isinstance(step.rule, ShareProduct) and step.rule.to == "both":
        words = "the stabilizer is added before the output is doubled, so that it counts twice"
        yield deviation("stabilizer-form", words, with_formula(partial(_halved_after, step.rule)))
    if len(set(step.layer.input_shapes)) == 1:
        words = "the operands are exchanged: each gets the relevance of the other"
        yield deviation("attention-rule", words, then_all(lambda _, result: result[::-1]))
    for place in range(len(step.inputs)):
        words = f"operand {place + 1} ({step.layer.inputs[place]}) gets no relevance"
        yield deviation(cause, words, then_all(partial(_without, place)))


def _rule(words: str, change: Change, rule: Rule) -> Deviation:
    return deviation("attention-rule", words, change, {"rule": named(rule)})


def _halved_after(rule: ShareProduct, step: Step) -> Arrays:
    linearized = Linearized(rule.stabilizer)
    return tuple(part / 2 for part in propagate(step.layer, step.inputs, step.relevance, linearized))


def _without(place: int, step: Step, result: Arrays) -> Arrays:
    return tuple(np.zeros(part.shape) if each == place else part for each, part in enumerate(result))


# Softmax -----------------------------------------------------------------------------------------------


def _of_softmax(step: Step) -> Iterator[Deviation]:
    rules: dict[Rule, str] = {
        Gradient(): "the softmax is differentiated",
        SoftmaxTaylor(): "the softmax has its Taylor expansion",
        Pass(): "the softmax hands relevance on unchanged",
        Linearized(ReplaceZero()): "the softmax has the gradient times the input, divided by the output",
    }
    for rule, words in rules.items():
        if rule != step.rule:
            yield _rule(f"{words} instead of {named(step.rule)}", with_rule(rule), rule)
    formulas: dict[str, Callable[[Step], Arrays]] = {
        "attention weights are held fixed: the softmax gets no relevance": _nothing,
        "relevance is the gradient times the input": gradient_times_input,
        "the sum of the relevance is not taken off": _without_sum,
        "the output stands where the input should": _output_for_input,
    }
    for words, formula in formulas.items():
        yield deviation("attention-rule", f"{words} instead of {named(step.rule)}", with_formula(formula))
    known = step.layer.attributes["axis"]
    for axis in range(-len(step.layer.shape), 0):
        if axis != known:
            words = f"the sum runs over axis {axis} instead of {known}"
            yield deviation(
                "attention-rule", words, with_attributes(axis=axis), {"axis": axis, "expected": known}
            )


def _nothing(step: Step) -> Arrays:
    return tuple(np.zeros(x.shape) for x in step.inputs)


def _without_sum(step: Step) -> Arrays:
    return tuple(np.where(np.isneginf(x), 0.0, x) * step.relevance for x in step.inputs)


def _output_for_input(step: Step) -> Arrays:
    output = forward.apply(step.layer, step.inputs)
    total = step.relevance.sum(axis=step.layer.attributes["axis"], keepdims=True)
    return (output * (step.relevance - output * total),)


# Norms -------------------------------------------------------------------------------------------------


def _of_norm(step: Step) -> Iterator[Deviation]:
    stabilizer = _stabilizer(step)
    rules: dict[Rule, str] = {
        Pass(): "relevance is handed on unchanged (identity rule)",
        HeldNorm(True, stabilizer): "the deviation is held fixed",
        HeldNorm(False, stabilizer): "the deviation is held fixed and beta left out",
        Linearized(stabilizer): "the norm is differentiated, times the input, divided by the output",
        Gradient(): "the norm is differentiated",
    }
    for rule, words in rules.items():
        if rule != step.rule:
            yield _norm(f"{words} instead of {named(step.rule)}", with_rule(rule), {"rule": named(rule)})
    formulas: dict[str, Callable[[Step], Arrays]] = {
        "relevance is the gradient times the input": gradient_times_input,
        "the deviation is held fixed in the gradient": partial(_gradient, True, 1.5, True),
        "mean and deviation are held fixed in the gradient": partial(_gradient, True, 1.5, False),
        "the derivative of the deviation has the variance to the power -1 instead of -3/2": partial(
            _gradient, False, 1.0, True
        ),
        "the derivative of the deviation has the variance to the power -1/2 instead of -3/2": partial(
            _gradient, False, 0.5, True
        ),
        "the input gets no relevance": _nothing,
    }
    # A gradient with a fault is said by the fault; for another rule the gradient itself is one.
    rest = "" if isinstance(step.rule, Gradient) else f" instead of {named(step.rule)}"
    for words, formula in formulas.items():
        yield _norm(f"{words}{rest}", with_formula(formula), {})


def _norm(words: str, change: Change, parameters: dict[str, Any]) -> Deviation:
    return deviation("normalisation-rule", words, change, parameters)


def _gradient(held: bool, power: float, mean: bool, step: Step) -> Arrays:
    """The derivative of a norm; ``mean``: whether that of the mean is part of it. ``held``: the deviation is constant.

    ``power``: that of ``1 / variance`` in the derivative of the deviation; 3/2 is right.
    """
    layer, (x,) = step.layer, step.inputs
    axes = tuple(range(-layer.attributes["axes_count"], 0))
    g = step.relevance * linear.weights_of(layer).get("gamma", 1.0)
    d, c = attention.deviation(layer, x), attention.centred(layer, x)
    inner = g / d
    if not held:
        inner = inner - c * (g * c).mean(axis=axes, keepdims=True) / d ** (2 * power)
    return (attention.centred(layer, inner) if mean else inner,)


# Sampling ----------------------------------------------------------------------------------------------


def _of_sampling(step: Step) -> Iterator[Deviation]:
    known = step.layer.attributes["padding"]
    other = "border" if known == "zeros" else "zeros"
    does = {"border": "places outside are moved to the border", "zeros": "places outside read zeros"}
    changes: dict[str, Change] = {
        f"{does[other]} on the way back, in the forward pass {does[known]}": with_attributes(padding=other),
        "places are read with corners aligned: -1 and 1 are the centres of the border's pixels": _with_places(
            _aligned
        ),
        "relevance goes to the nearest pixel alone instead of four by distance": _with_places(_nearest),
        "x and y are exchanged": _with_places(_exchanged),
    }
    for words, change in changes.items():
        yield deviation("sampling", words, change)
        if isinstance(step.rule, ShareProduct):
            # Divided by what the forward pass read, so that relevance appears or is lost.
            yield deviation("sampling", words, with_formula(partial(_splatted, step.rule, change)))


def _splatted(rule: ShareProduct, change: Change, step: Step) -> Arrays:
    """``x * J^T(R / S(z))`` with the step's own ``z`` and the Jacobian of the changed step; to the maps alone."""
    z = forward.apply(step.layer, step.inputs)
    other = change(step)
    passed, places = derivative.vjp(other.layer, other.inputs, step.relevance / stabilize(z, rule.stabilizer))
    return other.inputs[0] * passed, np.zeros(places.shape)


def _with_places(moved: Callable[[np.ndarray, Layer], np.ndarray]) -> Change:
    def alter(step: Step) -> Step:
        maps, places = step.inputs
        return replace(step, inputs=(maps, moved(places, step.layer)))

    return alter


def _sizes(layer: Layer) -> np.ndarray:
    _, height, width, _ = layer.input_shapes[0]
    return np.array([width, height], dtype=np.float64)


def _aligned(places: np.ndarray, layer: Layer) -> np.ndarray:
    size = _sizes(layer)
    pixel = (places + 1) / 2 * (size - 1)
    return (2 * pixel + 1) / size - 1


def _nearest(places: np.ndarray, layer: Layer) -> np.ndarray:
    size = _sizes(layer)
    pixel = np.rint(((places + 1) * size - 1) / 2)
    return (2 * pixel + 1) / size - 1


def _exchanged(places: np.ndarray, layer: Layer) -> np.ndarray:
    return places[..., ::-1]


# Heads -------------------------------------------------------------------------------------------------


def _of_heads(step: Step) -> Iterator[Deviation]:
    """The heads are the first axis behind the batch, of three or more."""
    if len(step.layer.shape) < 3 or step.layer.shape[0] < 2:
        return
    count = step.layer.shape[0]
    changes: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        f"the result is {count} times as large: the division by the {count} heads is missing": partial(
            np.multiply, float(count)
        ),
        f"the result is divided by the {count} heads, which the rule does not do": partial(
            np.multiply, 1.0 / count
        ),
        f"every head gets the mean over the {count} heads": partial(_over_heads, np.mean),
        f"every head gets the sum over the {count} heads": partial(_over_heads, np.sum),
    }
    for words, change in changes.items():
        yield deviation("heads", words, then(change), {"heads": count})


def _over_heads(joined: Callable[..., np.ndarray], part: np.ndarray) -> np.ndarray:
    return np.broadcast_to(joined(part, axis=1, keepdims=True), part.shape)
