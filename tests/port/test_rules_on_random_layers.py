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
from harness.methods import AlphaBeta, Bounded, Epsilon, Flat, Rule, WSquare, Z
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
    """(1, out); zero where the rule leaves it out."""
    size = int(np.prod(model.graph.input.shape))
    return outputs(model, lambda name, w: w, np.zeros((1, size))) * getattr(rule, "bias", False)


def share(parts: Sequence[tuple[int, Array, Array]], added: Array, rule: Rule, relevance: Array) -> Expected:
    """Sum of ``sign * x * (s M^T)`` over parts (sign, x, M), ``s = R / S(sum of sign * x M, plus added)``."""
    z = sum(sign * x @ m for sign, x, m in parts) + added
    if isinstance(rule, Epsilon):
        denominator = z + rule.epsilon * np.where(z >= 0, 1, -1)
    else:
        denominator = np.where(z == 0, 1e-7, z)
    s = relevance / denominator
    magnitude = sum(np.abs(x) @ np.abs(m) for _, x, m in parts) + np.abs(added)
    slack = np.abs(s) * (1 + magnitude / np.abs(denominator))
    return (
        sum(sign * x * (s @ m.T) for sign, x, m in parts),
        sum(np.abs(x) * (slack @ np.abs(m).T) for _, x, m in parts),
    )


def expected_relevance(rule: Rule, model: PortedModel, x: Array, relevance: Array) -> Expected:
    """The formulas of `harness.methods.rules`; x (batch, in), relevance (batch, out)."""
    added = bias(model, rule)
    if isinstance(rule, Z | Epsilon):
        return share([(1, x, matrix(model, lambda w: w))], added, rule, relevance)
    if isinstance(rule, WSquare | Flat):
        change = np.square if isinstance(rule, WSquare) else np.ones_like
        return share([(1, np.ones_like(x), matrix(model, change))], added, rule, relevance)
    up, down = matrix(model, positive), matrix(model, negative)
    if isinstance(rule, Bounded):
        low, high = np.full_like(x, rule.low), np.full_like(x, rule.high)
        parts = [(1, x, matrix(model, lambda w: w)), (-1, low, up), (-1, high, down)]
        return share(parts, added, rule, relevance)
    assert isinstance(rule, AlphaBeta)
    a, slack_a = share([(1, positive(x), up), (1, negative(x), down)], added, rule, relevance)
    b, slack_b = share([(1, positive(x), down), (1, negative(x), up)], added, rule, relevance)
    return rule.alpha * a - rule.beta * b, rule.alpha * slack_a + rule.beta * slack_b


def check(rule: Rule, graph: Graph, seed: int, nonnegative: bool) -> None:
    rng = np.random.default_rng(seed)
    layer, model, x = graph["layer"], PortedModel.from_graph(graph), random_input(graph, rng)
    if nonnegative:
        x = positive(x)
    relevance = rng.standard_normal((len(x), *layer.shape))
    prepared = TorchBackend().prepare(model, "float64")
    (found,) = prepared.propagate(layer, (x,), relevance, at_layer(rule))
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
    "w_square": WSquare(),
    "flat": Flat(),
    "bounded": Bounded(-3, 3),
}


@settings(max_examples=30, deadline=None)
@given(layers((*KERNEL_KINDS, "scale")), st.integers(0, 2**32 - 1), st.booleans())
@pytest.mark.parametrize("name", RULES)
def test_kernel_rule_is_its_formula(name, graph, seed, nonnegative):
    check(RULES[name], graph, seed, nonnegative)


@settings(max_examples=30, deadline=None)
@given(layers(AVERAGE_POOLING_KINDS), st.integers(0, 2**32 - 1), st.booleans())
@pytest.mark.parametrize("name", ["z", "epsilon"])
def test_rule_at_average_pooling_is_its_formula(name, graph, seed, nonnegative):
    check(RULES[name], graph, seed, nonnegative)
