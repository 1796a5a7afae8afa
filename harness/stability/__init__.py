"""Where relevance becomes extreme or NaN in one run, and why."""

from harness.stability.analysis import analyse
from harness.stability.figures import (
    Counts,
    Denominators,
    Extreme,
    FormAtLayer,
    FormResult,
    Forms,
    InputStability,
    LayerStability,
    LedgerEntry,
    Origin,
)
from harness.stability.result import Stability

__all__ = [
    "Counts",
    "Denominators",
    "Extreme",
    "FormAtLayer",
    "FormResult",
    "Forms",
    "InputStability",
    "LayerStability",
    "LedgerEntry",
    "Origin",
    "Stability",
    "analyse",
]
