"""How a rule's step is carried out: what is run how often, on which weights, and the signs of zeros."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from harness.methods import (
    AlphaBeta,
    Bounded,
    Deconvolution,
    Epsilon,
    Flat,
    Gamma,
    GuidedReLU,
    Pass,
    ReplaceZero,
    Rule,
    Sign,
    StdEpsilon,
    WSquare,
    Z,
    ZPlusFast,
)
from ported_impls import mappers
from ported_impls.composite import hook_for
from ported_impls.run import HookedTwin
from ported_models.model import PortedModel
from tests.port.one_layer import assert_equal, at_layer, one_layer

SIGNED, NONNEGATIVE = [[1.0, -2.0, 3.0]], [[1.0, 0.0, 3.0]]


def runs_of(kind: str, rule: Rule, x: list[list[float]]) -> int:
    """How often the module of a layer is run in one forward and one backward pass."""
    weights = {"kernel": np.ones((3, 2)), "bias": np.ones(2)} if kind == "dense" else {}
    graph = one_layer(kind, [(3,)], weights)
    module = PortedModel.from_graph(graph).torch("float64").get_submodule("layer")
    runs, forward = [], module.forward
    module.forward = lambda *args: runs.append(1) or forward(*args)
    seen = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    handles = hook_for(rule, graph["layer"]).copy()
    registered = handles.register(module)
    output = module(seen)
    torch.autograd.grad(output, seen, torch.ones_like(output))
    registered.remove()
    return len(runs)


@pytest.mark.parametrize(
    ("kind", "rule", "x", "runs"),
    [
        # The output is the denominator.
        ("dense", Z(), SIGNED, 1),
        ("dense", Epsilon(0.5), SIGNED, 1),
        ("dense", StdEpsilon(0.5), SIGNED, 1),
        ("dense", Sign(), SIGNED, 1),
        # Without the bias it is another number.
        ("dense", Epsilon(0.5, bias=False), SIGNED, 2),
        ("dense", ZPlusFast(), SIGNED, 2),
        ("dense", Flat(), SIGNED, 2),
        ("dense", WSquare(), SIGNED, 2),
        ("dense", Bounded(-3, 3), SIGNED, 4),
        # Four kinds of contribution; two where no input is below zero.
        ("dense", AlphaBeta(2, 1), SIGNED, 5),
        ("dense", AlphaBeta(2, 1), NONNEGATIVE, 3),
        ("dense", AlphaBeta(1, 0), SIGNED, 3),
        ("dense", AlphaBeta(1, 0), NONNEGATIVE, 2),
        # The output's own sign is that of the output.
        ("dense", Gamma(0.5), SIGNED, 5),
        ("dense", Gamma(0.5), NONNEGATIVE, 3),
        ("relu", Pass(), SIGNED, 1),
        ("relu", GuidedReLU(), SIGNED, 1),
        ("relu", Deconvolution(), SIGNED, 1),
    ],
    ids=str,
)
def test_a_module_is_run_for_what_is_not_known_alone(kind, rule, x, runs):
    assert runs_of(kind, rule, x) == runs


def written_in_place(weight: torch.Tensor) -> None:
    with torch.no_grad():
        weight.copy_(-weight)


def written_through_data(weight: torch.Tensor) -> None:
    weight.data.mul_(-1)


def written_through_numpy(weight: torch.Tensor) -> None:
    array = weight.detach().numpy()
    array *= -1


@pytest.mark.parametrize("change", [written_in_place, written_through_data, written_through_numpy])
@pytest.mark.parametrize(
    ("rule", "before", "after"),
    [
        # x = (1, 3), W = (2, -1): x+ W+ = 2, x+ W- = -3. With -W, x+ W+ = 3, x+ W- = -2. R = 6 each time.
        (AlphaBeta(1, 0), [6, 0], [0, 6]),
        # 2 * (6, 0) - (0, 6), 2 * (0, 6) - (6, 0).
        (AlphaBeta(2, 1), [12, -6], [-6, 12]),
        # z = -1 and 1: x * W * R / z.
        (Z(), [-12, 18], [-12, 18]),
        (ZPlusFast(), [6, 0], [0, 6]),
        # W + W+ = (4, -1), z = 4 - 3 = 1; (-2, 2), z = -2 + 6 = 4.
        (Gamma(1, signed=False), [24, -18], [-3, 9]),
    ],
    ids=str,
)
def test_a_weight_that_is_changed_in_place_is_seen(rule, before, after, change):
    graph = one_layer("dense", [(2,)], {"kernel": [[2], [-1]]})
    model = PortedModel.from_graph(graph)
    prepared = _prepared(model)
    x, relevance = np.array([[1.0, 3.0]]), np.array([[6.0]])
    (found,) = prepared.step(graph["layer"], (x,), relevance, at_layer(rule))
    assert_equal(found[0], before)
    change(model.torch("float64").get_submodule("layer").weight)
    (found,) = prepared.step(graph["layer"], (x,), relevance, at_layer(rule))
    assert_equal(found[0], after)


def _prepared(model: PortedModel) -> HookedTwin:
    from ported_impls.backend import TorchBackend

    return TorchBackend().prepare(model, "float64")


@pytest.mark.parametrize("rule", [Epsilon(0.5), AlphaBeta(2, 1), Flat(), Bounded(-3, 3), Pass()], ids=str)
def test_a_step_leaves_the_weights_and_the_input_as_they_were(rule):
    kind = "relu" if isinstance(rule, Pass) else "dense"
    weights = {} if kind == "relu" else {"kernel": [[2, 1], [-1, 3]], "bias": [1, -1]}
    graph = one_layer(kind, [(2,)], weights)
    model = PortedModel.from_graph(graph)
    module = model.torch("float64").get_submodule("layer")
    parameters = {name: (parameter, parameter.clone()) for name, parameter in module.named_parameters()}
    x, relevance = np.array([[1.0, -3.0]]), np.array([[6.0, -2.0]])
    _prepared(model).step(graph["layer"], (x,), relevance, at_layer(rule))
    assert x.tolist() == [[1, -3]] and relevance.tolist() == [[6, -2]]
    assert dict(module.named_parameters()).keys() == parameters.keys()
    for name, parameter in module.named_parameters():
        assert parameter is parameters[name][0] and torch.equal(parameter, parameters[name][1])


ZEROS = torch.tensor([0.0, -0.0, 2.0, -2.0, math.inf, -math.inf, math.nan], dtype=torch.float64)


def test_epsilon_has_the_sign_of_the_denominator_and_plus_for_either_zero():
    found = mappers.away_from_zero(ZEROS, ZEROS.new_tensor(0.5))
    np.testing.assert_array_equal(found, [0.5, 0.5, 2.5, -2.5, math.inf, -math.inf, math.nan])


def test_either_zero_and_nothing_else_is_replaced():
    found = mappers.stabilize(ReplaceZero(0.25), ZEROS)
    np.testing.assert_array_equal(found, [0.25, 0.25, 2, -2, math.inf, -math.inf, math.nan])


def test_the_sign_of_an_input_changes_at_the_threshold():
    x = torch.tensor([0.5, 0.25, -0.0, 0.0, -3.0], dtype=torch.float64)
    assert mappers.sign_from(0.5, x).tolist() == [1, -1, -1, -1, -1]
    assert mappers.sign_from(0, x).tolist() == [1, 1, 1, 1, -1]
    assert mappers.sign_from(-1, x).tolist() == [1, 1, 1, 1, 1]
