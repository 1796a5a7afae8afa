"""What can be said of a difference that no deviation explains."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import permutations
from typing import Any

import numpy as np

from harness.comparison.metrics import compare_arrays, relative_l2

#: Axes beyond this many are not permuted: there would be too many ways.
_PERMUTED_AXES = 4


def facts(
    expected: Sequence[np.ndarray], observed: Sequence[np.ndarray | None], axes: Sequence[str]
) -> dict[str, Any]:
    """Best scale, signs, the arrangement of axes that comes nearest, and where the largest errors sit.

    Of the input that is furthest off. ``axes``: names of its axes, ``"batch"`` first.
    """
    pairs = [
        (reference, candidate)
        for reference, candidate in zip(expected, observed, strict=True)
        if candidate is not None
    ]
    if not pairs:
        return {}
    reference, candidate = max(pairs, key=lambda pair: np.nan_to_num(relative_l2(*pair), nan=np.inf))
    distance, of_reference, of_candidate = compare_arrays(reference, candidate)
    known: dict[str, Any] = {
        "best_scale": distance.best_scale,
        "rel_l2_after_scale": distance.rel_l2_after_scale,
        "pearson_r": distance.pearson_r,
        "sign_agreement": distance.sign_agreement,
        "ref_negative_zero_positive": (of_reference.negative, of_reference.zero, of_reference.positive),
        "cand_negative_zero_positive": (of_candidate.negative, of_candidate.zero, of_candidate.positive),
        "ref_sum": of_reference.sum,
        "cand_sum": of_candidate.sum,
        "cand_nan": of_candidate.nan,
        "cand_inf": of_candidate.inf,
    }
    nearest = min(
        _arrangements(reference, axes), key=lambda each: relative_l2(candidate, each[1]), default=None
    )
    if nearest is not None:
        known["nearest_arrangement"] = (nearest[0], relative_l2(candidate, nearest[1]))
    known["largest_errors"] = _largest(reference, candidate, axes)
    return known


def _arrangements(array: np.ndarray, axes: Sequence[str]) -> Iterator[tuple[str, np.ndarray]]:
    """The array with axes exchanged where the shape allows it, and reversed along each axis."""
    rest = range(1, array.ndim)
    if array.ndim <= _PERMUTED_AXES:
        for order in permutations(rest):
            moved = array.transpose(0, *order)
            if order != tuple(rest) and moved.shape == array.shape:
                yield f"axes exchanged: {', '.join(axes[i] for i in order)}", moved
    for axis in range(array.ndim):
        if array.shape[axis] > 1:
            yield f"{axes[axis]} reversed", np.flip(array, axis)


def _largest(reference: np.ndarray, candidate: np.ndarray, axes: Sequence[str]) -> list[dict[str, Any]]:
    with np.errstate(all="ignore"):
        error = np.nan_to_num(np.abs(candidate - reference), nan=np.inf)
    places = np.argsort(-error, axis=None, kind="stable")[:5]
    listed = []
    for flat in places:
        index = np.unravel_index(flat, error.shape)
        where = {name: int(i) for name, i in zip(axes, index, strict=True)}
        listed.append({"at": where, "expected": float(reference[index]), "found": float(candidate[index])})
    return listed
