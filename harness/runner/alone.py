"""A fixed sample of the cases of every run is also computed with nothing shared, and must come out the same."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from harness.backends import Backend
from harness.case import Case
from harness.engine import engine
from harness.methods import Backward, GradCam
from harness.trace import Trace

#: One case in so many, chosen by its digest; statistics of many runs, which share all or nothing, are left out.
ONE_IN = 20


def is_sampled(case: Case) -> bool:
    """Whether ``case``, as it was asked for, belongs to the sample."""
    return isinstance(case.method.procedure, Backward | GradCam) and int(case.digest[:8], 16) % ONE_IN == 0


def differs_alone(trace: Trace, backend: Backend) -> str | None:
    """What ``backend`` gives otherwise where it shares nothing; empty where it is the same bit for bit.

    None where it never shares anything.
    """
    alone = engine().alone(trace.case, backend)
    if alone is None:
        return None
    for what, shared, other in _pairs(trace, alone):
        if shared.dtype != other.dtype or not np.array_equal(_bits(shared), _bits(other)):
            return (
                f"{backend.name!r} gives another {what} where it shares nothing with other methods: "
                "a fault of this backend, report it"
            )
    return ""


def _pairs(one: Trace, other: Trace) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    yield "attribution", one.attribution_array, other.attribution_array
    yield "row of logits", one.logits, other.logits
    for name, layer in one.layers.items():
        again = other.layers[name]
        for what in ("activation", "relevance"):
            array = getattr(layer, what)
            if array is not None:
                yield f"{what} of {name!r}", array, getattr(again, what)


def _bits(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array).view(f"u{array.dtype.itemsize}")
