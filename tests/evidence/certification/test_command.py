"""The command: writes the report, its exit status is what is in it, and goes on where it stopped."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from evidence.certification import __main__ as command
from harness.backends import Backend
from harness.errors import PeerError
from tests.evidence.certification.scripted import Scripted, two_layer_cases

Run = Callable[..., int]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, own_cache: Path, tmp_path: Path) -> Run:
    """Runs the command on :func:`two_layers` in place of digits-cnn, with the given library and reference."""

    def call(library: Scripted, reference: Scripted, *arguments: str) -> int:
        backends = {"tensorflow": reference, "signxai": library}

        def named(name: str) -> Backend:
            return backends[name]  # type: ignore[return-value]

        monkeypatch.setattr(command, "backend_named", named)
        monkeypatch.setattr(command, "cases_of", lambda library, group, names: [two_layer_cases(*names)])
        monkeypatch.setenv(command.LIMIT_VARIABLE, "60")
        options = [
            "--library",
            "signxai",
            "--model",
            "digits-cnn",
            "--method",
            "lrp_z",
            "--method",
            "grad_cam",
        ]
        folders = ["--out", str(tmp_path / "out")]
        monkeypatch.setattr(sys, "argv", ["certification", *options, *folders, *arguments])
        return command.main()

    return call


def test_the_report_is_written_and_the_reference_certified(run: Run, tmp_path: Path) -> None:
    assert run(Scripted(), Scripted("reference")) == 0
    written = (tmp_path / "out" / "certification.md").read_text(encoding="utf-8")
    assert "**Certified**: both sides ran in 1 cases" in written
    assert "grad_cam" in written.split("## Does not apply")[1]
    assert (tmp_path / "out" / "certification.csv").read_text(encoding="utf-8").count("\n") == 3


def test_an_unexplained_difference_is_exit_status_one(run: Run) -> None:
    assert run(Scripted(hidden={"float32": [1.0, 1.0]}), Scripted("reference")) == 1


def test_a_library_that_is_not_there_is_one_line_and_exit_status_two(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    class Missing(Scripted):
        def version(self) -> dict[str, str]:
            raise PeerError("signxai is not installed; install it with: xai-harness peers install signxai")

    assert run(Missing(), Scripted("reference")) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_name_that_matches_nothing_is_exit_status_two(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--library", "signxai", "--model", "digits-cnn", "--method", "lpr_*"]
    command_line = command._parser().parse_args(options)
    assert command_line.method == ["lpr_*"]
    with pytest.raises(Exception, match="lpr_"):
        command._selected(command_line, ("signxai",), ("digits-cnn",))


def test_a_changed_reference_is_judged_anew_without_asking_the_library(run: Run, tmp_path: Path) -> None:
    library = Scripted()
    assert run(library, Scripted("reference")) == 0
    both = {"float32": [1.0, 1.0], "float64": [1.0, 1.0]}
    changed = Scripted("reference", hidden=both, versions={"source": "b"})
    assert run(library, changed) == 1
    assert library.asked == ["lrp_z"]


def test_nothing_is_run_twice(run: Run) -> None:
    library, reference = Scripted(), Scripted("reference")
    run(library, reference)
    asked = list(reference.asked)
    run(library, reference)
    # only the logits are, for the target
    assert reference.asked == asked
    assert library.asked == ["lrp_z"]
    run(library, reference, "--force")
    assert reference.asked[len(asked) :] == asked
    assert library.asked == ["lrp_z"]
