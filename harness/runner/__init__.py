"""Suites, cases through both sides, runs that resume."""

from harness.runner.causes import BUDGET_S, Diagnosed, name_causes
from harness.runner.outcome import Outcome, run_case
from harness.runner.run import Progress, Selection, Skipped, chosen_input, environment, row_of, run, why_not
from harness.runner.suites import SUITES, Suite, is_sampled, known_methods, select_methods, suite_named

__all__ = [
    "BUDGET_S",
    "SUITES",
    "Diagnosed",
    "Outcome",
    "Progress",
    "Selection",
    "Skipped",
    "Suite",
    "chosen_input",
    "environment",
    "is_sampled",
    "known_methods",
    "name_causes",
    "row_of",
    "run",
    "run_case",
    "select_methods",
    "suite_named",
    "why_not",
]
