"""Files of Keras 2 by hand: archives, operations of TensorFlow, and what a Keras 3 would read in them."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from harness.errors import HarnessError
from ported_models.sources.keras_source import from_file
from ported_models.twins.forward import keras_logits

pytestmark = [pytest.mark.tensorflow, pytest.mark.torch, pytest.mark.filterwarnings("ignore")]


def entry(kind: str, name: str, *nodes: Any, **config: Any) -> dict[str, Any]:
    return {
        "class_name": kind,
        "name": name,
        "config": {"name": name, **config},
        "inbound_nodes": list(nodes),
    }


def model(*layers: dict[str, Any], kind: str = "Functional") -> dict[str, Any]:
    """A functional model from its first layer to its last."""
    ends = {f"{end}_layers": [[layers[place]["name"], 0, 0]] for end, place in (("input", 0), ("output", -1))}
    return {"class_name": kind, "config": {"name": "m", "layers": list(layers), **ends}}


def write_archive(path: Path, config: dict[str, Any], weights: dict[str, Any]) -> None:
    """``weights``: arrays by the path of their variables, as ``layers/dense_1/vars/0``."""
    data = io.BytesIO()
    with h5py.File(data, "w") as file:
        for name, array in weights.items():
            file[name] = np.asarray(array, np.float32)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "2.15.0"}))
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("model.weights.h5", data.getvalue())


def write_hdf5(path: Path, config: dict[str, Any], weights: dict[str, Any]) -> None:
    """``weights``: arrays by layer and variable, as ``dense/kernel:0``."""
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = "2.15.0"
        file.attrs["model_config"] = json.dumps(config)
        group = file.create_group("model_weights")
        for name, array in weights.items():
            own = group.require_group(name.partition("/")[0])
            own.attrs["weight_names"] = [*own.attrs.get("weight_names", ()), name.encode()]
            own[name] = np.asarray(array, np.float32)


SOURCE = entry("InputLayer", "x", batch_input_shape=[None, 1])


def test_groups_of_an_archive_are_numbered_by_class_in_the_order_of_the_layers(tmp_path: Path) -> None:
    """The layer called b comes first: 1 -> 2 -> 3 * 2 + 1; by their names it would be (3 + 1) * 2."""
    config = model(
        SOURCE,
        entry("Dense", "b", [["x", 0, 0, {}]], units=1, use_bias=False),
        entry("Dense", "a", [["b", 0, 0, {}]], units=1),
    )
    weights = {"layers/dense/vars/0": [[2]], "layers/dense_1/vars/0": [[3]], "layers/dense_1/vars/1": [1]}
    write_archive(tmp_path / "m.keras", config, weights)
    assert keras_logits(from_file(tmp_path / "m.keras").keras("float64"), np.ones((1, 1))).tolist() == [[7.0]]


def test_models_in_an_archive_have_groups_of_their_own(tmp_path: Path) -> None:
    """A functional model that is called once is read by node 1 in Keras 2; both dense layers are called d."""
    inner = model(
        entry("InputLayer", "i", batch_input_shape=[None, 1]),
        entry("Dense", "d", [["i", 0, 0, {}]], units=1, use_bias=False),
    )
    config = model(
        SOURCE,
        {
            **inner,
            "name": "inner",
            "config": {**inner["config"], "name": "inner"},
            "inbound_nodes": [[["x", 0, 0, {}]]],
        },
        entry("Dense", "d", [["inner", 1, 0, {}]], units=1, use_bias=False),
    )
    weights = {"layers/functional/layers/dense/vars/0": [[5]], "layers/dense/vars/0": [[-2]]}
    write_archive(tmp_path / "m.keras", config, weights)
    assert keras_logits(from_file(tmp_path / "m.keras").keras("float64"), np.ones((1, 1))).tolist() == [
        [-10.0]
    ]


def test_a_batch_norm_without_gamma_has_its_variables_in_their_order(tmp_path: Path) -> None:
    """beta 4, mean 1, variance 9: (7 - 1) / 3 + 4."""
    config = model(
        SOURCE, entry("BatchNormalization", "n", [["x", 0, 0, {}]], axis=[1], scale=False, epsilon=0.0)
    )
    weights = {f"layers/batch_normalization/vars/{place}": [value] for place, value in enumerate((4, 1, 9))}
    write_archive(tmp_path / "m.keras", config, weights)
    assert keras_logits(from_file(tmp_path / "m.keras").keras("float64"), np.full((1, 1), 7.0)).tolist() == [
        [pytest.approx(6.0)]
    ]


def test_weights_that_an_archive_lacks_are_named(tmp_path: Path) -> None:
    config = model(SOURCE, entry("Dense", "d", [["x", 0, 0, {}]], units=1))
    write_archive(tmp_path / "m.keras", config, {"layers/other/vars/0": [[1]]})
    with pytest.raises(HarnessError, match=r"'d' \(Dense\)|weight 'kernel' is missing") as caught:
        from_file(tmp_path / "m.keras")
    assert "\n" not in str(caught.value)


OPERATIONS: dict[str, tuple[list[Any], str, float]] = {
    "a constant is taken from": ([["_CONSTANT_VALUE", -1, 1.0, {"y": ["d", 0, 0]}]], "math.subtract", -5.0),
    "a constant is taken away": ([["d", 0, 0, {"y": 1.0, "name": None}]], "math.subtract", 5.0),
    "a layer is taken from itself, halved": ([["d", 0, 0, {"y": ["h", 0, 0]}]], "math.subtract", 3.0),
    "a layer divided": ([["d", 0, 0, {"y": 4.0}]], "math.truediv", 1.5),
    "an activation": ([["d", 0, 0, {"name": None}]], "nn.relu6", 6.0),
    "two layers side by side": ([["d", 0, 0, {"axis": -1}], ["h", 0, 0, {"axis": -1}]], "concat", 9.0),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_of_tensorflow_have_their_operands_in_order(name: str, tmp_path: Path) -> None:
    """Of x = 2: d = 3 x = 6 and h = d / 2 = 3; what comes of it is added up."""
    node, function, expected = OPERATIONS[name]
    outputs = 2 if function == "concat" else 1
    config = model(
        SOURCE,
        entry("Dense", "d", [["x", 0, 0, {}]], units=1, use_bias=False),
        entry("TFOpLambda", "h", [["d", 0, 0, {"y": 0.5, "name": None}]], function="math.multiply"),
        entry("TFOpLambda", "op", node, function=function),
        entry("Dense", "sum", [["op", 0, 0, {}]], units=1, use_bias=False),
    )
    weights = {"d/kernel:0": [[3]], "sum/kernel:0": np.ones((outputs, 1))}
    write_hdf5(tmp_path / "m.h5", config, weights)
    found = keras_logits(from_file(tmp_path / "m.h5").keras("float64"), np.full((1, 1), 2.0))
    assert found.tolist() == [[pytest.approx(expected)]]


def test_an_operation_that_is_not_read_is_named(tmp_path: Path) -> None:
    config = model(SOURCE, entry("TFOpLambda", "op", [["x", 0, 0, {}]], function="linalg.inv"))
    write_hdf5(tmp_path / "m.h5", config, {})
    with pytest.raises(HarnessError, match=r"'op' \(TFOpLambda\) has the function 'tf.linalg.inv'"):
        from_file(tmp_path / "m.h5")
