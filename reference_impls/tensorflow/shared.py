"""What backward passes have in common is computed once: passes on the same activations, and those beside another.

The relevance of a layer depends on where the pass began and on the rules between the output and that layer, on nothing
else. A key says so: it is made of the keys of the layers that passed the relevance down, and of their rules. Of each
layer the last results are kept with their keys. The next pass takes what has its key and computes the rest, with the
operations of a pass that finds nothing, so that both give the same bits. Methods that follow each other should
therefore agree from the output down as far as they can.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np

from harness.methods import Rule
from reference_impls.tensorflow.layers import Tensor, Tensors


class Shared:
    """The last results of each layer, by key."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], tuple[str, Tensor | Tensors]] = {}

    def clear(self) -> None:
        """Let go of all that is kept."""
        self._kept.clear()

    def kept(self, what: str, layer: str, key: str) -> Any:
        """What is kept of ``what`` at ``layer`` under ``key``; None where nothing is."""
        before, value = self._kept.get((what, layer), ("", None))
        return value if before == key else None

    def passed(
        self, layer: str, key: str, compute: Callable[[], Tensors], looks: bool
    ) -> tuple[str, Tensors]:
        """What ``layer`` passes down, and the key of it; ``looks``: whether the activations matter to it."""
        return key, self.known("passed", layer, key, compute)

    def known(self, what: str, layer: str, key: str, compute: Callable[[], Any]) -> Any:
        """What was kept of ``what`` (two are told apart) at ``layer`` under ``key``; else what ``compute`` gives."""
        kept = self._kept.pop((what, layer), None)
        value = kept[1] if kept is not None and kept[0] == key else None
        # What is replaced is let go of before the new one takes its place.
        del kept
        if value is None:
            value = compute()
        self._kept[what, layer] = key, value
        return value


class Beside:
    """For one pass on other activations of the same layers; what is the same bit for bit is that of the first pass.

    The steps of the gradient at affine layers do not look at activations. Those of an activation or a pooling do, and
    are computed; where rounding has put no unit on the other side of a kink, they come out as they did, and so does
    everything below that depends on them alone. ``first``: what the first pass left; it stays as it is.
    """

    def __init__(self, first: Shared) -> None:
        self._first = first

    def known(self, what: str, layer: str, key: str, compute: Callable[[], Any]) -> Any:
        """As :meth:`Shared.known`; nothing is kept."""
        value = self._first.kept(what, layer, key)
        return compute() if value is None else value

    def passed(
        self, layer: str, key: str, compute: Callable[[], Tensors], looks: bool
    ) -> tuple[str, Tensors]:
        """As :meth:`Shared.passed`; what differs from that of the first pass has another key."""
        first = self._first.kept("passed", layer, key)
        if first is not None and not looks:
            return key, first
        value = compute()
        if first is not None and all(map(_same_bits, first, value)):
            return key, first
        return _key(key, "on other activations"), value


def _same_bits(one: Tensor, other: Tensor) -> bool:
    left, right = np.asarray(one), np.asarray(other)
    bits = np.dtype(f"u{left.dtype.itemsize}")
    return left.dtype == right.dtype and np.array_equal(left.view(bits), right.view(bits))


def start_key(layer: str, relevance: Tensor) -> str:
    """Of the ``relevance`` that a pass begins with, at the output of ``layer``."""
    values = np.asarray(relevance)
    return _key(layer, str(values.shape), hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest())


def passed_key(received: str, layer: str, rule: Rule) -> str:
    """Of what ``layer`` passes down; ``received``: the key of its own relevance."""
    # The text of a rule holds all its fields, and tells 0.0 from -0.0.
    return _key(received, layer, repr(rule))


def reached_key(layer: str, passed: tuple[str, ...], rectified: bool) -> str:
    """Of the relevance of ``layer``; ``passed``: the keys of what its readers passed down, in the order of the sum."""
    return _key(layer, str(rectified), *passed)


def _key(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
