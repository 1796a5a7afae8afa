"""Guided backpropagation and deconvolution: at one activation, and where several layers read it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from harness.errors import UnsupportedMethodError
from harness.graph import Graph
from harness.methods import (
    Assignment,
    Composite,
    Deconvolution,
    Gradient,
    GuidedReLU,
    Method,
    Rule,
)
from tests.oracle.layers import dense, graph, layer, relevances
from tests.oracle.whole import explain

# One activation --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "rule", "expected"),
    [
        # x = (-1, 2, 3), R = (5, -4, 6)
        ("relu", GuidedReLU(), [0, 0, 6]),
        ("relu", Deconvolution(), [5, 0, 6]),
        # A slope of 1/4 below zero
        ("leaky_relu", GuidedReLU(), [1.25, 0, 6]),
        ("leaky_relu", Deconvolution(), [5, 0, 6]),
        ("relu", Gradient(), [0, -4, 6]),
    ],
)
def test_only_positive_relevance_goes_back(kind: str, rule: Rule, expected: list[float]) -> None:
    one = layer(kind, (3,), (3,), {"alpha": 0.25})
    assert relevances(one, rule, [5, -4, 6], [-1, 2, 3]) == [expected]


@pytest.mark.parametrize("rule", [GuidedReLU(), Deconvolution()])
def test_there_is_no_reading_at_a_kernel(rule: Rule) -> None:
    with pytest.raises(UnsupportedMethodError, match=r"has no reading at layer 'layer' \(dense\)"):
        relevances(dense([[1]]), rule, [1], [1])


# Several readers -------------------------------------------------------------------------------------


def relevance_with(network: Graph, rule: Rule, x: list[float]) -> dict[str, Any]:
    """The relevance of each layer, ``rule`` at ReLUs and the gradient elsewhere, from a one at the output."""
    composite = Composite((Assignment(rule, kinds=("relu",)), Assignment(Gradient())))
    layers = explain(network, np.array([x]), Method("rectified", composite, head="one")).layers
    return {name: one.relevance.ravel().tolist() for name, one in layers.items() if one.relevance is not None}


#: logit = 2 r - 3 r + 4 r, three readers of r = relu(x).
THREE_READERS = graph(
    layer("relu", (1,), (1,), inputs=("x",), name="r"),
    dense([[2]], inputs=("r",), name="a"),
    dense([[-3]], inputs=("r",), name="b"),
    dense([[4]], inputs=("r",), name="c"),
    layer("add", [(1,), (1,), (1,)], (1,), inputs=("a", "b", "c"), name="sum"),
    input_shape=(1,),
)


@pytest.mark.parametrize("rule", [GuidedReLU, Deconvolution])
def test_per_edge_rectifies_the_share_of_each_reader_before_they_are_summed(rule: Any) -> None:
    # 2 + 0 + 4 against 2 - 3 + 4
    per_edge = relevance_with(THREE_READERS, rule(per_edge=True), [1])
    assert (per_edge["r"], per_edge["x"]) == ([6], [6])
    summed = relevance_with(THREE_READERS, rule(), [1])
    assert (summed["r"], summed["x"]) == ([3], [3])


def test_per_edge_changes_nothing_below_the_activation_but_the_relevance_it_got() -> None:
    """At x = -1 the guided ReLU is shut, the deconvolution is not."""
    assert relevance_with(THREE_READERS, GuidedReLU(per_edge=True), [-1])["x"] == [0]
    assert relevance_with(THREE_READERS, Deconvolution(per_edge=True), [-1])["x"] == [6]


def test_with_one_reader_the_activation_shows_the_relevance_as_it_came() -> None:
    alone = graph(
        layer("relu", (1,), (1,), inputs=("x",), name="r"),
        dense([[-3]], inputs=("r",), name="logit"),
        input_shape=(1,),
    )
    found = relevance_with(alone, GuidedReLU(per_edge=True), [1])
    assert (found["r"], found["x"]) == ([-3], [0])


def test_a_layer_that_reads_an_activation_twice_is_one_reader() -> None:
    """logit = 1 r - 3 r, r read twice by one layer: its share is -2."""
    twice = graph(
        layer("relu", (1,), (1,), inputs=("x",), name="r"),
        layer("concat", [(1,), (1,)], (2,), {"axis": -1}, inputs=("r", "r"), name="both"),
        dense([[1], [-3]], inputs=("both",), name="logit"),
        input_shape=(1,),
    )
    assert relevance_with(twice, Deconvolution(per_edge=True), [1])["r"] == [-2]


def test_only_layers_under_such_a_rule_have_their_shares_rectified() -> None:
    """The input, which two layers read too, gets 2 - 3."""
    forked = graph(
        dense([[2]], inputs=("x",), name="a"),
        dense([[-3]], inputs=("x",), name="b"),
        layer("add", [(1,), (1,)], (1,), inputs=("a", "b"), name="sum"),
        layer("relu", (1,), (1,), inputs=("sum",), name="r"),
        input_shape=(1,),
    )
    assert relevance_with(forked, Deconvolution(per_edge=True), [1])["x"] == [-1]
