"""Names become methods, methods become JSON and come back, bad names say what is wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from harness.errors import InvalidInputError, MethodDoesNotApplyError, UnknownNameError
from harness.graph import Graph, Layer
from harness.methods import (
    ALL_METHODS,
    AlphaBeta,
    AlphaBetaX,
    Assignment,
    BatchNormReverse,
    Bounded,
    Composite,
    Epsilon,
    Flat,
    FusedBatchNorm,
    Gradient,
    IntegratedGradients,
    Pass,
    Sign,
    Smoothed,
    StdEpsilon,
    TimesSign,
    WSquare,
    Z,
    cam_layer,
    from_json,
    gaussian_noise,
    method,
    slug,
    to_json,
)
from harness.methods.dialects import signxai


def small_graph() -> Graph:
    axes = ("batch", "feature")
    kernel = np.eye(2, dtype=np.float32)

    def layer(name: str, kind: str, *inputs: str) -> Layer:
        return Layer(name, kind, inputs, ((2,),) * len(inputs), (2,), axes, {}, {"kernel": kernel})

    return Graph(
        "small",
        (
            Layer("x", "input", (), (), (2,), axes),
            layer("flat", "flatten", "x"),
            layer("a", "dense", "flat"),
            layer("a_relu", "relu", "a"),
            layer("b", "dense", "x"),
            layer("sum", "add", "a_relu", "b"),
            layer("norm", "batch_norm", "sum"),
            layer("pool", "max_pool2d", "norm"),
            layer("c", "dense", "pool"),
        ),
        "c",
    )


def test_every_layer_kind_gets_the_rule_innvestigate_gives_it() -> None:
    rules = method("lrp.alpha_2_beta_1").composite.assign(small_graph())
    rule = AlphaBeta(2, 1)
    assert rules == {
        "flat": Gradient(),
        "a": rule,
        "a_relu": Pass(),
        "b": rule,
        "sum": Z(),
        "norm": FusedBatchNorm(rule),
        "pool": Gradient(),
        "c": rule,
    }


def test_the_input_layer_rule_reaches_every_kernel_that_sees_the_input_even_reshaped() -> None:
    rules = method("lrp.epsilon:epsilon=0.25,input_layer_rule=flat").composite.assign(small_graph())
    assert (rules["a"], rules["b"], rules["c"]) == (Flat(), Flat(), Epsilon(0.25))


def test_bounds_of_the_bounded_rule() -> None:
    graph = small_graph()
    assert method("lrp.z:input_layer_rule=bounded").composite.assign(graph)["a"] == Bounded(-1, 1)
    named = method("lrp.z:input_layer_rule=bounded,low=0,high=2.5")
    assert named.composite.assign(graph)["b"] == Bounded(0, 2.5)


@pytest.mark.parametrize(
    "low",
    [[-2.5, -2.0], np.array([-2.5, -2.0]), np.array([-2.5, -2.0]).reshape(1, 2, 1, 1)],
    ids=["list", "array", "tensor of the port's layout"],
)
def test_bounds_that_are_no_tuple_are_made_one(low: Any) -> None:
    assert Bounded(low=low, high=np.float32(1)) == Bounded(low=(-2.5, -2.0), high=1.0)


@pytest.mark.parametrize("low", [np.zeros((2, 2)), "low", None, [[1], [2, 3]]])
def test_bounds_that_are_of_no_channel_are_refused_in_one_line(low: Any) -> None:
    with pytest.raises(
        InvalidInputError, match="low must be a number, or one for each channel, found"
    ) as raised:
        Bounded(low=low)
    assert "\n" not in str(raised.value)


def test_bounds_of_each_channel() -> None:
    graph = small_graph()
    channels = graph["a"].input_shapes[0][-1]
    low, high = tuple(-2.5 - i for i in range(channels)), tuple(1.5 + i for i in range(channels))
    name = f"lrp.z:low={'/'.join(map(str, low))},high={'/'.join(map(str, high))}"
    rule = Bounded(low, high)
    assert method(name).composite.assignments[0].rule == rule
    assert from_json(to_json(method(name))) == method(name)
    one = Composite((Assignment(rule, names=("a",)), Assignment(Gradient())))
    assert one.assign(graph)["a"] == rule
    other = Composite((Assignment(Bounded((*low, -1.0), 9.0), names=("a",)), Assignment(Gradient())))
    with pytest.raises(
        InvalidInputError, match=rf"'a'.*{channels + 1} channels, but its input has {channels}"
    ):
        other.assign(graph)


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        ((0.0, 2.0), 1.0, "low=0/2, high=1"),
        ((0.0, 1.0), (2.0, 2.0, 2.0), "same channels, found 2 and 3"),
        ((), 1.0, "low must be below high"),
        ((0.0, 1.0), (1.0, 1.0), "low=0/1, high=1/1"),
    ],
)
def test_bounds_that_are_none(low: Any, high: Any, text: str) -> None:
    with pytest.raises(InvalidInputError, match=text):
        Bounded(low, high)


def test_heads_and_post_processing() -> None:
    assert (method("gradient").head, method("gradient").postprocess) == ("one", "none")
    assert method("input_t_gradient").postprocess == "times_input"
    assert method("lrp.flat").head == "logit"


@pytest.mark.parametrize("name", ALL_METHODS)
def test_methods_survive_json(name: str) -> None:
    assert from_json(to_json(method(name))) == method(name)


def test_names_of_files_are_unique_and_plain() -> None:
    slugs = {slug(name) for name in ALL_METHODS}
    assert len(slugs) == len(ALL_METHODS)
    assert all(
        set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._+-")
        for name in slugs
    )


@pytest.mark.parametrize(
    ("name", "error", "text"),
    [
        ("lrp.epsilom", UnknownNameError, "did you mean 'lrp.epsilon'"),
        ("lrp.epsilon:eps=1", UnknownNameError, "did you mean 'epsilon'"),
        ("lrp.epsilon:epsilon=0", InvalidInputError, "epsilon must be above 0"),
        ("lrp.epsilon:epsilon=-1", InvalidInputError, "epsilon must be above 0"),
        ("lrp.epsilon:epsilon=nan", InvalidInputError, "must be finite"),
        ("lrp.epsilon:epsilon=x", InvalidInputError, "must be a number"),
        ("lrp.epsilon:epsilon", InvalidInputError, "parameter=value"),
        ("lrp.epsilon:", InvalidInputError, "missing after the colon"),
        ("lrp.epsilon:epsilon=1,epsilon=2", InvalidInputError, "given twice"),
        ("lrp.z:input_layer_rule=flatt", UnknownNameError, "did you mean 'flat'"),
        (
            "lrp.z:input_layer_rule=flat,low=0",
            InvalidInputError,
            "low and high are for input_layer_rule=bounded",
        ),
        ("lrp.z:low=2,high=1", InvalidInputError, "low must be below high, found low=2, high=1"),
        ("lrp.alpha_beta", InvalidInputError, "alpha or beta is missing"),
        ("lrp.alpha_beta:alpha=2,beta=2", InvalidInputError, "alpha - beta 1, found alpha=2, beta=2"),
        ("lrp.alpha_beta:alpha=0.5", InvalidInputError, "alpha must be 1 or more"),
        ("lrp.z:until_layer_idx=1.5", InvalidInputError, "until_layer_idx must be a whole number"),
        ("lrp.z:until_layer_rule=Flat", InvalidInputError, "needs until_layer_idx"),
        ("lrp", InvalidInputError, "rule is missing; write lrp:rule=Z"),
        ("lrp:rule=Wsquare", UnknownNameError, "did you mean 'WSquare'"),
        ("deep_taylor.bounded:low=1", InvalidInputError, "high is missing"),
        ("integrated_gradients:steps=1", InvalidInputError, "steps must be a whole number, 2 or more"),
        ("smoothgrad:augment_by_n=0", InvalidInputError, "augment_by_n must be a whole number, 1 or more"),
        ("random:stddev=0", InvalidInputError, "stddev must be above 0"),
        ("lrp.gamma:gamma=-1", InvalidInputError, "gamma must be 0 or above"),
        ("epsilon_gamma_box:low=0", InvalidInputError, "high is missing"),
        ("gradient:dialect=captum", UnknownNameError, "unknown dialect of gradient 'captum'"),
        ("lrp.z:dialect=signxai", UnknownNameError, "unknown dialect of lrp.z 'signxai'"),
        ("lrp_epsilon_", InvalidInputError, "epsilon must be a number above 0"),
        ("lrp_epsilon_0", InvalidInputError, "epsilon must be above 0, found 0"),
        ("lrp_epsilon_neg_1", InvalidInputError, "epsilon must be above 0, found -1"),
        ("lrp_alpha_2_beta_2", InvalidInputError, "alpha - beta 1, found alpha=2, beta=2"),
        ("lrp_alpha_2", InvalidInputError, "alpha and beta must be numbers"),
        ("zblrp_z:low=2,high=1", InvalidInputError, "low must be below high"),
        ("lrp_z:low=0", InvalidInputError, "takes no parameters after a colon"),
        ("lrp_z_mu_1", InvalidInputError, "mu is the threshold of lrpsign"),
        ("lrp_z_VGG16ILSVRC", InvalidInputError, "VGG16ILSVRC stands for the bounds of zblrp"),
        ("grad_cam:layers=x", UnknownNameError, "did you mean 'layer'"),
        ("lrp.z:input_layer_rule=bounded,low=2,high=1", InvalidInputError, "low must be below high"),
        ("gradient:epsilon=1", UnknownNameError, "unknown parameter of gradient"),
    ],
)
def test_bad_names_are_one_line_that_names_the_parameter(name: str, error: type, text: str) -> None:
    with pytest.raises(error, match=text) as caught:
        method(name)
    assert "\n" not in str(caught.value)


def test_every_published_name_of_signxai_parses_and_prints_back() -> None:
    names = list(signxai.published_names())
    assert len(set(names)) == 152
    assert [method(name).name for name in names] == names


def test_signxai_names_are_a_grammar_and_take_values_nobody_listed() -> None:
    found = method("lrpsign_epsilon_0_25_std_x_mu_0_5")
    graph = small_graph()
    assert found.composite.assign(graph)["a"] == Sign(threshold=0.5)
    assert found.composite.assign(graph)["c"] == StdEpsilon(0.25)
    assert method("lrp_epsilon_0_33").composite.assign(graph)["c"] == Epsilon(0.33)
    assert method("gradient_x_sign_mu_neg_1_5").postprocess == TimesSign(-1.5)


def test_numbers_in_names_are_printed_in_one_way() -> None:
    assert method("lrpsign_epsilon_0_250_std_x_mu_0_50").name == "lrpsign_epsilon_0_25_std_x_mu_0_5"


def test_network_names_inside_names_are_aliases_of_parameters() -> None:
    alias, plain = method("zblrp_z_VGG16ILSVRC"), method("zblrp_z:low=-123.68,high=151.061")
    assert alias.composite == plain.composite
    assert method("grad_cam_VGG16ILSVRC").procedure == method("grad_cam:layer=block5_conv3").procedure


def test_a_name_of_several_libraries_is_read_as_innvestigate_unless_a_dialect_is_named() -> None:
    ours, theirs = method("integrated_gradients"), method("integrated_gradients:dialect=signxai")
    assert ours.procedure == IntegratedGradients(steps=64, endpoint=False)
    assert theirs.procedure == IntegratedGradients(steps=50, endpoint=True)
    assert [method(name).head for name in ("guided_backprop", "guided_backprop:dialect=zennit")] == [
        "logit",
        "one",
    ]


def test_a_signxai_batch_norm_gets_its_one_reading_whatever_the_rule() -> None:
    for name in ("lrp_z", "lrp_alpha_1_beta_0", "flatlrp_sequential_composite_b"):
        assert method(name).composite.assign(small_graph())["norm"] == BatchNormReverse()


def test_presets_tell_dense_from_convolution_and_read_batch_norm_with_a_rule_of_its_own() -> None:
    rules = method("lrp.sequential_preset_a").composite.assign(small_graph())
    assert (rules["a"], rules["norm"]) == (Epsilon(0.1), FusedBatchNorm(AlphaBetaX((2, 0), (1, 0))))


def test_batch_norm_rule_and_fuse_mode_are_parameters() -> None:
    graph = small_graph()
    assert method("lrp:rule=Z").composite.assign(graph)["norm"] == BatchNormReverse()
    two = method("lrp.z:bn_layer_fuse_mode=two_linear").composite.assign(graph)
    assert two["norm"] == FusedBatchNorm(Z(), "two_linear")


def test_only_activations_that_keras_has_a_layer_for_can_be_layers() -> None:
    axes = ("batch", "feature")

    def activation(name: str, kind: str, source: str) -> Layer:
        return Layer(name, kind, (source,), ((2,),), (2,), axes)

    graph = Graph(
        "bends",
        (
            Layer("x", "input", (), (), (2,), axes),
            activation("corner", "relu", "x"),
            activation("curve", "tanh", "corner"),
        ),
        "curve",
    )
    rules = method("lrp.z:activation_layers=gradient").composite.assign(graph)
    assert rules == {"corner": Gradient(), "curve": Pass()}


def test_a_scale_counts_as_a_kernel_and_deep_taylor_takes_it_for_one_without_activation() -> None:
    axes = ("batch", "feature")
    weights = {"kernel": np.ones(2)}
    graph = Graph(
        "scaled",
        (
            Layer("x", "input", (), (), (2,), axes),
            Layer("line", "scale", ("x",), ((2,),), (2,), axes, {}, weights),
        ),
        "line",
    )
    assert method("lrp.z:input_layer_rule=Flat").composite.assign(graph)["line"] == Flat()
    assert method("flatlrp_z").composite.assign(graph)["line"] == Flat()
    assert method("deep_taylor").composite.assign(graph)["line"] == WSquare()


def test_kernels_up_to_an_index_get_flat_and_the_index_counts_all_layers() -> None:
    graph = small_graph()  # x, flat, a, a_relu, b, ...
    upto_a = method("lrp.z:until_layer_idx=3").composite.assign(graph)
    assert (upto_a["a"], upto_a["b"]) == (Flat(), Z())
    with pytest.raises(InvalidInputError, match="until_layer_idx is 9; small has the layers 0 to 8"):
        method("lrp.z:until_layer_idx=9").composite.assign(graph)


def test_a_list_of_rules_is_used_up_from_its_end() -> None:
    rules = method("lrp:rule=Z/Epsilon/Flat").composite.assign(small_graph())
    assert (rules["a"], rules["b"], rules["c"]) == (Flat(), Epsilon(), Z())
    with pytest.raises(InvalidInputError, match="more than the 3 layers with a kernel"):
        method("lrp:rule=Z/Z/Z/Z").composite.assign(small_graph())
    with pytest.raises(InvalidInputError, match="no rule for layer 'c'"):
        method("lrp:rule=Z/Z").composite.assign(small_graph())


def test_zero_padding_hides_the_input_from_innvestigate_and_not_from_signxai() -> None:
    axes = ("batch", "width", "channel")
    kernel = {"kernel": np.ones((1, 1, 1))}
    graph = Graph(
        "padded",
        (
            Layer("x", "input", (), (), (3, 1), axes),
            Layer("pad", "zero_pad", ("x",), ((3, 1),), (5, 1), axes, {"padding": ((1, 1),)}),
            Layer("conv", "conv1d", ("pad",), ((5, 1),), (5, 1), axes, {}, kernel),
        ),
        "conv",
    )
    assert method("lrp.z:input_layer_rule=Flat").composite.assign(graph)["conv"] == Z()
    assert method("flatlrp_z").composite.assign(graph)["conv"] == Flat()


def test_deep_taylor_refuses_other_activations_and_names_the_layer() -> None:
    axes = ("batch", "feature")
    graph = Graph(
        "bent",
        (
            Layer("x", "input", (), (), (2,), axes),
            Layer("curve", "tanh", ("x",), ((2,),), (2,), axes),
        ),
        "curve",
    )
    with pytest.raises(
        MethodDoesNotApplyError, match=r"deep_taylor is for networks with relu.*tanh \(curve\)"
    ):
        method("deep_taylor").check(graph)
    method("gradient").check(graph)


def test_a_grad_cam_layer_that_is_not_there_is_named_with_its_nearest() -> None:
    axes = ("batch", "height", "width", "channel")
    graph = Graph(
        "image",
        (
            Layer("x", "input", (), (), (4, 4, 1), axes),
            Layer("conv", "conv2d", ("x",), ((4, 4, 1),), (4, 4, 2), axes),
            Layer("conv_relu", "relu", ("conv",), ((4, 4, 2),), (4, 4, 2), axes),
            Layer("dense", "dense", ("conv_relu",), ((32,),), (2,), ("batch", "feature")),
        ),
        "dense",
    )
    with pytest.raises(UnknownNameError, match="unknown Grad-CAM layer 'convv'; did you mean 'conv'"):
        method("grad_cam:layer=convv").check(graph)
    with pytest.raises(InvalidInputError, match="'dense' has no spatial axis"):
        method("grad_cam:layer=dense").check(graph)
    # Keras users name the layer with the activation inside it.
    assert [cam_layer(graph, name).name for name in (None, "conv", "conv_relu")] == ["conv_relu"] * 3


def test_noise_is_the_same_for_everybody_and_a_longer_sequence_starts_with_the_shorter() -> None:
    few = list(gaussian_noise(Smoothed(2, scale=0.5, seed=3), (1, 4)))
    many = list(gaussian_noise(Smoothed(3, scale=0.5, seed=3), (1, 4)))
    assert len(many) == 3
    np.testing.assert_array_equal(few, many[:2])
    other = next(iter(gaussian_noise(Smoothed(2, scale=0.5, seed=4), (1, 4))))
    assert not np.array_equal(few[0], other)


def test_alpha_and_beta_must_differ_by_one() -> None:
    with pytest.raises(InvalidInputError, match="alpha - beta exactly 1"):
        AlphaBeta(2, 0)


def test_json_of_an_unknown_class_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="no part of a method"):
        from_json({"is": "Popen", "args": ["true"]})
