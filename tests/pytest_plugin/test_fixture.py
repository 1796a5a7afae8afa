"""The fixture `conformance` and `parametrize_with_methods` in a test file of a user's own."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pandas  # noqa: F401  (a run of pytest within pytest forgets the modules that it was first to import)
import pytest

import harness.conformance.collected
import harness.conformance.golden  # noqa: F401
from harness.conformance.configured import configured

pytest_plugins = ["pytester"]

HEAD = """
import pytest
import harness
from tests.harness.linear_network import GradientBackend, network

def doubled(layer, relevance):
    return 2 * relevance if layer == "x" else relevance

plain, right, wrong = GradientBackend(), GradientBackend("right"), GradientBackend("wrong", doubled)
many = harness.parametrize_with_methods
"""


@pytest.fixture
def ran(pytester):
    """Run a test file that begins with HEAD, in this process."""

    def run(text: str, *words: str):
        pytester.makepyfile(test_mine=HEAD + text)
        return pytester.runpytest_inprocess("-p", "harness.pytest_plugin", "-p", "no:cacheprovider", *words)

    return run


def test_one_line_gives_a_test_for_each_method_with_a_readable_id(ran) -> None:
    result = ran(
        """
@many(network(), ["gradient", "input_t_gradient"], right, reference=plain, dtypes=("float64", "float32"))
def test_port(conformance):
    conformance.check()
""",
        "-v",
    )
    result.assert_outcomes(passed=4)
    for method in ("gradient", "input_t_gradient"):
        for dtype in ("float64", "float32"):
            result.stdout.fnmatch_lines([f"*::test_port?linear-{method}-{dtype}? PASSED*"])


def test_a_failure_says_verdict_layers_cause_and_how_to_repeat_it_and_shows_no_traceback(ran) -> None:
    result = ran(
        """
@many(network(), "gradient", wrong, reference="oracle")
def test_port(conformance):
    conformance.check()
"""
    )
    result.assert_outcomes(failed=1)
    # The step of ``first`` hands on twice its relevance: 2 g - g is as long as g itself, relative L2 1.
    result.stdout.fnmatch_lines(
        [
            "divergent: relevance parts first in the step of first*relative L2 1.00e+00*",
            "layer*kind*rel L2*floor*floors*",
            "x *1.00e+00*divergent*",
            "diagnosis: first: *2*(scale)",
            "repeat: pytest 'test_mine.py::test_port?linear-gradient-float64?'",
        ]
    )
    text = result.stdout.str()
    assert not any(word in text for word in ("Traceback", "fixture.py", "conformance.check()", "Captured"))


def test_check_takes_model_input_and_method_and_refuses_nothing_in_one_line(ran) -> None:
    result = ran(
        """
def test_right(conformance):
    conformance.check(network(), [[1, 2, 3]], "gradient", right, reference="oracle")

def test_nothing(conformance):
    conformance.check()

def test_no_such_method(conformance):
    conformance.check(network(), [[1, 2, 3]], "gradeint", right, reference="oracle")
"""
    )
    result.assert_outcomes(passed=1, failed=2)
    result.stdout.fnmatch_lines(
        [
            "error: nothing to check: give model and method*",
            "error: unknown method 'gradeint'; did you mean 'gradient'?*",
        ]
    )
    assert "Traceback" not in result.stdout.str()


def test_a_model_without_an_example_asks_for_an_input(ran) -> None:
    result = ran(
        """
class Bare(type(network())):
    examples = {}

def test_it(conformance):
    conformance.check(Bare(network().graph), method="gradient", candidate=right, reference="oracle")
"""
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["error: linear ships no example input; give one: x=..., ('batch', 3)"])


def test_a_candidate_that_raises_is_blamed_in_one_line(ran) -> None:
    result = ran(
        """
class Raises(GradientBackend):
    def prepare(self, *arguments):
        raise ValueError("no such\\nthing")

def test_it(conformance):
    conformance.check(network(), [[1, 2, 3]], "gradient", Raises("mine"), reference="oracle")
"""
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["error: candidate 'mine' raised ValueError: no such thing"])
    assert "Traceback" not in result.stdout.str()


def test_warnings_of_frameworks_are_no_failures_where_warnings_are_errors(ran) -> None:
    result = ran(
        """
import warnings

class Warns(GradientBackend):
    def prepare(self, *arguments):
        warnings.warn("old", DeprecationWarning)
        return super().prepare(*arguments)

def test_it(conformance):
    conformance.check(network(), [[1, 2, 3]], "gradient", Warns("mine"), reference="oracle")
