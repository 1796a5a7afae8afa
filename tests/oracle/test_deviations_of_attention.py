"""Attention, norms and sampling done differently: results written out, and the cause found for each."""

from __future__ import annotations

import numpy as np
import pytest

from harness.graph import Graph, Layer
from harness.methods import (
    Gradient,
    HeldNorm,
    Pass,
    ReplaceZero,
    ShareProduct,
    SignedEpsilon,
    SoftmaxTaylor,
    Z,
)
from harness.steps import ForwardStep
from reference_impls.deviations.backward import carry_out
from tests.oracle.forward_steps import drawn, explained
from tests.oracle.layers import dense, graph, layer
from tests.oracle.steps import EPS, cause_of, roundings, step

BOUND = 1e3 * EPS


def two_inputs(
    kind: str, shapes: tuple[tuple[int, ...], ...], shape: tuple[int, ...], **attributes: object
) -> Layer:
    axes = ("batch", *(f"axis_{place}" for place in range(len(shape))))
    return Layer("it", kind, ("x", "y"), shapes, shape, axes, attributes)


# Products ------------------------------------------------------------------------------------------------


def product(heads: int = 3) -> Layer:
    return two_inputs("matmul", ((heads, 3, 4), (heads, 4, 5)), (heads, 3, 5), transposed=False)


WEIGHTS, VALUES, OF_PRODUCT = drawn(1, 2, 3, 3, 4) ** 2, drawn(2, 2, 3, 4, 5), drawn(3, 2, 3, 3, 5)


def to_values(factor: float) -> np.ndarray:
    """``factor * V * A^T (R / A V)``, entry by entry."""
    result = np.zeros(VALUES.shape)
    for b, h, i, j, k in np.ndindex(2, 3, 3, 4, 5):
        z = sum(WEIGHTS[b, h, i, m] * VALUES[b, h, m, k] for m in range(4))
        result[b, h, j, k] += factor * WEIGHTS[b, h, i, j] * VALUES[b, h, j, k] * OF_PRODUCT[b, h, i, k] / z
    return result


def to_weights(factor: float) -> np.ndarray:
    result = np.zeros(WEIGHTS.shape)
    for b, h, i, j, k in np.ndindex(2, 3, 3, 4, 5):
        z = sum(WEIGHTS[b, h, i, m] * VALUES[b, h, m, k] for m in range(4))
        result[b, h, i, j] += factor * WEIGHTS[b, h, i, j] * VALUES[b, h, j, k] * OF_PRODUCT[b, h, i, k] / z
    return result


@pytest.mark.parametrize(
    ("rule", "observed", "cause", "phrase"),
    [
        (
            ShareProduct("second"),
            (to_weights(0.5), to_values(0.5)),
            "attention-rule",
            "half to each operand",
        ),
        (ShareProduct(), (to_weights(0), to_values(1)), "attention-rule", "to the second operand alone"),
        (
            ShareProduct(),
            (to_weights(1), to_values(1)),
            "attention-rule",
            "each operand gets all the relevance",
        ),
        (
            ShareProduct("second"),
            (to_weights(0), to_values(3)),
            "heads",
            "division by the 3 heads is missing",
        ),
        (ShareProduct(), (to_weights(0.5 / 3), to_values(0.5 / 3)), "heads", "divided by the 3 heads"),
        (
            ShareProduct("second"),
            (to_weights(0), np.repeat(to_values(1 / 3).sum(axis=1, keepdims=True), 3, axis=1)),
            "heads",
            "mean over the 3 heads",
        ),
    ],
)
def test_other_shares_of_a_product_are_found(rule, observed, cause, phrase) -> None:
    of = step(product(), rule, (WEIGHTS, VALUES), OF_PRODUCT)
    size = tuple(np.abs(part) for part in observed)
    bound = roundings(
        100, np.concatenate([each.ravel() for each in size]), np.concatenate([o.ravel() for o in observed])
    )
    found, words = cause_of(of, observed, bound)
    assert (found, phrase in words) == (cause, True), words


def test_a_product_that_is_differentiated_is_found() -> None:
    observed = (
        np.einsum("bhik,bhjk->bhij", OF_PRODUCT, VALUES),
        np.einsum("bhij,bhik->bhjk", WEIGHTS, OF_PRODUCT),
    )
    found, words = cause_of(step(product(), ShareProduct(), (WEIGHTS, VALUES), OF_PRODUCT), observed, BOUND)
    assert (found, "differentiated" in words) == ("attention-rule", True), words


# Softmax -------------------------------------------------------------------------------------------------


def softmax(x: np.ndarray, axis: int = -1) -> np.ndarray:
    powers = np.exp(x)
    return powers / powers.sum(axis=axis, keepdims=True)


SCORES, OF_SOFTMAX = drawn(4, 2, 3, 4), drawn(5, 2, 3, 4)
_Y = softmax(SCORES)
_DIFFERENTIATED = _Y * (OF_SOFTMAX - (_Y * OF_SOFTMAX).sum(axis=-1, keepdims=True))


