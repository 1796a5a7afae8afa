"""The port on a GPU: where there is one, the twin's copy on it, and float32 that is float32."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from harness.backends import CAPABILITIES
from ported_impls.layout import tensors_on

#: Behind the name of a GPU: its matrix units may round the operands of float32 products to 10 bits (TensorFloat-32).
REDUCED = "+tf32"


def devices() -> tuple[str, ...]:
    """What torch computes on here, as `harness.case.Case` names it."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    gpus = ("cuda", *(f"cuda:{number}" for number in range(count))) if count else ()
    return ("cpu", *gpus, *(f"{gpu}{REDUCED}" for gpu in gpus))


def twin_on(twin: torch.nn.Module, device: str) -> torch.nn.Module:
    """``twin`` itself on the CPU, elsewhere a copy with weights there; both have the same graph."""
    if device == "cpu":
        return twin
    copied = copy.deepcopy(twin, {id(twin.graph): twin.graph})
    return copied.to(device.removesuffix(REDUCED))


@dataclass(frozen=True)
class OnDevice:
    """``prepared``, whose twin is on ``device``, with every call carried out there; arrays come and go as they do."""

    prepared: Any
    device: str
    #: What a reproducer runs is to run without a GPU; queries are handed out one chunk after the other.
    capabilities = frozenset(CAPABILITIES) - {"programs", "queries"}

    def run(self, x: Any, method: Any, target: Any, layers: bool) -> Any:
        return self._there(self.prepared.run, x, method, target, layers)

    def runs(self, *args: Any) -> Iterator[Any]:
        runs = self.prepared.runs(*args)
        yield from iter(lambda: self._there(next, runs, None), None)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.prepared, name)
        return partial(self._there, value) if callable(value) else value

    def _there(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        reduced = self.device.endswith(REDUCED)
        with tensors_on(self.device.removesuffix(REDUCED)), _precision(reduced):
            return call(*args, **kwargs)


@contextmanager
def _precision(reduced: bool) -> Iterator[None]:
    """Whether float32 products may be rounded, and the same kernels at every call; as it was when it closes."""
    matmul = torch.backends.cuda.matmul
    before = matmul.allow_tf32
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=reduced):
        matmul.allow_tf32 = reduced
        try:
            yield
        finally:
            matmul.allow_tf32 = before
