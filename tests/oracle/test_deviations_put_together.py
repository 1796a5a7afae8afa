"""What holds for every deviation: it builds on the one before, on an excerpt as on the whole, and invents nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import pytest

from harness.diagnosis.causes import CAUSES
from harness.graph import Layer
from harness.methods import (
    AlphaBeta,
    AlphaBetaX,
    BatchNormReverse,
    Bounded,
    Epsilon,
    Flat,
    FusedBatchNorm,
    Gamma,
    Gradient,
    GuidedReLU,
    Pass,
    Rule,
    Sign,
    SignedEpsilon,
    StdEpsilon,
    Unprotected,
    WSquare,
    Z,
    ZPlusFast,
)
from harness.steps import Step
from reference_impls.deviations.backward import carry_out, deviations
from reference_impls.oracle import propagate
from tests.oracle.layers import dense, layer
from tests.oracle.steps import EPS, distance, step

pytestmark = pytest.mark.thinned(0.2)

DRAWN = np.random.default_rng(7)
KERNEL_RULES: tuple[Rule, ...] = (
    Z(),
    Z(bias=False, stabilizer=Unprotected()),
    Epsilon(1e-7),
    StdEpsilon(0.25),
    AlphaBeta(1, 0),
    AlphaBeta(2, 1, stabilizer=SignedEpsilon(1e-6), split_bias=True),
    AlphaBetaX((2, 0), (1, 0)),
    ZPlusFast(),
    Gamma(0.25),
    Gamma(0.25, signed=False),
    Sign(0.5),
    WSquare(),
    Flat(),
    Bounded(-1.0, 2.0),
    Gradient(),
)


def drawn(*shape: int) -> np.ndarray:
    return DRAWN.normal(size=shape)


def convolution(groups: int = 1) -> Layer:
    attributes = {"strides": (1, 1), "dilations": (1, 1), "groups": groups, "padding": ((1, 1), (1, 1))}
    kernel, bias = drawn(3, 3, 4 // groups, 4), drawn(4)
    return layer(
        "conv2d", (5, 5, 4), (5, 5, 4), attributes, inputs=("x",), name="conv", kernel=kernel, bias=bias
    )


def activation(kind: str, shape: tuple[int, ...], reads: str = "x", **attributes: Any) -> Layer:
    return layer(kind, shape, shape, attributes, inputs=(reads,), name="act")


def cases() -> Iterator[Any]:
    fc = dense(drawn(5, 5), drawn(5), inputs=("x",), name="fc")
    relu = activation("relu", (5,), "fc")
    for rule in KERNEL_RULES:
        yield pytest.param(step(fc, rule, drawn(3, 5), drawn(3, 5), after=(relu,)), id=f"dense-{rule}")
    for rule in (Epsilon(0.25), AlphaBeta(2, 1), Flat(), Gradient()):
        conv = convolution(groups=2 if isinstance(rule, Gradient) else 1)
        yield pytest.param(step(conv, rule, drawn(2, 5, 5, 4), drawn(2, 5, 5, 4)), id=f"conv-{rule}")
    for kind in ("relu", "elu", "softmax"):
        attributes = {"elu": {"alpha": 1.0}, "softmax": {"axis": -1}}.get(kind, {})
        for rule in (Gradient(), Pass()) + ((GuidedReLU(),) if kind == "relu" else ()):
            one = activation(kind, (4,), **attributes)
            yield pytest.param(step(one, rule, drawn(2, 4), drawn(2, 4)), id=f"{kind}-{rule}")
    pooled = {"pool_size": (2, 2), "strides": (2, 2), "padding": ((0, 1), (0, 1))}
    for kind, more in (("max_pool2d", {}), ("average_pool2d", {"count_include_pad": False})):
        pool = layer(kind, (5, 5, 2), (3, 3, 2), {**pooled, **more}, inputs=("x",), name="pool")
        for rule in (Gradient(),) if kind == "max_pool2d" else (Gradient(), Z(), Epsilon(1e-6)):
            yield pytest.param(step(pool, rule, drawn(2, 5, 5, 2), drawn(2, 3, 3, 2)), id=f"{kind}-{rule}")
    for kind in ("global_max_pool", "global_average_pool"):
        pool = layer(kind, (3, 3, 2), (2,), {"keepdims": False}, inputs=("x",), name="pool")
        yield pytest.param(step(pool, Gradient(), drawn(2, 3, 3, 2), drawn(2, 2)), id=kind)
    statistics = {name: np.abs(drawn(3)) + 0.5 for name in ("gamma", "beta", "mean", "variance")}
    norm = layer("batch_norm", (4, 3), (4, 3), {"epsilon": 1e-3}, inputs=("x",), name="bn", **statistics)
    for rule in (
        Pass(),
        Gradient(),
        BatchNormReverse(),
        FusedBatchNorm(StdEpsilon(0.25)),
        FusedBatchNorm(AlphaBeta(2, 1), "two_linear"),
    ):
        yield pytest.param(step(norm, rule, drawn(2, 4, 3), drawn(2, 4, 3)), id=f"batch_norm-{rule}")
    for kind, rule in (("add", Z()), ("add", Gradient()), ("multiply", Gradient())):
        join = layer(kind, [(2, 3), (2, 3)], (2, 3), inputs=("x", "x"), name="join")
        inputs = (drawn(2, 2, 3), drawn(2, 2, 3))
        yield pytest.param(step(join, rule, inputs, drawn(2, 2, 3)), id=f"{kind}-{rule}")
    concat = layer("concat", [(2, 1), (2, 3)], (2, 4), {"axis": -1}, inputs=("x", "y"), name="join")
    yield pytest.param(
        step(concat, Gradient(), (drawn(2, 2, 1), drawn(2, 2, 3)), drawn(2, 2, 4)), id="concat"
    )
    flat = layer("flatten", (2, 3, 2), (12,), {"order": "channels_last"}, inputs=("x",), name="flat")
    yield pytest.param(step(flat, Gradient(), drawn(2, 2, 3, 2), drawn(2, 12)), id="flatten")
    permute = layer("permute", (3, 2), (2, 3), {"dims": (2, 1)}, inputs=("x",), name="permute")
    yield pytest.param(step(permute, Gradient(), drawn(2, 3, 2), drawn(2, 2, 3)), id="permute")
    pad = layer("zero_pad", (3, 2), (6, 2), {"padding": ((1, 2),)}, inputs=("x",), name="pad")
    yield pytest.param(step(pad, Gradient(), drawn(2, 3, 2), drawn(2, 6, 2)), id="zero_pad")
    ln = layer("layer_norm", (3, 4), (3, 4), {"epsilon": 1e-3, "axes_count": 1}, inputs=("x",), name="ln")
    yield pytest.param(step(ln, Gradient(), drawn(2, 3, 4), drawn(2, 3, 4)), id="layer_norm")
    yield pytest.param(step(ln, Pass(), drawn(2, 3, 4), drawn(2, 3, 4)), id="layer_norm-pass")
    up = layer(
        "upsample", (3, 2), (6, 2), {"size": (2,), "interpolation": "nearest"}, inputs=("x",), name="up"
    )
    yield pytest.param(step(up, Gradient(), drawn(2, 3, 2), drawn(2, 6, 2)), id="upsample")


CASES = list(cases())


@pytest.mark.parametrize("of", CASES)
def test_a_step_without_deviation_is_the_rule_itself(of: Step) -> None:
    expected = propagate(of.layer, of.inputs, of.relevance, of.rule)
    for found, one in zip(carry_out(of), expected, strict=True):
        np.testing.assert_array_equal(found, one)


@pytest.mark.parametrize("of", CASES)
def test_every_deviation_has_a_known_cause_words_and_a_result_of_the_right_shape(of: Step) -> None:
    observed = tuple(1.5 * part + 0.1 for part in carry_out(of))
    seen = list(deviations(of, observed))
    assert len({(each.cause, each.words) for each in seen}) == len(seen), "two deviations say the same"
    for each in seen:
        assert each.cause in CAUSES
        assert each.words and not each.words.endswith(".")
        result = carry_out(each.alter(of))
        assert [part.shape for part in result] == [x.shape for x in of.inputs], each.words


@pytest.mark.parametrize("of", [each for each in CASES if "conv-" not in each.id or "Epsilon" in each.id])
def test_deviations_are_made_of_deviant_steps_too(of: Step) -> None:
    observed = tuple(1.5 * part + 0.1 for part in carry_out(of))
    # One of each cause as the first of two, every third of what then comes second.
    firsts = {each.cause: each for each in deviations(of, observed)}
    for place, first in enumerate(firsts.values()):
        altered = first.alter(of)
        for second in islice(deviations(altered, observed), place % 3, None, 3):
            result = carry_out(second.alter(altered))
            assert [part.shape for part in result] == [x.shape for x in of.inputs], (
                first.words,
                second.words,
            )


@pytest.mark.parametrize("of", CASES)
def test_nothing_explains_the_rounding_of_a_healthy_step(of: Step) -> None:
    specified = carry_out(of)
    if not all(np.isfinite(part).all() for part in specified):
        pytest.skip("the rule divides by zero here, and there is nothing to round")
    noise = np.random.default_rng(3)
    observed = tuple(part * (1 + EPS * noise.integers(-4, 5, part.shape)) for part in specified)
    own = distance(specified, observed)
    best = min(distance(carry_out(each.alter(of)), observed) for each in deviations(of, observed))
    # Whatever has a free value fits a little of the noise; half of it would be an explanation.
    assert best >= own / 2


# Excerpts --------------------------------------------------------------------------------------------------


def excerpt_of(whole: Step, places: list[tuple[int, int, int]]) -> Step:
    """The rows of an unpadded convolution of stride one at these places (sample, top, left)."""
    kernel = whole.layer.weights["kernel"]
    height, width, ins, outs = kernel.shape
    rows = [whole.inputs[0][b, top : top + height, left : left + width].ravel() for b, top, left in places]
    small = replace(
        whole.layer,
        kind="dense",
        attributes={},
        input_shapes=((height * width * ins,),),
        shape=(outs,),
        weights={"kernel": kernel.reshape(-1, outs), "bias": whole.layer.weights["bias"]},
    )
    return replace(
        whole,
        layer=small,
        inputs=(np.stack(rows),),
        relevance=np.stack([whole.relevance[place] for place in places]),
        whole=whole,
        rows=np.array([b for b, _, _ in places]),
    )


def sparse_convolution(rule: Rule) -> tuple[Step, Step, list[tuple[int, int, int]]]:
    """A convolution with relevance at places whose patches do not meet, and its excerpt."""
    places = [(0, 0, 0), (0, 2, 2), (1, 0, 2), (1, 2, 0)]
    attributes = {"strides": (1, 1), "dilations": (1, 1), "groups": 1, "padding": ((0, 0), (0, 0))}
    kernel, bias = drawn(2, 2, 3, 5), drawn(5)
    conv = layer(
        "conv2d", (4, 4, 3), (3, 3, 5), attributes, inputs=("x",), name="conv", kernel=kernel, bias=bias
    )
    relevance = np.zeros((2, 3, 3, 5))
    for place in places:
        relevance[place] = drawn(5)
    # Samples of different spread: what is taken over one is told from what is taken over both.
    x = drawn(2, 4, 4, 3) * np.array([1.0, 3.0]).reshape(2, 1, 1, 1)
    whole = step(conv, rule, x, relevance)
    return whole, excerpt_of(whole, places), places


def patches(result: np.ndarray, places: list[tuple[int, int, int]]) -> np.ndarray:
    return np.stack([result[b, top : top + 2, left : left + 2].ravel() for b, top, left in places])


@pytest.mark.parametrize("rule", [Epsilon(0.1), StdEpsilon(0.25), AlphaBeta(2, 1), Gamma(0.25), Flat()])
def test_an_excerpt_has_the_relevance_of_its_patches(rule: Rule) -> None:
    whole, part, places = sparse_convolution(rule)
    (expected,), (found,) = carry_out(whole), carry_out(part)
    # The order of the sums is another: 12 terms each way, with quotients of them.
    assert distance((found,), (patches(expected, places),)) < 1e3 * 24 * EPS


@pytest.mark.parametrize("rule", [Epsilon(0.1), StdEpsilon(0.25), AlphaBeta(2, 1), ZPlusFast(), Sign(0.5)])
def test_a_deviation_found_on_an_excerpt_is_the_same_on_the_whole(rule: Rule) -> None:
    whole, part, places = sparse_convolution(rule)
    observed = (1.5 * carry_out(part)[0],)
    compared = 0
    for each in deviations(part, observed):
        if each.cause in ("layout", "precision", "scale", "batch-coupling") and "deviation" not in each.words:
            continue
        (found,), (expected,) = carry_out(each.alter(part)), carry_out(each.alter(whole))
        if not np.isfinite(expected).all():
            continue
        assert distance((found,), (patches(expected, places),)) < 1e3 * 24 * EPS, each.words
        compared += 1
    assert compared > 50


def test_a_mean_square_over_the_whole_tensor_is_found_on_an_excerpt() -> None:
    whole, part, places = sparse_convolution(Epsilon(0.1))
    kernel, bias = whole.layer.weights["kernel"], whole.layer.weights["bias"]
    z = np.zeros(whole.relevance.shape) + bias
    for b, top, left, out in np.ndindex(*z.shape):
        window = whole.inputs[0][b, top : top + 2, left : left + 2]
        z[b, top, left, out] += (window * kernel[..., out]).sum()
    for mean, phrase in ((z**2).mean(), "whole tensor"), ((z**2).mean(axis=(1, 2, 3)), "each sample"):
        of_rows = np.broadcast_to(mean, (2,))[part.rows][:, None]
        divisor = np.stack([z[place] for place in places]) + 0.3 * np.sqrt(of_rows) + 1e-9
        observed = part.inputs[0] * ((part.relevance / divisor) @ part.layer.weights["kernel"].T)
        # Of those that come as near as rounding tells apart (an epsilon solved for does), one that is no description.
        best = min(
            deviations(part, (observed,)),
            key=lambda each: (
                distance(carry_out(each.alter(part)), (observed,)) > 1e-14,
                each.generic,
                distance(carry_out(each.alter(part)), (observed,)),
            ),
        )
        assert best.cause == "stabilizer-form"
        assert best.words.startswith("the denominator is z + 0.3 * rms(z) + 1e-09")
        assert phrase in best.words
