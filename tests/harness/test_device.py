"""`--device` and ``device=``: what the candidate computes on; the reference stays where it is."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness import diagnose
from harness.backends import backend_named
from harness.case import Case
from harness.engine import Store
from harness.methods import method
from harness.runner import Selection, run, run_case
from tests.harness.linear_network import GradientBackend, network

run_module = importlib.import_module("harness.runner.run")  # its package has a function of that name

X = np.array([[1.0, -2.0, 0.5]])


class Anywhere(GradientBackend):
    """Computes on every device, and says on which it was asked to."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.devices: list[str] = []

    def prepare(self, model: Any, dtype: str, device: str = "cpu") -> Any:
        self.devices.append(device)
        return super().prepare(model, dtype, device)


def test_the_candidate_of_a_case_computes_on_the_device_and_the_reference_on_the_cpu() -> None:
    reference, candidate = Anywhere("one"), Anywhere("other")
    case = Case.checked(network(), X, method("gradient"), None, "float64")
    outcome = run_case(case, reference, candidate, "cuda:1")
    assert outcome.passed, outcome.message
    assert set(reference.devices) == {"cpu"} and set(candidate.devices) == {"cuda:1"}
    assert outcome.reference.provenance["device"] == "cpu"
    assert outcome.candidate.provenance["device"] == "cuda:1"


def test_a_diagnosis_is_of_the_candidate_on_the_device() -> None:
    reference, candidate = Anywhere("one"), Anywhere("other")
    found = diagnose(network(), X, "gradient", reference, candidate, device="cuda")
    assert not found.findings
    assert set(reference.devices) == {"cpu"} and set(candidate.devices) == {"cuda"}


def test_a_result_of_another_device_is_not_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What is kept of a run is kept under a key: the device is in it, and in the row."""
    oracle, keys = backend_named("oracle"), []

    def spied(*asked: Any, own: Any = run_module.result_key) -> Any:
        keys.append(own(*asked))
        return keys[-1]

    monkeypatch.setattr(run_module, "result_key", spied)
    monkeypatch.setattr(oracle, "prepare", lambda *asked, own=oracle.prepare: own(*asked[:2]))
    for device in ("cpu", "cuda"):
        chosen = Selection(("digits-cnn",), ("gradient",), ("float64",), oracle, oracle, device=device)
        (row,) = run(chosen, tmp_path / device, store=Store(tmp_path / "store"))
        assert row["device"] == device and row["passed"]
    assert None not in keys and len(set(keys)) == 2


@pytest.mark.parametrize(
    "command", [("run", "--model", "digits-cnn", "--method"), ("diagnose", "digits-cnn")]
)
def test_a_device_that_is_not_here_is_one_line_and_no_case(call: Any, command: tuple[str, ...]) -> None:
    sides = ("--reference", "oracle", "--candidate", "oracle", "--dtype", "float64")
    status, out, err = call(*command, "gradient", *sides, "--device", "cuda")
    assert status == 2 and not out
    assert err.splitlines()[-1].endswith("backend 'oracle' computes on cpu here, found device 'cuda'")


@pytest.mark.parametrize(
    "command", [("run", "--model", "digits-cnn", "--method"), ("diagnose", "digits-cnn")]
)
def test_a_device_that_nobody_has_is_one_line(call: Any, command: tuple[str, ...]) -> None:
    status, _, err = call(*command, "gradient", "--device", "tpu")
    assert status == 2
    assert "device must be cpu, cuda or cuda:NUMBER, found 'tpu'" in err
