"""The line a case gets in the terminal."""

import math

import pytest

from harness.report import case_line

PASSED = {
    "model": "digits-cnn",
    "input": "three",
    "method": "lrp.z",
    "dtype": "float64",
    "verdict": "equivalent",
    "worst_layer": "conv2d",
    "worst_rel_l2": 1.5e-16,
    "worst_ratio": 0.5,
    "seconds_total": 1.04,
}


def test_a_passed_case_says_what_ran_and_how_close_it_was():
    line = case_line(PASSED).plain
    assert line == ("equivalent  digits-cnn  lrp.z  float64  three  worst conv2d 1.5e-16, 0.5 floors  1.0 s")


def test_a_divergent_case_names_the_first_divergent_layer():
    line = case_line(PASSED | {"verdict": "divergent", "first_divergent": "dense_1"}).plain
    assert line.startswith("divergent ")
    assert "first divergent dense_1" in line


def test_a_case_that_failed_shows_its_message_on_the_same_line():
    line = case_line(
        {
            "model": "m",
            "method": "lrp.z",
            "dtype": "float32",
            "verdict": "error",
            "worst_layer": "conv",
            "worst_rel_l2": math.nan,
            "message": "first\nsecond",
        }
    ).plain
    assert line == "error       m  lrp.z  float32  first second"


@pytest.mark.parametrize(
    "verdict, colour",
    [
        ("identical", "green"),
        ("equivalent", "green"),
        ("close", "yellow"),
        ("divergent", "bold red"),
        ("error", "bold red"),
    ],
)
def test_the_verdict_has_its_colour(verdict, colour):
    assert str(case_line(PASSED | {"verdict": verdict}).style) == colour
