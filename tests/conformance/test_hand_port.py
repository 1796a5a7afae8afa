"""A pair that somebody ported by hand goes the whole way: aligned, explained on both sides, compared."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import harness
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


def both(pair: Any, method: str) -> tuple[harness.Trace, harness.Trace]:
    reference = harness.explain(pair, X, method, "tensorflow", dtype="float64")
    return reference, harness.explain(pair, X, method, "torch", target=reference.target, dtype="float64")


def test_a_right_port_is_equivalent_at_every_layer_though_it_flattens_in_another_order(
    example: ModuleType,
) -> None:
    network = example.keras_network()
    pair = harness.load_pair(network, example.TorchPort(network, (0, 1, 0, 1)).eval(), example=X)
    assert pair.verified
    for method in SUITE_METHODS:
        comparison = harness.compare(*both(pair, method))
        assert comparison.passed, (method, comparison)
        assert len(comparison.rows) == len(pair.layers)


def test_padding_on_the_wrong_side_is_found_in_the_forward_pass_of_its_layer(example: ModuleType) -> None:
    network = example.keras_network()
    with pytest.warns(UserWarning, match="first differs from the Keras model at layer 'conv_a'"):
        pair = harness.load_pair(network, example.TorchPort(network, (1, 1, 1, 1)).eval(), example=X)
    assert not pair.verified
    comparison = harness.compare(*both(pair, "lrp.epsilon"))
    assert not comparison.passed
    assert comparison.first_divergent_forward == "conv_a"


def test_the_steps_of_a_port_take_and_give_the_canonical_order(example: ModuleType) -> None:
    network = example.keras_network()
    pair = harness.load_pair(network, example.TorchPort(network, (0, 1, 0, 1)).eval(), example=X)
    reference, candidate = both(pair, "lrp.epsilon")
    for name in ("flatten", "classes"):
        layer = pair.graph[name]
        inputs = tuple(reference.layers[source].activation for source in layer.inputs)
        relevance = reference.layers[name].relevance
        ours, theirs = (
            trace.rerun.prepared.propagate(layer, inputs, relevance, trace.method)[0]
            for trace in (reference, candidate)
        )
        # Sums of 64 terms at most: 64 roundings of the largest value bound the difference.
        np.testing.assert_allclose(theirs, ours, rtol=0, atol=64 * 1.2e-16 * np.abs(ours).max())
