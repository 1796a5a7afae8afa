"""Speed and accuracy of two backends on one case, layer by layer and in all."""

from harness.bench.measure import bench
from harness.bench.result import Bench

__all__ = ["Bench", "bench"]
