"""Relevance is conserved at every cut of small transformers; a rule that makes some is found."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from evidence.conservation import BOUND, METHODS, balances, table
from harness.methods import method
from ported_models import PortedModel
from ported_models.build import Builder
from tests.models.transformers import NETWORKS, inputs_for

pytestmark = [pytest.mark.tensorflow, pytest.mark.thinned(0.4)]
TARGET = np.array([0, 2])


@cache
def network(name: str) -> PortedModel:
    return PortedModel.from_graph(NETWORKS[name](0))


@pytest.mark.thinned(0.15)
@pytest.mark.parametrize("asked", METHODS)
@pytest.mark.parametrize("name", NETWORKS)
def test_relevance_is_conserved_at_every_cut(name: str, asked: str) -> None:
    model = network(name)
    for balance in balances(model, method(asked), inputs_for(model.graph), TARGET):
        assert max(balance.error, balance.step_error) <= BOUND, balance
        assert balance.cuts == len(model.graph.layers) - 1
        missing = balance.start - balance.end - sum(balance.kept.values())
        assert abs(missing) <= BOUND * abs(balance.start)
        # Held weights give a softmax nothing that it could keep; only one network has a class token.
        assert (balance.kept["softmax"] != 0) == asked.startswith("attnlrp")
        assert (balance.kept["pad"] != 0) == (name == "encoder")


def test_an_addition_that_gives_all_to_both_branches_is_found() -> None:
    """Two additions, one after the other, double what they get; norms pass it on as it is."""
    model = network("rms_encoder")
    asked = method("cp_lrp:epsilon=0,bias=false,residual=identity")
    for balance in balances(model, asked, inputs_for(model.graph), TARGET):
        assert balance.error == pytest.approx(3, rel=1e-9)
        assert BOUND < balance.step_error <= 0.5
        assert balance.end == pytest.approx(4 * balance.start, rel=1e-9)


def test_what_a_bias_alone_has_made_belongs_to_no_input() -> None:
    """h = relu(x W + [3, 5]), logit = h0 + h1 = 8. Of x = 0 both are the biases'; of x = [1, 0], W = [[1, 0], [0, 1]],
    the second is: 5 of 9.
    """
    b = Builder("biases", (2,))
    b.add("dense", "hidden", weights={"kernel": np.eye(2), "bias": np.array([3.0, 5.0])})
    b.add("relu", "h")
    b.add("dense", "logit", weights={"kernel": np.ones((2, 1))})
    model = PortedModel.from_graph(b.graph())
    both, one = balances(model, method(METHODS[0]), np.array([[0.0, 0], [1, 0]]), np.array([0, 0]))
    assert (both.start, both.end, both.kept["no input"], both.error) == (8, 0, 8, 0)
    assert (one.start, one.end, one.kept["no input"], one.error) == (9, 4, 5, 0)
    assert (one.size, one.step_error) == (1, 0)


def test_the_table_has_a_line_for_each_balance() -> None:
    model = network("rms_encoder")
    rows = [
        ("words", METHODS[0], each)
        for each in balances(model, method(METHODS[0]), inputs_for(model.graph), TARGET)
    ]
    head, rule, *lines = table(rows).splitlines()
    assert head.startswith("| model | method | start | input | kept by softmax")
    assert len({line.count("|") for line in (head, rule, *lines)}) == 1
    assert len(lines) == 2 and all(line.startswith(f"| words | `{METHODS[0]}` | -") for line in lines)