@pytest.mark.parametrize(
    ("observed", "phrase"),
    [
        (_DIFFERENTIATED, "differentiated"),
        (SCORES * _DIFFERENTIATED, "gradient times the input"),
        (OF_SOFTMAX, "unchanged"),
        (SCORES * OF_SOFTMAX, "not taken off"),
        (
            _Y * (OF_SOFTMAX - _Y * OF_SOFTMAX.sum(axis=-1, keepdims=True)),
            "the output stands where the input",
        ),
    ],
)
def test_other_readings_of_a_softmax_are_found(observed: np.ndarray, phrase: str) -> None:
    one = layer("softmax", (3, 4), (3, 4), {"axis": -1})
    found, words = cause_of(step(one, SoftmaxTaylor(), SCORES, OF_SOFTMAX), observed, BOUND)
    assert (found, phrase in words) == ("attention-rule", True), words


def test_a_softmax_that_gets_nothing_is_found() -> None:
    one = layer("softmax", (3, 4), (3, 4), {"axis": -1})
    of = step(one, SoftmaxTaylor(), SCORES, OF_SOFTMAX)
    words = [
        each.words
        for each in __import__("reference_impls.deviations.backward", fromlist=["deviations"]).deviations(
            of, (np.zeros((2, 3, 4)),)
        )
        if each.cause == "attention-rule" and not np.any(carry_out(each.alter(of))[0])
    ]
    assert any("held fixed" in each for each in words)


# Norms ---------------------------------------------------------------------------------------------------

X, OF_NORM, GAMMA, BETA = drawn(6, 2, 3, 6), drawn(7, 2, 3, 6), drawn(8, 6) + 2, drawn(9, 6)
EPSILON = 0.25


def norm() -> Layer:
    return layer("layer_norm", (3, 6), (3, 6), {"epsilon": EPSILON, "axes_count": 1}, gamma=GAMMA, beta=BETA)


def gradient_of_norm(power: float) -> np.ndarray:
    """``dL/dx_i = sum over j of g_j ((i = j) - 1/n) / sqrt(v) - c_j c_i / n * v**-power`` with ``v`` the variance."""
    result = np.zeros(X.shape)
    for b, t in np.ndindex(2, 3):
        c = X[b, t] - X[b, t].mean()
        v = (c**2).mean() + EPSILON
        g = OF_NORM[b, t] * GAMMA
        for i in range(6):
            for j in range(6):
                slope = ((i == j) - 1 / 6) / np.sqrt(v) - c[j] * c[i] / 6 * v**-power
                result[b, t, i] += g[j] * slope
    return result


@pytest.mark.parametrize(
    ("rule", "observed", "phrase"),
    [
        (Gradient(), gradient_of_norm(1.0), "the power -1 instead of -3/2"),
        (Pass(), gradient_of_norm(1.5), "the norm is differentiated instead of Pass"),
        (HeldNorm(True, SignedEpsilon(1e-6)), OF_NORM, "unchanged"),
    ],
)
def test_other_readings_of_a_norm_are_found(rule, observed: np.ndarray, phrase: str) -> None:
    found, words = cause_of(step(norm(), rule, X, OF_NORM), observed, BOUND)
    assert (found, phrase in words) == ("normalisation-rule", True), words


# Sampling ------------------------------------------------------------------------------------------------


def sampled(padding: str) -> Layer:
    return two_inputs("grid_sample", ((1, 2, 2, 1), (1, 1, 1, 2)), (1, 1, 1, 1), padding=padding)


MAPS = np.array([[1.0, 2.0], [3.0, 4.0]]).reshape(1, 1, 2, 2, 1)
#: At pixel (1.5, 0.5): half of it outside, between the pixels 2 and 4.
PLACE = np.array([1.0, 0.0]).reshape(1, 1, 1, 1, 2)


def test_relevance_that_appears_at_the_border_is_found() -> None:
    # A quarter of the relevance for each of the two pixels, clamped a half; the map rises by 2 from one to the other.
    of = step(sampled("zeros"), Gradient(), (MAPS, PLACE), np.ones((1, 1, 1, 1, 1)))
    clamped = np.array([[0.0, 0.5], [0.0, 0.5]]).reshape(MAPS.shape)
    found, words = cause_of(of, (clamped, np.array([0.0, 2.0]).reshape(PLACE.shape)), BOUND)
    assert (found, "moved to the border" in words) == ("sampling", True), words


def test_relevance_that_is_splatted_beyond_what_was_read_is_found() -> None:
    # The map reads 1/4 * 2 + 1/4 * 4 = 3/2; relevance 3 is a quotient of 2, splatted with weights of a half.
    of = step(sampled("zeros"), ShareProduct("first"), (MAPS, PLACE), np.full((1, 1, 1, 1, 1), 3.0))
    clamped = np.array([[0.0, 2.0], [0.0, 4.0]]).reshape(MAPS.shape)
    found, words = cause_of(of, (clamped, np.zeros(PLACE.shape)), BOUND)
    assert (found, "moved to the border" in words) == ("sampling", True), words


# Forward -------------------------------------------------------------------------------------------------


