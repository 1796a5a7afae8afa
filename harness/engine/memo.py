"""Results of cases that are kept in memory, by digest, up to a number of bytes."""

from __future__ import annotations

import os
from collections import OrderedDict

import numpy as np

from harness.files import byte_count
from harness.trace import Trace

#: Bytes that are kept, and the environment variable that names another number.
LIMIT, LIMIT_VARIABLE = "768M", "XAI_HARNESS_MEMO_BYTES"


class Memo:
    """Traces by key; the one that was not used for longest goes first. ``limit``: in bytes."""

    def __init__(self, limit: int | None = None) -> None:
        chosen = os.environ.get(LIMIT_VARIABLE, LIMIT)
        self.limit = byte_count(chosen, LIMIT_VARIABLE) if limit is None else limit
        self._kept: OrderedDict[str, tuple[Trace, int]] = OrderedDict()
        self._bytes = 0

    def get(self, key: str) -> Trace | None:
        if key not in self._kept:
            return None
        self._kept.move_to_end(key)
        return self._kept[key][0]

    def put(self, key: str, trace: Trace) -> None:
        """Keep ``trace``, if it fits at all."""
        self.drop(key)
        size = bytes_of(trace)
        if size > self.limit:
            return
        self._kept[key] = trace, size
        self._bytes += size
        while self._bytes > self.limit:
            self.drop(next(iter(self._kept)))

    def drop(self, key: str) -> None:
        _, size = self._kept.pop(key, (None, 0))
        self._bytes -= size


def bytes_of(trace: Trace) -> int:
    """The memory that the arrays of ``trace`` take; what they share is counted each time."""
    arrays: list[np.ndarray | None] = [trace.logits, trace.target, trace.attribution_array]
    for layer in trace.layers.values():
        arrays += [layer.activation, layer.relevance]
    return sum(array.nbytes for array in arrays if array is not None)
