"""Suites, the bench a case runs on, runs that resume."""

from harness.runner.bench import Bench, Outcome
from harness.runner.run import Progress, Selection, chosen_input, environment, row_of, run
from harness.runner.suites import SUITES, Suite, known_methods, select_methods, suite_named

__all__ = [
    "SUITES",
    "Bench",
    "Outcome",
    "Progress",
    "Selection",
    "Suite",
    "chosen_input",
    "environment",
    "known_methods",
    "row_of",
    "run",
    "select_methods",
    "suite_named",
]
