"""The commands with a network of several inputs, whose arrays stand by name in one .npz file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

NET = """
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.conv, self.row, self.logits = torch.nn.Conv2d(3, 4, 3), torch.nn.Linear(5, 6), torch.nn.Linear(70, 3)

    def forward(self, image, table):
        seen = torch.relu(self.conv(image)).flatten(1)
        return self.logits(torch.cat([seen, torch.relu(self.row(table))], 1))

def build():
    return Net().eval()
"""
TEXT = """
import torch

class Text(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.words, self.logits = torch.nn.Embedding(8, 4), torch.nn.Linear(6, 3)

    def forward(self, ids, numbers):
        return self.logits(torch.cat([self.words(ids).mean(1), numbers], 1))

def build():
    return Text().eval()
"""
CANDIDATES = """
import torch, harness

def gradient(twin, x, target, method):
    x = {name: each.clone().requires_grad_() for name, each in x.items()}
    twin(x).gather(1, target[:, None]).sum().backward()
    return {name: each.grad for name, each in x.items()}

def upside_down(twin, x, target, method):
    found = gradient(twin, x, target, method)
    return {**found, "image": found["image"].flip(2)}

right = harness.backend_from_function("right", gradient, "torch")
wrong = harness.backend_from_function("wrong", upside_down, "torch")
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A network, candidates for it, its inputs, and files that are none."""
    (tmp_path / "net.py").write_text(NET)
    (tmp_path / "text.py").write_text(TEXT)
    (tmp_path / "mine.py").write_text(CANDIDATES)
    rng = np.random.default_rng(0)
    arrays = {"table": rng.standard_normal((2, 5)), "image": rng.standard_normal((2, 6, 6, 3))}
    np.savez(tmp_path / "x.npz", **arrays)
    np.savez(tmp_path / "misspelt.npz", image=arrays["image"], tabel=arrays["table"])
    np.save(tmp_path / "x.npy", arrays["image"])
    (tmp_path / "broken.npz").write_bytes((tmp_path / "x.npz").read_bytes()[:400])
    return tmp_path


@pytest.mark.tensorflow
@pytest.mark.torch
class TestCommands:
    def test_inspect_lists_the_inputs(self, call, place) -> None:
        status, out, err = call("inspect", "net.py:build", "--input", "x.npz")
        assert status == 0, err
        assert "Its inputs, channels last and without the batch: image (6, 6, 3), table (5)." in out
        status, out, _ = call("inspect", "net.py:build", "--input", "x.npz", "--json")
        assert json.loads(out)["inputs"] == {"image": [6, 6, 3], "table": [5]}

    def test_a_run_has_a_picture_and_maps_of_each(self, call, place) -> None:
        given = (
            "--model",
            "net.py:build",
            "--input",
            "x.npz",
            "--method",
            "lrp.epsilon",
            "--dtype",
            "float64",
        )
        status, out, err = call("run", *given, "--out", "o", "--json")
        assert status == 0, err
        assert [row["verdict"] for row in json.loads(out)["rows"]] in (["identical"], ["equivalent"])
        view = json.loads((place / "o" / "build" / "lrp.epsilon.float64.view.json").read_text())
        assert {(each["name"], tuple(each["labels"])) for each in view["samples"]} == {
            (f"sample {sample}, input {name!r}", labels)
            for sample in range(2)
            for name, labels in (("image", ("height", "width")), ("table", ("feature",)))
        }
        from matplotlib.image import imread

        # One above the other.
        assert imread(place / "o" / "build" / "lrp.epsilon.float64.png").shape[:2] == (840, 1100)

    def test_a_candidate_of_a_file_gets_them_by_name(self, call, place) -> None:
        given = ("net.py:build", "gradient", "--input", "x.npz", "--dtype", "float64")
        assert call("diagnose", *given, "--candidate", "mine.py:right")[0] == 0
        status, out, _ = call("diagnose", *given, "--candidate", "mine.py:wrong", "--reproduce", "r")
        assert status == 1
        assert "The height axis of the input 'image' is reversed." in out
        done = subprocess.run(
            [sys.executable, "reproduce.py"], cwd=place / "r", capture_output=True, text=True, check=False
        )
        assert "the error is there" in done.stdout, done.stderr

    @pytest.mark.parametrize("form", ["full", "sketch"])
    def test_goldens_hold_and_regress(self, call, place, form: str) -> None:
        given = ("--model", "net.py:build", "--input", "x.npz", "--method", "gradient", "--root", "g")
        status, out, err = call("golden", "record", *given, "--form", form, "--reference", "oracle")
        assert (status, "1 recorded" in out) == (0, True), err
        verify = ("golden", "verify", "--model", "net.py:build", "--root", "g", "--out", "o")
        status, out, err = call(*verify)
        assert (status, "1 of 1 goldens hold" in out) == (0, True), out + err
        status, out, _ = call(*verify, "--candidate", "mine.py:wrong")
        assert (status, "0 of 1 goldens hold" in out) == (1, True), out

    def test_a_golden_of_numbers_of_tokens_gives_them_as_such(self, call, place) -> None:
        """The entry holds one array of floating-point numbers; an embedding takes whole ones."""
        np.savez(place / "x.npz", ids=np.array([[3, 0, 7]]), numbers=np.array([[0.5, -1.0]]))
        status, out, err = call(
            *("golden", "record", "--model", "text.py:build", "--input", "x.npz", "--method", "lrp.epsilon"),
            *("--root", "g", "--reference", "oracle"),
        )
        assert (status, "1 recorded" in out) == (0, True), err
        status, out, err = call("golden", "verify", "--model", "text.py:build", "--root", "g", "--out", "o")
        assert (status, "1 of 1 goldens hold" in out) == (0, True), out + err

    @pytest.mark.parametrize(
        ("file", "words"),
        [
            ("misspelt.npz", "'table' missing, forward takes no 'tabel'"),
            ("x.npy", "forward takes several inputs ('table' is one), found an example of one"),
            (
                "broken.npz",
                "broken.npz is no readable .npz file of numbers; save arrays by name with numpy.savez",
            ),
            ("absent.npz", "absent.npz does not exist; save arrays by name with numpy.savez"),
        ],
    )
    def test_a_mistake_is_one_line(self, call, place, file: str, words: str) -> None:
        status, out, err = call("stability", "net.py:build", "gradient", "--input", file)
        assert (status, out) == (2, "")
        assert words in err and err.count("\n") == 1
