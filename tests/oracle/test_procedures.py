"""What is made of one run and of many: heads, post-processing, paths, samples, noise, and what is kept."""

from __future__ import annotations

from collections.abc import Callable
from math import isclose
from typing import Any

import numpy as np
import pytest

from harness.graph import Graph
from harness.methods import (
    GRADIENT,
    Assignment,
    Backward,
    Composite,
    Head,
    InputItself,
    InputPlusNoise,
    IntegratedGradients,
    Method,
    Postprocess,
    Procedure,
    Smoothed,
    TimesSign,
    UniformNoise,
    Z,
)
from reference_impls.oracle import PreparedOracle, procedures
from reference_impls.oracle.memory import Remembered
from reference_impls.oracle.statistics import Mean, Variance
from tests.oracle.layers import dense, graph, layer
from tests.oracle.whole import explain

UNIT = np.finfo(np.float64).eps


ONE_RUN = Backward()


def gradient(procedure: Procedure = ONE_RUN, postprocess: Postprocess = "none") -> Method:
    return Method("gradient", GRADIENT, "one", postprocess, procedure)


def relevance_of(trace: Any, name: str) -> list[Any]:
    found: list[Any] = trace.layers[name].relevance.tolist()
    return found


# Heads -----------------------------------------------------------------------------------------------

#: logits (6, -3) at x = 3
SLOPES = graph(dense([[2, -1]], inputs=("x",), name="logits"), input_shape=(1,))


@pytest.mark.parametrize(
    ("head", "starts"),
    [("logit", (6, -3)), ("one", (1, 1)), ("relu_logit", (6, 0))],
)
def test_a_head_says_what_the_target_neuron_starts_with(head: Head, starts: tuple[float, float]) -> None:
    for target, start in enumerate(starts):
        trace = explain(SLOPES, np.array([[3.0]]), Method("one", GRADIENT, head), np.array([target]))
        expected = [0.0, 0.0]
        expected[target] = start
        assert relevance_of(trace, "logits") == [expected]


# Post-processing -------------------------------------------------------------------------------------

#: The gradient is (2, -3, 5) everywhere.
PLANE = graph(dense([[2], [-3], [5]], inputs=("x",), name="logit"), input_shape=(3,))


@pytest.mark.parametrize(
    ("postprocess", "expected"),
    [
        # x = (4, -2, 0)
        ("none", [2, -3, 5]),
        ("times_input", [8, 6, 0]),
        ("abs", [2, 3, 5]),
        ("square", [4, 9, 25]),
        # The sign of zero is 1.
        (TimesSign(), [2, 3, 5]),
        (TimesSign(0.5), [2, 3, -5]),
        (TimesSign(-2), [2, -3, 5]),
        # -2 is below -1, yet with a threshold of -1 every sign is 1.
        (TimesSign(-1), [2, -3, 5]),
        (TimesSign(-0.5), [2, 3, 5]),
    ],
)
def test_post_processing_is_done_at_the_input_alone(postprocess: Postprocess, expected: list[float]) -> None:
    trace = explain(PLANE, np.array([[4.0, -2.0, 0.0]]), gradient(postprocess=postprocess))
    assert trace.attribution.tolist() == [expected]
    assert relevance_of(trace, "x") == [[2, -3, 5]]


# Integrated gradients --------------------------------------------------------------------------------

#: logits (3 r, 10 - 5 r), r = relu(x - 2): at 4 the first is larger, at 3 the second; d/dx is 3 and -5 above 2.
HINGE = graph(
    dense([[1]], [-2], inputs=("x",), name="hidden"),
    layer("relu", (1,), (1,), inputs=("hidden",), name="r"),
    dense([[3, -5]], [0, 10], inputs=("r",), name="logits"),
    input_shape=(1,),
)
FOUR = np.array([[4.0]])


@pytest.mark.parametrize(
    ("procedure", "mean", "attribution"),
    [
        # Points 0, 1, 2, 3: gradients 0, 0, 0, 3; times 4
        (IntegratedGradients(4, endpoint=False), 3 / 4, 3),
        # Points 0, 2, 4: gradients 0, 0, 3; mean 1
        (IntegratedGradients(3, endpoint=True), 1, 4),
        # Points 2, 3: gradients 0, 3; times 4 - 2
        (IntegratedGradients(2, endpoint=False, baseline=2.0), 3 / 2, 3),
        # Points -4, 0: nothing there; points -4, 4: 3 / 2 times 8
        (IntegratedGradients(2, endpoint=False, baseline=-4.0), 0, 0),
        (IntegratedGradients(2, endpoint=True, baseline=-4.0), 3 / 2, 12),
    ],
)
def test_integrated_gradients_average_the_gradient_of_the_inputs_own_target_along_the_path(
    procedure: Procedure, mean: float, attribution: float
) -> None:
    """At 3 the other class has the larger logit; its gradient, -5, must not be seen."""
    trace = explain(HINGE, FOUR, gradient(procedure))
    assert trace.target.tolist() == [0]
    assert trace.attribution.tolist() == [[attribution]]
    assert [relevance_of(trace, name) for name in ("x", "hidden", "logits")] == [[[mean]], [[mean]], [[1, 0]]]


