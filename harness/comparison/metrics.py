"""How far two arrays are apart, and what each looks like on its own. Sums run in float64."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from harness.arrays import in_stretches

#: Elements handled at a time. Temporaries stay in the processor's cache, and each call is long enough that threads,
#: which take turns at the interpreter between calls, work side by side: half of this takes 1.3 times as long.
_CHUNK = 1 << 17


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


@dataclass(frozen=True)
class Difference:
    """The part of :class:`Distance` that a verdict rests on; ``rel_l2`` and ``max_abs`` as there."""

    rel_l2: float
    max_abs: float
    identical: bool
    same_finite: bool


def _dot(left: np.ndarray, right: np.ndarray) -> float:
    """Sum of products without BLAS, whose own threads would fight with those that handle the tensors."""
    return float(np.einsum("i,i->", left, right))


def _chunks(*arrays: np.ndarray) -> Iterator[tuple[int, tuple[np.ndarray, ...]]]:
    """Equal stretches of the flattened arrays, with the position of each."""
    starts = range(0, arrays[0].size, _CHUNK)
    yield from zip(starts, zip(*(in_stretches(array, _CHUNK) for array in arrays), strict=True), strict=True)


@np.errstate(invalid="ignore", over="ignore")
def relative_l2(reference: np.ndarray, candidate: np.ndarray) -> float:
    """``||candidate - reference|| / ||reference||``; 0 where both are zero, infinite where only the reference is."""
    square_difference = square_reference = 0.0
    for _, (raw_r, raw_c) in _chunks(reference, candidate):
        r = raw_r.astype(np.float64)
        d = raw_c - r
        square_difference += _dot(d, d)
        square_reference += _dot(r, r)
    return _ratio(square_difference, square_reference)


@np.errstate(invalid="ignore", over="ignore")
def difference_of(reference: np.ndarray, candidate: np.ndarray) -> Difference:
    """How far ``candidate`` is from ``reference``, over the positions where both are finite, and no more."""
    dd = rr = largest = 0.0
    identical = same_finite = True
    for _, (raw_r, raw_c) in _chunks(reference, candidate):
        if _same_bits(raw_r, raw_c):
            r = raw_r.astype(np.float64)
            rr += _dot(r, r) if np.isfinite(r.sum()) else _dot(r[np.isfinite(r)], r[np.isfinite(r)])
            continue
        identical = False
        r = raw_r.astype(np.float64)
        d = raw_c - r
        if not np.isfinite(d.sum()):
            pair = np.isfinite(r) & np.isfinite(raw_c)
            same_finite = same_finite and _same_where_not_finite(raw_r, raw_c)
            r, d = r[pair], d[pair]
            if not r.size:
                continue
        dd += _dot(d, d)
        rr += _dot(r, r)
        largest = max(largest, float(d.max()), -float(d.min()))
    return Difference(_ratio(dd, rr), largest, identical, same_finite)


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


def _same_where_not_finite(left: np.ndarray, right: np.ndarray) -> bool:
    """Whether NaN, +Inf and -Inf stand at the same places."""
    either = ~(np.isfinite(left) & np.isfinite(right))
    return np.array_equal(left[either], right[either], equal_nan=True)


@dataclass(frozen=True)
class _Chunk:
    """One chunk of one side: its finite values, which of them are positive and negative, and their spread."""

    values: np.ndarray
    positive: np.ndarray
    negative: np.ndarray
    mean: float
    deviation: np.ndarray
    square: float


class _Moments:
    """Running statistics of one side, chunk by chunk; means and squares are merged by Chan et al. 1983."""

    def __init__(self) -> None:
        self.count = self.negative = self.zero = self.positive = self.nan = self.inf = 0
        self.mean = self.square = self.sum = 0.0
        self.min = self.max = float("nan")
        self.argmin = self.argmax = -1

    def add(self, values: np.ndarray, start: int, finite: np.ndarray | None) -> _Chunk | None:
        """Take in one chunk; ``finite`` marks its finite values, None if all are. None if there is none."""
        kept = values
        if finite is not None:
            nan = int(np.count_nonzero(np.isnan(values)))
            self.nan += nan
            self.inf += int(values.size - np.count_nonzero(finite)) - nan
            kept = values[finite]
        if not kept.size:
            return None
        positive, negative = kept > 0, kept < 0
        above, below = int(np.count_nonzero(positive)), int(np.count_nonzero(negative))
        self.positive += above
        self.negative += below
        self.zero += kept.size - above - below
        # Looking for the index is slow; it is needed only where a chunk has a new extreme.
        low, high = float(kept.min()), float(kept.max())
        if not low >= self.min:
            self.min, self.argmin = low, start + self._position(int(kept.argmin()), finite)
        if not high <= self.max:
            self.max, self.argmax = high, start + self._position(int(kept.argmax()), finite)
        total = float(kept.sum())
        mean = total / kept.size
        deviation = kept - mean
        square = _dot(deviation, deviation)
        delta, count = mean - self.mean, self.count + kept.size
        self.square += square + delta * delta * self.count * kept.size / count
        self.mean += delta * kept.size / count
        self.sum += total
        self.count = count
        return _Chunk(kept, positive, negative, mean, deviation, square)

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


class _Pairs:
    """Running sums over the positions where both sides are finite. ``d`` is candidate minus reference."""

    def __init__(self) -> None:
        self.count = self.agreeing = 0
        self.absolute = self.largest = 0.0
        self.dd = self.rr = self.cc = self.cd = 0.0
        self.mean_r = self.mean_c = 0.0
        self.square_r = self.square_c = self.covariance = 0.0

    def add(self, left: _Chunk, right: _Chunk) -> None:
        """Take in one chunk of each side, of one length."""
        r, c, size = left.values, right.values, left.values.size
        d = c - r
        self.dd += _dot(d, d)
        self.rr += _dot(r, r)
        self.cc += _dot(c, c)
        self.cd += _dot(c, d)
        np.abs(d, out=d)
        self.absolute += float(d.sum())
        self.largest = max(self.largest, float(d.max()))
        same = (left.positive == right.positive) & (left.negative == right.negative)
        self.agreeing += int(np.count_nonzero(same))
        count = self.count + size
        delta_r, delta_c = left.mean - self.mean_r, right.mean - self.mean_c
        weight = self.count * size / count
        self.covariance += _dot(left.deviation, right.deviation) + delta_r * delta_c * weight
        self.square_r += left.square + delta_r * delta_r * weight
        self.square_c += right.square + delta_c * delta_c * weight
        self.mean_r += delta_r * size / count
        self.mean_c += delta_c * size / count
        self.count = count


@np.errstate(invalid="ignore", over="ignore")
def statistics_of(array: np.ndarray) -> Statistics:
    """What one array of any float dtype looks like: what `compare_arrays` says of it, and no distance."""
    moments = _Moments()
    for start, (raw,) in _chunks(array):
        values = raw.astype(np.float64)
        moments.add(values, start, None if np.isfinite(values.sum()) else np.isfinite(values))
    return moments.statistics(array.shape)


@np.errstate(invalid="ignore", over="ignore")
def compare_arrays(reference: np.ndarray, candidate: np.ndarray) -> tuple[Distance, Statistics, Statistics]:
    """Distance of ``candidate`` from ``reference`` (same shape, any float dtype) and the statistics of each.

    One pass over both arrays. NaN and Inf are counted and left out of every other figure.
    """
    left, right, pairs = _Moments(), _Moments(), _Pairs()
    identical = same_finite = True
    for start, (raw_r, raw_c) in _chunks(reference, candidate):
        r, c = raw_r.astype(np.float64), raw_c.astype(np.float64)
        identical = identical and _same_bits(raw_r, raw_c)
        # A sum is finite only where every value is: the cheap test first.
        if np.isfinite(r.sum() + c.sum()):
            chunk_r, chunk_c = left.add(r, start, None), right.add(c, start, None)
        else:
            finite_r, finite_c = np.isfinite(r), np.isfinite(c)
            same_finite = same_finite and _same_where_not_finite(r, c)
            left.add(r, start, finite_r)
            right.add(c, start, finite_c)
            both = finite_r & finite_c
            chunk_r, chunk_c = _Moments().add(r[both], 0, None), _Moments().add(c[both], 0, None)
        if chunk_r is not None and chunk_c is not None:
            pairs.add(chunk_r, chunk_c)
    distance = _distance(pairs, reference, candidate, identical, same_finite)
    return distance, left.statistics(reference.shape), right.statistics(candidate.shape)


def _distance(
    pairs: _Pairs, reference: np.ndarray, candidate: np.ndarray, identical: bool, same_finite: bool
) -> Distance:
    nothing, some = float("nan"), pairs.count > 0
    spread = float(np.sqrt(pairs.square_r) * np.sqrt(pairs.square_c))
    norms = float(np.sqrt(pairs.rr) * np.sqrt(pairs.cc))
    concordance = pairs.square_r + pairs.square_c + pairs.count * (pairs.mean_r - pairs.mean_c) ** 2
    # With r = c - d the best scale rc / cc is 1 - cd / cc, exact where the sides are close.
    scale = 1 - pairs.cd / pairs.cc if pairs.cc > 0 else nothing
    return Distance(
        mae=pairs.absolute / pairs.count if some else nothing,
        max_abs=pairs.largest if some else nothing,
        rel_l2=_ratio(pairs.dd, pairs.rr) if some else nothing,
        pearson_r=pairs.covariance / spread if spread > 0 else nothing,
        ccc=2 * pairs.covariance / concordance if concordance > 0 else nothing,
        cosine=(pairs.cc - pairs.cd) / norms if norms > 0 else nothing,
        best_scale=scale,
        rel_l2_after_scale=_left_after_scale(pairs, scale, reference, candidate),
        sign_agreement=pairs.agreeing / pairs.count if some else nothing,
        identical=identical,
        same_finite=same_finite,
    )


def _left_after_scale(pairs: _Pairs, scale: float, reference: np.ndarray, candidate: np.ndarray) -> float:
    """Relative L2 norm of ``scale * c - r``, whose square is ``dd - cd^2 / cc``.

    Where the difference is nearly all scale that subtraction cancels, and the norm is summed anew.
    """
    if not np.isfinite(scale):
        return float("nan")
    left = pairs.dd - pairs.cd * pairs.cd / pairs.cc
    if left > 1e-4 * pairs.dd:
        return _ratio(left, pairs.rr)
    left = 0.0
    for _, (r, c) in _chunks(reference, candidate):
        difference = scale * c.astype(np.float64)
        difference -= r
        kept = difference if np.isfinite(difference.sum()) else difference[np.isfinite(difference)]
        left += _dot(kept, kept)
    return _ratio(left, pairs.rr)
