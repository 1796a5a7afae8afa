"""The three implementations say what Captum 0.9.0 itself says; recorded by `captum/record.py`. And numbers by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.backends import backend_named
from harness.errors import InvalidInputError, MethodDoesNotApplyError
from harness.methods import (
    GRADIENT,
    Assignment,
    Composite,
    DeepLift,
    Gamma,
    Gradient,
    IntegratedGradients,
    Linearized,
    Method,
    Rule,
    SignedEpsilon,
    ZPlusFast,
    baselines,
    method,
)
from ported_models import PortedModel
from ported_models.build import Builder
from tests.prepared import ready

BACKENDS = ("oracle", "tensorflow", "torch")
with np.load(Path(__file__).parent / "captum" / "recorded.npz", allow_pickle=False) as _arrays:
    RECORDED = dict(_arrays)
METHODS = [
    tuple(key.split(" ", 1))
    for key in RECORDED
    if "/" not in key.split(" ")[0] and not key.endswith((" x", " target", " logits"))
]
EPS = np.finfo(np.float64).eps


def _weights(network: str, layer: str, **names: str) -> dict[str, np.ndarray]:
    """Torch has a kernel's axes as (out, in, *space), the graph as (*space, in, out)."""
    found = {}
    for mine, theirs in (names or {"kernel": "weight", "bias": "bias"}).items():
        array = RECORDED[f"{network}/{layer}.{theirs}"]
        found[mine] = np.moveaxis(array, (0, 1), (-1, -2)) if mine == "kernel" else array
    return found


def image() -> PortedModel:
    b = Builder("image", (9, 9, 3))
    b.add("conv2d", "conv1", attributes={"padding": ((1, 1), (1, 1))}, weights=_weights("image", "conv1"))
    line = {"gamma": "weight", "beta": "bias", "mean": "running_mean", "variance": "running_var"}
    b.add("batch_norm", "norm", attributes={"epsilon": 1e-5}, weights=_weights("image", "norm", **line))
    b.add("relu", "relu1")
    pool = {"pool_size": (3, 3), "strides": (2, 2), "padding": ((1, 1), (1, 1))}
    b.add("max_pool2d", "pool", attributes=pool)
    b.add("conv2d", "conv2", weights=_weights("image", "conv2"))
    b.add("tanh", "tanh")
    b.add("average_pool2d", "average", attributes={"pool_size": (2, 2)})
    b.add("flatten", "flat", attributes={"order": "channels_first"})
    b.add("dense", "dense", weights=_weights("image", "dense"))
    b.add("relu", "relu2")
    b.add("dense", "logits", weights=_weights("image", "logits"))
    return PortedModel.from_graph(b.graph())


def series() -> PortedModel:
    b = Builder("series", (14, 2))
    b.add("conv1d", "conv1", weights=_weights("series", "conv1"))
    b.add("elu", "elu", attributes={"alpha": 0.5})
    b.add("max_pool1d", "pool", attributes={"pool_size": (2,)})
    b.add("conv1d", "conv2", weights=_weights("series", "conv2"))
    b.add("leaky_relu", "leaky", attributes={"alpha": 0.125})
    b.add("flatten", "flat", attributes={"order": "channels_first"})
    b.add("dense", "dense1", weights=_weights("series", "dense1"))
    b.add("sigmoid", "sigmoid")
    b.add("dense", "dense2", weights=_weights("series", "dense2"))
    b.add("swish", "silu")
    b.add("dense", "logits", weights=_weights("series", "logits"))
    return PortedModel.from_graph(b.graph())


NETWORKS: dict[str, Callable[[], PortedModel]] = {"image": image, "series": series}


@pytest.fixture(scope="module", params=BACKENDS)
def side(request: pytest.FixtureRequest) -> dict[str, Any]:
    return {name: ready(backend_named(request.param), make(), "float64") for name, make in NETWORKS.items()}


