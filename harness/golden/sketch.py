"""A sketch of a tensor: what of it is kept where all of it would be too large to be committed.

Of each tensor are kept its statistics, its values at a fixed set of places, a hash of its bytes, and a random
projection. The projection is linear, so that of the difference of two tensors is the difference of theirs, and its
norm estimates the norm of that difference:

    E ||S (g - x)||^2 = ||g - x||^2,    Var ||S (g - x)||^2 <= 2 / (ROWS * BUCKETS) ||g - x||^4

S is the sparse embedding of Nelson and Nguyen 2013 (OSNAP), ROWS times the count sketch of Charikar, Chen and
Farach-Colton 2002: each value goes, with a random sign, to one bucket of each row.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np

from harness.comparison import Distance, Statistics, statistics_of
from harness.comparison.known import of_one

ROWS, BUCKETS = 4, 16
SAMPLES = 32
#: The randomness is a part of the format: another seed reads none of the sketches that are stored.
_SEED = 20260101
#: Short stretches keep the rounding of the sums below that of the tensors.
_CHUNK = 1 << 13
_FIGURES = tuple(each.name for each in fields(Statistics) if not each.name.startswith("arg"))


@dataclass(frozen=True, eq=False)
class Sketch:
    """``statistics``: min to inf of `harness.comparison.Statistics`, then the flat argmin and argmax (NaN: none).

    ``samples``: (SAMPLES,) values at `sample_places`. ``projection``: (ROWS, BUCKETS) of the finite values, float64.
    ``digest``: (32,) uint8, sha256 of dtype, shape and bytes; ``not_finite``: (32,) uint8, that of where NaN and the
    infinities are. ``shape`` of the tensor.
    """

    shape: tuple[int, ...]
    statistics: np.ndarray
    samples: np.ndarray
    projection: np.ndarray
    digest: np.ndarray
    not_finite: np.ndarray

    @property
    def norm(self) -> float:
        """The L2 norm of the finite values, from their mean, spread and number: exact, not estimated."""
        figure = dict(zip(_FIGURES, self.statistics, strict=False))
        count = figure["negative"] + figure["zero"] + figure["positive"]
        return float(np.sqrt(count * (figure["std"] ** 2 + figure["mean"] ** 2))) if count else 0.0

    def described(self) -> Statistics:
        """The statistics, as the comparison table has them."""
        values = [float(each) for each in self.statistics[: len(_FIGURES)]]
        counts = ("negative", "zero", "positive", "nan", "inf")
        known = {
            name: int(value) if name in counts else value
            for name, value in zip(_FIGURES, values, strict=True)
        }
        low, high = (
            None if np.isnan(each) else tuple(int(i) for i in np.unravel_index(int(each), self.shape))
            for each in self.statistics[len(_FIGURES) :]
        )
        return Statistics(**known, argmin=low, argmax=high)  # type: ignore[arg-type]


def sketch_of(array: np.ndarray) -> Sketch:
    """The sketch of a tensor of any shape and float dtype; made once of an array that several runs share."""
    return of_one(_sketched, array)


def _sketched(array: np.ndarray) -> Sketch:
    array = np.ascontiguousarray(array)
    flat = array.reshape(-1)
    statistics = statistics_of(array)
    places = (
        float("nan") if index is None else float(np.ravel_multi_index(index, array.shape)) if index else 0.0
        for index in (statistics.argmin, statistics.argmax)
    )
    taken = flat[sample_places(flat.size)].astype(np.float64)
    return Sketch(
        array.shape,
        np.array([*(float(getattr(statistics, name)) for name in _FIGURES), *places]),
        np.pad(taken, (0, SAMPLES - taken.size)),
        _projection(flat),
        _digest(f"{array.dtype.str}{array.shape}".encode(), flat),
        _digest(_not_finite(flat)),
    )


def distance_from(sketch: Sketch, array: np.ndarray) -> tuple[Distance, Statistics, Statistics]:
    """How far ``array``, of the shape that was sketched, is from it; and the statistics of each: see `between`."""
    other = sketch_of(array)
    return between(sketch, other), sketch.described(), other.described()


def between(sketch: Sketch, other: Sketch) -> Distance:
    """How far the tensor of ``other`` is from that of ``sketch``, of the same shape.

    ``rel_l2`` and ``best_scale`` are estimated from the projections (relative standard error of ``rel_l2``: about
    1 / sqrt(2 ROWS BUCKETS), 9 %), or taken from the samples where those show more. ``mae`` and ``max_abs`` are
    those of the samples. What a sketch cannot say is NaN.
    """
    identical = bool(np.array_equal(sketch.digest, other.digest))
    with np.errstate(invalid="ignore"):
        apart = np.abs(sketch.samples - other.samples)
    apart = apart[np.isfinite(apart)]
    nothing = float("nan")
    projected = float(np.linalg.norm(sketch.projection - other.projection)) / np.sqrt(ROWS)
    difference = 0.0 if identical else max(projected, float(np.linalg.norm(apart)))
    square = float(np.sum(other.projection**2))
    return Distance(
        mae=float(apart.mean()) if apart.size else nothing,
        max_abs=float(apart.max()) if apart.size else nothing,
        rel_l2=difference / sketch.norm if sketch.norm else (float("inf") if difference else 0.0),
        pearson_r=nothing,
        ccc=nothing,
        cosine=nothing,
        best_scale=float(np.sum(sketch.projection * other.projection)) / square if square else nothing,
        rel_l2_after_scale=nothing,
        sign_agreement=nothing,
        identical=identical,
        same_finite=bool(np.array_equal(sketch.not_finite, other.not_finite)),
    )


@lru_cache(maxsize=256)
def sample_places(size: int) -> np.ndarray:
    """At most SAMPLES flat places of a tensor of ``size`` values, first and last among them; the same for ever."""
    if size == 0:
        return np.zeros(0, np.int64)
    drawn = np.random.PCG64(_SEED + 1).random_raw(SAMPLES) % np.uint64(size)
    places = np.unique(np.concatenate([[0, size - 1], drawn[2:].astype(np.int64)]))
    return places


def packed(sketches: Mapping[str, Sketch], prefix: str) -> dict[str, np.ndarray]:
    """Sketches of several tensors as a few arrays, a row a tensor in the order of ``sketches``."""
    several = list(sketches.values())
    if not several:
        return {}
    return {
        f"{prefix}/{part}": np.stack([getattr(each, part) for each in several])
        for part in ("statistics", "samples", "projection", "digest", "not_finite")
    }


def unpacked(
    arrays: Mapping[str, np.ndarray], prefix: str, shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, Sketch]:
    """The inverse of :func:`packed`; ``shapes``: of the tensors by name, in their order."""
    return {
        name: Sketch(
            shape,
            *(
                arrays[f"{prefix}/{part}"][place]
                for part in ("statistics", "samples", "projection", "digest", "not_finite")
            ),
        )
        for place, (name, shape) in enumerate(shapes.items())
    }


def _projection(flat: np.ndarray) -> np.ndarray:
    total = np.zeros(ROWS * BUCKETS)
    first = np.arange(0, ROWS * BUCKETS, BUCKETS, dtype=np.uint8)[:, None]
    for start, hashes in _hashes(flat.size):
        values = flat[start : start + _CHUNK].astype(np.float64)
        values[~np.isfinite(values)] = 0.0
        bytes_of_rows = np.ascontiguousarray(hashes[: values.size].T)
        # The byte's highest bit, shifted to that of a float64, changes the sign or not; no branch for it.
        signed = (bytes_of_rows & 0x80).astype(np.uint64)
        signed <<= np.uint64(56)
        signed ^= values.view(np.uint64)
        buckets = (bytes_of_rows & (BUCKETS - 1)) + first
        weights = signed.view(np.float64).reshape(-1)
        total += np.bincount(buckets.reshape(-1), weights=weights, minlength=ROWS * BUCKETS)
    return total.reshape(ROWS, BUCKETS)


def _hashes(size: int) -> Iterator[tuple[int, np.ndarray]]:
    """Start and (n, ROWS) random bytes of each stretch: a byte for each value and row, bucket below and sign above."""
    generator = np.random.PCG64(_SEED)
    for start in range(0, size, _CHUNK):
        # The raw stream of PCG64 is fixed by NumPy's promise for bit generators, that of Generator is not.
        raw = generator.random_raw(_CHUNK // 2).astype("<u8", copy=False)
        yield start, raw.view(np.uint8).reshape(_CHUNK, ROWS)


def _not_finite(flat: np.ndarray) -> bytes:
    """A byte a value, 0 finite, 1 NaN, 2 and 3 the infinities; nothing where all are finite."""
    if np.isfinite(flat).all():
        return b""
    codes = np.isnan(flat) * 1 + np.isposinf(flat) * 2 + np.isneginf(flat) * 3
    return codes.astype(np.uint8).tobytes()


def _digest(*parts: bytes | np.ndarray) -> np.ndarray:
    """The sha256 of ``parts``, one after the other; arrays are contiguous."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part if isinstance(part, bytes) else part.data)
    return np.frombuffer(digest.digest(), np.uint8)