@pytest.mark.parametrize(("each", "attribution"), [("none", -5), ("abs", 5), ("square", 25)])
def test_each_gradient_is_processed_before_the_mean_and_the_layers_are_not(
    each: Any, attribution: float
) -> None:
    # Class 1 at the points 0, 1, 2, 3: 0, 0, 0, -5, over 4, times 4
    method = gradient(IntegratedGradients(4, endpoint=False, each=each))
    trace = explain(HINGE, FOUR, method, np.array([1]))
    assert trace.attribution.tolist() == [[attribution]]
    assert relevance_of(trace, "x") == [[-5 / 4]]


def test_post_processing_comes_after_the_path() -> None:
    # 3, see above, times x
    method = gradient(IntegratedGradients(4, endpoint=False), "times_input")
    assert explain(HINGE, FOUR, method).attribution.tolist() == [[12]]


def test_a_trace_of_many_runs_shows_the_forward_pass_of_the_input_itself() -> None:
    trace = explain(HINGE, FOUR, gradient(IntegratedGradients(2, endpoint=False)))
    assert trace.logits.tolist() == [[6, 0]]
    assert trace.layers["hidden"].activation is not None
    assert trace.layers["hidden"].activation.tolist() == [[2]]


def test_every_run_starts_from_its_own_logit() -> None:
    """LRP-Z of 3 x is 3 x: 0 and 6 at the points 0 and 2, mean 3; times 4."""
    line = graph(dense([[3]], inputs=("x",), name="logit"), input_shape=(1,))
    composite = Composite((Assignment(Z()),))
    method = Method("path", composite, procedure=IntegratedGradients(2, endpoint=False))
    trace = explain(line, FOUR, method)
    assert relevance_of(trace, "x") == [[3]]
    assert trace.attribution.tolist() == [[12]]


# Samples ---------------------------------------------------------------------------------------------

#: x**2, whose gradient at x + n is 2 x + 2 n.
SQUARE = graph(layer("multiply", [(1,), (1,)], (1,), inputs=("x", "x"), name="square"), input_shape=(1,))


