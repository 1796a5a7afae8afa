"""Zennit's own rules under the catalogue's names: which hook goes where, and what is known to come of it."""

from __future__ import annotations

from importlib.metadata import version

import numpy as np
import pytest

from harness.graph import Graph
from harness.methods import (
    SUITE_METHODS,
    AlphaBeta,
    Method,
    SignedEpsilon,
    Z,
    lrp_composite,
    method,
)
from ported_impls.backend import TorchBackend
from ported_impls.zennit_candidate import counterpart, zennit_backend
from ported_impls.zennit_composites import batch_norm_pairs
from ported_models.build import Builder
from ported_models.model import PortedModel
from tests.models.graphs import branching_graph, random_input
from tests.port.one_layer import assert_equal
from tests.port.zennit_graphs import RNG, STATISTICS, batch_norm_graph, relu_graph
from tests.prepared import ready


def hooks_of(graph: Graph, name: str) -> dict[str, str]:
    """Class names of the hooks that Zennit registers for a method, by module."""
    twin = PortedModel.from_graph(graph).torch("float64")
    composite = counterpart(graph, method(name))
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
        ("lrp.z_plus_fast", "ZPlus"),
        ("lrp.flat", "Flat"),
        ("lrp.gamma", "Gamma"),
        ("lrp.0", "Epsilon"),
        ("lrp_epsilon_0_33", "Epsilon"),
        ("lrp.sequential_preset_b", "Epsilon"),
    ],
)
def test_rule_by_name(name, rule):
    assert hooks_of(batch_norm_graph(), name)["head"] == rule


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("epsilon_plus", ("ZPlus", "ZPlus", "Epsilon")),
        ("epsilon_plus_flat", ("Flat", "ZPlus", "Epsilon")),
        ("epsilon_plus_box:low=-1,high=1", ("ZBox", "ZPlus", "Epsilon")),
        ("epsilon_alpha2_beta1", ("AlphaBeta", "AlphaBeta", "Epsilon")),
        ("epsilon_alpha2_beta1_flat", ("Flat", "AlphaBeta", "Epsilon")),
        ("epsilon_alpha2_beta1_box:low=-1,high=1", ("ZBox", "AlphaBeta", "Epsilon")),
        ("epsilon_gamma_box:low=-1,high=1", ("ZBox", "Gamma", "Epsilon")),
    ],
)
def test_zennits_named_composites(name, expected):
    hooks = hooks_of(batch_norm_graph(), name)
    assert (hooks["conv"], hooks["separable.depthwise"], hooks["head"]) == expected
    assert (hooks["norm"], hooks["relu"], hooks["pooled"]) == ("Pass", "Pass", "Norm")


def test_excitation_backprop_has_no_rule_for_activations():
    hooks = hooks_of(batch_norm_graph(), "excitation_backprop")
    kernels = dict.fromkeys(("conv", "separable.depthwise", "separable.pointwise", "head"), "ZPlus")
    assert hooks == {**kernels, "pooled": "Norm"}


@pytest.mark.parametrize(
    "name",
    [
        "epsilon_plus",
        "epsilon_plus_flat",
        "epsilon_plus_box:low=-3,high=3",
        "epsilon_alpha2_beta1",
        "epsilon_alpha2_beta1_flat",
        "epsilon_gamma_box:low=-3,high=3",
        "epsilon_gamma_box:low=-3.3/-2.1,high=2.7/3.1",
        "excitation_backprop",
        "excitation_backprop:bias=false",
        "lrp.gamma",
        "lrp.0:zeros=divide",
        "guided_backprop:dialect=zennit",
        "deconvnet:dialect=zennit",
    ],
)
def test_the_port_reads_zennits_names_as_zennit_does(name):
    rng = np.random.default_rng(31)
    b = Builder("plain", (8, 2))
    for index, (inputs, taps) in enumerate(((2, 3), (4, 2))):
        kernel = rng.normal(size=(taps, inputs, 4))
        b.add("conv1d", f"conv{index}", weights={"kernel": kernel, "bias": rng.normal(size=4)})
        b.add("relu", f"relu{index}")
    b.add("average_pool1d", "pooled", attributes={"pool_size": (2,)})
    b.add("flatten", "flat")
    b.add("dense", "head", weights={"kernel": rng.normal(size=(8, 3)), "bias": rng.normal(size=3)})
    model, x = PortedModel.from_graph(b.graph()), rng.normal(size=(2, 8, 2))
    port, stock = (
        ready(backend, model, "float64").explain(x, method(name))
        for backend in (TorchBackend(), zennit_backend())
    )
    for layer in model.graph:
        found, expected = port.layers[layer.name].relevance, stock.layers[layer.name].relevance
        # Sums of at most 8 terms, through five layers with denominators that may cancel by a digit each.
        assert np.abs(found - expected).max() <= 5 * 8 * 10 * 2**-52 * np.abs(expected).max(), layer.name


@pytest.mark.parametrize("dialect", ["innvestigate", "signxai", "zennit"])
def test_rectified_gradients_are_zennits_whatever_the_dialect(dialect):
    assert hooks_of(relu_graph(), f"guided_backprop:dialect={dialect}") == {"relu": "ReLUGuidedBackprop"}
    assert hooks_of(relu_graph(), f"deconvnet:dialect={dialect}") == {"relu": "ReLUDeconvNet"}


