"""`If` in ONNX files: the branch is chosen where the condition follows from constants and sizes, else it is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from harness.errors import ModelSourceError, UnsupportedLayerError
from ported_models import load_model
from ported_models.onnx import read_onnx
from ported_models.onnx.branches import without_branches
from ported_models.onnx.own import OnnxSource
from ported_models.twins.forward import torch_logits
from tests.models.onnx_runs import exported, ints, node, run_onnx, whole_numbers

pytestmark = [pytest.mark.tensorflow, pytest.mark.torch]

X = np.float32([[-1, 2, 3]])
#: By rate, what the network of `by_rate` does: the sum of two numbers, or their negatives.
RATES = {16000: [-1.0, 2.0, 3.0], 8000: [1.0, -2.0, -3.0]}


def branch(
    nodes: Sequence[onnx.NodeProto], outputs: Sequence[str], weights: Mapping[str, np.ndarray] | None = None
) -> onnx.GraphProto:
    made = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    arrays = [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()]
    return helper.make_graph(list(nodes), "branch", [], made, arrays)


def choice(condition: str, then: onnx.GraphProto, other: onnx.GraphProto, *outputs: str) -> onnx.NodeProto:
    return helper.make_node("If", [condition], outputs, then_branch=then, else_branch=other)


def by_rate(rate: int) -> onnx.ModelProto:
    """A number chooses between the input and its negative, as a sampling rate that was made a constant does."""
    then = branch([node("Mul", "x w", "b")], ["b"], {"w": np.float32([1, 1, 1])})
    other = branch([node("Mul", "x w", "b")], ["b"], {"w": np.float32([-1, -1, -1])})
    nodes = [node("Equal", "rate known", "c"), choice("c", then, other, "y")]
    return exported(nodes, ["n", 3], {"rate": np.int64(rate), "known": np.int64(16000)})


@pytest.mark.parametrize("rate", RATES)
def test_a_constant_chooses_the_branch(rate: int) -> None:
    model = load_model(by_rate(rate))
    assert [layer.kind for layer in model.layers] == ["input", "scale"]
    assert torch_logits(model.torch(), X).tolist() == [RATES[rate]]
    assert run_onnx(by_rate(rate), X).tolist() == [RATES[rate]]


def by_size(dims: Sequence[int | str]) -> onnx.ModelProto:
    """torch's ``squeeze(-1)`` as its exporter writes it: the axis goes where it has one entry. Then its channels' sum.

    A branch inside a branch.
    """
    same = branch([node("Identity", "x", "i")], ["i"])
    inner = choice("one", branch([node("Squeeze", "x last", "s")], ["s"]), same, "chosen")
    nodes = [
        node("Shape", "x", "sides"),
        node("Gather", "sides last", "side", axis=0),
        node("Equal", "side unit", "one"),
        choice("always", branch([inner], ["chosen"]), branch([node("Neg", "x", "g")], ["g"]), "h"),
        choice(
            "one",
            branch([node("Identity", "h", "k")], ["k"]),
            branch([node("ReduceSum", "h last", "r", keepdims=0)], ["r"]),
            "y",
        ),
    ]
    constants = {"last": ints(-1), "unit": ints(1), "always": np.array(True)}
    proto = exported(nodes, dims, constants)
    proto.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3]))
    return proto


def test_a_size_chooses_the_branch() -> None:
    """Loading runs the file as it is beside both twins."""
    model = load_model(by_size(["n", 3, 1]))
    assert [layer.kind for layer in model.layers[1:]] == ["flatten"]


@pytest.mark.parametrize(("side", "kinds"), [(1, ["flatten"]), (2, ["resample", "flatten"])])
def test_a_size_that_an_example_gives_chooses_the_branch(side: int, kinds: list[str]) -> None:
    model = load_model(by_size(["n", 3, "open"]), example=np.zeros((1, 3, side)))
    assert [layer.kind for layer in model.layers[1:]] == kinds
    assert model.layers[-1].shape == (3,)


def test_a_size_of_the_batch_chooses_nothing() -> None:
    nodes = [
        node("Shape", "x", "sides"),
        node("Gather", "sides first", "side", axis=0),
        node("Equal", "side unit", "one"),
        choice("one", branch([node("Relu", "x", "r")], ["r"]), branch([node("Neg", "x", "g")], ["g"]), "y"),
    ]
    constants = {"first": ints(0), "unit": ints(1)}
    with pytest.raises(UnsupportedLayerError, match=r"\(If\): it .*runs a graph of its own"):
        load_model(exported(nodes, ["n", 3], constants))
    assert [layer.kind for layer in load_model(exported(nodes, [1, 3], constants)).layers] == [
        "input",
        "relu",
    ]


def test_names_inside_of_branches_stay_apart() -> None:
    """Two branches call what they make alike: 2 x, and 3 of that."""
    two = branch([node("Mul", "x w", "t"), node("Identity", "t", "u")], ["u"], {"w": np.float32([2])})
    three = branch([node("Mul", "h w", "t"), node("Identity", "t", "u")], ["u"], {"w": np.float32([3])})
    no = branch([node("Neg", "x", "g")], ["g"])
    nodes = [choice("yes", two, no, "h"), choice("yes", three, no, "y")]
    straight = without_branches(exported(nodes, ["n", 3], {"yes": np.array(True)}))
    onnx.checker.check_model(straight)
    assert run_onnx(straight, X).tolist() == [[-6.0, 12.0, 18.0]]


def test_a_branch_that_the_file_does_not_take_is_found_by_running_the_file() -> None:
    proto, other = by_rate(16000), by_rate(8000)
    read = replace(read_onnx(proto, "net", "net.onnx"), unfolded=without_branches(other))
    with pytest.raises(ModelSourceError, match="it takes other branches than were chosen"):
        OnnxSource(proto, read, "net.onnx").run(np.ones((2, 3), np.float32))


def test_a_file_without_known_branches_is_the_same_object() -> None:
    proto = exported([node("Relu", "x")], ["n", 3])
    assert without_branches(proto) is proto


def test_what_a_mean_leaves_of_the_batch_gets_its_axis_back() -> None:
    """The mean of everything but the batch, then an axis: (1, 2, 3, 6) is 3."""
    constants = {"axes": ints(1), "w": np.ones(4, np.float32)}
    nodes = [
        node("Add", "x w", "h"),
        node("ReduceMean", "h", "m", axes=[1], keepdims=0),
        node("Unsqueeze", "m axes", "y"),
    ]
    model = load_model(exported(nodes, ["n", 4], constants))
    (y,) = model.keras()(np.float32([[0, 1, 2, 5]])).numpy().tolist()
    assert model.layers[-1].shape == (1,) and y == [3.0]


@pytest.mark.parametrize("batch", [1, "n"])
def test_an_axis_before_the_batch_is_the_time_of_a_step(batch: int | str) -> None:
    """(batch, feature) to (time, batch, feature): of a batch of one the sizes alone do not tell which is which."""
    kernels = {"w": whole_numbers(0, 1, 8, 3) / 4, "r": whole_numbers(1, 1, 8, 2) / 4, "first": ints(0)}
    nodes = [
        node("Relu", "x", "h"),
        node("Unsqueeze", "h first", "s"),
        helper.make_node("LSTM", ["s", "w", "r"], ["", "last"], hidden_size=2),
        node("Squeeze", "last first", "y"),
    ]
    model = load_model(exported(nodes, [batch, 3], kernels))
    assert [layer.kind for layer in model.layers[1:]] == ["relu", "reshape", "lstm"]