@pytest.mark.thinned(0.4)
@pytest.mark.parametrize(("network", "name"), METHODS)
def test_what_captum_says_but_for_rounding(side: dict[str, Any], network: str, name: str) -> None:
    x = np.moveaxis(RECORDED[f"{network} x"], 1, -1)
    trace = side[network].explain(x, method(name), RECORDED[f"{network} target"])
    np.testing.assert_allclose(trace.logits, RECORDED[f"{network} logits"], rtol=1e-12)
    expected = np.moveaxis(RECORDED[f"{network} {name}"], 1, -1)
    assert np.linalg.norm(expected) > 0.01
    # Sums of at most 36 products through eleven layers, whose denominators may cancel by two digits.
    largest = max(np.linalg.norm(layer.relevance) for layer in trace.layers.values())
    bound = 11 * 36 * 100 * EPS * max(largest, np.linalg.norm(expected))
    assert np.linalg.norm(trace.attribution - expected) <= bound


def test_every_name_of_the_dialect_is_recorded() -> None:
    assert {name.partition(":")[0] for _, name in METHODS} == {
        "integrated_gradients",
        "deep_lift",
        "deep_lift_shap",
        "lrp",
    }


# By hand -----------------------------------------------------------------------------------------------------


def squares() -> PortedModel:
    """The first logit is x ** 2, whose gradient is 2 x."""
    b = Builder("squares", (1,))
    b.add("multiply", "square", ["input", "input"])
    b.add("dense", "head", weights={"kernel": np.array([[1.0, 0]]), "bias": np.array([0.0, 0])})
    return PortedModel.from_graph(b.graph())


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("quadrature", "steps", "gradient"),
    [
        # x = 4, from 0. At 0 and 2; at 2 and 4; at 1 and 3.
        ("riemann_left", 2, (0 + 4) / 2),
        ("riemann_right", 2, (4 + 8) / 2),
        ("riemann_middle", 2, (2 + 6) / 2),
        # At 0 and 4, a quarter each; at 0, 2 and 4, a sixth, a third and a sixth: the weights sum to (n - 1) / n.
        ("riemann_trapezoid", 2, 8 / 4),
        ("riemann_trapezoid", 3, 4 / 3 + 8 / 6),
        # Exact for polynomials: the integral of 8 t from 0 to 1.
        ("gausslegendre", 2, 4),
        ("gausslegendre", 9, 4),
    ],
)
def test_quadratures(backend: str, quadrature: Any, steps: int, gradient: float) -> None:
    for times_difference, factor in ((True, 4), (False, 1)):
        procedure = IntegratedGradients(
            steps, endpoint=False, quadrature=quadrature, times_difference=times_difference
        )
        one = Method("test", GRADIENT, head="one", procedure=procedure)
        trace = ready(backend_named(backend), squares()).explain(np.array([[4.0]]), one, np.array([0]))
        np.testing.assert_allclose(trace.attribution, [[gradient * factor]], rtol=1e-14)
        np.testing.assert_allclose(trace.layers["input"].relevance, [[gradient]], rtol=1e-14)


@pytest.mark.parametrize("backend", BACKENDS)
def test_weights_in_float32(backend: str) -> None:
    """Three thirds in float32 are too much by 3e-8; of the places only 1/3 and 2/3 are rounded."""
    procedure = IntegratedGradients(3, False, quadrature="riemann_left", float32_weights=True)
    one = Method("test", GRADIENT, head="one", procedure=procedure)
    trace = ready(backend_named(backend), squares()).explain(np.array([[4.0]]), one, np.array([0]))
    third = float(np.float32(1 / 3))
    # The last place is the end of the line, 1 - 1/3 rounded; the first after 0 is half of it, rounded.
    last = float(np.float32(1 - 1 / 3))
    places = [0.0, last - float(np.float32(last / 2)), last]
    expected = 4 * sum(third * 2 * (4 * place) for place in places)
    np.testing.assert_allclose(trace.attribution, [[expected]], rtol=1e-15)
    assert abs(trace.attribution[0, 0] / (4 * (0 + 8 / 3 + 16 / 3) / 3) - 1) > 1e-9


