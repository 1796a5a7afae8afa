"""The rules on random layers, against their formulas written with the layer's dense matrix.

The matrix of a layer is found by sending unit vectors through its twin; that of its positive part, its
square, ... by sending them through the twin of another model with those weights. Nothing of
`ported_impls` is in the expected numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.graph import AVERAGE_POOLING_KINDS, KERNEL_KINDS, Graph
from harness.methods import (
    AlphaBeta,
    AlphaBetaX,
    Bounded,
    Epsilon,
    Flat,
    Gamma,
    Rule,
    Sign,
    StdEpsilon,
    WSquare,
    Z,
    ZPlusFast,
)
from ported_impls.backend import TorchBackend
from ported_models.model import PortedModel
from ported_models.twins.layout import to_canonical, to_internal
from tests.models.graphs import layers, random_input
from tests.port.one_layer import at_layer

Array = np.ndarray
Change = Callable[[Array], Array]
#: An expected relevance, and what its rounding errors are proportional to.
Expected = tuple[Array, Array]


def positive(values: Array) -> Array:
    return np.maximum(values, 0)


def negative(values: Array) -> Array:
    return np.minimum(values, 0)


def outputs(model: PortedModel, change: Callable[[str, Array], Array], probes: Array) -> Array:
    """(probes, out): what "layer" makes of flat probes, with ``change(name, weights)`` for its weights."""
    twin = model.with_weights(lambda layer, name, array: change(name, array)).torch("float64")
    images = to_internal(probes.reshape(-1, *model.graph.input.shape))
    with torch.no_grad():
        seen = twin.get_submodule("layer")(torch.from_numpy(np.ascontiguousarray(images)))
    return to_canonical(seen.numpy()).reshape(len(probes), -1)


def matrix(model: PortedModel, change: Change) -> Array:
    """(in, out) of the layer with its kernels changed."""
    size = int(np.prod(model.graph.input.shape))
    return outputs(model, lambda name, w: np.zeros_like(w) if name == "bias" else change(w), np.eye(size))


def bias(model: PortedModel, rule: Rule) -> Array:
    """(1, out); zero where the rule leaves it out, and for gamma, which has readings of its own."""
    size = int(np.prod(model.graph.input.shape))
    return outputs(model, lambda name, w: w, np.zeros((1, size))) * (getattr(rule, "bias", False) is True)


def share(
    parts: Sequence[tuple[int, Array, Array]],
    added: Array,
    rule: Rule,
    relevance: Array,
    factors: Sequence[Array] | None = None,
) -> Expected:
    """Sum of ``sign * x * (s M^T)`` over parts (sign, x, M), ``s = R / S(sum of sign * x M, plus added)``.

    ``factors`` stand in the place of the ``x`` in front of the transposes.
    """
    z = sum(sign * x @ m for sign, x, m in parts) + added
    if isinstance(rule, Epsilon | StdEpsilon):
        deviation = parts[0][1].std(axis=1, keepdims=True)
        z = z + (rule.epsilon if isinstance(rule, Epsilon) else rule.factor * deviation) * np.where(
            z >= 0, 1, -1
        )
    denominator = np.where(z == 0, 1e-7, z)
    s = relevance / denominator
    magnitude = sum(np.abs(x) @ np.abs(m) for _, x, m in parts) + np.abs(added)
    slack = np.abs(s) * (1 + magnitude / np.abs(denominator))
    front = [x for _, x, _ in parts] if factors is None else factors
    return (
        sum(sign * y * (s @ m.T) for (sign, _, m), y in zip(parts, front, strict=True)),
        sum(np.abs(y) * (slack @ np.abs(m).T) for (_, _, m), y in zip(parts, front, strict=True)),
    )


def expected_relevance(rule: Rule, model: PortedModel, x: Array, relevance: Array) -> Expected:
    """The formulas of `harness.methods.rules`; x (batch, in), relevance (batch, out)."""
    added = bias(model, rule)
    kernel, up, down = (matrix(model, change) for change in (lambda w: w, positive, negative))
    if isinstance(rule, Z | Epsilon | StdEpsilon):
        return share([(1, x, kernel)], added, rule, relevance)
    if isinstance(rule, Sign):
        return share([(1, x, kernel)], added, rule, relevance, [np.where(x >= rule.threshold, 1.0, -1)])
    if isinstance(rule, WSquare | Flat):
        change = np.square if isinstance(rule, WSquare) else np.ones_like
        return share([(1, np.ones_like(x), matrix(model, change))], added**2, rule, relevance)
    if isinstance(rule, Bounded):
        low, high = np.full_like(x, rule.low), np.full_like(x, rule.high)
        return share([(1, x, kernel), (-1, low, up), (-1, high, down)], added, rule, relevance)
    if isinstance(rule, ZPlusFast):
        return share([(1, x, up)], added, rule, relevance)
    if isinstance(rule, Gamma):
        return gamma(rule, model, x, relevance)
    if isinstance(rule, AlphaBetaX):
        added = bias(model, Z())
        kinds = [
            (rule.alpha[0], positive(x), up, positive(added)),
            (rule.alpha[1], negative(x), down, negative(added)),
            (-rule.beta[0], positive(x), down, negative(added)),
            (-rule.beta[1], negative(x), up, positive(added)),
        ]
        return weighted([(w, share([(1, y, m)], c, rule, relevance)) for w, y, m, c in kinds])
    assert isinstance(rule, AlphaBeta)
    with_a, with_b = (positive(added), negative(added)) if rule.split_bias else (added, added)
    a = share([(1, positive(x), up), (1, negative(x), down)], with_a, rule, relevance)
    b = share([(1, positive(x), down), (1, negative(x), up)], with_b, rule, relevance)
    return weighted([(rule.alpha, a), (-rule.beta, b)])


def weighted(terms: Sequence[tuple[float, Expected]]) -> Expected:
    return sum(w * found for w, (found, _) in terms), sum(abs(w) * slack for w, (_, slack) in terms)


def gamma(rule: Gamma, model: PortedModel, x: Array, relevance: Array) -> Expected:
    added, g = bias(model, Z()), rule.gamma
    more, less = (matrix(model, lambda w, f=f: w + g * f(w)) for f in (positive, negative))
    added_more, added_less = (added + g * f(added) for f in (positive, negative))
    if not rule.signed:
        return share([(1, x, more)], added_more, rule, relevance)
    z = x @ matrix(model, lambda w: w) + added
    above = share([(1, positive(x), more), (1, negative(x), less)], added_more, rule, (z > 0) * relevance)
    below = share([(1, positive(x), less), (1, negative(x), more)], added_less, rule, (z < 0) * relevance)
    return weighted([(1, above), (1, below)])


def check(rule: Rule, graph: Graph, seed: int, nonnegative: bool) -> None:
    rng = np.random.default_rng(seed)
    layer, model, x = graph["layer"], PortedModel.from_graph(graph), random_input(graph, rng)
    if nonnegative:
        x = positive(x)
    relevance = rng.standard_normal((len(x), *layer.shape))
    prepared = TorchBackend().prepare(model, "float64")
    (found,) = prepared.step(layer, (x,), relevance, at_layer(rule))
    expected, slack = expected_relevance(rule, model, x.reshape(len(x), -1), relevance.reshape(len(x), -1))
    # A sum of n products is off by at most n roundings of its absolute value; there are two sums, one
    # after the other (z, then s M^T), on both sides of the comparison.
    terms = max(x[0].size, relevance[0].size)
    allowed = 4 * terms * 2**-52 * slack.reshape(x.shape)
    assert np.all(np.abs(found - expected.reshape(x.shape)) <= allowed), (rule, layer)


RULES: dict[str, Rule] = {
    "z": Z(),
    "z_IB": Z(bias=False),
    "epsilon": Epsilon(0.25),
    "epsilon_IB": Epsilon(0.25, bias=False),
    "alpha_1_beta_0": AlphaBeta(1, 0),
    "alpha_2_beta_1": AlphaBeta(2, 1),
    "alpha_1_beta_0_IB": AlphaBeta(1, 0, bias=False),
    "alpha_2_beta_1_IB": AlphaBeta(2, 1, bias=False),
    "alpha_2_beta_1_split": AlphaBeta(2, 1, split_bias=True),
    "alpha_beta_x": AlphaBetaX((2, 0.5), (1, 0.25)),
    "z_plus_fast": ZPlusFast(),
    "gamma": Gamma(0.25),
    "gamma_unsigned": Gamma(0.25, signed=False),
    "std_epsilon": StdEpsilon(0.25),
    "std_epsilon_IB": StdEpsilon(0.25, bias=False),
    "sign": Sign(),
    "sign_IB": Sign(0.5, bias=False),
    "w_square": WSquare(),
    "w_square_with_bias": WSquare(bias=True),
    "flat": Flat(),
    "bounded": Bounded(-3, 3),
}


@settings(max_examples=20, deadline=None)
@given(layers((*KERNEL_KINDS, "scale")), st.integers(0, 2**32 - 1), st.booleans())
@pytest.mark.thinned(0.5)
@pytest.mark.parametrize("name", RULES)
def test_kernel_rule_is_its_formula(name, graph, seed, nonnegative):
    check(RULES[name], graph, seed, nonnegative)


@settings(max_examples=30, deadline=None)
@given(layers(AVERAGE_POOLING_KINDS), st.integers(0, 2**32 - 1), st.booleans())
@pytest.mark.parametrize("name", ["z", "epsilon"])
def test_rule_at_average_pooling_is_its_formula(name, graph, seed, nonnegative):
    check(RULES[name], graph, seed, nonnegative)
