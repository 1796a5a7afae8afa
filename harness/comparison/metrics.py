"""How far two arrays are apart, and what each looks like on its own. Sums run in float64."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: Elements handled at a time: temporaries stay in the processor's cache, and the dot products stay below
#: the size at which a BLAS wakes its own threads (the tensors are already handled side by side).
_CHUNK = 1 << 13


@dataclass(frozen=True)
class Statistics:
    """What one array looks like. ``min``, ``max``, ``mean``, ``std`` and ``sum`` are over its finite values
    (NaN where there are none); ``negative`` to ``inf`` are counts; ``argmin`` and ``argmax`` are indices."""

    min: float
    max: float
    mean: float
    std: float
    sum: float
    negative: int
    zero: int
    positive: int
    nan: int
    inf: int
    argmin: tuple[int, ...] | None
    argmax: tuple[int, ...] | None


@dataclass(frozen=True)
class Distance:
    """How far a candidate array is from a reference array, over the positions where both are finite.

    ``mae`` and ``max_abs``: mean and largest absolute difference. ``rel_l2``: L2 norm of the difference
    over that of the reference (0 where both are zero, infinite where only the reference is).
    ``pearson_r``, ``ccc`` (Lin 1989, eq. 1: 2 cov / (var + var + squared mean difference)) and ``cosine``
    are NaN where undefined. ``best_scale`` is the factor on the candidate that brings it nearest to the
    reference, ``rel_l2_after_scale`` what is left then. ``sign_agreement``: share of equal signs
    (of -1, 0, +1). ``identical``: equal bit for bit. ``same_finite``: NaN and Inf at the same places.
    """

    mae: float
    max_abs: float
    rel_l2: float
    pearson_r: float
    ccc: float
    cosine: float
    best_scale: float
    rel_l2_after_scale: float
    sign_agreement: float
    identical: bool
    same_finite: bool


@np.errstate(invalid="ignore", over="ignore")
def relative_l2(reference: np.ndarray, candidate: np.ndarray) -> float:
    """``||candidate - reference|| / ||reference||``; 0 where both are zero, infinite where only the reference is."""
    square_difference = square_reference = 0.0
    flat_reference, flat_candidate = reference.reshape(-1), candidate.reshape(-1)
    for start in range(0, flat_reference.size, _CHUNK):
        r = flat_reference[start : start + _CHUNK].astype(np.float64)
        d = flat_candidate[start : start + _CHUNK] - r
        square_difference += float(d @ d)
        square_reference += float(r @ r)
    return _ratio(square_difference, square_reference)


def _ratio(square_difference: float, square_reference: float) -> float:
    if square_difference == 0:
        return 0.0
    if square_reference == 0:
        return float("inf")
    return float(np.sqrt(square_difference / square_reference))


def _index(flat: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(int(i) for i in np.unravel_index(flat, shape))


def _same_bits(left: np.ndarray, right: np.ndarray) -> bool:
    """Whether two chunks of one length are equal bit for bit, NaN and the sign of zero included."""
    if left.dtype != right.dtype:
        return False
    bits = np.dtype(f"u{left.dtype.itemsize}")
    return np.array_equal(left.view(bits), right.view(bits))


class _Moments:
    """Running statistics of one flat array, chunk by chunk; the mean is merged by Chan et al. 1983."""

    def __init__(self) -> None:
        self.count = self.negative = self.zero = self.positive = self.nan = self.inf = 0
        self.mean = self.square = self.sum = 0.0
        self.min = self.max = float("nan")
        self.argmin = self.argmax = -1

    def add(self, values: np.ndarray, start: int, finite: np.ndarray | None) -> np.ndarray:
        """Take in one chunk and return its deviations from its own mean (of the finite values)."""
        kept = values
        if finite is not None:
            nan = int(np.isnan(values).sum())
            self.nan += nan
            self.inf += int(values.size - finite.sum()) - nan
            kept = values[finite]
            if not kept.size:
                return kept
        positive, negative = int(np.count_nonzero(kept > 0)), int(np.count_nonzero(kept < 0))
        self.positive += positive
        self.negative += negative
        self.zero += kept.size - positive - negative
        # Looking for the index is slow; it is needed only where a chunk has a new extreme.
        low, high = float(kept.min()), float(kept.max())
        if not low >= self.min:
            self.min, self.argmin = low, start + self._position(int(kept.argmin()), finite)
        if not high <= self.max:
            self.max, self.argmax = high, start + self._position(int(kept.argmax()), finite)
        total = float(kept.sum())
        mean = total / kept.size
        deviation = kept - mean
        delta, count = mean - self.mean, self.count + kept.size
        self.square += float(deviation @ deviation) + delta * delta * self.count * kept.size / count
        self.mean += delta * kept.size / count
        self.sum += total
        self.count = count
        return deviation

    @staticmethod
    def _position(index: int, finite: np.ndarray | None) -> int:
        return index if finite is None else int(np.flatnonzero(finite)[index])

    def statistics(self, shape: tuple[int, ...]) -> Statistics:
        some = self.count > 0
        nothing = float("nan")
        return Statistics(
            min=self.min,
            max=self.max,
            mean=self.mean if some else nothing,
            std=float(np.sqrt(self.square / self.count)) if some else nothing,
            sum=self.sum,
            negative=self.negative,
            zero=self.zero,
            positive=self.positive,
            nan=self.nan,
            inf=self.inf,
            argmin=_index(self.argmin, shape) if some else None,
            argmax=_index(self.argmax, shape) if some else None,
        )


@np.errstate(invalid="ignore", over="ignore")
def compare_arrays(reference: np.ndarray, candidate: np.ndarray) -> tuple[Distance, Statistics, Statistics]:
    """Distance of ``candidate`` from ``reference`` (same shape, any float dtype) and the statistics of each.

    One pass over both arrays. NaN and Inf are counted and left out of every other figure.
    """
    shape = reference.shape
    flat_r, flat_c = np.ascontiguousarray(reference).reshape(-1), np.ascontiguousarray(candidate).reshape(-1)
    left, right = _Moments(), _Moments()
    absolute = largest = dd = rr = cc = rc = covariance = 0.0
    agreeing = both = 0
    pair_count, pair_mean_r, pair_mean_c = 0, 0.0, 0.0
    square_r = square_c = 0.0
    identical = same_finite = True
    for start in range(0, flat_r.size, _CHUNK):
        raw_r, raw_c = flat_r[start : start + _CHUNK], flat_c[start : start + _CHUNK]
        r, c = raw_r.astype(np.float64), raw_c.astype(np.float64)
        identical = identical and _same_bits(raw_r, raw_c)
        # A sum is finite only where every value is: the cheap test first.
        clean = bool(np.isfinite(r.sum() + c.sum()))
        if clean:
            deviation_r, deviation_c = left.add(r, start, None), right.add(c, start, None)
        else:
            finite_r, finite_c = np.isfinite(r), np.isfinite(c)
            same_finite = same_finite and bool(
                np.array_equal(np.isnan(r), np.isnan(c))
                and np.array_equal(r[np.isinf(r) | np.isinf(c)], c[np.isinf(r) | np.isinf(c)])
            )
            left.add(r, start, finite_r)
            right.add(c, start, finite_c)
            pair = finite_r & finite_c
            r, c = r[pair], c[pair]
            if not r.size:
                continue
            deviation_r, deviation_c = r - r.mean(), c - c.mean()
        difference = c - r
        size = r.size
        dd += float(difference @ difference)
        np.abs(difference, out=difference)
        absolute += float(difference.sum())
        largest = max(largest, float(difference.max()))
        rr, cc, rc = rr + float(r @ r), cc + float(c @ c), rc + float(r @ c)
        agreeing += int(np.count_nonzero(((r > 0) == (c > 0)) & ((r < 0) == (c < 0))))
        both += size
        mean_r, mean_c = float(r.mean()), float(c.mean())
        count = pair_count + size
        delta_r, delta_c = mean_r - pair_mean_r, mean_c - pair_mean_c
        weight = pair_count * size / count
        covariance += float(deviation_r @ deviation_c) + delta_r * delta_c * weight
        square_r += float(deviation_r @ deviation_r) + delta_r * delta_r * weight
        square_c += float(deviation_c @ deviation_c) + delta_c * delta_c * weight
        pair_mean_r += delta_r * size / count
        pair_mean_c += delta_c * size / count
        pair_count = count
    nothing = float("nan")
    spread = float(np.sqrt(square_r) * np.sqrt(square_c))
    norms = float(np.sqrt(rr) * np.sqrt(cc))
    scale = rc / cc if cc > 0 else nothing
    concordance = square_r + square_c + both * (pair_mean_r - pair_mean_c) ** 2
    distance = Distance(
        mae=absolute / both if both else nothing,
        max_abs=largest if both else nothing,
        rel_l2=_ratio(dd, rr) if both else nothing,
        pearson_r=covariance / spread if spread > 0 else nothing,
        ccc=2 * covariance / concordance if concordance > 0 else nothing,
        cosine=rc / norms if norms > 0 else nothing,
        best_scale=scale,
        rel_l2_after_scale=_left_after_scale(flat_r, flat_c, scale, rr),
        sign_agreement=agreeing / both if both else nothing,
        identical=identical,
        same_finite=same_finite,
    )
    return distance, left.statistics(shape), right.statistics(shape)


@np.errstate(invalid="ignore", over="ignore")
def _left_after_scale(reference: np.ndarray, candidate: np.ndarray, scale: float, rr: float) -> float:
    """Relative L2 difference of ``scale * candidate``, summed anew: ``rr - scale * rc`` would cancel."""
    if not np.isfinite(scale):
        return float("nan")
    left = 0.0
    for start in range(0, reference.size, _CHUNK):
        difference = scale * candidate[start : start + _CHUNK].astype(np.float64)
        difference -= reference[start : start + _CHUNK]
        square = float(difference @ difference)
        if not np.isfinite(square):
            difference = difference[np.isfinite(difference)]
            square = float(difference @ difference)
        left += square
    return _ratio(left, rr)
