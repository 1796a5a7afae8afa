"""Which analyzer and arguments a method of iNNvestigate's dialect stands for; needs no library."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from harness.errors import UnsupportedMethodError
from harness.graph import Graph
from harness.methods import ALL_METHODS, DIALECTS, gaussian_noise, method
from ported_models.build import Builder
from reference_impls.peers.innvestigate_calls import analyzer_of, call, knows


@pytest.mark.parametrize(
    ("name", "analyzer", "arguments"),
    (
        ("input", "input", {}),
        ("random:stddev=2,seed=3", "random", {"stddev": 2.0}),
        ("gradient:postprocess=abs", "gradient", {"postprocess": "abs"}),
        ("gradient.baseline:postprocess=none", "gradient.baseline", {"postprocess": None}),
        (
            "integrated_gradients:steps=8,reference_inputs=0.5",
            "integrated_gradients",
            {"steps": 8, "reference_inputs": 0.5},
        ),
        ("smoothgrad:augment_by_n=4,noise_scale=3", "smoothgrad", {"augment_by_n": 4, "noise_scale": 3.0}),
        ("lrp:rule=Z", "lrp", {"rule": "Z"}),
        ("lrp:rule=z/flat", "lrp", {"rule": ["Z", "Flat"]}),
        (
            "lrp:rule=Epsilon,bn_layer_rule=none,input_layer_rule=w_square",
            "lrp",
            {"rule": "Epsilon", "bn_layer_rule": None, "input_layer_rule": "WSquare"},
        ),
        ("lrp.z:low=0,high=1", "lrp.z", {"input_layer_rule": [0.0, 1.0]}),
        ("lrp.z:input_layer_rule=bounded", "lrp.z", {"input_layer_rule": [-1.0, 1.0]}),
        ("lrp.z:low=-2/-1,high=3", "lrp.z", {"input_layer_rule": [[-2.0, -1.0], 3.0]}),
        ("lrp.z:bias=false", "lrp", {"rule": "ZIgnoreBias", "bn_layer_rule": "ZIgnoreBias"}),
        ("lrp:rule=AlphaBetaX1010", "lrp", {"rule": "AlphaBetaX1010"}),
        ("lrp.z:input_layer_rule=Bounded,high=2", "lrp.z", {"input_layer_rule": [-1.0, 2.0]}),
        ("lrp.z:bn_layer_fuse_mode=two_linear", "lrp.z", {"bn_layer_fuse_mode": "two_linear"}),
        ("lrp.epsilon:epsilon=0.25,bias=false", "lrp.epsilon", {"epsilon": 0.25, "bias": False}),
        ("lrp.alpha_beta:alpha=3,beta=2", "lrp.alpha_beta", {"alpha": 3.0, "beta": 2.0}),
        (
            "lrp.sequential_preset_a:bn_layer_rule=AlphaBetaX2m100,epsilon=1",
            "lrp.sequential_preset_a",
            {"bn_layer_rule": "AlphaBetaX2m100", "epsilon": 1.0},
        ),
        ("deep_taylor.bounded:low=-1,high=1", "deep_taylor.bounded", {"low": -1.0, "high": 1.0}),
        ("lrp.z:dialect=innvestigate", "lrp.z", {}),
        ("lrp.z:activation_layers=gradient", "lrp.z", {}),
    ),
)
def test_a_name_and_its_parameters_become_an_analyzer_and_its_arguments(
    name: str, analyzer: str, arguments: dict[str, Any]
) -> None:
    assert analyzer_of(method(name)) == (analyzer, arguments)


def test_an_until_index_without_a_rule_means_flat() -> None:
    """The library ignores an index that comes without a rule; the dialect's default is Flat."""
    _, arguments = analyzer_of(method("lrp.epsilon:until_layer_idx=2"))
    assert arguments == {"until_layer_idx": 2, "until_layer_rule": "Flat"}


