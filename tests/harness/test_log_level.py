"""`--log-level`: what is said on standard error, and that it never reaches standard output."""

from __future__ import annotations

import json
import logging

import pytest

from harness.log_cli import at_the_front

CASE = (
    *("run", "--reference", "oracle", "--candidate", "oracle", "--model", "digits-cnn"),
    *("--dtype", "float64", "--method", "gradient", "--force"),
)


@pytest.fixture(autouse=True)
def loggers_as_before():
    names = (None, "harness", "ported_models", "ported_impls", "reference_impls")
    before = {name: logging.getLogger(name).level for name in names}
    yield
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)


@pytest.mark.parametrize("words", [("--log-level", "debug", *CASE), (*CASE, "--log-level=debug")])
def test_debug_says_what_computes_and_keeps_standard_output_clean(call, own_cache, words) -> None:
    status, out, err = call(*words, "--json")
    assert status == 0, err
    assert json.loads(out)["passed"] == 1
    assert "oracle: gradient on digits-cnn in float64 computed in " in err


def test_at_the_usual_level_nothing_is_said_of_a_run(call, own_cache) -> None:
    status, _, err = call(*CASE, "-q")
    assert (status, err) == (0, "")


def test_what_is_kept_is_named_where_it_is_looked_up(call, own_cache) -> None:
    call(*CASE, "-q")
    status, _, err = call(*CASE[:-1], "-q", "--log-level", "debug")
    assert (status, "done before: " in err) == (0, True)


def test_other_libraries_say_no_more_than_before(call) -> None:
    call("--log-level", "debug", "cache", "info")
    assert not logging.getLogger("tensorflow.core").isEnabledFor(logging.INFO)
    assert logging.getLogger("ported_models.zoo").isEnabledFor(logging.DEBUG)


def test_it_is_found_wherever_it_stands() -> None:
    assert at_the_front(["run", "--log-level", "debug", "-q"]) == ["--log-level", "debug", "run", "-q"]
    assert at_the_front(["run", "--log-level=error"]) == ["--log-level=error", "run"]
    assert at_the_front(["run", "--", "--log-level", "x"]) == ["run", "--", "--log-level", "x"]
    assert at_the_front(["run", "-q"]) == ["run", "-q"]
