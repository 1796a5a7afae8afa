"""What a diagnosis is worth, what is kept between runs, and what the report says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
import typer

from evidence.kept import WITHOUT, key_of
from evidence.planted_bugs import Expected, Fault, Result, cases, collect, score
from evidence.planted_bugs.command import BUGS, CODE, planted_bugs
from evidence.planted_bugs.run import Case, Finding
from evidence.planted_bugs.table import Figures, Scored, figures_of, markdown, totals
from harness import files
from harness.errors import HarnessError, InvalidInputError, UnknownNameError

ROOT = Path(__file__).parents[3]
OWED = (Expected("rule", ("conv2",), ("bias-handling",)),)


def finding(stage: str, cause: str, *layers: str) -> Finding:
    return Finding(stage, layers, cause, "words", False)


def result(*findings: Finding) -> Result:
    return Result(findings, 1.0)


def test_the_right_cause_at_the_right_layer_is_right() -> None:
    right = score(OWED, result(finding("rule", "bias-handling", "conv2")))
    assert (right.detected, right.layer_right, right.cause_right) == (True, True, True)
    assert (right.wrong_names, right.unnamed) == (0, 0)


def test_another_layer_is_wrong_although_the_cause_is_right() -> None:
    elsewhere = score(OWED, result(finding("rule", "bias-handling", "conv3")))
    assert (elsewhere.detected, elsewhere.layer_right, elsewhere.cause_right) == (True, False, False)


def test_a_further_layer_is_wrong() -> None:
    assert not score(OWED, result(finding("rule", "bias-handling", "conv2", "conv3"))).layer_right


def test_another_stage_is_wrong() -> None:
    assert not score(OWED, result(finding("forward", "bias-handling", "conv2"))).layer_right


def test_unknown_where_a_cause_was_planted_is_counted_and_is_no_wrong_name() -> None:
    modest = score(OWED, result(finding("rule", "unknown", "conv2")))
    assert (modest.layer_right, modest.cause_right) == (True, False)
    assert (modest.wrong_names, modest.unnamed) == (0, 1)


def test_a_finding_that_says_two_names_is_right_where_either_was_planted() -> None:
    planted = (Expected("forward", ("conv1",), ("preprocessing",)),)
    both = replace(finding("rule", "layout", "conv1"), or_causes=("preprocessing",))
    right = score(planted, result(both))
    assert (right.layer_right, right.cause_right, right.wrong_names) == (True, True, 0)
    assert score((Expected("rule", ("conv1",), ("layout",)),), result(both)).cause_right
    elsewhere = score(planted, result(replace(both, layers=("conv2",))))
    assert (elsewhere.layer_right, elsewhere.cause_right) == (False, False)
    assert score(planted, result(replace(both, or_causes=()))).wrong_names == 1


def test_another_cause_is_a_wrong_name() -> None:
    wrong = score(OWED, result(finding("rule", "scale", "conv2")))
    assert (wrong.layer_right, wrong.cause_right, wrong.wrong_names) == (True, False, 1)


def test_a_name_where_unknown_was_planted_is_a_wrong_name() -> None:
    owed = (Expected("rule", ("conv2",), ("unknown",)),)
    assert score(owed, result(finding("rule", "scale", "conv2"))).wrong_names == 1
    honest = score(owed, result(finding("rule", "unknown", "conv2")))
    assert (honest.cause_right, honest.wrong_names, honest.unnamed) == (True, 0, 0)


def test_a_second_name_that_is_true_is_right() -> None:
    owed = (Expected("rule", ("conv2",), ("layout", "flatten-order")),)
    assert score(owed, result(finding("rule", "flatten-order", "conv2"))).cause_right


def test_a_second_place_that_cannot_be_told_apart_is_right_but_not_both() -> None:
    owed = (Expected("forward", ("input",), ("preprocessing",), or_layers=("conv1",)),)
    assert score(owed, result(finding("forward", "preprocessing", "conv1"))).cause_right
    assert score(owed, result(finding("forward", "preprocessing", "input"))).cause_right
    assert not score(owed, result(finding("forward", "preprocessing", "input", "conv1"))).layer_right


def test_one_fault_in_two_findings_is_one() -> None:
    owed = (Expected("rule", ("conv1", "conv2"), ("pooling",)),)
    twice = result(finding("rule", "pooling", "conv1"), finding("rule", "pooling", "conv2"))
    assert score(owed, twice).cause_right


def test_two_faults_of_one_layer_need_both_names() -> None:
    owed = (
        Expected("rule", ("dense",), ("bias-handling",)),
        Expected("rule", ("dense",), ("epsilon-value",)),
    )
    one = finding("rule", "bias-handling", "dense")
    both = (one, finding("rule", "epsilon-value", "dense"))
    assert score(owed, result(*both)).cause_right
    half = score(owed, result(one))
    assert (half.layer_right, half.cause_right) == (True, False)


def test_a_finding_too_many_is_wrong() -> None:
    more = score(OWED, result(finding("rule", "bias-handling", "conv2"), finding("head", "scale", "out")))
    assert (more.layer_right, more.cause_right, more.wrong_names) == (False, False, 1)


def test_a_fault_of_the_result_is_right_at_any_layer_or_none() -> None:
    owed = (Expected("postprocess", None, ("scale",)),)
    assert score(owed, result(finding("postprocess", "scale"))).cause_right
    assert score(owed, result(finding("postprocess", "scale", "input"))).cause_right
    assert not score(owed, result(finding("rule", "scale", "conv2"))).layer_right


def test_a_diagnosis_that_raised_detected_nothing() -> None:
    broken = score(OWED, Result((), 1.0, "ValueError: no"))
    assert (broken.detected, broken.layer_right, broken.cause_right) == (False, False, False)


def test_a_healthy_port_is_right_only_with_nothing_found() -> None:
    assert score((), result()).cause_right
    alarm = score((), result(finding("rule", "scale", "conv2")))
    assert (alarm.detected, alarm.cause_right, alarm.wrong_names) == (True, False, 1)


def test_a_cause_that_does_not_exist_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="'typo', which is none of"):
        Fault("typo", None)


# --- what is kept -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "package", ["harness", "ported_models", "ported_impls", "reference_impls", "evidence"]
)
def test_changed_code_is_another_key(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    def key(source: str = "one") -> str:
        return key_of("planted bug", "m", source, "digits-cnn", "lrp.z", "float64", code=CODE)

    before, digest = key(), files.source_digest
    assert key("two") != before

    def changed(name: str, without: tuple[str, ...] = ()) -> str:
        return "changed" if name.startswith(package) else digest(name, without)

    monkeypatch.setattr(files, "source_digest", changed)
    assert key() != before


def test_everything_but_what_shows_and_installs_counts() -> None:
    """A module that is new belongs to what counts until somebody says otherwise."""
    left_out = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "harness").rglob("*.py")
        if any(fnmatchcase(path.relative_to(ROOT).as_posix(), pattern) for pattern in WITHOUT)
    }
    folders = {name.split("/")[1] for name in left_out if name.count("/") > 1}
    assert folders == {"conformance", "golden", "report", "stability"}
    shown = {
        "cache_cli",
        "cli",
        "compare_cli",
        "diagnose_cli",
        "doctor",
        "golden_cli",
        "golden_options",
        "golden_verify_cli",
        "help_cli",
        "history",
        "history_cli",
        "inspect_cli",
        "log_cli",
    }
    shown |= {"notebook", "peers", "peers_cli", "pytest_plugin", "report_cli", "run_cli", "terminal"}
    shown |= {"watch_cli", "watching"}
    assert {Path(name).stem for name in left_out if name.count("/") == 1} == shown


# --- the folder ---------------------------------------------------------------------------------------


def test_a_module_below_the_folder_belongs_to_the_source_of_its_mutants(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    helper = tmp_path / "below" / "factors.py"
    helper.write_text("FACTOR = 1.0\n", encoding="utf-8")
    (tmp_path / "planted.py").write_text(
        "from evidence.planted_bugs import Mutant\n"
        "MUTANTS = (Mutant('one', 'nothing', (), lambda: None, (), (), 'by hand'),)\n",
        encoding="utf-8",
    )
    before = collect(tmp_path).digests["one"]
    helper.write_text("FACTOR = 2.0\n", encoding="utf-8")
    assert collect(tmp_path).digests["one"] != before


def test_a_folder_without_mutants_says_so(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="no module there has a tuple MUTANTS"):
        collect(tmp_path)


def test_a_folder_that_does_not_exist_says_which_option_names_one(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match=r"no such folder; .*--folder"):
        collect(tmp_path / "nothing")


def test_a_module_that_cannot_be_imported_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("1 / 0\n", encoding="utf-8")
    with pytest.raises(HarnessError, match="cannot be imported: ZeroDivisionError"):
        collect(tmp_path)


@pytest.mark.torch
def test_a_glob_that_matches_nothing_names_the_nearest_mutant() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'std-ddof-1'"):
        list(cases(collect(BUGS), ["std-ddof-2"]))


@pytest.mark.torch
def test_a_mutant_has_no_case_where_it_has_no_place() -> None:
    """digits-cnn has no add."""
    collection = collect(BUGS)
    assert not list(cases(collection, ["residual-doubled"], ["digits-cnn"]))
    (case,) = cases(collection, ["residual-doubled"], ["branches-net"])
    assert case.expected == (Expected("rule", ("residual",), ("residual-split",)),)


# --- the report ---------------------------------------------------------------------------------------


def test_the_report_counts_and_names_what_is_wrong() -> None:
    good = result(finding("rule", "bias-handling", "conv2"))
    bad = replace(result(finding("rule", "scale", "conv2")), left=0.5, complete=False)
    case = Case("bias-lost", "digits-cnn", "lrp.epsilon", OWED)
    rows = [Scored(case, each, score(OWED, each)) for each in (good, bad)]
    alarm = Case("healthy port", "digits-cnn", "lrp.z", ())
    healthy = [Scored(alarm, good, score((), good)), Scored(alarm, result(), score((), result()))]
    figures = figures_of(rows, healthy, "Made by hand.", [case, case, alarm])
    text = markdown(figures)
    sums = totals(figures.rows)
    assert (sums.cases, sums.detected, sums.layer_right, sums.cause_right, sums.wrong_names) == (
        2,
        2,
        2,
        1,
        1,
    )
    assert "| cause right | 1 (50.0 %) | 0 |" in text
    assert "| false alarms | 1 of 2 |  |" in text
    assert "| gap closed | 1 (50.0 %) | 0 |" in text
    assert "bias-handling at conv2 (rule) | scale at conv2 (rule) | yes | **no** | **no** | 1.0 |" in text
    assert "Missing: 2 planted bugs on digits-cnn, 1 healthy ports on digits-cnn." in text
    # What is kept as JSON makes the same page.
    assert markdown(Figures.from_json(json.loads(json.dumps(figures.as_json())))) == text


@pytest.mark.nightly
@pytest.mark.torch
@pytest.mark.tensorflow
def test_the_command_continues_where_it_stopped(tmp_path: Path, own_cache: Path) -> None:
    options = ["starts-from-one", "-m", "tokens-net", "--limit", "1", "--out", str(tmp_path / "mutants.md")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    def run(*more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "evidence.planted_bugs", *options, *more],
            capture_output=True,
            text=True,
            env=environment,
            cwd=tmp_path,
        )

    nothing = run("--kept-only")
    assert nothing.returncode != 0
    assert "nothing to report: none of these 1 cases was run" in nothing.stderr
    assert not (tmp_path / "mutants.md").exists()
    both = run("--kept-only", "--force")
    assert (both.returncode, "--force runs all of it again, --kept-only runs nothing" in both.stderr) == (
        2,
        True,
    )
    first, second = run(), run("--json")
    assert first.returncode == 0, first.stdout + first.stderr
    assert "done before" not in first.stdout
    assert "done before" in second.stderr
    (case,) = json.loads(second.stdout)["cases"]
    assert case["score"]["cause_right"] is True
    assert (tmp_path / "mutants.md").read_text(encoding="utf-8").startswith("# Planted bugs")
    report = run("--limit", "2", "--kept-only")
    assert (report.returncode, "not yet run: 1" in report.stdout) == (1, True), report.stderr
    text = (tmp_path / "mutants.md").read_text(encoding="utf-8")
    assert "Missing: 1 planted bugs on tokens-net" in text
    assert "| cases | 1 | 0 |" in text


@pytest.mark.torch
@pytest.mark.tensorflow
def test_a_part_does_not_replace_the_report_of_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(typer.Exit):
        planted_bugs(["starts-from-one"], ["tokens-net"], limit=1, folder=BUGS)
    assert not (tmp_path / "reports" / "mutants.md").exists()
    assert "Planted bugs" in (tmp_path / "reports" / "runs" / "mutants.md").read_text(encoding="utf-8")
