"""Recurrent operators of ONNX files: read as themselves, or refused by name.

What a file gives is asked of ONNX Runtime, which is independent of everything here; loading a file compares both twins
with it. The one step that is worked out by hand below holds ONNX Runtime and the reading to the operators' own text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from harness.errors import HarnessError, UnsupportedLayerError
from ported_models import load_model
from ported_models.model import PortedModel
from ported_models.onnx import onnx_to_graph
from ported_models.twins.forward import keras_logits, torch_logits
from tests.models.onnx_runs import exported, ints, node, run_onnx

STEPS, FEATURES, UNITS = 5, 3, 2
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
RIGHT = 1e-5


def weights(operator: str, directions: int = 1) -> dict[str, np.ndarray]:
    rng, gates = np.random.default_rng(0), GATES[operator]
    shapes = {"w": (gates * UNITS, FEATURES), "r": (gates * UNITS, UNITS), "b": (2 * gates * UNITS,)}
    return {
        name: rng.normal(scale=0.7, size=(directions, *shape)).astype(np.float32)
        for name, shape in shapes.items()
    }


def file(
    operator: str,
    outputs: Sequence[str] = ("states",),
    then: Sequence[onnx.NodeProto] = (),
    inputs: str = "steps w r b",
    constants: dict[str, np.ndarray] | None = None,
    shape: Sequence[int | str] = ("n", STEPS, FEATURES),
    **attributes: Any,
) -> onnx.ModelProto:
    """(batch, time, feature) moved to the operator's (time, batch, feature), the operator, and ``then``."""
    directions = 2 if attributes.get("direction") == "bidirectional" else 1
    body = helper.make_node(operator, _names(inputs), list(outputs), hidden_size=UNITS, **attributes)
    nodes = [node("Transpose", "x", "steps", perm=[1, 0, 2]), body, *then]
    return exported(nodes, shape, weights(operator, directions) | (constants or {}))


def _names(inputs: str) -> list[str]:
    return ["" if name == "-" else name for name in inputs.split()]


ALL = (node("Transpose", "states", "turned", perm=[2, 0, 1, 3]), node("Flatten", "turned"))
LAST = (node("Transpose", "last", "turned", perm=[1, 0, 2]), node("Flatten", "turned"))


def assert_is_itself(proto: onnx.ModelProto) -> PortedModel:
    """Both twins give what ONNX Runtime gives, by sample. A network that loads has been compared already."""
    model = load_model(proto)
    x = np.random.default_rng(3).normal(size=(3, *model.input_shape)).astype(np.float32)
    own = run_onnx(proto, x)
    for logits in (keras_logits(model.keras(), x), torch_logits(model.torch(), x)):
        assert np.abs(logits - own).max() <= RIGHT * np.abs(own).max()
    return model


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("operator", list(GATES))
class TestBothOutputs:
    def test_all_states_stand_at_their_steps(self, operator: str, direction: str) -> None:
        kinds = [
            layer.kind for layer in assert_is_itself(file(operator, then=ALL, direction=direction)).layers
        ]
        assert kinds.count("concat") == (direction == "bidirectional")

    def test_the_last_state_of_each_direction(self, operator: str, direction: str) -> None:
        model = assert_is_itself(file(operator, ("", "last"), LAST, direction=direction))
        recurrent = [layer for layer in model.layers if "sequences" in layer.attributes]
        assert [layer.attributes["sequences"] for layer in recurrent] == [False] * len(recurrent)


def test_states_and_the_last_one_are_both_read() -> None:
    then = (
        *ALL[:1],
        node("Flatten", "turned", "first"),
        node("Transpose", "last", "before", perm=[1, 0, 2]),
        node("Flatten", "before", "second"),
        node("Concat", "first second", axis=1),
    )
    proto = file("LSTM", ("states", "last"), then, direction="bidirectional")
    assert_is_itself(proto)


def test_a_gru_that_resets_after_its_product_keeps_its_second_bias() -> None:
    model = assert_is_itself(file("GRU", then=ALL, linear_before_reset=1))
    (gru,) = (layer for layer in model.layers if layer.kind == "gru")
    assert gru.attributes["reset_after"]
    assert gru.weights["recurrent_bias"].tolist() == weights("GRU")["b"][0, 3 * UNITS :].tolist()


def test_relu_of_both_directions() -> None:
    model = assert_is_itself(file("RNN", then=ALL, direction="bidirectional", activations=["Relu", "Tanh"]))
    found = [layer.attributes["activation"] for layer in model.layers if layer.kind == "simple_rnn"]
    assert found == ["relu", "tanh"]


def test_the_axis_of_one_direction_is_taken_off_without_a_layer() -> None:
    proto = file("LSTM", ("", "last"), [node("Squeeze", "last direction")], constants={"direction": ints(0)})
    assert [layer.kind for layer in assert_is_itself(proto).layers] == ["input", "lstm"]


