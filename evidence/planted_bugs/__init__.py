"""The benchmark of planted bugs: faulty ports whose fault is known, and how well `harness.diagnose` names it."""

from evidence.planted_bugs.collection import Collection, collect
from evidence.planted_bugs.mutant import Expected, Fault, Mutant, Site
from evidence.planted_bugs.run import Case, Result, cases, run_case
from evidence.planted_bugs.score import Score, score

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
