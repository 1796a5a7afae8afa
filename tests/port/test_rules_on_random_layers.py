"""The rules on random layers, against their formulas written with the layer's dense matrix.

The matrix of a layer is found by sending unit vectors through its twin; the positive part, the square,
... of its kernels by sending them through the twin of another model with those weights. Nothing of
`ported_impls` is in the expected numbers.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.graph import AVERAGE_POOLING_KINDS, KERNEL_KINDS, Graph
from harness.methods import AlphaBeta, Bounded, Epsilon, Flat, WSquare, Z
from ported_impls.backend import TorchBackend
from ported_models.model import PortedModel
from ported_models.twins.layout import to_canonical, to_internal
from tests.models.graphs import layers, random_input
from tests.port.one_layer import at_layer


def positive(values):
    return np.maximum(values, 0)


def negative(values):
    return np.minimum(values, 0)


def line(model: PortedModel, change) -> tuple[np.ndarray, np.ndarray]:
    """(matrix (in, out), bias (out)) of the layer "layer" with each of its weights changed."""
    twin = model.with_weights(lambda layer, name, array: change(array)).torch("float64")
    shape = model.graph.input.shape
    size = int(np.prod(shape))
    probes = np.concatenate([np.zeros((1, size)), np.eye(size)]).reshape(-1, *shape)
    with torch.no_grad():
        seen = twin.get_submodule("layer")(torch.from_numpy(np.ascontiguousarray(to_internal(probes))))
    outputs = to_canonical(seen.numpy()).reshape(size + 1, -1)
    return outputs[1:] - outputs[0], outputs[0]


def replace_zero(z):
    return np.where(z == 0, 1e-7, z)


def expected_relevance(rule, model: PortedModel, x: np.ndarray, r: np.ndarray) -> np.ndarray:
    """The formulas of `harness.methods.rules`; x (batch, in), r (batch, out)."""
    up, b_up = line(model, positive)
    down, b_down = line(model, negative)
    if isinstance(rule, Z | Epsilon):
        matrix, bias = line(model, lambda weights: weights)
        z = x @ matrix + bias * rule.bias
        epsilon = rule.epsilon if isinstance(rule, Epsilon) else None
        s = r / (replace_zero(z) if epsilon is None else z + epsilon * np.where(z >= 0, 1, -1))
        return x * (s @ matrix.T)
    if isinstance(rule, AlphaBeta):
        bias = (b_up + b_down) * rule.bias
        s = r / replace_zero(positive(x) @ up + negative(x) @ down + bias)
        t = r / replace_zero(positive(x) @ down + negative(x) @ up + bias)
        activating = positive(x) * (s @ up.T) + negative(x) * (s @ down.T)
        inhibiting = positive(x) * (t @ down.T) + negative(x) * (t @ up.T)
        return rule.alpha * activating - rule.beta * inhibiting
    if isinstance(rule, Bounded):
        matrix, _ = line(model, lambda weights: weights)
        low, high = np.full_like(x, rule.low), np.full_like(x, rule.high)
        s = r / replace_zero(x @ matrix - low @ up - high @ down)
        return x * (s @ matrix.T) - low * (s @ up.T) - high * (s @ down.T)
    matrix, _ = line(model, np.square if isinstance(rule, WSquare) else np.ones_like)
    return (r / replace_zero(np.ones_like(x) @ matrix)) @ matrix.T


def check(rule, graph: Graph, seed: int, nonnegative: bool) -> None:
    rng = np.random.default_rng(seed)
    layer = graph["layer"]
    model = PortedModel.from_graph(graph)
    x = random_input(graph, rng)
    if nonnegative:
        x = positive(x)
    relevance = rng.standard_normal((len(x), *layer.shape))
    (found,) = (
        TorchBackend().prepare(model, "float64").propagate(layer, (x,), relevance, at_layer(rule))
    )
    flat_x, flat_r = x.reshape(len(x), -1), relevance.reshape(len(x), -1)
    expected = expected_relevance(rule, model, flat_x, flat_r).reshape(x.shape)
    # Both round sums of some hundred terms; what is then divided by is conditioned as the rule has it,
    # so the scale is that of the largest relevance, times the amplification |R|/|z| of the worst output.
    amplification = np.abs(expected).max() + np.abs(relevance).max()
    assert np.abs(found - expected).max() <= 2**-52 * 1e5 * amplification, (rule, layer)


RULES = [
    Epsilon(0.25),
    Epsilon(0.25, bias=False),
    AlphaBeta(1, 0),
    AlphaBeta(2, 1),
    AlphaBeta(1, 0, bias=False),
    AlphaBeta(2, 1, bias=False),
    WSquare(),
    Flat(),
    Bounded(-3, 3),
]


@settings(max_examples=12, deadline=None)
@given(layers((*KERNEL_KINDS, "scale")), st.integers(0, 2**32 - 1), st.booleans())
@pytest.mark.parametrize("rule", RULES, ids=str)
def test_kernel_rule_is_its_formula(rule, graph, seed, nonnegative):
    check(rule, graph, seed, nonnegative)
