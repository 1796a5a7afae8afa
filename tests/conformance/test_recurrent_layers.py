"""Recurrent layers and embeddings: by hand, and alike in oracle, reference and port."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from harness.backends import backend_named
from harness.errors import UnsupportedMethodError
from harness.graph import RECURRENT_KINDS, Graph
from harness.methods import AlphaBeta, Assignment, Composite, Epsilon, Gradient, Method, Pass, Rule, Z
from harness.methods.stabilizers import SignedEpsilon
from ported_models import PortedModel
from ported_models.build import Builder
from reference_impls.oracle.derivative import vjp
from reference_impls.oracle.forward import apply
from tests.models.graphs import single_layer_graph

pytestmark = [pytest.mark.tensorflow, pytest.mark.torch]

SIDES = ("oracle", "tensorflow", "torch")


def chosen(rule: Rule) -> Method:
    return Method("chosen", Composite((Assignment(rule),)))


def step_of(graph: Graph, side: str, x: np.ndarray, relevance: np.ndarray, rule: Rule) -> np.ndarray:
    prepared = backend_named(side).prepare(PortedModel.from_graph(graph), "float64")
    return prepared.step(graph[graph.output], (x,), relevance, chosen(rule))[0]


def drawn(kind: str, seed: int) -> tuple[Graph, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    graph = single_layer_graph(kind, rng)
    layer = graph[graph.output]
    return graph, rng.standard_normal((2, *layer.input_shapes[0])), rng.standard_normal((2, *layer.shape))


@pytest.mark.thinned(0.4)
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("rule", [Gradient(), Epsilon(0.25), Z(bias=False), Z(stabilizer=SignedEpsilon(0.1))])
@pytest.mark.parametrize("kind", RECURRENT_KINDS)
def test_steps_are_alike_in_all_three(kind: str, rule: Rule, seed: int) -> None:
    graph, x, relevance = drawn(kind, seed)
    oracle, *others = (step_of(graph, side, x, relevance, rule) for side in SIDES)
    for side, other in zip(SIDES[1:], others, strict=True):
        assert np.linalg.norm(oracle - other) <= 1e-9 * np.linalg.norm(oracle), side


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", RECURRENT_KINDS)
def test_the_product_with_the_jacobian_is_that_of_differences(kind: str, seed: int) -> None:
    graph, x, s = drawn(kind, seed)
    layer, direction = graph[graph.output], np.random.default_rng(seed + 100).standard_normal(x.shape)
    ahead, behind = (apply(layer, (x + step * direction,)) for step in (1e-6, -1e-6))
    slope = float((s * (ahead - behind)).sum() / 2e-6)
    assert float((vjp(layer, (x,), s)[0] * direction).sum()) == pytest.approx(slope, rel=1e-6, abs=1e-7)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("kind", RECURRENT_KINDS)
def test_a_rule_that_has_no_reading_there_is_refused_by_name(kind: str, side: str) -> None:
    graph, x, relevance = drawn(kind, 0)
    with pytest.raises(UnsupportedMethodError, match=rf"layer 'layer' \({kind}") as caught:
        step_of(graph, side, x, relevance, AlphaBeta(1, 0))
    assert "\n" not in str(caught.value)


def one_unit(kind: str, kernel: Any, recurrent: Any, steps: int = 2, **attributes: Any) -> Graph:
    builder = Builder("one", (steps, 1))
    weights = {"kernel": np.array([kernel], float), "recurrent_kernel": np.array([recurrent], float)}
    builder.add(kind, "layer", attributes={"sequences": False, **attributes}, weights=weights)
    return builder.graph()


LARGE = 60.0


@pytest.mark.parametrize("side", SIDES)
def test_an_lstm_with_open_gates_shares_its_cell_among_the_steps(side: str) -> None:
    """Gates at 1 (sigmoid(60) is 1 in float64): c = tanh(1) + tanh(2 + h1 * 1/2), h = tanh(c).

    R = 1 goes to the cell. Step 2's candidate gets its part of the cell's sum, by x and by h as they stand in z = 2 +
    h1 / 2; h1's share goes on to the first cell, which is x1's candidate alone; so does what the gate kept.
    """
    graph = one_unit("lstm", [0, 0, 1, 0], [0, 0, 0.5, 0])
    graph = open_gates(graph, [LARGE, LARGE, 0, LARGE])
    x = np.array([[[1.0], [2.0]]])
    h1 = np.tanh(np.tanh(1.0))
    z = 2.0 + h1 / 2
    cell = np.tanh(1.0) + np.tanh(z)
    second = np.tanh(z) / cell
    expected = [second * (h1 / 2) / z + np.tanh(1.0) / cell, second * 2.0 / z]
    found = step_of(graph, side, x, np.ones((1, 1)), Z())
    assert found[0, :, 0].tolist() == pytest.approx(expected, rel=1e-12)
    assert found.sum() == pytest.approx(1.0, rel=1e-12)


def open_gates(graph: Graph, bias: list[float]) -> Graph:
    layer = graph["layer"]
    builder = Builder("one", graph.input.shape)
    builder.add(
        "lstm", "layer", attributes=layer.attributes, weights={**layer.weights, "bias": np.array(bias)}
    )
    return builder.graph()


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("reset_after", [True, False])
def test_a_gru_shares_its_state_between_what_it_keeps_and_what_is_new(side: str, reset_after: bool) -> None:
    """All gates 1/2: h1 = tanh(1) / 2, h2 = h1 / 2 + tanh(z) / 2 with z = 2 + (1/2) h1."""
    graph = one_unit("gru", [0, 0, 1], [0, 0, 1], reset_after=reset_after)
    x = np.array([[[1.0], [2.0]]])
    h1 = np.tanh(1.0) / 2
    z = 2.0 + h1 / 2
    h2 = h1 / 2 + np.tanh(z) / 2
    new = np.tanh(z) / 2 / h2
    expected = [h1 / 2 / h2 + new * (h1 / 2) / z, new * 2.0 / z]
    found = step_of(graph, side, x, np.ones((1, 1)), Z())
    assert found[0, :, 0].tolist() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("side", SIDES)
def test_a_simple_network_read_backwards_starts_at_the_last_step(side: str) -> None:
    """h = relu(x + 2 h'): of x = (1, 3) backwards 3, then 1 + 6 = 7; of the 7, 6 came from the step taken first."""
    graph = one_unit("simple_rnn", [1], [2], reverse=True, activation="relu")
    x = np.array([[[1.0], [3.0]]])
    assert apply(graph["layer"], (x,)).tolist() == [[7.0]]
    found = step_of(graph, side, x, np.full((1, 1), 7.0), Z())
    assert found[0, :, 0].tolist() == pytest.approx([1.0, 6.0])


@pytest.mark.parametrize("side", SIDES)
def test_a_token_gets_what_its_features_got_and_has_no_gradient(side: str) -> None:
    builder = Builder("tokens", (3,))
    builder.add("embedding", "layer", weights={"kernel": np.arange(8.0).reshape(4, 2)})
    graph = builder.graph()
    x, relevance = np.array([[3.0, 0.0, 1.0]]), np.array([[[1.0, 2.0], [3.0, 4.0], [-5.0, 6.0]]])
    assert apply(graph["layer"], (x,)).tolist() == [[[6.0, 7.0], [0.0, 1.0], [2.0, 3.0]]]
    assert step_of(graph, side, x, relevance, Pass()).tolist() == [[3.0, 7.0, 1.0]]
    assert step_of(graph, side, x, relevance, Gradient()).tolist() == [[0.0, 0.0, 0.0]]
