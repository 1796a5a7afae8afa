"""Metrics, the noise floor, verdicts."""

from harness.comparison.arrays import compare
from harness.comparison.describe import layers_around, verdict_line
from harness.comparison.floor import MULTIPLE, RUNS, FloorMeter, NoiseFloor
from harness.comparison.metrics import Distance, Statistics, compare_arrays, relative_l2
from harness.comparison.rerun import Rerun
from harness.comparison.rows import VERDICTS, ForwardRow, Row, verdict_of
from harness.comparison.verdict import Comparison

__all__ = [
    "MULTIPLE",
    "RUNS",
    "VERDICTS",
    "Comparison",
    "Distance",
    "FloorMeter",
    "ForwardRow",
    "NoiseFloor",
    "Rerun",
    "Row",
    "Statistics",
    "compare",
    "compare_arrays",
    "layers_around",
    "relative_l2",
    "verdict_line",
    "verdict_of",
]
