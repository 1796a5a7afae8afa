"""`conformance.golden`: recorded, held, stale, damaged, unused."""

from __future__ import annotations

import json
from pathlib import Path

import pandas  # noqa: F401  (a run of pytest within pytest forgets the modules that it was first to import)
import pytest

import harness.conformance.collected
import harness.conformance.golden  # noqa: F401

pytest_plugins = ["pytester"]

TEXT = """
import harness
from tests.harness.linear_network import GradientBackend, network

FACTOR = {factor}
X = [[0.5, -1.0, {last}]]

def scaled(layer, relevance):
    return FACTOR * relevance if layer == "x" else relevance

def trace(method="gradient"):
    return harness.explain(network(), X, method, GradientBackend("mine", scaled), target=0, dtype="float64")

def test_gradient(conformance):
    conformance.golden("mine", trace())

def test_times_input(conformance):
    conformance.golden("linear/other.float64", trace("input_t_gradient"))
"""


@pytest.fixture
def ran(pytester):
    def run(*words: str, factor: float = 1.0, last: float = 2.0, text: str = TEXT):
        pytester.makepyfile(test_mine=text.format(factor=factor, last=last))
        return pytester.runpytest_inprocess("-p", "harness.pytest_plugin", "-p", "no:cacheprovider", *words)

    return run


def entries(root: Path) -> list[str]:
    return sorted(json.loads((root / "MANIFEST.json").read_text())["entries"])


def test_a_golden_is_missing_then_recorded_then_held(ran, pytester) -> None:
    result = ran()
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(
        [
            "there is no golden linear/mine.float64 under *",
            "*record it anew: pytest --regen-golden test_mine.py::*",
        ]
    )
    assert not (pytester.path / "golden").exists()
    result = ran("--regen-golden")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["recorded linear/mine.float64", "recorded linear/other.float64"])
    assert entries(pytester.path / "golden") == ["linear/mine.float64", "linear/other.float64"]
    ran().assert_outcomes(passed=2)


def test_what_moved_is_named_and_so_is_what_changed_under_a_golden(ran) -> None:
    ran("--regen-golden")
    result = ran(factor=1 + 1e-9)
    result.assert_outcomes(failed=2)
    # The relevance of x is (1 + 1e-9) times what it was.
    result.stdout.fnmatch_lines(
        ["linear/mine.float64: *in the step of first*relative L2 1.00e-09*", "x *1.00e-09*close"]
    )
    assert "Traceback" not in result.stdout.str()
    result = ran(last=3.0)
    result.stdout.fnmatch_lines(["stale: linear/mine.float64 was recorded with another input"])
    result.assert_outcomes(failed=2)
    ran("--regen-golden", factor=2.0).stdout.fnmatch_lines(["replaced linear/mine.float64"])
    ran(factor=2.0).assert_outcomes(passed=2)


def test_other_weights_are_stale_and_a_new_recording_takes_the_place(ran, pytester) -> None:
    ran("--regen-golden")
    other = TEXT.replace("network()", "network().with_weights(lambda layer, name, array: 2 * array)")
    result = ran(text=other)
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["stale: linear/mine.float64 was recorded with another weights or layers"])
    ran("--regen-golden", text=other).assert_outcomes(passed=2)
    ran(text=other).assert_outcomes(passed=2)
    assert entries(pytester.path / "golden") == ["linear/mine.float64", "linear/other.float64"]


def test_a_damaged_golden_is_one_line(ran, pytester) -> None:
    ran("--regen-golden", "--golden-dir", "kept")
    (file,) = (pytester.path / "kept").glob("linear/mine.*")
    file.write_bytes(file.read_bytes()[:-1])
    result = ran("--golden-dir", "kept")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["error: *linear/mine.* is damaged*restore it from version control"])
    assert "Traceback" not in result.stdout.str()


def test_a_damaged_manifest_is_one_line_for_each_test_and_one_at_the_end(ran, pytester) -> None:
    ran("--regen-golden")
    manifest = pytester.path / "golden" / "MANIFEST.json"
    manifest.write_text(manifest.read_text().replace("float64", "float46"))
    result = ran()
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["error: *MANIFEST.json is damaged*restore it from version control"])
    assert "INTERNALERROR" not in result.stdout.str() + result.stderr.str()


def test_unused_goldens_are_listed_where_all_tests_ran(ran) -> None:
    ran("--regen-golden")
    fewer = TEXT.replace("def test_times_input", "def not_a_test")
    result = ran(text=fewer)
    result.stdout.fnmatch_lines(["*goldens under * that no test used*", "linear/other.float64"])
    result.assert_outcomes(passed=1)
    assert "that no test used" not in ran().stdout.str()
    assert "that no test used" not in ran("-k", "test_gradient").stdout.str()


@pytest.mark.nightly
def test_workers_of_xdist_tell_what_they_used(ran, pytester) -> None:
    result = ran("--regen-golden", "-p", "xdist", "-n", "2")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["recorded linear/mine.float64", "recorded linear/other.float64"])
    fewer = TEXT.replace("def test_times_input", "def not_a_test")
    ran("-p", "xdist", "-n", "1", text=fewer).stdout.fnmatch_lines(["linear/other.float64"])
