"""Two attributions, and what closes the gap between them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.diagnosis.findings import Finding, Stage
from harness.diagnosis.measure import explained
from harness.diagnosis.search import LEFT, MOST


@dataclass(frozen=True, eq=False)
class Difference:
    """Two attributions in float64, how far the candidate's is from the reference's, and what rounding explains."""

    reference: np.ndarray
    candidate: np.ndarray
    error: float
    floor: float

    def closed_by(self, residual: float) -> bool:
        """Whether what leaves ``residual`` accounts for the difference, and not merely hides in a high floor."""
        return explained(residual, self.floor) and residual <= min(LEFT * self.error, MOST)

    def finding(self, stage: Stage, cause: str, words: str, residual: float | None = None) -> Finding:
        """About the whole run."""
        return Finding(stage, None, cause, words, self.error, self.floor, residual, first_seen=True)
