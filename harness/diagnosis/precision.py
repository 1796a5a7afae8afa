"""Which format numbers were stored in, read off the numbers themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

#: Fewer different magnitudes than these may be of a format by chance, as those of a picture of signs are.
ENOUGH = 16
#: How many values are looked at for that.
_SAMPLE = 2**20
#: An error of this many units of the format is no rounding to it any more, and none that is as large as this at all.
UNITS, LARGEST = 1e4, 1.0


def _bits(dropped: int) -> Callable[[np.ndarray], np.ndarray]:
    """Whether values are float32 with the last ``dropped`` bits zero."""

    def fits(values: np.ndarray) -> np.ndarray:
        single = values.astype(np.float32)
        bits = single.view(np.uint32)
        return (single == values) & ((bits & np.uint32((1 << dropped) - 1)) == 0)

    return fits


def _half(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float16).astype(np.float64) == values


#: Name, unit in the last place relative to 1, and whether values are of the format; the shortest first.
FORMATS: tuple[tuple[str, float, Callable[[np.ndarray], np.ndarray]], ...] = (
    ("bfloat16", 2.0**-8, _bits(16)),
    ("float16", 2.0**-11, _half),
    ("float32", 2.0**-24, _bits(0)),
)
#: By name, half a unit in the last place relative to 1.
UNIT_OF = {"tf32": 2.0**-11, **{name: unit for name, unit, _ in FORMATS}}


def rounded_to(name: str, values: np.ndarray) -> np.ndarray:
    """``values`` as a format of :data:`FORMATS` holds them, in float64."""
    with np.errstate(over="ignore"):
        if name != "bfloat16":
            return np.asarray(values, name).astype(np.float64)
        bits = np.asarray(values, np.float32).view(np.uint32).astype(np.uint64)
    even = (bits + np.uint64(0x7FFF) + ((bits >> np.uint64(16)) & np.uint64(1))) & np.uint64(0xFFFF0000)
    return even.astype(np.uint32).view(np.float32).astype(np.float64)


def common_format(pairs: Iterable[tuple[np.ndarray, np.ndarray]], error: float, dtype: str) -> str | None:
    """The format that all the candidate's arrays are stored in, if it is a shorter one than ``dtype``.

    ``pairs``: of the reference's array and the candidate's.
    """
    formats = {stored_format(candidate, reference, error, dtype) for reference, candidate in pairs}
    return formats.pop() if len(formats) == 1 else None


def stored_format(observed: np.ndarray, expected: np.ndarray, error: float, dtype: str) -> str | None:
    """The format that every value of ``observed`` is of, where ``expected`` is not and ``error`` is about its rounding.

    ``dtype``: what the candidate should compute in; that format itself is none to report.
    """
    values = np.asarray(observed, np.float64).ravel()
    values = values[np.isfinite(values) & (values != 0)]
    if np.unique(np.abs(values[:_SAMPLE])).size < ENOUGH:
        return None
    wanted = np.asarray(expected, np.float64).ravel()
    wanted = wanted[np.isfinite(wanted) & (wanted != 0)]
    with np.errstate(over="ignore"):
        for name, unit, fits in FORMATS:
            if (
                name != dtype
                and fits(values).all()
                and not fits(wanted).all()
                and error < min(UNITS * unit, LARGEST)
            ):
                return name
    return None