def rectified() -> PortedModel:
    """Logits relu(2 x0 - x1 - 1) and relu(x1)."""
    b = Builder("rectified", (2,))
    weights = {"kernel": np.array([[2.0, 0], [-1, 1]]), "bias": np.array([-1.0, 0])}
    b.add("dense", "hidden", weights=weights)
    b.add("relu", "on")
    b.add("dense", "logits", weights={"kernel": np.eye(2)})
    return PortedModel.from_graph(b.graph())


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("procedure", "x", "target", "multiplier", "attribution"),
    [
        # x = (3, 1): hidden 4, at the baseline -1: (4 - 0) / (4 + 1) = 0.8, times (2, -1), times x.
        (DeepLift(), (3, 1), 0, (1.6, -0.8), (4.8, -0.8)),
        (DeepLift(times_difference=False), (3, 1), 0, (1.6, -0.8), (1.6, -0.8)),
        # Baseline (1, 1): hidden 4 and 0, slope 1.
        (DeepLift((1.0,)), (3, 1), 0, (2, -1), (4, 0)),
        # The mean of both.
        (DeepLift((0.0, 1.0)), (3, 1), 0, (1.8, -0.9), (4.4, -0.4)),
        # x1 is that of the baseline: nothing changes, the gradient of a ReLU at 1 stands.
        (DeepLift((1.0,)), (3, 1), 1, (0, 1), (0, 0)),
    ],
)
def test_the_rescale_rule(
    backend: str,
    procedure: DeepLift,
    x: tuple[float, float],
    target: int,
    multiplier: tuple[float, float],
    attribution: tuple[float, float],
) -> None:
    one = Method("test", GRADIENT, head="one", procedure=procedure)
    trace = ready(backend_named(backend), rectified()).explain(np.array([x], float), one, np.array([target]))
    np.testing.assert_allclose(trace.layers["input"].relevance, [multiplier], rtol=1e-14, atol=1e-15)
    np.testing.assert_allclose(trace.attribution, [attribution], rtol=1e-14, atol=1e-15)


def pooled() -> PortedModel:
    """Windows (0 1 2) and (2 3 4) of five values; the logit is 1 times the first and 10 times the second maximum."""
    b = Builder("pooled", (5, 1))
    b.add("max_pool1d", "pool", attributes={"pool_size": (3,), "strides": (2,)})
    b.add("flatten", "flat")
    b.add("dense", "logits", weights={"kernel": np.array([[1.0, 0], [10, 0]])})
    return PortedModel.from_graph(b.graph())


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("x", "baseline", "attribution"),
    [
        # Above the baseline 0 everywhere: gains 4 at the place of 4, 10 * 5 at that of 5.
        ([4, 1, 2, 5, 3], 0.0, [4, 0, 0, 50, 0]),
        # Both maxima are the middle value: of two windows with the same place the last one's 10 * 7 stays.
        ([4, 1, 7, 5, 3], 0.0, [0, 0, 70, 0, 0]),
        # Below the baseline: the loss, -4 and 10 * -2, is where the baseline has its first maximum.
        ([-4, -5, -7, -2, -3], 0.0, [-4, 0, -20, 0, 0]),
    ],
)
def test_max_pooling_between_two_runs(
    backend: str, x: list[float], baseline: float, attribution: list[float]
) -> None:
    one = Method("test", GRADIENT, head="one", procedure=DeepLift((baseline,)))
    trace = ready(backend_named(backend), pooled()).explain(
        np.reshape(np.array(x, float), (1, 5, 1)), one, np.array([0])
    )
    np.testing.assert_allclose(trace.attribution.ravel(), attribution, rtol=1e-14)


