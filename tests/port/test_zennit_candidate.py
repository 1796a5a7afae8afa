"""Zennit's own rules under the catalogue's names: which hook goes where, and what is known to come of it."""

from __future__ import annotations

import numpy as np
import pytest

from harness.graph import Graph
from harness.methods import SUITE_METHODS, AlphaBeta, Method, SignedEpsilon, Z, lrp_composite, method
from ported_impls.backend import TorchBackend
from ported_impls.torchvision_shim import zennit
from ported_impls.zennit_candidate import (
    batch_norm_pairs,
    default_composite,
    merged_composite,
    zennit_backend,
)
from ported_models.build import Builder
from ported_models.model import PortedModel
from tests.models.graphs import branching_graph, random_input
from tests.port.one_layer import assert_equal

RNG = np.random.default_rng(21)
STATISTICS = {"mean": np.array([0.5, -1]), "variance": np.array([4.0, 0.25]), "gamma": np.array([2.0, 3])}


def batch_norm_graph() -> Graph:
    """conv, batch norm, ReLU, separable conv, average pooling, scale, dense."""
    b = Builder("normed", (4, 2))
    b.add("conv1d", "conv", weights={"kernel": RNG.normal(size=(2, 2, 2)), "bias": RNG.normal(size=2)})
    b.add("batch_norm", "norm", weights=STATISTICS, attributes={"epsilon": 1e-3})
    b.add("relu", "relu")
    kernels = {"depthwise_kernel": RNG.normal(size=(1, 2, 1)), "pointwise_kernel": RNG.normal(size=(2, 2))}
    b.add("separable_conv1d", "separable", weights=kernels)
    b.add("global_average_pool", "pooled")
    b.add("scale", "scale", weights={"kernel": np.array([2.0, 3])})
    b.add("dense", "head", weights={"kernel": RNG.normal(size=(2, 3))})
    return b.graph()


def hooks_of(graph: Graph, name: str) -> dict[str, str]:
    """Class names of the hooks that Zennit registers for a method, by module."""
    twin = PortedModel.from_graph(graph).torch("float64")
    composite = default_composite(twin, method(name))
    context: dict = {}
    found = {key: composite.module_map(context, key, module) for key, module in twin.named_modules()}
    return {key: type(hook).__name__ for key, hook in found.items() if hook is not None}


def test_kernels_get_the_rule_of_the_name_and_the_rest_zennits_base_map():
    assert hooks_of(batch_norm_graph(), "lrp.w_square") == {
        "conv": "WSquare",
        "norm": "Pass",
        "relu": "Pass",
        "separable.depthwise": "WSquare",
        "separable.pointwise": "WSquare",
        "pooled": "Norm",
        "head": "WSquare",
    }


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("lrp.z", "Epsilon"),
        ("lrp.epsilon", "Epsilon"),
        ("lrp.alpha_1_beta_0", "AlphaBeta"),
        ("lrp.alpha_2_beta_1_IB", "AlphaBeta"),
        ("lrp.z_plus", "ZPlus"),
        ("lrp.flat", "Flat"),
    ],
)
def test_rule_by_name(name, rule):
    assert hooks_of(batch_norm_graph(), name)["head"] == rule


def test_the_input_layer_rule_goes_to_the_layer_that_sees_the_input():
    hooks = hooks_of(batch_norm_graph(), "lrp.epsilon:input_layer_rule=bounded,low=0,high=1")
    assert (hooks["conv"], hooks["separable.depthwise"], hooks["head"]) == ("ZBox", "Epsilon", "Epsilon")


@pytest.mark.parametrize("name", ["gradient", "input_t_gradient"])
def test_gradients_have_no_hooks_and_the_head_of_the_method(name):
    assert hooks_of(batch_norm_graph(), name) == {}
    model = PortedModel.from_graph(batch_norm_graph())
    x = RNG.normal(size=(2, 4, 2))
    found, expected = (
        backend.prepare(model, "float64").explain(x, method(name)).attribution
        for backend in (zennit_backend(), TorchBackend())
    )
    np.testing.assert_array_equal(found, expected)


def one_dense(rule: Method, bias: list[float], x: list[float]) -> np.ndarray:
    """Attribution of a dense layer with kernel (1, -1), whose output is the only logit."""
    b = Builder("dense", (2,))
    b.add("dense", "head", weights={"kernel": np.array([[1.0], [-1]]), "bias": np.array(bias)})
    model = PortedModel.from_graph(b.graph())
    return zennit_backend().prepare(model, "float64").explain(np.array([x]), rule).attribution


def test_lrp_z_is_zennits_lrp_0_unprotected_where_the_output_is_zero():
    # 0 / 0; iNNvestigate would divide by 1e-7 and get zeros.
    assert np.isnan(one_dense(method("lrp.z"), [0.0], [1.0, 1.0])).all()


def test_zennit_leaves_the_bias_of_the_other_sign_out_of_alpha_beta():
    # x = (3, 1), b = -1, logit 1: activating 3 alone (iNNvestigate: 3 - 1), both with Zennit's 1e-6.
    assert_equal(one_dense(method("lrp.alpha_1_beta_0"), [-1.0], [3.0, 1.0]), [[3 / (3 + 1e-6), 0]])


