"""`pytest --conformance`, as a user runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pandas  # noqa: F401  (a run of pytest within pytest forgets the modules that it was first to import)
import pytest

import harness.conformance.collected  # noqa: F401

pytestmark = pytest.mark.thinned(0.4)

pytest_plugins = ["pytester"]

#: The oracle is its own candidate, and one whose gradient is twice that; neither needs a framework.
MINE = """
from dataclasses import replace
from reference_impls.oracle.backend import OracleBackend

class Prepared:
    def __init__(self, prepared):
        self.run_once, self.logits = prepared.run, prepared.logits
    def run(self, x, method, target, layers):
        run = self.run_once(x, method, target, layers)
        return replace(run, attribution=2 * run.attribution, activations={}, relevances={})

class Twice(OracleBackend):
    def prepare(self, *arguments):
        return Prepared(super().prepare(*arguments))

right, twice = OracleBackend, Twice
"""
ALL = "digits-cnn-gradient-float64", "digits-cnn-lrp.epsilon-epsilon_0.25-float64"


@pytest.fixture
def ran(pytester, monkeypatch):
    """Run pytest with these words in a folder that has the candidates.

    ``apart``: in a process of its own, which what computes needs: extension modules load once.
    """
    pytester.makepyfile(mine=MINE)
    pytester.makepyfile(test_other="def test_nothing(): pass")
    pytester.makeconftest("def pytest_addoption(parser):\n    parser.addoption('--suite-of-mine')")

    def run(*words: str, apart: bool = False):
        runner = pytester.runpytest_subprocess if apart else pytester.runpytest_inprocess
        return runner("-p", "harness.pytest_plugin", *words)

    return run


def test_the_ids_are_readable_and_select_and_only_the_cases_are_collected(ran) -> None:
    result = ran("--conformance", "--collect-only", "-q")
    lines = result.stdout.str().splitlines()
    assert {f"conformance::{name}" for name in ALL} <= set(lines)
    assert not any("test_other" in line for line in lines)
    assert (
        len([line for line in lines if line.startswith("conformance::digits-cnn-")]) == 36
    )  # 18 in each dtype
    result = ran("--conformance", "--collect-only", "-q", f"conformance::{ALL[1]}", "test_other.py")
    assert result.stdout.str().splitlines()[:2] == ["test_other.py::test_nothing", f"conformance::{ALL[1]}"]
    result = ran("--conformance", "--collect-only", "-q", "-m", "not conformance")
    result.stdout.fnmatch_lines(["no tests collected (36 deselected)*"])


def test_a_right_candidate_passes_and_a_wrong_one_fails_again_with_lf(ran, pytester) -> None:
    sides = ("--conformance", "--reference", "oracle", "--candidate")
    chosen = ("-k", " or ".join(ALL))
    ran(*sides, "mine.py:right", *chosen, apart=True).assert_outcomes(passed=2)
    result = ran(*sides, "mine.py:twice", "-k", ALL[0], "--junitxml", "junit.xml", apart=True)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "divergent: *relative L2 1.00e+00*",
            "diagnosis: the attribution is 2 times the reference's*(scale)",
            "repeat: xai-harness diagnose digits-cnn gradient --reference oracle --candidate mine.py:twice "
            "--dtype float64",
        ]
    )
    assert "Traceback" not in result.stdout.str() + result.stderr.str()
    (case,) = ElementTree.parse(pytester.path / "junit.xml").getroot().iter("testcase")
    assert (case.get("classname"), case.get("name")) == ("conformance", ALL[0])
    assert case[0].tag == "failure" and "(scale)" in (case[0].text or "")
    ran(*sides, "mine.py:right", "--lf", apart=True).assert_outcomes(passed=1)


def test_known_differences_stand_in_the_configuration_and_workers_share_the_cases(ran, pytester) -> None:
    pytester.makeini(f"[pytest]\nconformance_known_differences =\n    {ALL[0]}: scale: meant so\n")
    sides = ("--conformance", "--reference", "oracle", "--candidate", "mine.py:twice")
    result = ran(*sides, "-p", "xdist", "-n", "2", "-k", " or ".join(ALL), apart=True)
    result.assert_outcomes(xfailed=1, failed=1)
    pytester.makeini("[pytest]\nconformance_known_differences =\n    digits*: scael\n")
    result = ran(*sides)
    result.stderr.fnmatch_lines(["ERROR: unknown cause 'scael'; did you mean 'scale'?*"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--suite", "defalt"), "ERROR: unknown suite 'defalt'; did you mean 'default'?*"),
        (("--candidate", "mine.py:none"), "ERROR: backend 'mine.py:none': mine.py defines no 'none'"),
        (("--candidate", "zenit"), "ERROR: unknown backend 'zenit'; did you mean 'zennit'?*"),
    ],
)
def test_what_there_is_not_is_one_line(ran, words, said) -> None:
    result = ran("--conformance", *words)
    result.stderr.fnmatch_lines([said])
    assert result.ret == pytest.ExitCode.USAGE_ERROR


def test_help_shows_the_further_options_where_they_are(ran) -> None:
    assert "--conformance" in (short := ran("--help").stdout.str()) and "--candidate-timeout" not in short
    ran("--conformance", "--help").stdout.fnmatch_lines(["*--candidate=NAME|FILE.py:NAME*", "*--suite=NAME*"])


def test_a_case_that_there_is_not_is_named(ran) -> None:
    result = ran("--conformance", "conformance::digits-cnn-gradeint-float64")
    result.stdout.fnmatch_lines(
        ["conformance::digits-cnn-gradeint-float64: the suite 'quick' has no such case*"]
    )


def test_it_costs_nothing_where_it_is_not_used_and_takes_no_names_of_others(ran, pytester) -> None:
    pytester.makeconftest(
        """
import sys

def pytest_addoption(parser):
    for name in ("--suite", "--candidate", "--reference"):
        parser.addoption(name)

def pytest_unconfigure(config):
    loaded = {name for name in sys.modules if name.split(".")[0] in ("numpy", "pandas", "harness", "torch", "rich")}
    print("loaded:", *sorted(loaded))
"""
    )
    result = ran("-s", "--suite", "mine", apart=True)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["loaded: harness harness.pytest_plugin"])


def test_the_suite_is_collected_in_this_repository_as_in_any_other() -> None:
    """Its own conftest reads test files, which a case of the suite has none of."""
    root = Path(__file__).parents[2]
    words = [sys.executable, "-m", "pytest", "--conformance", "--collect-only", "-q", "-k", "lrp.z-float64"]
    done = subprocess.run(
        [*words, "-p", "no:cacheprovider"], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "conformance::digits-cnn-lrp.z-float64" in done.stdout