def attention(mask: bool) -> Graph:
    """Query and key from one dense layer each, scaled, masked, softmax."""
    from ported_models.build import Builder

    b = Builder("attention", (5, 6))
    for place, name in enumerate(("q", "k", "v")):
        weights = {"kernel": drawn(20 + place, 6, 4), "bias": drawn(30 + place, 4)}
        b.add("dense", name, ["input"], weights=weights)
    b.add("matmul", "scores", ["q", "k"], {"transposed": True})
    b.add("scale", "scaled", weights={"kernel": np.full(5, 0.5)})
    if mask:
        hidden = np.where(np.tri(5) > 0, 0.0, -1e4)
        b.add("affine", "masked", weights={"bias": hidden})
    b.add("softmax", "weights")
    b.add("matmul", "mixed", ["weights", "v"])
    return b.graph()


def at(net: Graph, name: str, *inputs: np.ndarray) -> ForwardStep:
    return ForwardStep(net[name], inputs, net)


def test_a_mask_that_is_left_out_is_found() -> None:
    net, scores = attention(True), drawn(40, 2, 5, 5)
    explained(at(net, "masked", scores), scores, "forward-attention", "the mask is left out")


def test_a_scale_that_is_left_out_is_found() -> None:
    net, scores = attention(False), drawn(41, 2, 5, 5)
    explained(at(net, "scaled", scores), scores, "forward-attention", "the scale is left out")


def test_a_softmax_over_the_wrong_axis_is_found() -> None:
    net, scores = attention(False), drawn(42, 2, 5, 5)
    observed = softmax(scores, axis=1)
    explained(at(net, "weights", scores), observed, "forward-attention", "over axis -2 instead of -1")


def test_scores_that_are_not_scaled_in_the_softmax_are_found() -> None:
    net, scores = attention(False), drawn(43, 2, 5, 5)
    words = "not divided by the root of the 4 features"
    explained(at(net, "weights", scores), softmax(2 * scores), "forward-attention", words)


def test_key_and_value_that_are_exchanged_are_found() -> None:
    net, x = attention(False), drawn(44, 2, 5, 6)
    value = net["v"].weights
    observed = x @ value["kernel"] + value["bias"]
    explained(at(net, "k", x), observed, "forward-attention", "it has the weights of v")


def test_weights_averaged_over_heads_are_found() -> None:
    one = layer("softmax", (3, 4, 4), (3, 4, 4), {"axis": -1}, inputs=("x",))
    scores = drawn(45, 2, 3, 4, 4)
    mean = softmax(scores).mean(axis=1, keepdims=True)
    tail = dense(np.eye(4), name="tail", inputs=(one.name,))
    net = graph(one, tail, input_shape=(3, 4, 4))
    observed = np.broadcast_to(mean, scores.shape)
    explained(ForwardStep(one, (scores,), net), observed, "heads", "averaged over the 3 heads")


def test_a_border_that_is_repeated_is_found() -> None:
    observed = np.full((1, 1, 1, 1, 1), 3.0)
    net = Graph("s", (sampled("zeros"),), "it")
    explained(ForwardStep(sampled("zeros"), (MAPS, PLACE), net), observed, "sampling", "moved to the border")


def test_an_addition_by_sign_is_found() -> None:
    one = two_inputs("add", ((3,), (3,)), (3,))
    x, y = np.array([[2.0, -1.0, 3.0]]), np.array([[-1.0, 4.0, 1.0]])
    relevance = np.array([[5.0, 6.0, 8.0]])
    # Sums 1, 3, 4: all above 0, so the positive inputs alone share.
    observed = (np.array([[5.0, 0.0, 6.0]]), np.array([[0.0, 6.0, 2.0]]))
    found, words = cause_of(step(one, Z(stabilizer=ReplaceZero()), (x, y), relevance), observed, BOUND)
    assert found == "residual-split", words


@pytest.mark.parametrize(
    ("bias", "phrase"),
    [
        ([[1.0, 2.0], [2.0, 3.0], [3.0, 1.0]], "moved by 1 along the axis axis_0"),
        ([[1.0, 2.0], [3.0, 1.0], [2.0, 3.0]], "in reverse order along the axis axis_0"),
        ([[0.0, 0.0], [3.0, 1.0], [1.0, 2.0]], "left out at place 0 of the axis axis_0"),
        ([[0.0, 0.0], [0.0, 0.0], [0.0, 0.0]], "the bias is left out"),
    ],
)
def test_position_embeddings_at_other_places_are_found(bias: list[list[float]], phrase: str) -> None:
    one = layer("affine", (3, 2), (3, 2), inputs=("x",), bias=[[2.0, 3.0], [3.0, 1.0], [1.0, 2.0]])
    x = np.array([[[10.0, 20.0], [30.0, 40.0], [60.0, 50.0]], [[7.0, 5.0], [3.0, 2.0], [1.0, 9.0]]])
    net = graph(one, dense(np.eye(2), name="tail", inputs=(one.name,)), input_shape=(3, 2))
    explained(ForwardStep(one, (x,), net), x + np.array(bias), "forward-weights", phrase)
