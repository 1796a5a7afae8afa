"""The command `run`: where its report goes, which cases are diagnosed, what its options change, and its neighbours."""

from __future__ import annotations

import json
import shlex
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.backends import register_backend
from harness.engine import Engine, Store
from harness.run_cli import checked_tolerance
from harness.runner import Selection, run
from harness.runner.run import kept_row
from tests.harness.linear_network import GradientBackend, network

DIGITS = ("--model", "digits-cnn", "--reference", "oracle", "--dtype", "float64")
ONE = (*DIGITS, "--candidate", "oracle", "--method", "gradient")


def test_each_selection_has_a_folder_of_its_own(call, tmp_path: Path) -> None:
    for method in ("gradient", "input_t_gradient"):
        status, out, _ = call("run", *DIGITS, "--candidate", "oracle", "--method", method)
        assert status == 0, out
    folders = sorted((tmp_path / "reports" / "runs").iterdir())
    assert len(folders) == 2
    told = [json.loads((folder / "report.json").read_text())["rows"][0]["method"] for folder in folders]
    assert sorted(told) == ["gradient", "input_t_gradient"]


def test_a_second_run_into_one_folder_keeps_the_report_of_the_first(call, tmp_path: Path) -> None:
    call("run", *ONE, "--out", "out")
    first = (tmp_path / "out" / "report.html").read_bytes()
    status, _, err = call("run", *DIGITS, "--candidate", "oracle", "--method", "lrp.z", "--out", "out")
    assert status == 0
    assert "the report of another run that was in out is now in out/earlier-" in err
    (aside,) = (tmp_path / "out").glob("earlier-*")
    assert (aside / "report.html").read_bytes() == first
    assert json.loads((tmp_path / "out" / "report.json").read_text())["rows"][0]["method"] == "lrp.z"
    # The same selection again is the same report.
    _, _, err = call("run", *DIGITS, "--candidate", "oracle", "--method", "lrp.z", "--out", "out")
    assert "another run" not in err


def test_an_interrupted_run_has_a_report_of_what_it_has(call, tmp_path: Path, monkeypatch) -> None:
    first: list[str] = []
    compute = Engine.run

    def once(self: Engine, case: Any, *more: Any, **options: Any) -> Any:
        first.append(case.method.name)
        if case.method.name != first[0]:
            raise KeyboardInterrupt
        return compute(self, case, *more, **options)

    # The tests may themselves run where SIGINT is ignored.
    monkeypatch.setattr("harness.errors.signal.getsignal", lambda _: signal.default_int_handler)
    monkeypatch.setattr(Engine, "run", once)
    status, _, err = call(
        "run", *DIGITS, "--candidate", "oracle", "--method", "gradient", "--method", "lrp.z", "--out", "out"
    )
    assert status == 130
    assert "run the same command again" in err
    document = json.loads((tmp_path / "out" / "report.json").read_text())
    assert len(document["rows"]) == 1
    assert document["notes"] == ["Interrupted: 1 of 2 cases are here."]
    assert "Interrupted: 1 of 2 cases are here." in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.torch
def test_what_failed_is_diagnosed_and_the_command_on_the_page_repeats_it(call, tmp_path: Path) -> None:
    words = (*DIGITS, "--candidate", "zennit", "--method", "lrp.w_square")
    status, out, _ = call("run", *words, "--out", "out", "--json")
    document = json.loads(out)
    # Zennit's WSquare leaves the bias in, which the reference's does not.
    assert (status, [row["cause"] for row in document["rows"]]) == (1, ["bias-handling"])
    assert document["rows"][0]["diagnosis"]
    assert "1 diagnosed in" in document["notes"][0]
    status, out, _ = call("worklist", "out", "--json")
    (task,) = json.loads(out)
    assert (status, task["cause"], len(task["cases"])) == (1, "bias-handling", 1)
    again = shlex.split(task["again"])
    status, out, _ = call(*again[1:], "--diagnose", "never", "--out", "again", "--json")
    (row,) = json.loads(out)["rows"]
    assert (status, row["verdict"], row.get("cause")) == (1, "divergent", None)
    status, out, _ = call("report", "out", "--against", "again", "--json")
    assert json.loads(out)["same"] == 1


def test_a_tolerance_lets_pass_what_the_caller_allows_and_changes_no_verdict(tmp_path: Path) -> None:
    candidate = GradientBackend("off", lambda layer, r: r * (1 + 1e-6))
    found = []
    for tolerance in (None, 1e-3, 1e-9):
        chosen = Selection(
            (network(),), ("gradient",), ("float64",), GradientBackend(), candidate, tolerance=tolerance
        )
        (row,) = run(chosen, tmp_path)
        found.append((row["verdict"], row["passed"]))
    assert found == [("close", False), ("close", True), ("close", False)]


