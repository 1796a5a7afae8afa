"""The benchmark of planted bugs: faulty ports whose fault is known, and how well `harness.diagnose` names it."""

from harness.mutants.collection import Collection, collect
from harness.mutants.mutant import Expected, Fault, Mutant, Site
from harness.mutants.run import Case, Result, cases, run_case
from harness.mutants.score import Score, score

__all__ = [
    "Case",
    "Collection",
    "Expected",
    "Fault",
    "Mutant",
    "Result",
    "Score",
    "Site",
    "cases",
    "collect",
    "run_case",
    "score",
]