""",
        "-W",
        "error",
    )
    result.assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("mark", "candidate", "outcome", "words"),
    [
        ("'scale'", "wrong", {"xfailed": 1}, "XFAIL *scale (twice)*"),
        ("'scale', layer='first'", "wrong", {"xfailed": 1}, "XFAIL *scale at first (twice)*"),
        ("'target'", "wrong", {"failed": 1}, "known to differ: target (twice); found: scale"),
        (
            "'scale', layer='second'",
            "wrong",
            {"failed": 1},
            "known to differ: scale at second (twice); found at first",
        ),
        (
            "'scale'",
            "right",
            {"failed": 1},
            "passes, but is known to differ: scale (twice); take the mark away",
        ),
        ("'scale', methods='lrp*'", "wrong", {"failed": 1}, "diagnosis: first: *"),
        ("'scael'", "wrong", {"failed": 1}, "error: unknown cause 'scael'; did you mean 'scale'?*"),
    ],
)
def test_a_known_difference_is_expected_for_its_cause_and_for_no_other(
    ran, mark, candidate, outcome, words
) -> None:
    result = ran(
        f"""
@pytest.mark.known_difference({mark}, reason="twice")
@many(network(), "gradient", {candidate}, reference="oracle")
def test_port(conformance):
    conformance.check()
""",
        "-rA",
        "--strict-markers",
    )
    result.assert_outcomes(**outcome)
    result.stdout.fnmatch_lines([words])


def test_known_differences_are_named_beside_the_methods(ran) -> None:
    result = ran(
        """
@many(network(), ["gradient", "input_t_gradient"], wrong, reference="oracle",
      known_differences={"input*": "scale", "gradient": ("scale", "target")})
def test_port(conformance):
    conformance.check()
"""
    )
    result.assert_outcomes(xfailed=1, failed=1)
    result.stdout.fnmatch_lines(["known to differ: scale, target; found: scale"])


@pytest.mark.parametrize(
    ("bound", "outcome"),
    [("1.5: the factor", {"xfailed": 1, "passed": 1}), ("0.5", {"xfailed": 1, "failed": 1})],
)
def test_what_passes_and_what_is_known_to_differ_stand_in_pyproject(ran, pytester, bound, outcome) -> None:
    """The candidate's attribution is twice the reference's: relative L2 1."""
    pytester.makepyprojecttoml(
        "[tool.pytest.ini_options]\n"
        'conformance_known_differences = ["linear-gradient-*: scale: twice"]\n'
        f'conformance_tolerances = ["linear-input*-float64: {bound}", "*: 0"]\n'
    )
    text = """
@many(network(), ["gradient", "input_t_gradient"], wrong, reference="oracle")
def test_port(conformance):
    conformance.check()
"""
    ran(text).assert_outcomes(**outcome)


def test_the_lines_of_the_page_are_such_lines() -> None:
    page = (Path(__file__).parents[2] / "docs" / "pytest.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```toml\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    options = tomllib.loads(block)["tool"]["pytest"]["ini_options"]
    found = configured(options["conformance_known_differences"], options["conformance_tolerances"])
    known = found.known_of("digits-cnn-lrp.z-float64")
    assert known is not None
    assert (known.causes, known.reason) == ({"stabilizer-form", "batchnorm"}, "Zennit's own form")
    assert found.tolerance_of("digits-cnn-lrp.flat-float32") == "close"
    assert found.tolerance_of("mine-smoothgrad-float64") == 1e-5
    assert found.tolerance_of("digits-cnn-lrp.flat-float64") is None


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("linear*", "error: tolerance 'linear?': expected GLOB: close, or GLOB: NUMBER*"),
        ("*: nearly", "error: tolerance of '?' is 'nearly'; expected close, or a number that *"),
        ("*: -1", "error: tolerance of '?' is '-1'; expected close, or a number that *"),
    ],
)
def test_a_tolerance_that_is_none_is_one_line(ran, pytester, line, said) -> None:
    pytester.makepyprojecttoml(f'[tool.pytest.ini_options]\nconformance_tolerances = ["{line}"]\n')
    result = ran("def test_port(conformance):\n    pass\n")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([said])
    assert "Traceback" not in result.stdout.str()


def test_a_method_that_does_not_apply_is_skipped_with_the_reason(ran) -> None:
    result = ran(
        """
@many(network(), "grad_cam", right, reference="oracle")
def test_port(conformance):
    conformance.check()
""",
        "-rs",
    )
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*grad_cam is for inputs with *"])
