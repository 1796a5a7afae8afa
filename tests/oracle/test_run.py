"""Whole networks: what a trace holds, where an explanation starts and ends, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings

from harness.backends import capability
from harness.errors import InvalidInputError, MethodDoesNotApplyError
from harness.files import array_digest
from harness.graph import Graph
from harness.methods import (
    ALL_METHODS,
    SUITE_METHODS,
    Assignment,
    Composite,
    Epsilon,
    FusedBatchNorm,
    Gradient,
    Method,
    Z,
    method,
)
from reference_impls.oracle import OracleBackend, procedures, propagate
from tests.oracle.layers import dense, graph, integers, layer, seeds
from tests.oracle.whole import SmallModel, explain
from tests.prepared import ready

UNIT = np.finfo(np.float64).eps

# x = (1, -2) -> hidden (3, -5) -> relu (3, 0) -> logits (6, -3)
TWO_LAYERS = graph(
    dense([[1, -1], [-1, 2]], name="hidden", inputs=("x",)),
    layer("relu", (2,), (2,), name="hidden_relu", inputs=("hidden",)),
    dense([[2, -1], [1, 1]], name="logits", inputs=("hidden_relu",)),
    input_shape=(2,),
)
X = np.array([[1.0, -2.0]])


def image_network(seed: int) -> Graph:
    """Conv, ReLU, max pooling, a residual add over a 1x1 conv, flatten, dense; whole numbers, no bias."""
    geometry = {"strides": (1, 1), "dilations": (1, 1), "groups": 1}
    same, none = ((1, 1), (1, 1)), ((0, 0), (0, 0))
    large, small = (6, 6, 3), (3, 3, 3)
    padded, plain = {**geometry, "padding": same}, {**geometry, "padding": none}
    halved = {"pool_size": (2, 2), "strides": (2, 2), "padding": none}
    return graph(
        layer("conv2d", (6, 6, 1), large, padded, ("x",), "conv", kernel=integers(seed, 3, 3, 1, 3)),
        layer("relu", large, large, {}, ("conv",), "conv_relu"),
        layer("max_pool2d", large, small, halved, ("conv_relu",), "pool"),
        layer("conv2d", small, small, plain, ("pool",), "mix", kernel=integers(seed + 1, 1, 1, 3, 3)),
        layer("relu", small, small, {}, ("mix",), "mix_relu"),
        layer("add", [small, small], small, {}, ("pool", "mix_relu"), "add"),
        layer("flatten", small, (27,), {"order": "channels_last"}, ("add",), "flatten"),
        dense(integers(seed + 2, 27, 4), inputs=("flatten",), name="logits"),
        input_shape=(6, 6, 1),
    )


def test_a_trace_holds_every_layer_in_forward_order() -> None:
    """Logit 0 is 6 = 3 * 2 + 0 * 1; hidden 0 gets all of it; 3 = 1 * 1 + -1 * -2 shares it as 2 and 4."""
    trace = explain(TWO_LAYERS, X, method("lrp.z"))
    assert list(trace.layers) == ["x", "hidden", "hidden_relu", "logits"]
    assert [one.kind for one in trace.layers.values()] == ["input", "dense", "relu", "dense"]
    assert {
        name: one.activation.tolist() for name, one in trace.layers.items() if one.activation is not None
    } == {
        "x": [[1, -2]],
        "hidden": [[3, -5]],
        "hidden_relu": [[3, 0]],
        "logits": [[6, -3]],
    }
    assert {
        name: one.relevance.tolist() for name, one in trace.layers.items() if one.relevance is not None
    } == {
        "x": [[2, 4]],
        "hidden": [[6, 0]],
        "hidden_relu": [[6, 0]],
        "logits": [[6, 0]],
    }
    assert trace.attribution.tolist() == [[2, 4]]
    assert trace.logits.tolist() == [[6, -3]]
    assert (trace.model, trace.backend, trace.dtype) == ("small", "oracle", "float64")


def test_the_layers_are_left_out_on_request() -> None:
    assert explain(TWO_LAYERS, X, method("lrp.z"), layers=False).layers == {}


def test_the_target_is_the_largest_logit_of_each_sample_unless_given() -> None:
    # x = (-2, 1): hidden (-3, 4), logits (4, 4): of equal ones the first
    both = np.array([[1.0, -2.0], [-2.0, 1.0]])
    assert explain(TWO_LAYERS, both, method("gradient")).target.tolist() == [0, 0]
    other = explain(TWO_LAYERS, both, method("gradient"), target=np.array([1, 0]))
    assert other.layers["logits"].relevance.tolist() == [[0, 1], [1, 0]]
    assert other.target.dtype == np.int64


@pytest.mark.parametrize(("name", "start"), [("lrp.z", -3.0), ("gradient", 1.0)])
def test_lrp_starts_from_the_logit_and_the_gradient_from_one(name: str, start: float) -> None:
    trace = explain(TWO_LAYERS, X, method(name), target=np.array([1]))
    assert trace.layers["logits"].relevance.tolist() == [[0, start]]


def test_input_times_gradient_keeps_the_gradient_in_the_trace() -> None:
    """Through the open hidden 0 only: d logit 0 / dx = 2 * (1, -1)."""
    trace = explain(TWO_LAYERS, X, method("input_t_gradient"))
    assert trace.layers["x"].relevance.tolist() == [[2, -2]]
    assert trace.attribution.tolist() == [[2, 4]]


def test_relevance_is_summed_over_the_readers_and_zero_without_any() -> None:
    # logit = a + b with a = 2 x, b = 3 x; nothing reads the aside
    forked = graph(
        dense([[2]], name="a", inputs=("x",)),
        dense([[3]], name="b", inputs=("x",)),
        dense([[7]], name="aside", inputs=("a",)),
        layer("add", [(1,), (1,)], (1,), inputs=("a", "b"), name="sum"),
        input_shape=(1,),
    )
    trace = explain(forked, np.array([[1.0]]), method("gradient"))
    assert trace.attribution.tolist() == [[5]]
    assert trace.layers["aside"].relevance.tolist() == [[0]]
    assert trace.layers["a"].relevance.tolist() == [[1]]


def test_the_first_assignment_that_applies_decides() -> None:
    """Epsilon 3 at the output: S = 6 + 3, two thirds of the relevance are left; Z below shares all of it."""
    rules = Composite(
        (
            Assignment(Epsilon(3.0), names=("logits",)),
            Assignment(Z(), kinds=("dense",)),
            Assignment(Gradient()),
        )
    )
    trace = explain(TWO_LAYERS, X, Method("mixed", rules))
    assert trace.attribution.sum() == pytest.approx(4, rel=4 * UNIT)


def row_sum(kernel: np.ndarray) -> float:
    """The largest sum of absolute weights that leave one input channel: over the window and the outputs."""
    return float(np.abs(kernel).sum(axis=(*range(kernel.ndim - 2), -1)).max())


@settings(deadline=None)
@given(seeds)
def test_lrp_z_of_a_relu_network_without_bias_is_input_times_gradient(seed: int) -> None:
    """Every relevance is activation times gradient (Shrikumar et al. 2016; Kindermans et al. 2016).

    Input times gradient is exact here: whole numbers. LRP takes four steps (dense, add, two convolutions);
    each divides once, multiplies twice and adds at most 27 numbers, which are, however they cancel, no
    larger than the activations and gradients of the network of absolute values.
    """
    network, x = image_network(seed), integers(seed + 3, 2, 6, 6, 1)
    relevance = explain(network, x, method("lrp.z"))
    product = explain(network, x, method("input_t_gradient"), target=relevance.target)
    # A logit that is exactly zero has no relevance to share, but it has a gradient.
    assume(relevance.logits[np.arange(2), relevance.target].all())
    conv, mix, logits = (row_sum(network[name].weights["kernel"]) for name in ("conv", "mix", "logits"))
    magnitude = np.abs(x).max() * conv * (1 + mix) * logits
    bound = 4 * (27 + 3) * UNIT * magnitude
    assert np.abs(relevance.attribution - product.attribution).max() <= bound


#: One of each kind of what is not in the suite.
OTHER_METHODS = (
    "guided_backprop:dialect=signxai",
    "deconvnet",
    "deep_taylor",
    "integrated_gradients:steps=3",
    "smoothgrad_x_sign:augment_by_n=3",
    "vargrad:augment_by_n=3",
    "guided_grad_cam:layer=conv",
    "lrpsign_epsilon_0_25_std_x_mu_0_5",
    "lrp.gamma",
    "excitation_backprop",
)


@pytest.mark.parametrize("name", [*SUITE_METHODS, *OTHER_METHODS])
def test_a_samples_explanation_does_not_depend_on_the_others_in_its_batch(name: str) -> None:
    network = image_network(5)
    one, other = integers(6, 3, 6, 6, 1), integers(7, 3, 6, 6, 1)
    other[1] = one[1]
    kept = explain(network, one, method(name)).attribution
    assert np.any(kept[1])
    assert np.array_equal(kept[1], explain(network, other, method(name)).attribution[1])


# The backend -----------------------------------------------------------------------------------------


def test_the_backend_explains_and_says_what_with() -> None:
    prepared = ready(OracleBackend(), SmallModel(TWO_LAYERS), "float64")
    for name in ("logits", "steps", "deviations", "denominators"):
        assert capability(prepared.prepared, name)
    for name in ("activations", "programs"):
        assert capability(prepared.prepared, name) is None
    trace = prepared.explain(X, method("lrp.z"))
    assert trace.attribution.tolist() == [[2, 4]]
    assert trace.provenance == {
        "backend": "oracle",
        "versions": OracleBackend().version(),
        "model_digest": "sha256:0",
        "dtype": "float64",
        "device": "cpu",
        "input_digest": array_digest(X),
    }


def test_a_single_step_is_the_step_of_the_whole_run() -> None:
    network = image_network(7)
    prepared = ready(OracleBackend(), SmallModel(network), "float64")
    chosen = method("lrp.alpha_2_beta_1:input_layer_rule=flat")
    trace = prepared.explain(integers(8, 1, 6, 6, 1), chosen).layers
    step = prepared.step(network["conv"], (trace["x"].activation,), trace["conv"].relevance, chosen)
    assert np.array_equal(step[0], trace["x"].relevance)


def test_every_name_of_the_catalogue_is_supported() -> None:
    assert [name for name in ALL_METHODS if OracleBackend().supports(method(name), TWO_LAYERS)] == []


@pytest.mark.parametrize(
    "unknown",
    [
        {"composite": Composite((Assignment(Z()), Assignment("rule")))},  # type: ignore[arg-type]
        {"composite": Composite((Assignment(FusedBatchNorm(Gradient())),))},  # type: ignore[arg-type]
        {"head": "softmax"},
        {"procedure": "occlusion"},
        {"postprocess": "cube"},
    ],
    ids=["rule", "inner rule", "head", "procedure", "postprocess"],
)
def test_what_is_unknown_is_not_supported(unknown: Any) -> None:
    assert OracleBackend().supports(method("gradient"), TWO_LAYERS) == ""
    reason = OracleBackend().supports(replace(method("gradient"), **unknown), TWO_LAYERS)
    assert reason.startswith("it has no ")


def test_the_prepared_backend_keeps_its_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = ready(OracleBackend(), SmallModel(TWO_LAYERS), "float64")
    first = prepared.explain(X, method("smoothgrad:augment_by_n=2")).attribution

    def never(*arguments: Any) -> None:
        raise AssertionError("sampled again")

    monkeypatch.setattr(procedures, "outcome", never)
    assert np.array_equal(prepared.explain(X, method("smoothgrad:augment_by_n=2")).attribution, first)


def test_a_method_that_is_not_for_such_a_network_is_an_error() -> None:
    with pytest.raises(MethodDoesNotApplyError, match="deep_taylor is for networks with relu or relu6 only"):
        explain(
            graph(layer("tanh", (2,), (2,), inputs=("x",), name="tanh"), input_shape=(2,)),
            X,
            method("deep_taylor"),
        )


def test_single_precision_is_refused_with_a_way_out() -> None:
    with pytest.raises(InvalidInputError, match="float64 only, and float32 was asked for; ask for float64"):
        ready(OracleBackend(), SmallModel(TWO_LAYERS), "float32")


def test_a_step_is_computed_in_double_precision_whatever_it_is_given() -> None:
    third = np.float32(1) / np.float32(3)
    (part,) = propagate(dense([[3.0]]), (np.array([[third]]),), np.ones((1, 1), np.float32), Z(bias=False))
    assert part.dtype == np.float64


def test_an_output_without_classes_is_an_error() -> None:
    maps = graph(layer("relu", (2, 2), (2, 2), inputs=("x",), name="maps"), input_shape=(2, 2))
    with pytest.raises(
        InvalidInputError, match=r"output 'maps' has shape \(batch, 2, 2\), expected \(batch, classes\)"
    ):
        explain(maps, np.ones((1, 2, 2)), method("gradient"))