def test_the_preset_that_sets_the_until_rule_itself_is_not_given_one() -> None:
    name = "lrp.sequential_preset_b_flat_until_idx:until_layer_idx=3"
    assert analyzer_of(method(name)) == ("lrp.sequential_preset_b_flat_until_idx", {"until_layer_idx": 3})


def test_every_analyzer_of_the_dialect_is_known_and_none_of_the_others() -> None:
    known = {name.partition(":")[0] for name in ALL_METHODS if knows(method(name))}
    assert known == {entry.name for entry in DIALECTS["innvestigate"]}
    assert not knows(method("gradient:dialect=signxai"))
    assert not knows(method("lrp_epsilon_0_1"))
    assert not knows(method("epsilon_plus"))


def test_a_method_that_only_has_the_name_is_not_known() -> None:
    """A composite put together by hand would be explained by the analyzer of the name, not by itself."""
    changed = replace(method("lrp.z"), composite=method("lrp.flat").composite)
    assert not knows(changed)
    with pytest.raises(UnsupportedMethodError, match=r"innvestigate has no method 'lrp\.z'"):
        analyzer_of(changed)


def test_what_is_sent_is_json() -> None:
    graph = _branching()
    for name in ALL_METHODS:
        if knows(method(name)):
            payload = call(method(name), graph, (1, 3), "float32").payload
            assert json.loads(json.dumps(payload)) == payload


def _branching(activation: str = "relu") -> Graph:
    b = Builder("branching", (3,))
    b.add("dense", "left", "input", weights={"kernel": np.eye(3)})
    b.add(activation, "left_on")
    b.add("dense", "right", "input", weights={"kernel": np.eye(3)})
    b.add("add", "sum", ["left_on", "right"])
    b.add("dense", "logits", weights={"kernel": np.ones((3, 2))})
    return b.graph()


def test_an_until_index_is_sent_as_the_kernels_it_means() -> None:
    """Layers in order: input, left, left_on, right, sum, logits; index 3 is `right`."""
    payload = call(method("lrp.z:until_layer_idx=3"), _branching(), (1, 3), "float32").payload
    assert payload["until"] == ["left", "right"]
    assert payload["arguments"] == {"until_layer_rule": "Flat"}


def test_a_list_of_rules_is_sent_with_the_order_it_was_meant_for() -> None:
    payload = call(method("lrp:rule=Z/Z/Flat"), _branching(), (1, 3), "float32").payload
    assert payload["kernels"] == ["left", "right", "logits"]


def test_smoothgrad_gets_the_shared_samples_beside_each_other() -> None:
    asked = method("smoothgrad:augment_by_n=4,seed=7")
    noise = call(asked, _branching(), (2, 3), "float64").arrays["noise"]
    samples = list(gaussian_noise(asked.procedure, (2, 3)))  # type: ignore[arg-type]
    assert noise.shape == (2, 4, 3)
    for place, sample in enumerate(samples):
        np.testing.assert_array_equal(noise[:, place], sample)


def test_random_gets_unscaled_noise_since_the_library_scales_it() -> None:
    asked = method("random:stddev=5,seed=1")
    noise = call(asked, _branching(), (2, 3), "float64").arrays["noise"]
    np.testing.assert_array_equal(noise, np.random.default_rng(1).standard_normal((2, 3)))


@pytest.mark.parametrize(
    ("name", "activation", "form"),
    (
        ("lrp.z", "relu", None),
        ("lrp.z:activation_layers=gradient", "relu", "layers"),
        ("guided_backprop", "relu", None),
        # `Activation(relu6)` is no ReLU to the library, `ReLU(6)` is.
        ("guided_backprop", "relu6", "layers"),
        ("lrp.z", "relu6", None),
    ),
)
def test_the_form_of_the_activations_is_the_one_the_method_means(
    name: str, activation: str, form: str | None
) -> None:
    assert call(method(name), _branching(activation), (1, 3), "float32").form == form
