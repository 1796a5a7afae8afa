"""Whole networks: how relevance starts, adds up, is reported and ends; and what a trace says about itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from harness.errors import InvalidInputError, MethodDoesNotApplyError
from harness.files import array_digest
from harness.graph import Graph, Layer
from harness.methods import (
    SUITE_METHODS,
    Assignment,
    Composite,
    Deconvolution,
    Gradient,
    GuidedReLU,
    Method,
    Rule,
    StdEpsilon,
    method,
)
from harness.trace import Trace
from ported_models.build import Builder
from ported_models.model import PortedModel
from reference_impls.tensorflow import TensorFlowBackend
from tests.prepared import ready
from tests.reference.one_layer import assert_equal

EPS = np.finfo(np.float64).eps


def explain(model: Any, x: Any, name: str | Method, dtype: str = "float64", **options: Any) -> Trace:
    return ready(TensorFlowBackend(), model, dtype).explain(np.asarray(x, dtype), method(name), **options)


def residual() -> PortedModel:
    """``h = relu(x [[1, -1], [1, 1]])``, ``y = sum(h + h [[1, 0], [1, 2]]) + 2``, one class."""
    builder = Builder("residual", (2,))
    builder.add("dense", "first", weights={"kernel": np.array([[1.0, -1], [1, 1]])})
    builder.add("relu", "h")
    builder.add("dense", "branch", weights={"kernel": np.array([[1.0, 0], [1, 2]])})
    builder.add("add", "sum", inputs=["h", "branch"])
    builder.add("dense", "logit", weights={"kernel": np.ones((2, 1)), "bias": np.array([2.0])})
    return PortedModel.from_graph(builder.graph())


# x = [1, 2]: h = [3, 1], branch = [3 + 1, 2] = [4, 2], sum = [7, 3], logit = 7 + 3 + 2 = 12.
# LRP-Z: R/z = 12/12 = 1 at the logit, so sum keeps [7, 3]; 1 at the add: h gets [3, 1], branch [4, 2];
# 1 again at branch: [3 * (1 + 0), 1 * (1 + 2)] = [3, 3], so h has [6, 4]; z = h, R/z = [2, 4] at first:
# [1 * (1*2 - 1*4), 2 * (1*2 + 1*4)] = [-2, 12], which is 12 without the bias of 2.
RESIDUAL_Z = {
    "input": [-2, 12],
    "first": [6, 4],
    "h": [6, 4],
    "branch": [4, 2],
    "sum": [7, 3],
    "logit": [12],
}
# Gradient: 1, [1, 1] at sum and branch, h gets [1, 1] + [1 + 0, 1 + 2] = [2, 4], x gets [2 - 4, 2 + 4].
RESIDUAL_GRADIENT = {
    "input": [-2, 6],
    "first": [2, 4],
    "h": [2, 4],
    "branch": [1, 1],
    "sum": [1, 1],
    "logit": [1],
}


@pytest.mark.parametrize(
    ("name", "expected"), [("lrp.z", RESIDUAL_Z), ("gradient", RESIDUAL_GRADIENT)], ids=["lrp.z", "gradient"]
)
def test_a_layer_holds_the_sum_of_what_all_its_readers_send_back(
    name: str, expected: dict[str, list[float]]
) -> None:
    trace = explain(residual(), [[1, 2]], name)
    assert list(trace.layers) == ["input", "first", "h", "branch", "sum", "logit"]
    for layer, relevance in expected.items():
        assert_equal(trace.layers[layer].relevance, [relevance])
    assert_equal(trace.attribution, [expected["input"]])


def test_activations_axes_and_kinds_are_the_graphs() -> None:
    trace = explain(residual(), [[1, 2]], "lrp.z")
    assert_equal(trace.layers["input"].activation, [[1, 2]])
    assert_equal(trace.layers["sum"].activation, [[7, 3]])
    assert_equal(trace.logits, [[12]])
    assert (trace.layers["sum"].kind, trace.layers["sum"].axes) == ("add", ("batch", "feature"))


def test_input_t_gradient_multiplies_after_the_layers_have_been_recorded() -> None:
    trace = explain(residual(), [[1, 2]], "input_t_gradient")
    assert_equal(trace.layers["input"].relevance, [[-2, 6]])
    assert_equal(trace.attribution, [[-2, 12]])


def test_a_tensor_added_to_itself_gets_both_shares() -> None:
    builder = Builder("twice", (2,))
    builder.add("add", "sum", inputs=["input", "input"])
    model = PortedModel.from_graph(builder.graph())
    # z = 2x, so each of the two readings sends back half of the logit 6.
    assert_equal(explain(model, [[1, 3]], "lrp.z").attribution, [[0, 6]])
    assert_equal(explain(model, [[1, 3]], "gradient").attribution, [[0, 2]])


def scores() -> PortedModel:
    """Three classes: ``x0``, ``x1`` and ``x0 + 2 x1``."""
    builder = Builder("scores", (2,))
    builder.add("dense", "logits", weights={"kernel": np.array([[1.0, 0, 1], [0, 1, 2]])})
    return PortedModel.from_graph(builder.graph())


def test_each_sample_is_explained_for_its_own_largest_logit_and_by_itself() -> None:
    # Logits [1, 2, 5] and [4, -3, -2].
    trace = explain(scores(), [[1, 2], [4, -3]], "lrp.z")
    assert_array_equal(trace.target, [2, 0])
    assert trace.target.dtype == np.int64
    assert_equal(trace.layers["logits"].relevance, [[0, 0, 5], [4, 0, 0]])
    assert_equal(trace.attribution, [[1, 4], [4, 0]])


def test_a_target_that_is_given_is_the_one_explained() -> None:
    x = [[1, 2], [4, -3]]
    assert_equal(explain(scores(), x, "lrp.z", target=np.array([1, 2])).attribution, [[0, 2], [4, -6]])
    assert_equal(explain(scores(), x, "gradient", target=np.array([1, 2])).attribution, [[0, 1], [1, 2]])


def test_the_input_layer_rule_is_used_where_a_layer_sees_the_input_and_only_there() -> None:
    trace = explain(residual(), [[1, 2]], "lrp.z:input_layer_rule=flat")
    assert_equal(trace.layers["h"].relevance, [[6, 4]])
    assert_equal(trace.attribution, [[5, 5]])


def test_without_layers_the_same_attribution_comes_alone() -> None:
    bare = explain(residual(), [[1, 2]], "lrp.z", layers=False)
    assert bare.layers == {}
    assert_equal(bare.attribution, [[-2, 12]])
    assert_equal(bare.logits, [[12]])


def convolutional(bias: bool) -> PortedModel:
    """Two convolutions, max and average pooling, a residual add and two classes, with random weights."""
    rng = np.random.default_rng(7)

    def weights(*shape: int) -> dict[str, np.ndarray]:
        kernel = rng.standard_normal(shape)
        return {"kernel": kernel, "bias": rng.standard_normal(shape[-1])} if bias else {"kernel": kernel}

    builder = Builder("convolutional", (9, 9, 3))
    builder.add("conv2d", "stem", attributes={"padding": "same"}, weights=weights(3, 3, 3, 4))
    builder.add("relu", "stem_relu")
    builder.add("max_pool2d", "pool", attributes={"pool_size": (2, 2), "padding": "same"})
    builder.add("conv2d", "branch", attributes={"padding": "same"}, weights=weights(3, 3, 4, 4))
    builder.add("add", "sum", inputs=["pool", "branch"])
    builder.add("relu", "sum_relu")
    builder.add("average_pool2d", "average", attributes={"pool_size": (2, 2), "padding": "same"})
    builder.add("flatten", "flat")
    builder.add("dense", "logits", weights=weights(36, 2))
    return PortedModel.from_graph(builder.graph())


def image(batch: int = 2) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((batch, 9, 9, 3))


def rounding(trace: Trace) -> float:
    """What rounding can add up to: an epsilon per operation, on the largest sum of absolute relevance.

    A value passes at most ten layers, each of at most 36 products and sums.
    """
    largest = max(np.abs(layer.relevance).sum() for layer in trace.layers.values())
    return float(10 * 36 * EPS * largest)


def test_z_without_bias_conserves_relevance_at_every_cut() -> None:
    trace = explain(convolutional(bias=False), image(batch=1), "lrp.z")
    logit = trace.logits.max()
    chain = ["input", "stem", "stem_relu", "pool", "sum", "sum_relu", "average", "flat", "logits"]
    for name in set(chain) - {"pool"}:
        assert abs(trace.layers[name].relevance.sum() - logit) <= rounding(trace), name


def test_z_in_a_relu_network_is_input_times_gradient() -> None:
    # Shrikumar et al. 2016, biases or not, where relu, max and average pooling are all that is not affine.
    model = convolutional(bias=True)
    z, gradient = explain(model, image(), "lrp.z"), explain(model, image(), "input_t_gradient")
    assert np.abs(z.attribution - gradient.attribution).max() <= rounding(z)
    assert np.abs(z.attribution).max() > 0.1


#: One name for each procedure, postprocess and rule that the suites leave out.
OTHER_METHODS = (
    "integrated_gradients:steps=2",
    "smoothgrad:augment_by_n=2",
    "vargrad_x_sign_mu_0_5:augment_by_n=2",
    "grad_cam:layer=branch",
    "guided_grad_cam:layer=branch",
    "input",
    "random",
    "random_uniform",
    "guided_backprop_x_sign",
    "deconvnet",
    "deep_taylor",
    "gradient:postprocess=abs",
    "gradient:postprocess=square",
    "lrp.z_plus_fast",
    "lrp.gamma",
    "lrp.gamma:signed=false",
    "lrp.0:zeros=divide",
    "lrpsign_epsilon_0_25_std_x_mu_0_5",
    "zblrp_alpha_2_beta_1",
    "excitation_backprop",
)


@pytest.mark.thinned(0.3)
@pytest.mark.parametrize("name", [*SUITE_METHODS, *OTHER_METHODS])
def test_every_array_is_in_the_dtype_that_was_asked_for(name: str) -> None:
    for dtype in ("float32", "float64"):
        trace = explain(convolutional(bias=True), image(), name, dtype)
        arrays = [trace.logits, trace.attribution]
        for layer in trace.layers.values():
            arrays += [layer.activation, layer.relevance]
        assert {str(array.dtype) for array in arrays} == {dtype}


def test_one_forward_pass_serves_all_methods_on_an_input() -> None:
    prepared = TensorFlowBackend().prepare(residual(), "float64")
    x, target = np.array([[1.0, 2.0]]), np.array([0])
    logits = prepared.logits(x)
    first, second = (prepared.run(x, method(name), target, True) for name in ("lrp.z", "lrp.flat"))
    assert np.shares_memory(first.activations["h"], second.activations["h"])
    assert np.shares_memory(first.logits, logits)
    x[:] = [[2.0, 1.0]]
    changed = prepared.run(x, method("lrp.z"), target, True)
    assert_equal(changed.activations["h"], [[3, 0]])
    assert_equal(first.activations["input"], [[1, 2]])


def test_arrays_of_a_run_cannot_be_written_to_since_runs_share_them() -> None:
    prepared = TensorFlowBackend().prepare(residual(), "float64")
    found = prepared.run(np.array([[1.0, 2]]), method("lrp.z"), np.array([0]), True)
    with pytest.raises(ValueError, match="read-only"):
        found.activations["h"][:] = 0


def test_a_step_on_the_traces_own_data_is_the_step_of_the_run_bit_for_bit() -> None:
    model = convolutional(bias=True)
    prepared = ready(TensorFlowBackend(), model, "float64")
    for name in SUITE_METHODS:
        trace = prepared.explain(image(), method(name))
        for layer in model.graph.layers[1:]:
            inputs = tuple(trace.layers[source].activation for source in layer.inputs)
            shares = prepared.step(layer, inputs, trace.layers[layer.name].relevance, method(name))
            for source, share in zip(layer.inputs, shares, strict=True):
                if len(model.graph.consumers(source)) == 1:
                    assert_array_equal(share, trace.layers[source].relevance)


def test_a_layer_with_no_way_to_the_output_has_zero_relevance() -> None:
    import keras

    model = residual()
    idle = Layer("idle", "relu", ("first",), ((2,),), (2,), ("batch", "feature"))
    graph = Graph("idle end", (*model.graph.layers, idle), model.graph.output)
    twin = model.keras("float64")
    dangling = keras.layers.ReLU(name="idle", dtype="float64")(twin.get_layer("first").output)
    both = keras.Model(twin.inputs, [twin.output, dangling])

    class WithIdleLayer:
        name, digest, input_shape = "idle end", "", (2,)

        def __init__(self) -> None:
            self.graph = graph

        def keras(self, dtype: str) -> Any:
            return both

    trace = explain(WithIdleLayer(), [[1, 2]], "lrp.z")
    assert_equal(trace.layers["idle"].activation, [[3, 1]])
    assert_equal(trace.layers["idle"].relevance, [[0, 0]])
    assert_equal(trace.attribution, [RESIDUAL_Z["input"]])


def test_a_network_that_ends_in_a_map_instead_of_logits_is_refused() -> None:
    builder = Builder("map", (3, 1))
    builder.add("relu", "map_relu")
    with pytest.raises(
        InvalidInputError, match=r"output 'map_relu' has shape \(batch, 3, 1\), expected \(batch, classes\)"
    ):
        explain(PortedModel.from_graph(builder.graph()), np.ones((1, 3, 1)), "gradient")


def test_a_trace_says_what_it_was_made_of() -> None:
    model, x = residual(), np.array([[1, 2]], np.float32)
    backend = TensorFlowBackend()
    trace = ready(backend, model, "float32").explain(x, method("lrp.z"))
    assert trace.provenance == {
        "backend": "tensorflow",
        "versions": backend.version(),
        "model_digest": model.digest,
        "dtype": "float32",
        "device": "cpu",
        "input_digest": array_digest(x),
    }
    assert (trace.model, trace.backend, trace.dtype) == ("residual", "tensorflow", "float32")
    assert trace.method == method("lrp.z")


def rectified(rule: Rule) -> Method:
    """Gradient, but for ``rule`` at every relu, from a one at the output."""
    return Method("test", Composite((Assignment(rule, kinds=("relu",)), Assignment(Gradient()))), head="one")


def two_readers() -> PortedModel:
    """``h = relu(x)``, ``y = (h + h [[-3, 0], [0, 1]]) [1, -1]``."""
    builder = Builder("two readers", (2,))
    builder.add("relu", "h")
    builder.add("dense", "branch", weights={"kernel": np.array([[-3.0, 0], [0, 1]])})
    builder.add("add", "sum", inputs=["h", "branch"])
    builder.add("dense", "logit", weights={"kernel": np.array([[1.0], [-1]])})
    return PortedModel.from_graph(builder.graph())


# The add sends [1, -1] back to h, the branch [-3 * 1, 1 * -1].
@pytest.mark.parametrize(
    ("rule", "at_h", "at_input"),
    [
        pytest.param(GuidedReLU(), [-2, -2], [0, 0], id="guided, of the sum"),
        pytest.param(GuidedReLU(per_edge=True), [1, 0], [1, 0], id="guided, of each share"),
        pytest.param(Deconvolution(), [-2, -2], [0, 0], id="deconvolution, of the sum"),
        pytest.param(Deconvolution(per_edge=True), [1, 0], [1, 0], id="deconvolution, of each share"),
    ],
)
def test_shares_are_rectified_one_by_one_before_they_are_summed(
    rule: Rule, at_h: list[float], at_input: list[float]
) -> None:
    trace = explain(two_readers(), [[1, 1]], rectified(rule))
    assert_equal(trace.layers["h"].relevance, [at_h])
    assert_equal(trace.attribution, [at_input])


@pytest.mark.parametrize("rule", [GuidedReLU(per_edge=True), Deconvolution(per_edge=True)], ids=str)
def test_what_one_reader_takes_twice_is_one_share(rule: Rule) -> None:
    # The joined values have the weights 5 and -3, together 2; the other reader has 4: 2 + 4, not 5 + 0 + 4.
    builder = Builder("twice", (1,))
    builder.add("relu", "h")
    builder.add("concat", "joined", ["h", "h"])
    builder.add("dense", "up", weights={"kernel": np.array([[5.0], [-3]])})
    builder.add("dense", "beside", "h", weights={"kernel": np.array([[4.0]])})
    builder.add("add", "logit", ["up", "beside"])
    trace = explain(PortedModel.from_graph(builder.graph()), [[1]], rectified(rule))
    assert_equal(trace.layers["h"].relevance, [[6]])
    assert_equal(trace.attribution, [[6]])


def test_the_share_of_an_only_reader_is_not_rectified_before_the_rule() -> None:
    builder = Builder("one reader", (2,))
    builder.add("relu", "h")
    builder.add("dense", "logit", weights={"kernel": np.array([[1.0], [-1]])})
    trace = explain(PortedModel.from_graph(builder.graph()), [[1, 1]], rectified(GuidedReLU(per_edge=True)))
    assert_equal(trace.layers["h"].relevance, [[1, -1]])
    assert_equal(trace.attribution, [[1, 0]])


def test_the_standard_deviation_is_that_of_each_sample_alone() -> None:
    # std 1 and 2, logits 4 and 4: S(z) = 5 and 6.
    builder = Builder("sum", (2,))
    builder.add("dense", "logit", weights={"kernel": np.ones((2, 1))})
    asked = Method("test", Composite((Assignment(StdEpsilon(1)),)), head="one")
    trace = explain(PortedModel.from_graph(builder.graph()), [[1, 3], [0, 4]], asked)
    assert_equal(trace.attribution, [[1 / 5, 3 / 5], [0, 4 / 6]])


def test_a_method_that_is_not_for_such_a_network_says_so() -> None:
    builder = Builder("bent", (2,))
    builder.add("tanh", "tanh")
    model = PortedModel.from_graph(builder.graph())
    with pytest.raises(MethodDoesNotApplyError, match=r"deep_taylor is for networks with relu.*tanh"):
        explain(model, [[1, 2]], "deep_taylor")
