"""Metrics, the noise floor, verdicts."""

from harness.comparison.arrays import judge_arrays
from harness.comparison.describe import layers_around, verdict_line
from harness.comparison.floor import MULTIPLE, RUNS, NoiseFloor
from harness.comparison.metrics import Distance, Statistics, compare_arrays, relative_l2, statistics_of
from harness.comparison.rows import PASSING, VERDICTS, ForwardRow, Row, verdict_of
from harness.comparison.verdict import Comparison, Tolerance, judge

__all__ = [
    "MULTIPLE",
    "PASSING",
    "RUNS",
    "VERDICTS",
    "Comparison",
    "Distance",
    "ForwardRow",
    "NoiseFloor",
    "Row",
    "Statistics",
    "Tolerance",
    "compare_arrays",
    "judge",
    "judge_arrays",
    "layers_around",
    "relative_l2",
    "statistics_of",
    "verdict_line",
    "verdict_of",
]
