"""`load_model`: every source through one door, and one line for everything that is no model."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import ported_models
from harness.errors import (
    InvalidInputError,
    ModelSourceError,
    UnknownNameError,
    UnsupportedLayerError,
)
from ported_models import PortedModel, load_model, zoo
from ported_models.build import Builder
from tests.models.onnx_runs import exported, node, whole_numbers


def classifier() -> onnx.ModelProto:
    """A dense layer and a softmax, as an exporter writes them."""
    nodes = [node("MatMul", "x w", "logits", "fc/MatMul"), node("Softmax", "logits", name="fc/Softmax")]
    return exported(nodes, ["n", 3], {"w": whole_numbers(0, 3, 4)})


@pytest.fixture
def onnx_file(tmp_path: Path) -> Path:
    path = tmp_path / "classifier.onnx"
    onnx.save_model(classifier(), path)
    return path


@pytest.mark.parametrize("given", [str, Path])
def test_an_onnx_file_is_named_after_its_stem_and_loses_its_softmax(given: Any, onnx_file: Path) -> None:
    model = load_model(given(onnx_file))
    assert model.name == "classifier"
    assert [(layer.name, layer.kind) for layer in model.layers] == [("x", "input"), ("fc", "dense")]
    assert model.removed == "softmax"
    assert model.source == str(onnx_file)


def test_a_proto_is_named_after_its_graph_unless_a_name_is_given() -> None:
    assert load_model(classifier()).name == "exported"
    assert load_model(classifier(), name="mine").name == "mine"


def test_what_a_model_writes_loads_as_the_same_model(onnx_file: Path, tmp_path: Path) -> None:
    model = load_model(onnx_file)
    onnx.save_model(model.onnx, tmp_path / "again.onnx")
    again = load_model(tmp_path / "again.onnx")
    assert again.digest == model.digest
    assert again.removed == "softmax"


def test_a_zoo_name_loads_from_the_zoo(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = PortedModel.from_graph(Builder("tiny", (2,)).graph())
    monkeypatch.setattr(zoo, "names", lambda: ("tiny",))
    monkeypatch.setattr(zoo, "load", lambda name: stored)
    assert load_model("tiny") is stored
    assert load_model("tiny", name="renamed").name == "renamed"


def test_the_zoos_models_are_listed() -> None:
    assert {"digits-cnn", "ecg-cnn1d", "vgg16-mri", "fer-xception", "efficientnet-lite0"} <= set(
        ported_models.list_models()
    )


def test_a_ported_model_is_its_own_source() -> None:
    model = load_model(classifier())
    assert load_model(model) is model


def test_a_keras_model_goes_through_the_keras_source() -> None:
    import keras

    layers = [keras.Input((3,)), keras.layers.Dense(2, name="fc", activation="softmax")]
    model = load_model(keras.Sequential(layers, name="small"))
    assert model.name == "small"
    assert model.removed == "softmax"
    assert model.layers[-1].kind == "dense"


def test_a_torch_module_goes_through_the_torch_source() -> None:
    import torch

    model = load_model(torch.nn.Linear(3, 2), name="line", example=torch.zeros(1, 3))
    assert (model.name, model.input_shape, model.classes) == ("line", (3,), 2)


def test_a_torch_module_without_an_example_is_refused() -> None:
    import torch

    with pytest.raises(ModelSourceError, match=r"\(Linear\) does not know its input; pass one with example="):
        load_model(torch.nn.Linear(3, 2))


def test_an_example_beside_another_source_is_refused() -> None:
    graph = Builder("tiny", (3,)).graph()
    with pytest.raises(InvalidInputError, match="it is for torch modules"):
        load_model(graph, example=np.zeros((1, 3)))
    with pytest.raises(InvalidInputError, match="output='y' was given"):
        load_model(graph, output="y")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.onnx", None, "no such file; check the path"),
        ("text.onnx", b"hello", "no ONNX model, or a truncated one"),
        ("empty.onnx", b"", "an empty file; fetch or export it again"),
        ("empty.h5", b"", "an empty file"),
        ("empty.keras", b"", "an empty file"),
        ("text.h5", b"hello", "not an HDF5 file"),
        ("weights.pt", b"", r"weights_only=True\)\), and pass the module with example="),
        ("weights.pth", None, r"weights_only=True"),
        ("weights.safetensors", b"", r"safetensors\.torch\.load_file\(path\)\), and pass the module"),
        ("model.tflite", b"", r"ending in \.tflite, expected \.onnx, \.keras, \.h5, \.hdf5"),
        ("folder", "folder", r"a folder, expected a file ending in \.onnx"),
        ("saved", "folder saved_model.pb", "a SavedModel, which holds a function without layers"),
        ("kept", "folder saved_model.pb keras_metadata.pb", r"a SavedModel of Keras 2, .*tf_keras\.models"),
    ],
)
def test_what_is_no_model_is_refused_in_one_line(
    name: str, content: bytes | str | None, message: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    if isinstance(content, str):
        path.mkdir()
        for inside in content.split()[1:]:
            (path / inside).touch()
    elif isinstance(content, bytes):
        path.write_bytes(content)
    with pytest.raises(ModelSourceError, match=message) as caught:
        load_model(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_the_advice_for_a_saved_model_of_keras_2_is_one_that_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tf_keras = pytest.importorskip("tf_keras")
    model = tf_keras.Sequential([tf_keras.layers.InputLayer((4,)), tf_keras.layers.Dense(2)])
    model.save(tmp_path / "saved", save_format="tf")
    with pytest.raises(ModelSourceError) as caught:
        load_model(tmp_path / "saved")
    monkeypatch.chdir(tmp_path)
    (advice,) = re.findall(r"tf_keras\..*\)", str(caught.value))
    eval(advice, {"tf_keras": tf_keras, "folder": tmp_path / "saved"})
    assert [layer.kind for layer in load_model(tmp_path / "model.keras").layers] == ["input", "dense"]


def test_a_truncated_onnx_file_is_refused(onnx_file: Path) -> None:
    onnx_file.write_bytes(onnx_file.read_bytes()[:-20])
    with pytest.raises(ModelSourceError, match="truncated"):
        load_model(onnx_file)


def test_an_unsupported_operator_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "odd.onnx"
    onnx.save_model(exported([node("Erf", "x", name="act")], ["n", 3]), path)
    with pytest.raises(UnsupportedLayerError, match=r"odd\.onnx: node 'act' \(Erf\)"):
        load_model(path)


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="unknown model 'digits-cn'; did you mean 'digits-cnn'"):
        load_model("digits-cn")


def test_an_object_that_is_no_model_is_refused() -> None:
    with pytest.raises(ModelSourceError, match=r"from a builtins\.int; expected a zoo name"):
        load_model(3)


def test_a_zoo_model_imports_no_framework() -> None:
    """Its file is pinned, and proven by the tests of the zoo; every other model proves itself when it is loaded."""
    program = (
        "import sys, ported_models; model = ported_models.load_model('digits-cnn'); model.digest; "
        "sys.exit(bool({'tensorflow', 'torch', 'keras'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], timeout=60).returncode == 0


def test_a_file_that_onnx_runtime_cannot_run_says_what_was_compared_instead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from ported_models.onnx import own

    def refuses(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("no kernel for HardMax(99)")

    monkeypatch.setattr(own.onnxruntime, "InferenceSession", refuses)
    with pytest.warns(UserWarning, match=r"only theirs with each other: .*no kernel for HardMax\(99\)"):
        load_model(classifier())