def noise(seed: int, samples: int, scale: float, *shape: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return np.stack([generator.standard_normal(shape) * scale for _ in range(samples)])


@pytest.mark.parametrize(
    ("statistic", "each", "of_gradients"),
    [
        ("mean", "none", lambda g: g.mean(axis=0)),
        ("mean", "abs", lambda g: np.abs(g).mean(axis=0)),
        ("mean", "square", lambda g: (g**2).mean(axis=0)),
        ("variance", "none", lambda g: ((g - g.mean(axis=0)) ** 2).mean(axis=0)),
    ],
)
def test_the_runs_on_noisy_inputs_are_joined(
    statistic: Any, each: Any, of_gradients: Callable[[np.ndarray], np.ndarray]
) -> None:
    """Every gradient has two roundings, a statistic of seven of them at most seven and four more."""
    x = np.array([[0.5], [-3.0]])
    trace = explain(SQUARE, x, gradient(Smoothed(7, 2.0, statistic, seed=5, each=each)))
    gradients = 2 * (x + noise(5, 7, 2.0, 2, 1))
    rounding = 13 * UNIT * np.abs(gradients).max() ** 2
    assert np.abs(trace.attribution - of_gradients(gradients)).max() <= rounding
    layers = gradients.var(axis=0) if statistic == "variance" else gradients.mean(axis=0)
    assert np.abs(np.array(relevance_of(trace, "x")) - layers).max() <= rounding
    assert relevance_of(trace, "square") == ([[0], [0]] if statistic == "variance" else [[1], [1]])


def test_a_network_without_bends_has_no_variance() -> None:
    method = gradient(Smoothed(5, 1.0, "variance"))
    assert explain(PLANE, np.ones((1, 3)), method).attribution.tolist() == [[0, 0, 0]]


def test_the_variance_of_numbers_far_from_zero_is_not_lost() -> None:
    """2**40 - 1 and 2**40 + 1: their squares, and the mean of these, do not fit into 53 bits; the variance is 1."""
    found = Variance()
    for value in (2.0**40 - 1, 2.0**40 + 1):
        found.add(np.array([value]))
    assert found.value().tolist() == [1]


def test_the_statistics_divide_by_the_number_of_samples() -> None:
    # 1, 2, 6: mean 3, squared distances 4 + 1 + 9
    mean, variance = Mean(), Variance()
    for value in (1.0, 2.0, 6.0):
        mean.add(np.array([value]))
        variance.add(np.array([value]))
    assert mean.value().tolist() == [3]
    assert isclose(variance.value()[0], 14 / 3, rel_tol=4 * UNIT)


# No runs at all --------------------------------------------------------------------------------------

IMAGE: Graph = graph(
    layer("flatten", (2, 2, 3), (12,), {"order": "channels_last"}, inputs=("x",), name="flat"),
    dense(np.eye(12)[:, :2], inputs=("flat",), name="logits"),
    input_shape=(2, 2, 3),
)
BOTH = np.arange(24.0).reshape(2, 2, 2, 3)


def normal() -> np.ndarray:
    return np.random.default_rng(3).standard_normal((2, 2, 2, 3))


def uniform() -> np.ndarray:
    plane = np.random.RandomState(1).uniform(-1, 1, (2, 2))
    return np.stack([np.stack([plane] * 3, axis=-1)] * 2)


@pytest.mark.parametrize(
    ("procedure", "expected"),
    [
        (InputItself(), BOTH),
        (InputPlusNoise(scale=2.0, seed=3), BOTH + 2 * normal()),
        (UniformNoise(), uniform()),
    ],
)
def test_what_needs_no_run_has_logits_and_target_but_no_layers(
    procedure: Procedure, expected: np.ndarray
) -> None:
    trace = explain(IMAGE, BOTH, gradient(procedure))
    assert np.array_equal(trace.attribution, expected)
    assert trace.layers == {}
    assert trace.logits.tolist() == [[0, 1], [12, 13]]
    assert trace.target.tolist() == [1, 1]


# What is kept ----------------------------------------------------------------------------------------


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Counts the backward passes: one entry each."""
    counted: list[str] = []
    original = procedures.backward

    def counting(network: Graph, *arguments: Any, **options: Any) -> Any:
        counted.append(network.name)
        return original(network, *arguments, **options)

    monkeypatch.setattr(procedures, "backward", counting)
    return counted


SAMPLED = Smoothed(4, 1.0)


def test_methods_that_differ_in_post_processing_share_their_samples(runs: list[str]) -> None:
    recalled = Remembered()
    plain, signed = gradient(SAMPLED), gradient(SAMPLED, TimesSign())
    first = explain(SQUARE, -FOUR, plain, outcome=recalled)
    second = explain(SQUARE, -FOUR, signed, outcome=recalled)
    assert len(runs) == 4
    assert np.array_equal(second.attribution, -first.attribution)


@pytest.mark.parametrize(
    ("x", "method", "target"),
    [
        (2 * FOUR, gradient(SAMPLED), 0),
        (FOUR, gradient(SAMPLED), 1),
        (FOUR, gradient(Smoothed(4, 1.0, seed=1)), 0),
        (FOUR, gradient(IntegratedGradients(4, endpoint=True)), 0),
        (FOUR, Method("logit", GRADIENT, procedure=SAMPLED), 0),
        (FOUR, Method("z", Composite((Assignment(Z()),)), "one", procedure=SAMPLED), 0),
    ],
)
def test_another_input_target_head_composite_or_procedure_is_run_anew(
    runs: list[str], x: np.ndarray, method: Method, target: int
) -> None:
    recalled = Remembered()
    explain(SLOPES, FOUR, gradient(SAMPLED), np.array([0]), outcome=recalled)
    explain(SLOPES, x, method, np.array([target]), outcome=recalled)
    assert len(runs) == 8


def test_only_the_last_two_are_kept(runs: list[str]) -> None:
    recalled = Remembered()
    for seed in (0, 1, 2, 1, 2, 0):
        explain(SQUARE, FOUR, gradient(Smoothed(1, 1.0, seed=seed)), outcome=recalled)
    assert len(runs) == 4


def test_what_is_kept_cannot_be_changed_from_outside() -> None:
    oracle, target = PreparedOracle(SQUARE), np.array([0])
    first = oracle.run(FOUR, gradient(SAMPLED), target, True)
    kept = first.attribution.copy()
    first.attribution[...] = 0
    first.relevances["x"][...] = 0
    second = oracle.run(FOUR, gradient(SAMPLED), target, True)
    assert np.array_equal(second.attribution, kept)
    assert np.array_equal(second.relevances["x"], kept)
