"""The derivative of an ONNX file by onnx2torch, where that is installed; what is constant is computed first."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest
from onnx.reference import ReferenceEvaluator

from evidence.models.onnx_autograd import NotConvertedError, derivative, only_weights
from tests.models.onnx_runs import exported, node

#: ``y = relu(x W) v``, where W is computed: ones of the shape that the file holds, times 2.
NODES = [
    node("ConstantOfShape", "shape", "zeros"),
    node("Add", "zeros two", "weight"),
    node("MatMul", "x weight", "h"),
    node("Relu", "h", "r"),
    node("Dropout", "r", "d"),
    node("MatMul", "d v", "y"),
    node("Softmax", "y", "end"),
]
CONSTANTS = {
    "shape": np.array([2, 3]),
    "two": np.array([2.0], np.float32),
    "v": np.array([[1.0], [-2.0], [4.0]], np.float32),
}


def test_what_does_not_depend_on_the_input_is_a_weight_and_the_rest_gives_what_the_file_gives() -> None:
    proto = exported(NODES, ["n", 2], CONSTANTS, 13)
    cut = only_weights(proto, "y")
    assert [each.op_type for each in cut.graph.node] == ["MatMul", "Relu", "Identity", "MatMul"]
    assert sorted(tensor.name for tensor in cut.graph.initializer) == ["v", "weight"]
    (y,) = ReferenceEvaluator(cut).run(None, {"x": np.array([[1.0, 3.0]], np.float32)})
    assert y.tolist() == [[8 * (1 - 2 + 4)]]


@pytest.mark.skipif(find_spec("onnx2torch") is None, reason="onnx2torch is installed by make models alone")
def test_the_derivative_is_that_of_the_formula() -> None:
    """All hidden units are 2 (a + b): the output is 3 times that, its slope 6 for each input."""
    proto = exported(NODES, ["n", 2], CONSTANTS, 13)
    x = np.array([[1.0, 3.0]])
    gradient = derivative(proto, "y", x, lambda output: output.reshape(-1)[0])
    assert gradient.tolist() == [[6.0, 6.0]]


def test_a_file_that_onnx2torch_does_not_convert_raises() -> None:
    proto = exported([node("Shrink", "x", "y")], ["n", 2], {}, 13)
    with pytest.raises(NotConvertedError):
        derivative(proto, "y", np.ones((1, 2)), lambda output: output.sum())
