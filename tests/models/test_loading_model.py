"""`PortedModel`: one graph, and everything that is made from it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from harness.errors import InvalidInputError, MissingFrameworkError
from harness.graph import Graph, Layer
from ported_models import PortedModel
from ported_models import model as model_module
from ported_models.build import Builder


def tiny(kernel: Any = ((1, 2, 3), (4, 5, 6)), name: str = "tiny", layer: str = "fc") -> Graph:
    builder = Builder(name, (2,))
    builder.add("dense", layer, weights={"kernel": np.array(kernel, np.float64)})
    builder.add("leaky_relu", "out", attributes={"alpha": 0.1})
    return builder.graph()


def test_a_model_says_what_its_graph_says() -> None:
    graph = tiny()
    model = PortedModel.from_graph(graph, licence="MIT", labels=["a", "b", "c"])
    assert (model.name, model.input_shape, model.classes) == ("tiny", (2,), 3)
    assert model.layers is graph.layers
    assert (model.licence, model.labels, model.removed) == ("MIT", ("a", "b", "c"), None)


def test_equal_networks_have_equal_digests_whatever_their_name() -> None:
    assert PortedModel(tiny()).digest == PortedModel(tiny(name="other"), licence="MIT").digest


@pytest.mark.parametrize(
    "other",
    [
        tiny(kernel=((1, 2, 3), (4, 5, np.nextafter(6, 7)))),
        tiny(layer="renamed"),
        tiny(kernel=((1, 2), (3, 4))),
    ],
    ids=["one unit in the last place", "a layer's name", "a shape"],
)
def test_the_digest_changes_with(other: Graph) -> None:
    assert PortedModel(other).digest != PortedModel(tiny()).digest


def test_the_digest_tells_types_of_weights_apart() -> None:
    zeros = PortedModel(tiny(kernel=np.zeros((2, 3))))
    narrow = zeros.with_weights(lambda layer, key, array: array.astype(np.float32))
    assert narrow.digest != zeros.digest


def test_with_weights_moves_float64_weights_by_single_units_and_leaves_the_old_model_alone() -> None:
    model = PortedModel(tiny(), removed="softmax")
    seen: list[tuple[str, str]] = []

    def up(layer: Layer, key: str, array: np.ndarray) -> np.ndarray:
        seen.append((layer.name, key))
        return np.nextafter(array, np.inf)

    moved = model.with_weights(up)
    assert seen == [("fc", "kernel")]
    np.testing.assert_array_equal(
        moved.graph["fc"].weights["kernel"], np.nextafter(model.graph["fc"].weights["kernel"], np.inf)
    )
    assert moved.removed == "softmax"
    assert model.graph["fc"].weights["kernel"][0, 0] == 1.0


def test_the_onnx_form_comes_back_as_the_same_model() -> None:
    model = PortedModel(tiny(), removed="softmax")
    again = PortedModel.from_onnx(model.onnx)
    assert (again.name, again.digest, again.removed) == (model.name, model.digest, "softmax")


def test_a_keras_twin_is_built_once_for_each_dtype() -> None:
    model = PortedModel(tiny())
    assert model.keras("float64") is model.keras("float64")
    assert model.keras("float64") is not model.keras("float32")
    assert model.keras().get_layer("fc") is not None


def test_a_torch_twin_is_built_once_for_each_dtype() -> None:
    model = PortedModel(tiny())
    assert model.torch("float64") is model.torch("float64")
    assert "fc" in dict(model.torch().named_modules())


def test_moved_weights_reach_the_twin() -> None:
    model = PortedModel(tiny())
    model.torch("float64")
    doubled = model.with_weights(lambda layer, key, array: 2 * array)
    import torch

    ones = torch.ones(1, 2, dtype=torch.float64)
    assert doubled.torch("float64")(ones).tolist() == [[10, 14, 18]]


def test_a_twin_in_another_dtype_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="no twin in dtype 'float16'; choose one of float32, float64"):
        PortedModel(tiny()).torch("float16")


@pytest.mark.parametrize(("twin", "framework"), [("keras", "tensorflow"), ("torch", "torch")])
def test_a_missing_framework_is_named_with_the_way_to_get_it(
    twin: str, framework: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingFrameworkError, match=rf"{framework} is not installed.*\[{framework}\]"):
        getattr(PortedModel(tiny()), twin)()