def test_one_step_of_an_lstm_is_what_the_operator_says() -> None:
    """W = 1 for the input gate, 2 for the output gate, 0 for the forget gate, 1 for the cell; R and B zero; x = 1.

    i = sigmoid(1), o = sigmoid(2), c = tanh(1): the state is o tanh(i c), whatever the forget gate does to zero.
    """
    constants = {
        "w": np.array([1, 2, 0, 1], np.float32).reshape(1, 4, 1),
        "r": np.zeros((1, 4, 1), np.float32),
        "b": np.zeros((1, 8), np.float32),
        "direction": ints(0),
    }
    body = helper.make_node("LSTM", ["steps", "w", "r", "b"], ["", "last"], hidden_size=1)
    nodes = [node("Transpose", "x", "steps", perm=[1, 0, 2]), body, node("Squeeze", "last direction")]
    model = load_model(exported(nodes, ["n", 1, 1], constants))
    sigmoid = [1 / (1 + np.exp(-value)) for value in (1.0, 2.0)]
    expected = sigmoid[1] * np.tanh(sigmoid[0] * np.tanh(1.0))
    assert keras_logits(model.keras("float64"), np.ones((1, 1, 1)))[0, 0] == pytest.approx(
        expected, rel=1e-12
    )


def test_a_file_whose_first_axis_is_time_is_one_sample() -> None:
    body = helper.make_node("GRU", ["x", "w", "r", "b"], ["states"], hidden_size=UNITS)
    nodes = [body, node("Squeeze", "states both", "s"), node("Gather", "s step", axis=0)]
    constants = weights("GRU") | {"both": ints(1, 2), "step": ints(STEPS - 1)}
    model = load_model(exported(nodes, [STEPS, 1, FEATURES], constants))
    assert model.input_shape == (STEPS, 1, FEATURES)
    assert any("no batch axis" in note for note in model.notes)


@pytest.mark.parametrize(
    ("constants", "inputs"),
    [
        ({"zero": np.zeros((1, 1, UNITS), np.float32)}, "steps w r b - zero zero"),
        ({"lengths": np.full(1, STEPS, np.int32)}, "steps w r b lengths"),
        ({"none": np.zeros((1, 3 * UNITS), np.float32)}, "steps w r b - - - none"),
        ({}, "steps w r"),
    ],
    ids=["a first state of zeros", "lengths of all steps", "peepholes of zeros", "no bias"],
)
def test_what_changes_nothing_is_read(constants: dict[str, np.ndarray], inputs: str) -> None:
    proto = file("LSTM", then=ALL, inputs=inputs, constants=constants, shape=(1, STEPS, FEATURES))
    x = np.random.default_rng(3).normal(size=(1, STEPS, FEATURES)).astype(np.float32)
    own = run_onnx(proto, x)
    assert np.abs(torch_logits(load_model(proto).torch(), x) - own).max() <= RIGHT


@pytest.mark.parametrize(
    ("said", "options"),
    [
        (
            "its first state is not zero",
            {"inputs": "steps w r b - one", "constants": {"one": np.ones((1, 1, UNITS), np.float32)}},
        ),
        (
            "its first cell state is not zero",
            {
                "inputs": "steps w r b - zero one",
                "constants": {
                    "zero": np.zeros((1, 1, UNITS), np.float32),
                    "one": np.ones((1, 1, UNITS), np.float32),
                },
            },
        ),
        (
            "lengths of their own",
            {"inputs": "steps w r b lengths", "constants": {"lengths": np.array([2], np.int32)}},
        ),
        (
            "peepholes",
            {"inputs": "steps w r b - - - p", "constants": {"p": np.ones((1, 3 * UNITS), np.float32)}},
        ),
        ("clip=", {"clip": 0.5}),
        ("input_forget=1", {"input_forget": 1}),
        ("its activations are Relu, Tanh, Tanh", {"activations": ["Relu", "Tanh", "Tanh"]}),
    ],
)
def test_what_the_graph_has_no_layer_for_is_refused_by_name(said: str, options: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedLayerError, match=said) as caught:
        onnx_to_graph(file("LSTM", then=ALL, shape=(1, STEPS, FEATURES), **options), "read", "file.onnx")
    assert "\n" not in str(caught.value)


def test_a_cell_state_that_is_read_is_refused() -> None:
    then = (node("Transpose", "cell", "turned", perm=[1, 0, 2]), node("Flatten", "turned"))
    with pytest.raises(UnsupportedLayerError, match="its last cell state is read"):
        onnx_to_graph(file("LSTM", ("", "", "cell"), then), "read", "file.onnx")


def test_steps_in_the_place_of_the_batch_are_no_network_of_samples() -> None:
    """A GRU straight on (batch, time, feature) would run from sample to sample."""
    body = helper.make_node("GRU", ["x", "w", "r", "b"], ["states"], hidden_size=UNITS)
    nodes = [body, node("Transpose", "states", "turned", perm=[0, 2, 1, 3]), node("Flatten", "turned")]
    with pytest.raises(HarnessError, match="its steps would be samples"):
        load_model(exported(nodes, ["n", STEPS, FEATURES], weights("GRU")))


def test_a_node_that_leaves_its_first_output_out_hides_no_other() -> None:
    """The file has no name for an output that nobody reads: refusals of other nodes are listed all the same."""
    then = (*LAST[:1], node("Flatten", "turned", "flat"), node("Det", "flat"))
    proto = file("LSTM", ("", "last"), then, clip=0.5)
    with pytest.raises(UnsupportedLayerError) as caught:
        onnx_to_graph(proto, "read", "file.onnx")
    assert "clip=0.5" in str(caught.value)
    assert "1 more" in str(caught.value)
