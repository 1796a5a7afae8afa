"""What a bench found: a row a layer, one for the whole run, and the verdict."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.comparison import Comparison

if TYPE_CHECKING:
    import pandas

#: The row of the whole run: the attribution, and the run from end to end.
TOTAL = "(whole run)"


@dataclass(frozen=True)
class Spread:
    """Least, largest, mean and standard deviation of an array, in float64; NaN of an array that is not there."""

    min: float = float("nan")
    max: float = float("nan")
    mean: float = float("nan")
    std: float = float("nan")

    @classmethod
    def of(cls, array: np.ndarray | None) -> Spread:
        if array is None or not array.size:
            return cls()
        values = np.asarray(array, np.float64)
        with np.errstate(all="ignore"):
            return cls(*(float(each) for each in (values.min(), values.max(), values.mean(), values.std())))


@dataclass(frozen=True)
class BenchRow:
    """One layer's step, or the whole run.

    ``*_seconds``: the median; NaN where a side runs no single steps. ``*_peak_bytes``: by how much the memory of this
    process grew at most. ``mae`` and ``max_abs``: of the relevance that reached the layer, and of the attribution.
    """

    layer: str
    kind: str
    ref_seconds: float
    cand_seconds: float
    ref_peak_bytes: float
    cand_peak_bytes: float
    mae: float
    max_abs: float
    reference: Spread
    candidate: Spread
    difference: Spread
    verdict: str

    @property
    def speed_up(self) -> float:
        """How many times the candidate is faster."""
        return self.ref_seconds / self.cand_seconds if self.cand_seconds else float("nan")

    def flat(self) -> dict[str, Any]:
        """All of it under one name each, ``ref_min``, ``cand_min``, ``diff_min``, ... among them."""
        own = {
            key: value
            for key, value in asdict(self).items()
            if key not in ("reference", "candidate", "difference")
        }
        own["speed_up"] = self.speed_up
        for prefix, spread in (("ref", self.reference), ("cand", self.candidate), ("diff", self.difference)):
            own |= {f"{prefix}_{key}": value for key, value in asdict(spread).items()}
        return own


@dataclass(frozen=True, eq=False)
class Bench:
    """``rows``: layers in backward order, the whole run last. ``notes``: what was not measured, and why."""

    model: str
    method: str
    reference: str
    candidate: str
    dtype: str
    device: str
    repeat: int
    rows: tuple[BenchRow, ...]
    comparison: Comparison
    notes: tuple[str, ...] = ()

    @property
    def total(self) -> BenchRow:
        """The whole run."""
        return self.rows[-1]

    @property
    def table(self) -> pandas.DataFrame:
        """A row a layer, the whole run last."""
        import pandas

        return pandas.DataFrame([row.flat() for row in self.rows])

    def to_json(self) -> dict[str, Any]:
        """As plain values; what is not a number is null."""
        facts = {
            name: getattr(self, name)
            for name in ("model", "method", "reference", "candidate", "dtype", "device", "repeat")
        }
        rows = [
            {key: None if value != value else value for key, value in row.flat().items()} for row in self.rows
        ]
        verdict = {"verdict": self.comparison.verdict, "passed": self.comparison.passed}
        return {**facts, **verdict, "notes": list(self.notes), "rows": rows}