def test_what_passed_by_a_tolerance_is_kept_and_believed_with_that_tolerance_alone(tmp_path: Path) -> None:
    store, row = Store(tmp_path / "store", 2**20), {"verdict": "close", "passed": True}
    store.put("a" * 64, "run: of close", row)
    assert kept_row(store, "a" * 64, tmp_path, tolerance=1e-3) == row
    assert kept_row(store, "a" * 64, tmp_path) is None


def test_a_tolerance_is_a_word_or_a_number() -> None:
    assert [checked_tolerance(text) for text in (None, "close", "1e-3")] == [None, "close", 1e-3]


def test_the_target_that_is_given_is_the_one_explained(call, tmp_path: Path) -> None:
    status, out, _ = call("run", *ONE, "--target", "7", "--out", "out", "--json")
    assert (status, json.loads(out)["rows"][0]["target"]) == (0, [7, 7])
    document = json.loads((tmp_path / "out" / "report.json").read_text())
    assert "--target 7" in document["rows"][0]["again"]


def test_the_first_failure_ends_a_run_that_is_to_fail_fast(call, tmp_path: Path) -> None:
    register_backend("silent", GradientBackend("silent"))
    words = (*DIGITS, "--candidate", "silent", "--method", "lrp.z", "--method", "lrp.flat", "--json")
    status, out, _ = call("run", *words, "--fail-fast", "--out", "out")
    document = json.loads(out)
    assert (status, document["cases"]) == (1, 1)
    assert "--fail-fast" in document["notes"][-1]


def test_quiet_is_the_result_alone(call, tmp_path: Path) -> None:
    status, out, err = call("run", *ONE, "-q", "--out", "out")
    assert (status, out, err) == (0, "1 of 1 cases passed. Report: out/report.html\n", "")


def test_the_version_is_that_of_the_package(call) -> None:
    from importlib.metadata import version

    assert call("--version") == (0, f"xai-harness {version('xai-harness')}\n", "")


def test_a_list_is_whole_at_eighty_columns_and_when_piped(call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    _, out, _ = call("methods")
    assert "lrp.alpha_2_beta_1_IB" in out
    assert "…" not in out
    _, out, _ = call("methods", "--json")
    names = [row["name"] for row in json.loads(out)]
    _, out, _ = call("methods")
    assert [line.split()[0] for line in out.splitlines()[1 : len(names) + 1]] == names


def test_what_stands_in_brackets_is_text(call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.doctor._version", lambda package: None)
    status, out, _ = call("doctor")
    assert status == 1
    assert "pip install 'xai-harness[tensorflow]'" in out


def test_two_arrays_are_compared(call, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([1.0, 2.0]))
    np.save(tmp_path / "b.npy", np.array([1.0, 2.5]))
    assert call("compare", "a.npy", "a.npy")[0] == 0
    status, out, _ = call("compare", "a.npy", "b.npy")
    assert status == 1
    # sqrt(0.5**2 / (1 + 4))
    assert "divergent" in out and "2.24e-01" in out
    assert "the axes of the arrays are not known" in out
    status, out, _ = call("compare", "a.npy", "b.npy", "--axes", "batch", "--tolerance", "0.3", "--json")
    document = json.loads(out)
    assert (status, document["verdict"], document["passed"]) == (0, "divergent", True)
    assert not any("axes" in note for note in document["notes"])


def test_nan_is_null_in_json(call, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([1.0, np.nan]))
    _, out, _ = call("compare", "a.npy", "a.npy", "--json")
    assert "NaN" not in out
    assert json.loads(out)["verdict"] == "identical"


def test_two_traces_and_two_runs_are_compared(call, tmp_path: Path) -> None:
    import harness

    x = np.zeros((1, 8, 8, 1))
    for name, method in (("a", "gradient"), ("b", "gradient")):
        harness.explain("digits-cnn", x, method, "oracle", dtype="float64").save(
            tmp_path / f"{name}.safetensors"
        )
    status, out, _ = call("compare", "a.safetensors", "b.safetensors")
    assert (status, out.split(":")[0]) == (0, "identical")
    for out_folder in ("one", "two"):
        call("run", *ONE, "--out", out_folder)
    status, out, _ = call("compare", "one", "two")
    assert (status, out) == (0, "B against A: 0 improved, 0 broke, 1 unchanged.\n")
