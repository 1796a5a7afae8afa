"""Suites, the bench a case runs on, runs that resume."""

from harness.runner.bench import Bench, Outcome
from harness.runner.run import Progress, Selection, Skipped, chosen_input, environment, row_of, run, why_not
from harness.runner.suites import SUITES, Suite, known_methods, select_methods, suite_named

__all__ = [
    "SUITES",
    "Bench",
    "Outcome",
    "Progress",
    "Selection",
    "Skipped",
    "Suite",
    "chosen_input",
    "environment",
    "known_methods",
    "row_of",
    "run",
    "select_methods",
    "suite_named",
    "why_not",
]
