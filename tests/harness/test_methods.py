"""Names become methods, methods become JSON and come back, bad names say what is wrong."""

from __future__ import annotations

import numpy as np
import pytest

from harness.errors import InvalidInputError, UnknownNameError
from harness.graph import Graph, Layer
from harness.methods import (
    SUITE_METHODS,
    AlphaBeta,
    Bounded,
    Epsilon,
    Flat,
    FusedBatchNorm,
    Gradient,
    Pass,
    Z,
    from_json,
    method,
    slug,
    to_json,
)


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


def test_heads_and_post_processing() -> None:
    assert (method("gradient").head, method("gradient").postprocess) == ("one", "none")
    assert method("input_t_gradient").postprocess == "times_input"
    assert method("lrp.flat").head == "logit"


@pytest.mark.parametrize("name", SUITE_METHODS)
def test_methods_survive_json(name: str) -> None:
    assert from_json(to_json(method(name))) == method(name)


def test_names_of_files_are_unique_and_plain() -> None:
    slugs = {slug(name) for name in SUITE_METHODS}
    assert len(slugs) == len(SUITE_METHODS)
    assert all(set(name) <= set("abcdefghijklmnopqrstuvwxyzIB0123456789._-") for name in slugs)


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
        ("lrp.z:low=0", InvalidInputError, "needs input_layer_rule=bounded"),
        ("lrp.z:input_layer_rule=bounded,low=2,high=1", InvalidInputError, "low must be below high"),
        ("gradient:epsilon=1", UnknownNameError, "unknown parameter of gradient"),
    ],
)
def test_bad_names_are_one_line_that_names_the_parameter(name: str, error: type, text: str) -> None:
    with pytest.raises(error, match=text) as caught:
        method(name)
    assert "\n" not in str(caught.value)


def test_alpha_and_beta_must_differ_by_one() -> None:
    with pytest.raises(InvalidInputError, match="alpha - beta exactly 1"):
        AlphaBeta(2, 0)


def test_json_of_an_unknown_class_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="no part of a method"):
        from_json({"is": "Popen", "args": ["true"]})