def test_layers_that_a_method_leaves_to_the_gradient_have_no_rule_of_the_base_map():
    assert hooks_of(relu_graph(), "deep_taylor") == {"conv": "ZPlus", "head": "ZPlus"}
    hooks = hooks_of(batch_norm_graph(), "lrp.z:activation_layers=gradient")
    assert ("relu" in hooks, hooks["norm"], hooks["pooled"]) == (False, "Pass", "Norm")


def test_the_input_layer_rule_goes_to_the_layer_that_sees_the_input():
    hooks = hooks_of(batch_norm_graph(), "lrp.epsilon:input_layer_rule=bounded,low=0,high=1")
    assert (hooks["conv"], hooks["separable.depthwise"], hooks["head"]) == ("ZBox", "Epsilon", "Epsilon")


@pytest.mark.parametrize("name", ["gradient", "input_t_gradient"])
def test_gradients_have_no_hooks_and_the_head_of_the_method(name):
    assert hooks_of(batch_norm_graph(), name) == {}
    model = PortedModel.from_graph(batch_norm_graph())
    x = RNG.normal(size=(2, 4, 2))
    found, expected = (
        ready(backend, model, "float64").explain(x, method(name)).attribution
        for backend in (zennit_backend(), TorchBackend())
    )
    np.testing.assert_array_equal(found, expected)


def one_dense(rule: Method, bias: list[float], x: list[float]) -> np.ndarray:
    """Attribution of a dense layer with kernel (1, -1), whose output is the only logit."""
    b = Builder("dense", (2,))
    b.add("dense", "head", weights={"kernel": np.array([[1.0], [-1]]), "bias": np.array(bias)})
    model = PortedModel.from_graph(b.graph())
    return ready(zennit_backend(), model, "float64").explain(np.array([x]), rule).attribution


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


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # x = (3, 1), logit 2, S = 2 + 2: s = 0.5.
        ("epsilon_plus:epsilon=2", [1.5, -0.5]),
        ("epsilon_alpha2_beta1:epsilon=2,head=one", [0.75, -0.25]),
        ("epsilon_gamma_box:low=0,high=1,epsilon=2", [1.5, -0.5]),
        # Activating 3 alone, S = 3 + 5.
        ("excitation_backprop:stabilizer=5", [3 / 8, 0]),
        # (1 + 1) 3 - 1 = 5, S = 5 + 3: 2 * 6/8 and 2 * -1/8.
        ("lrp.gamma:gamma=1,stabilizer=3", [1.5, -0.25]),
        # Ones: 2 of 2 + 6.
        ("epsilon_plus_flat:stabilizer=6", [0.25, 0.25]),
    ],
)
def test_parameters_reach_zennit(name, expected):
    assert_equal(one_dense(method(name), [0.0], [3.0, 1.0]), [expected])


def test_excitation_backprop_with_and_without_the_positive_bias():
    # Activating 3 and the bias 5.
    kept, left_out = (
        one_dense(method(f"excitation_backprop:stabilizer=8,bias={bias}"), [5.0], [3.0, 1.0])
        for bias in ("true", "false")
    )
    assert_equal(kept, [[3 / 16, 0]])
    assert_equal(left_out, [[3 / 11, 0]])


def test_add_has_no_rule_in_zennit_and_doubles_the_relevance():
    b = Builder("doubled", (1,))
    b.add("relu", "copy")
    b.add("add", "sum", ["copy", "input"])
    b.add("dense", "head", weights={"kernel": np.array([[1.0]])})
    model = PortedModel.from_graph(b.graph())
    found, expected = (
        ready(backend, model, "float64").explain(np.array([[3.0]]), method("lrp.z")).attribution
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
    plain = ready(TorchBackend(), model, "float64").explain(x, method("lrp.flat"))
    merged = ready(zennit_backend(merge_batch_norms=True), model, "float64").explain(x, method("lrp.flat"))
    conv, norm = (merged.layers[name].activation for name in ("conv", "norm"))
    np.testing.assert_allclose(conv, plain.layers["norm"].activation, rtol=1e-13, atol=1e-13)
    # What Zennit 0.5 leaves of the batch norm still divides by sqrt(1 + epsilon); Zennit 1.0 sets its epsilon to zero.
    epsilon = 1e-3 if version("zennit").startswith("0.") else 0.0
    np.testing.assert_allclose(norm, conv / np.sqrt(1 + epsilon), rtol=1e-13, atol=1e-13)
    again = ready(TorchBackend(), model, "float64").explain(x, method("lrp.flat"))
    np.testing.assert_array_equal(again.logits, plain.logits)


@pytest.mark.parametrize("name", SUITE_METHODS)
def test_each_step_of_a_run_is_what_the_layer_does_alone(name):
    graph = branching_graph(np.random.default_rng(1))
    x = random_input(graph, np.random.default_rng(2))
    prepared = ready(zennit_backend(), PortedModel.from_graph(graph), "float64")
    trace = prepared.explain(x, method(name))
    largest = max(np.abs(layer.relevance).max() for layer in trace.layers.values())
    for layer in graph.layers[1:]:
        inputs = tuple(trace.layers[source].activation for source in layer.inputs)
        received = prepared.step(layer, inputs, trace.layers[layer.name].relevance, method(name))
        for source, relevance in zip(layer.inputs, received, strict=True):
            if len(graph.consumers(source)) == 1:
                difference = np.abs(trace.layers[source].relevance - relevance).max()
                assert difference <= 100 * 2**-52 * largest, (layer.name, source)
