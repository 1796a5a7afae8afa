"""What the rounding of a standard deviation does to a rule that takes one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import harness
from harness.backends import backend_named
from harness.case import Case
from harness.comparison.deviations import moved_deviations, with_moved_deviations
from harness.engine import Engine
from harness.graph import Graph, Layer
from harness.methods import Assignment, Composite, Epsilon, Sign, StdEpsilon, method

UNIT_ROUNDOFF = 2.0**-53


def layer_of(*shape: int) -> Layer:
    return Layer("conv", "conv2d", ("x",), (shape,), shape, ("batch", "height", "width", "channel"))


def test_the_factor_moves_by_a_unit_roundoff_for_each_number_of_the_input() -> None:
    down, up = moved_deviations(StdEpsilon(0.5), layer_of(4, 4, 2))
    assert (down.factor, up.factor) == (0.5 * (1 - 32 * UNIT_ROUNDOFF), 0.5 * (1 + 32 * UNIT_ROUNDOFF))
    down, up = moved_deviations(Sign(std_factor=0.5), layer_of(4, 4, 2))
    assert (down.std_factor, up.std_factor) == (
        0.5 * (1 - 32 * UNIT_ROUNDOFF),
        0.5 * (1 + 32 * UNIT_ROUNDOFF),
    )


@pytest.mark.parametrize("rule", [Epsilon(0.1), Sign()])
def test_a_rule_without_a_deviation_has_none_to_move(rule: object) -> None:
    assert moved_deviations(rule, layer_of(4, 4, 2)) == ()


def network(side: int) -> Graph:
    """One 3x3 convolution of one channel with a bias, averaged over all places: two classes."""
    generator = np.random.default_rng(1)
    image = ("batch", "height", "width", "channel")
    kernel, bias = generator.standard_normal((3, 3, 1, 2)), np.array([0.5, -0.25])
    one = {"strides": (1, 1), "dilations": (1, 1), "groups": 1, "padding": ((1, 1), (1, 1))}
    return Graph(
        "wide",
        (
            Layer("x", "input", (), (), (side, side, 1), image),
            Layer(
                "conv",
                "conv2d",
                ("x",),
                ((side, side, 1),),
                (side, side, 2),
                image,
                one,
                {"kernel": kernel, "bias": bias},
            ),
            Layer(
                "mean",
                "global_average_pool",
                ("conv",),
                ((side, side, 2),),
                (2,),
                ("batch", "feature"),
                {"keepdims": False},
            ),
        ),
        "mean",
    )


def test_only_the_layers_that_take_a_deviation_get_another_rule() -> None:
    graph, taken = network(4), method("lrp_epsilon_0_1_std_x:dialect=signxai")
    moved = with_moved_deviations(taken, graph, np.random.default_rng(0))
    before, after = taken.composite.assign(graph), moved.composite.assign(graph)
    assert {name for name in before if before[name] != after[name]} == {"conv"}
    assert abs(after["conv"].factor / before["conv"].factor - 1) == pytest.approx(16 * UNIT_ROUNDOFF)
    plain = method("lrp.epsilon")
    assert with_moved_deviations(plain, graph, np.random.default_rng(0)) is plain


def test_deviations_are_moved_in_float64_alone() -> None:
    model = harness.load_model(network(4))
    x = np.ones((1, 4, 4, 1))
    oracle = backend_named("oracle")
    taken = method("lrp_epsilon_0_1_std_x:dialect=signxai")
    for dtype, moved in (("float32", False), ("float64", True)):
        case = Case.checked(model, x, taken, 0, dtype)
        assert (next(Engine().moved(case, oracle)).method != case.method) == moved


@pytest.mark.tensorflow
@pytest.mark.torch
@pytest.mark.parametrize("factor", [pytest.param("0_1", marks=pytest.mark.nightly), "3"])
def test_a_deviation_that_torch_adds_up_number_by_number_is_no_other_method(factor: str) -> None:
    """A million positive numbers: on one thread torch.std is 1e-12 off, more than its longest sum explains."""
    import torch

    side = 1000
    model = harness.load_model(network(side))
    x = np.maximum(np.random.default_rng(3).standard_normal((1, side, side, 1)) + 0.3, 0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        off = float(torch.from_numpy(x).std(unbiased=False)) / x.std() - 1
        assert abs(off) > 10 * UNIT_ROUNDOFF * side  # else this shows nothing
        name = f"lrp_epsilon_{factor}_std_x:dialect=signxai"
        traces = [
            harness.explain(model, x, name, backend=backend, target=0, dtype="float64")
            for backend in ("tensorflow", "torch")
        ]
        comparison = harness.compare(*traces)
    finally:
        torch.set_num_threads(threads)
    assert comparison.passed, comparison
    assert comparison.verdict == "equivalent"


@pytest.mark.nightly
@pytest.mark.tensorflow
@pytest.mark.torch
def test_a_deviation_of_n_less_one_is_still_another_method() -> None:
    """The fault that is nearest to the rounding of a deviation: 1 / 2n against n unit roundoffs."""
    model = harness.load_model(network(1000))
    x = np.maximum(np.random.default_rng(3).standard_normal((1, 1000, 1000, 1)) + 0.3, 0)
    name = "lrp_epsilon_3_std_x:dialect=signxai"
    reference, candidate = (
        harness.explain(model, x, name, backend=backend, target=0, dtype="float64")
        for backend in ("tensorflow", "torch")
    )
    n = x.size
    # The reference with the other divisor, run as a candidate of its own.
    wrong = replace(
        method(name),
        composite=Composite(
            (
                Assignment(StdEpsilon(3 * (n / (n - 1)) ** 0.5), names=("conv",)),
                *method(name).composite.assignments,
            )
        ),
    )
    other = harness.explain(model, x, wrong, target=0, dtype="float64")
    assert harness.compare(reference, candidate).passed
    assert harness.compare(reference, replace(other, method=reference.method)).verdict != "equivalent"
