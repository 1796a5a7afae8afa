"""How commands name their model: a pair of two files, a torch module of a file; and what `inspect` says of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper, save

KERNEL = np.array([[1.0, -2.0], [3.0, 0.5], [-1.0, 2.0]], np.float32)
PORT = """
from weights import KERNEL
import torch

def build():
    module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.ReLU())
    with torch.no_grad():
        module[0].weight.copy_(torch.tensor(KERNEL).T)
        module[0].bias.zero_()
    return module.eval()
"""
PAIR = ("--model-keras", "net.keras", "--model-torch", "port/port.py:build")


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    """A Keras file, a torch file that ports it with a module beside it, and an input."""
    import keras

    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, "relu")])
    model.layers[0].set_weights([KERNEL, np.zeros(2, np.float32)])
    model.save(tmp_path / "net.keras")
    (tmp_path / "port").mkdir()
    (tmp_path / "port" / "port.py").write_text(PORT)
    (tmp_path / "port" / "weights.py").write_text(f"KERNEL = {KERNEL.tolist()}\n")
    np.save(tmp_path / "x.npy", np.array([[0.5, -1.0, 2.0]], np.float32))
    return tmp_path


@pytest.mark.tensorflow
@pytest.mark.torch
class TestPairs:
    def test_every_command_takes_a_pair(self, call, pair) -> None:
        given = (*PAIR, "--input", "x.npy")
        status, out, err = call(
            "run", *given, "--method", "lrp.z", "--dtype", "float64", "--out", "o", "--json"
        )
        assert status == 0, err
        assert [row["verdict"] for row in json.loads(out)["rows"]] in (["identical"], ["equivalent"])
        for command in ("diagnose", "stability"):
            status, _, err = call(command, "lrp.z", *given)
            assert status == 0, err
        status, out, err = call("golden", "record", *given, "--method", "lrp.z", "--reference", "oracle")
        assert (status, "1 recorded" in out) == (0, True), err
        status, out, _ = call("golden", "show", "net/lrp.z.float64", "--json")
        torch = json.loads(out)["source"]["torch"]
        assert (torch["file"], set(torch["modules"])) == ("port/port.py", {"port.py", "weights"})
        status, out, _ = call("inspect", *PAIR, "--json")
        assert (status, json.loads(out)["loads"], json.loads(out)["unverified"]) == (0, True, "")

    def test_a_port_with_another_weight_is_another_network(self, call, pair) -> None:
        (pair / "port" / "weights.py").write_text(f"KERNEL = {(KERNEL + 1).tolist()}\n")
        status, out, _ = call("inspect", *PAIR, "--json")
        assert status == 1
        assert "the torch port is another network" in json.loads(out)["unverified"]
        status, out, _ = call("diagnose", "gradient", *PAIR, "--input", "x.npy", "--json")
        assert (status, json.loads(out)["stage"]) == (1, "forward")

    def test_a_candidate_of_a_file_runs_on_a_pair_in_its_own_process(self, call, pair) -> None:
        (pair / "own.py").write_text(
            "from harness.backends import backend_named\ndef own():\n    return backend_named('torch')\n"
        )
        sides = ("--candidate", "own.py:own", "--method", "gradient", "--dtype", "float64", "--out", "o")
        status, out, err = call("run", *PAIR, "--input", "x.npy", *sides)
        assert (status, "1 of 1 cases passed" in out) == (0, True), err + out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("diagnose", "digits-cnn", "lrp.z", *PAIR), "expected METHOD alone: the model is the pair"),
        (("stability", "lrp.z"), "found 'lrp.z', expected MODEL METHOD, or METHOD with --model-keras"),
        (("run", "--model-keras", "net.keras"), "a pair has two sides"),
        (("inspect", "--model-keras", "a.keras", "--model-torch", "b.py"), "expected FILE.py:NAME"),
        (("inspect",), "name one model: MODEL, or --model-keras FILE"),
        (("inspect", "digit-cnn"), "did you mean 'digits-cnn'?"),
    ],
)
def test_a_model_that_is_named_wrongly_is_one_line(call, words, message: str) -> None:
    status, out, err = call(*words)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert message in err


def onnx_file(path: Path, *nodes: tuple[str, str, str]) -> None:
    """A network of (1, 3, 8, 8) whose nodes (operator, input, output) follow each other; "w" is a kernel 4 by 3."""
    made = [
        helper.make_node(op, [name, "w"] if op == "Conv" else [name], [out], name=f"n_{out}")
        for op, name, out in nodes
    ]
    x, y = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (
            ("x", [1, 3, 8, 8]),
            (nodes[-1][2], [None] * (2 if any(op == "Flatten" for op, _, _ in nodes) else 4)),
        )
    )
    weight = numpy_helper.from_array(np.ones((3, 3, 1, 1), np.float32), "w")
    save(helper.make_model(helper.make_graph(made, "g", [x], [y], [weight]), ir_version=8), path)


class TestInspect:
    def test_all_layers_that_are_not_read_are_listed_in_one_go(self, call, tmp_path) -> None:
        nodes = [
            ("Conv", "x", "a"),
            ("Acos", "a", "b"),
            ("Conv", "b", "c"),
            ("Sin", "c", "d"),
            ("Relu", "d", "e"),
        ]
        onnx_file(tmp_path / "net.onnx", *nodes)
        status, out, _ = call("inspect", "net.onnx", "--json")
        found = json.loads(out)
        assert (status, found["loads"], len(found["unread"])) == (1, False, 2)
        assert ["'n_b' (Acos)" in found["unread"][0], "'n_d' (Sin)" in found["unread"][1]] == [True, True]
        # What stands behind a layer that is not read is read all the same: its size is known.
        assert [(layer["kind"], layer["shape"]) for layer in found["layers"]] == [
            ("input", [8, 8, 3]),
            ("conv2d", [8, 8, 3]),
            ("conv2d", [8, 8, 3]),
            ("relu", [8, 8, 3]),
        ]
        status, out, _ = call("inspect", "net.onnx")
        assert (status, "does not load: 4 layers are read, 2 not:" in out) == (1, True)

    @pytest.mark.parametrize(
        ("name", "content", "said"),
        [
            ("damaged.onnx", b"garbage", "no ONNX model, or a truncated one"),
            ("damaged.h5", b"garbage", "is not an HDF5 file"),
            ("empty.onnx", b"", "an empty file"),
            (
                "weights.safetensors",
                b"\x02\0\0\0\0\0\0\0{}",
                "a .safetensors file holds weights without a network",
            ),
            ("saved", None, "a folder, expected a file"),
        ],
    )
    def test_a_file_that_is_no_model_is_one_line_that_names_it_once(
        self, call, tmp_path, name: str, content: bytes | None, said: str
    ) -> None:
        if content is None:
            (tmp_path / name).mkdir()
        else:
            (tmp_path / name).write_bytes(content)
        status, out, err = call("inspect", name)
        assert (status, err, out.count("\n"), out.count(name)) == (1, "", 1, 1)
        assert out.startswith(f"{name} does not load: {said}")

    @pytest.mark.tensorflow
    @pytest.mark.torch
    def test_a_model_that_loads_is_listed_with_its_notes(self, call, tmp_path) -> None:
        onnx_file(tmp_path / "net.onnx", ("Conv", "x", "a"), ("Flatten", "a", "f"), ("Softmax", "f", "b"))
        status, out, err = call("inspect", "net.onnx", "--json")
        found = json.loads(out)
        assert (status, found["loads"], found["unread"]) == (0, True, []), err
        assert [layer["weights"] for layer in found["layers"]] == [0, 9, 0]
        assert any("softmax" in note for note in found["notes"])

    @pytest.mark.torch
    def test_all_operations_of_a_torch_module_are_listed(self, call, tmp_path) -> None:
        (tmp_path / "net.py").write_text(
            "import torch\n"
            "class Net(torch.nn.Module):\n"
            "    def __init__(self):\n"
            "        super().__init__()\n"
            "        self.first, self.odd = torch.nn.Linear(3, 4), torch.nn.Hardshrink()\n"
            "        self.second = torch.nn.Linear(4, 2)\n"
            "    def forward(self, x):\n"
            "        return self.second(torch.cumsum(self.odd(self.first(x)), 1))\n"
        )
        np.save(tmp_path / "x.npy", np.ones((1, 3), np.float32))
        status, out, _ = call("inspect", "net.py:Net", "--input", "x.npy", "--json")
        found = json.loads(out)
        assert status == 1
        assert ["Hardshrink" in found["unread"][0], "cumsum" in found["unread"][1]] == [True, True]
        assert [layer["layer"] for layer in found["layers"]] == ["input", "first", "second"]

    def test_a_file_that_is_none_is_one_line(self, call, tmp_path) -> None:
        (tmp_path / "net.onnx").write_bytes(b"no model")
        status, out, err = call("inspect", "net.onnx")
        assert (status, out.count("\n"), err) == (1, 1, "")
        assert "no ONNX model, or a truncated one" in out
