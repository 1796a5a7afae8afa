"""The square root: by hand on both twins and all three sides, from every source, and its ends at and below 0."""

from __future__ import annotations

import keras
import numpy as np
import onnx
import pytest
import torch

import harness
from harness.backends import backend_named
from harness.errors import UnsupportedLayerError
from harness.methods import method
from ported_models import load_model
from ported_models.build import Builder
from ported_models.model import PortedModel
from ported_models.onnx import read_onnx
from ported_models.twins import keras_twin, torch_twin
from ported_models.twins.forward import keras_logits, torch_logits
from reference_impls.oracle.forward import activations
from tests.models.onnx_runs import exported, node
from tests.models.torch_checks import Function, check

pytestmark = [pytest.mark.tensorflow, pytest.mark.torch]

SIDES = ("oracle", "tensorflow", "torch")
X = np.array([[0.25, 4.0, 9.0]])


def root() -> PortedModel:
    builder = Builder("root", (3,))
    builder.add("sqrt", "root")
    return PortedModel.from_graph(builder.graph())


def test_twins_and_oracle_take_the_root() -> None:
    graph = root().graph
    for found in (
        keras_logits(keras_twin.build(graph, "float64"), X),
        torch_logits(torch_twin.build(graph, "float64"), X),
        activations(graph, X)["root"],
    ):
        assert found.tolist() == [[0.5, 2.0, 3.0]]


@pytest.mark.parametrize("side", SIDES)
def test_its_slope_is_one_over_twice_the_root(side: str) -> None:
    """Rules of LRP hand relevance on unchanged, as at every activation."""
    model, relevance = root(), np.array([[1.0, 2.0, 12.0]])
    prepared = backend_named(side).prepare(model, "float64")
    layer = model.graph["root"]
    steps = {
        name: prepared.step(layer, (X,), relevance, method(name))[0] for name in ("gradient", "lrp.epsilon")
    }
    assert steps["gradient"].tolist() == [[1.0, 0.5, 2.0]]
    assert steps["lrp.epsilon"].tolist() == relevance.tolist()


@pytest.mark.parametrize("side", SIDES)
def test_at_0_the_slope_is_infinite_and_below_it_is_no_number(side: str) -> None:
    model = root()
    prepared = backend_named(side).prepare(model, "float64")
    x = np.array([[0.0, -1.0, 1.0]])
    (slope,) = prepared.step(model.graph["root"], (x,), np.ones((1, 3)), method("gradient"))
    assert np.isposinf(slope[0, 0]) and np.isnan(slope[0, 1]) and slope[0, 2] == 0.5


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (node("Sqrt", "x"), ["sqrt"]),
        (node("Pow", "x half"), ["sqrt"]),
        (node("Pow", "x two"), ["multiply"]),
        (node("Pow", "x unit"), []),
    ],
    ids=["Sqrt", "Pow 0.5", "Pow 2", "Pow 1"],
)
def test_powers_of_a_file(one: onnx.NodeProto, expected: list[str]) -> None:
    constants = {"half": np.float32(0.5), "two": np.float32(2), "unit": np.float32(1)}
    graph = read_onnx(exported([one], ["n", 3], constants), "read").graph
    assert [layer.kind for layer in graph.layers[1:]] == expected


@pytest.mark.parametrize("exponent", [np.float32(3), np.float32([2, 0.5, 2])], ids=["third", "several"])
def test_other_powers_of_a_file_are_refused(exponent: np.ndarray) -> None:
    with pytest.raises(
        UnsupportedLayerError, match=r"\(Pow\): it(s exponent is 3, expected 2| has no exponent, or)"
    ):
        read_onnx(exported([node("Pow", "x k")], ["n", 3], {"k": exponent}), "read")


def test_a_root_of_every_number_is_proven_on_numbers_that_have_one() -> None:
    """Of standard normal numbers some have no root, and what is no number shows nothing: their magnitudes have."""
    assert load_model(exported([node("Sqrt", "x")], ["n", 3])).notes == ()


def test_an_output_that_is_never_a_number_is_said_to_be_compared_with_nothing() -> None:
    nodes = [node("Mul", "x x", "s"), node("Sub", "s far", "n"), node("Sqrt", "n")]
    with pytest.warns(UserWarning, match="compared with nothing, because it is not finite on any input"):
        load_model(exported(nodes, ["n", 3], {"far": np.float32(1e6)}))


def test_a_module_and_a_keras_model_have_roots() -> None:
    """The length of two numbers, in each of the spellings; loading compares with the source."""
    check(Function(lambda x: torch.sqrt(x**2 + 1) + (x.square() + 1).sqrt() + (x * x + 1) ** 0.5), 4, 7, 9)
    x = keras.Input((3,))
    y = keras.ops.sqrt(x * x + 1.0) + keras.ops.power(keras.ops.square(x) + 2.0, 0.5)
    model = harness.load_model(keras.Model(x, y))
    assert [layer.kind for layer in model.layers].count("sqrt") == 2
