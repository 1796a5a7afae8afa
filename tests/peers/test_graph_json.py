"""A graph as JSON and arrays: what crosses to a peer's interpreter."""

from __future__ import annotations

import json

import numpy as np

from ported_models.build import Builder
from reference_impls.peers.graph_json import graph_payload, graph_weights


def _builder() -> Builder:
    b = Builder("tiny", (4, 6, 2))
    kernel = np.arange(3 * 3 * 2 * 5, dtype=np.float64).reshape(3, 3, 2, 5)
    b.add("conv2d", "conv", attributes={"padding": ((1, 1), (0, 2))}, weights={"kernel": kernel})
    b.add("relu", "conv_relu")
    b.add("global_average_pool", "logits")
    return b


def test_a_graph_survives_json() -> None:
    payload = graph_payload(_builder().graph())
    assert json.loads(json.dumps(payload)) == payload


def test_layers_come_in_forward_order_with_all_that_describes_them() -> None:
    payload = graph_payload(_builder().graph())
    assert (payload["name"], payload["output"]) == ("tiny", "logits")
    assert [layer["name"] for layer in payload["layers"]] == ["input", "conv", "conv_relu", "logits"]
    conv = payload["layers"][1]
    assert conv == {
        "name": "conv",
        "kind": "conv2d",
        "inputs": ["input"],
        "input_shapes": [[4, 6, 2]],
        "shape": [4, 6, 5],
        "axes": ["batch", "height", "width", "channel"],
        "attributes": {
            "strides": [1, 1],
            "dilations": [1, 1],
            "groups": 1,
            "padding": [[1, 1], [0, 2]],
        },
        "weights": ["kernel"],
    }


def test_numpy_numbers_in_attributes_become_plain_ones() -> None:
    b = Builder("tiny", (3,))
    b.add("leaky_relu", "leaky", attributes={"alpha": np.float32(0.25)})
    (_, leaky) = graph_payload(b.graph())["layers"]
    assert leaky["attributes"] == {"alpha": 0.25}
    assert type(leaky["attributes"]["alpha"]) is float


def test_weights_stand_under_layer_and_weight() -> None:
    graph = _builder().graph()
    weights = graph_weights(graph)
    assert list(weights) == ["conv/kernel"]
    np.testing.assert_array_equal(weights["conv/kernel"], graph["conv"].weights["kernel"])


def test_a_transposed_weight_is_sent_in_its_own_order() -> None:
    """safetensors writes memory as it lies: an array that is only a view turned round would arrive turned."""
    b = Builder("tiny", (2,))
    kernel = np.array([[1.0, 2.0], [3.0, 4.0]]).T
    b.add("dense", "logits", weights={"kernel": kernel})
    sent = graph_weights(b.graph())["logits/kernel"]
    assert sent.flags["C_CONTIGUOUS"]
    assert sent.ravel().tolist() == [1.0, 3.0, 2.0, 4.0]