def test_zennits_w_square_counts_the_bias():
    # x = (4, 1), b = 1, logit 4: squares 1 + 1 and the bias 1 (iNNvestigate: 2).
    assert_equal(one_dense(method("lrp.w_square"), [1.0], [4.0, 1.0]), [[4 / (3 + 1e-6)] * 2])


def test_a_stabilizer_of_the_methods_own_is_handed_over():
    # x = (3, 1), logit 2, S = 2 + 2: s = 0.5.
    signed = Method("mine", lrp_composite(Z(stabilizer=SignedEpsilon(2))))
    assert one_dense(signed, [0.0], [3.0, 1.0]).tolist() == [[1.5, -0.5]]
    other = Method("mine", lrp_composite(AlphaBeta(1, 0, bias=False)))
    # Without bias: activating 3, logit 2 + 5.
    assert_equal(one_dense(other, [5.0], [3.0, 1.0]), [[7 * 3 / (3 + 1e-6), 0]])


def test_add_has_no_rule_in_zennit_and_doubles_the_relevance():
    b = Builder("doubled", (1,))
    b.add("relu", "copy")
    b.add("add", "sum", ["copy", "input"])
    b.add("dense", "head", weights={"kernel": np.array([[1.0]])})
    model = PortedModel.from_graph(b.graph())
    found, expected = (
        backend.prepare(model, "float64").explain(np.array([[3.0]]), method("lrp.z")).attribution
        for backend in (zennit_backend(), TorchBackend())
    )
    assert expected.tolist() == [[6]]
    assert found.tolist() == [[12]]


def test_batch_norms_are_paired_along_the_graph_not_in_the_order_of_modules():
    b = Builder("branches", (4, 2))
    kernel = RNG.normal(size=(1, 2, 2))
    b.add("conv1d", "left", "input", weights={"kernel": kernel})
    b.add("conv1d", "right", "input", weights={"kernel": kernel})
    b.add("batch_norm", "left_norm", "left", weights=STATISTICS)
    b.add("batch_norm", "right_norm", "right", weights=STATISTICS)
    b.add("add", "sum", ["left_norm", "right_norm"])
    b.add("batch_norm", "sum_norm", weights=STATISTICS)
    assert batch_norm_pairs(b.graph()) == [("left", "left_norm"), ("right", "right_norm")]


def test_a_kernel_layer_that_others_read_too_is_not_merged():
    b = Builder("shared", (4, 2))
    b.add("conv1d", "conv", weights={"kernel": RNG.normal(size=(1, 2, 2))})
    b.add("batch_norm", "norm", weights=STATISTICS)
    b.add("add", "sum", ["conv", "norm"])
    assert batch_norm_pairs(b.graph()) == []


def test_merging_moves_the_batch_norm_into_the_layer_before_and_is_undone():
    model = PortedModel.from_graph(batch_norm_graph())
    x = RNG.normal(size=(1, 4, 2))
    plain = TorchBackend().prepare(model, "float64").explain(x, method("lrp.flat"))
    merged = zennit_backend(merge_batch_norms=True).prepare(model, "float64").explain(x, method("lrp.flat"))
    conv, norm = (merged.layers[name].activation for name in ("conv", "norm"))
    np.testing.assert_allclose(conv, plain.layers["norm"].activation, rtol=1e-13, atol=1e-13)
    # What is left of the batch norm still divides by sqrt(1 + epsilon): Zennit's, not ours.
    np.testing.assert_allclose(norm, conv / np.sqrt(1 + 1e-3), rtol=1e-13, atol=1e-13)
    again = TorchBackend().prepare(model, "float64").explain(x, method("lrp.flat"))
    np.testing.assert_array_equal(again.logits, plain.logits)


@pytest.mark.parametrize("name", SUITE_METHODS)
def test_each_step_of_a_run_is_what_the_layer_does_alone(name):
    graph = branching_graph(np.random.default_rng(1))
    x = random_input(graph, np.random.default_rng(2))
    prepared = zennit_backend().prepare(PortedModel.from_graph(graph), "float64")
    trace = prepared.explain(x, method(name))
    largest = max(np.abs(layer.relevance).max() for layer in trace.layers.values())
    for layer in graph.layers[1:]:
        inputs = tuple(trace.layers[source].activation for source in layer.inputs)
        received = prepared.propagate(layer, inputs, trace.layers[layer.name].relevance, method(name))
        for source, relevance in zip(layer.inputs, received, strict=True):
            if len(graph.consumers(source)) == 1:
                difference = np.abs(trace.layers[source].relevance - relevance).max()
                assert difference <= 100 * 2**-52 * largest, (layer.name, source)


def test_composites_are_for_any_twin_with_a_graph():
    twin = PortedModel.from_graph(batch_norm_graph()).torch("float64")
    composite = merged_composite(twin, method("lrp.flat"))
    assert isinstance(composite, zennit.core.Composite)
    assert len(composite.canonizers) == 1