def test_random_baselines_are_the_same_for_every_sample_and_both_sides() -> None:
    procedure = DeepLift(samples=3, scale=2.0, seed=5)
    found = list(baselines(procedure, (4, 2)))
    generator = np.random.default_rng(5)
    for each in found:
        np.testing.assert_array_equal(each, np.tile(2.0 * generator.standard_normal(2), (4, 1)))
    assert (len(found), procedure.count) == (3, 3)


STABLE = SignedEpsilon(1.0)


def at_hidden(rule: Rule) -> Method:
    return Method("test", Composite((Assignment(rule, names=("hidden",)), Assignment(Gradient()))))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("rule", "relevance", "attribution"),
    [
        # x = (3, 1), kernel column (2, -1), bias -1, logit 4. W+ = (2, 0), the whole bias: 6 - 1 + 1; without: 6 + 1.
        (ZPlusFast(STABLE, bias=True), 4, (4, 0)),
        (ZPlusFast(STABLE), 4, (24 / 7, 0)),
        # W + W+ = (4, -1): 12 - 1 - 1 + 1 with the bias as it is; without it 12 - 1 + 1.
        (Gamma(1.0, False, STABLE, "kept"), 4, (12 * 4 / 11, -4 / 11)),
        (Gamma(1.0, False, STABLE, "none"), 4, (4, -1 / 3)),
        # 6 - 1 - 1 + 1, what the layer puts out.
        (Linearized(STABLE), 4, (6 * 4 / 5, -4 / 5)),
    ],
)
def test_rules_and_the_bias(
    backend: str, rule: Rule, relevance: float, attribution: tuple[float, float]
) -> None:
    trace = ready(backend_named(backend), rectified()).explain(
        np.array([[3.0, 1.0]]), at_hidden(rule), np.array([0])
    )
    assert trace.layers["hidden"].relevance.tolist() == [[relevance, 0]]
    np.testing.assert_allclose(trace.attribution, [attribution], rtol=1e-14)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_max_pooling_divides_by_its_output(backend: str) -> None:
    """Maxima 4 and 5, logit 54, R = (4, 50) at the pooling; S = 4 + 1 and 5 + 1."""
    composite = Composite((Assignment(Linearized(STABLE), names=("pool",)), Assignment(Gradient())))
    scaled = Composite(
        (
            *composite.assignments[:1],
            Assignment(ZPlusFast(SignedEpsilon(1e-12)), names=("logits",)),
            Assignment(Gradient()),
        )
    )
    x = np.reshape([4.0, 1, 2, 5, 3], (1, 5, 1))
    trace = ready(backend_named(backend), pooled()).explain(x, Method("test", scaled), np.array([0]))
    np.testing.assert_allclose(trace.attribution.ravel(), [4 * 4 / 5, 0, 0, 5 * 50 / 6, 0], rtol=1e-10)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("deep_lift_shap:baselines=0", "2 baselines or more"),
        ("deep_lift_shap:baselines=0/1,samples=3", "given or drawn"),
        ("lrp:dialect=captum,rule=Gamma,gamma=-1", "gamma must be 0 or above"),
        ("integrated_gradients:dialect=captum,n_steps=1", "n_steps must be a whole number, 2 or more"),
    ],
)
def test_parameters_that_make_no_method(name: str, text: str) -> None:
    with pytest.raises(InvalidInputError, match=text):
        method(name)


def test_what_captum_refuses_or_does_over_the_batch_is_refused_with_a_sentence() -> None:
    b = Builder("gated", (3,))
    b.add("softmax", "gate", attributes={"axis": -1})
    b.add("sigmoid", "squashed")
    b.add("dense", "logits", weights={"kernel": np.ones((3, 2))})
    graph = b.graph()
    with pytest.raises(MethodDoesNotApplyError, match="softmax inside"):
        method("deep_lift").check(graph)
    with pytest.raises(MethodDoesNotApplyError, match="relu or tanh only"):
        method("lrp:dialect=captum").check(graph)
