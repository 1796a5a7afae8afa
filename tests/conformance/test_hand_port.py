"""A pair that somebody ported by hand goes the whole way: aligned, explained on both sides, compared."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import harness
from harness.engine import engine
from harness.methods import SUITE_METHODS

pytestmark = [pytest.mark.tensorflow, pytest.mark.torch]

EXAMPLE = Path(__file__).parents[2] / "examples" / "check_a_hand_port.py"
X = np.random.default_rng(0).normal(size=(2, 12, 12, 3))


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_a_hand_port", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def network(example: ModuleType) -> Any:
    return example.keras_network()


def both(pair: Any, method: str) -> tuple[harness.Trace, harness.Trace]:
    reference = harness.explain(pair, X, method, "tensorflow", dtype="float64")
    return reference, harness.explain(pair, X, method, "torch", target=reference.target, dtype="float64")


def test_a_right_port_is_equivalent_at_every_layer_though_it_flattens_in_another_order(
    example: ModuleType, network: Any
) -> None:
    pair = harness.load_pair(network, example.TorchPort(network, (0, 1, 0, 1)).eval(), example=X)
    assert pair.verified
    for method in SUITE_METHODS:
        comparison = harness.compare(*both(pair, method))
        assert comparison.passed, (method, comparison)
        assert len(comparison.rows) == len(pair.layers)


def test_padding_on_the_wrong_side_is_found_in_the_forward_pass_of_its_layer(
    example: ModuleType, network: Any
) -> None:
    with pytest.warns(UserWarning, match="first differs from the Keras model at layer 'conv_a'"):
        pair = harness.load_pair(network, example.TorchPort(network, (1, 1, 1, 1)).eval(), example=X)
    assert not pair.verified
    comparison = harness.compare(*both(pair, "lrp.epsilon"))
    assert not comparison.passed
    assert comparison.first_divergent_forward == "conv_a"


def test_the_steps_of_a_port_take_and_give_the_canonical_order(example: ModuleType, network: Any) -> None:
    pair = harness.load_pair(network, example.TorchPort(network, (0, 1, 0, 1)).eval(), example=X)
    reference, candidate = both(pair, "lrp.epsilon")

    def steps(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """The inputs and the relevance of a layer, and what both sides make of them."""
        layer = pair.graph[name]
        (x,) = (reference.layers[source].activation for source in layer.inputs)
        relevance = reference.layers[name].relevance
        ours, theirs = (
            engine()
            .offered(trace.case, trace.executed_by, "steps")
            .step(layer, (x,), relevance, trace.method)[0]
            for trace in (reference, candidate)
        )
        return x, relevance, ours, theirs

    _, _, ours, theirs = steps("flatten")
    np.testing.assert_array_equal(theirs, ours)
    x, relevance, ours, theirs = steps("classes")
    kernel, bias = (each.astype(np.float64) for each in network.get_layer("classes").get_weights())
    z, terms = x @ kernel + bias, np.abs(x) @ np.abs(kernel) + np.abs(bias)
    # On each side z is a sum of 65 terms, which may cancel, and the result one of 5; 4 more operations make
    # shares of it.
    roundings = 2 * (65 + 5 + 4) * np.finfo(np.float64).eps / 2
    bound = roundings * np.abs(x) * ((np.abs(relevance) * terms / z**2) @ np.abs(kernel).T)
    assert np.all(np.abs(theirs - ours) <= bound)
    assert np.all(bound <= 1e-9 * np.abs(ours).max()), "the bound says nothing for this network"
