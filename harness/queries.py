"""Many targets of one input: activations computed once, relevances in chunks, within the memory that is given."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.api import as_model
from harness.backends import Backend, backend_named, defaults_of, is_installed, required, versions_of
from harness.bench.timing import peak_bytes
from harness.case import Case
from harness.engine import Store, engine, require_support
from harness.errors import InvalidInputError
from harness.estimate.queries import known_pace, seconds_of
from harness.files import array_digest, byte_count
from harness.graph import Graph, parted
from harness.methods import Backward, Method
from harness.methods import method as method_named
from harness.trace import Trace

#: What is taken at most where nothing is said.
MEMORY = "4G"
#: Targets that are computed together at most: more would be no faster, as products of a chunk are large by then.
MOST_TOGETHER = 16


@dataclass(frozen=True, eq=False)
class Plan:
    """How ``count`` queries are done: ``chunk`` at a time, in ``memory`` bytes at most, attributions included."""

    count: int
    chunk: int
    memory: int


@dataclass(frozen=True, eq=False, repr=False)
class Queries:
    """What `explain_many` finds.

    ``attribution_array``: (query, *input shape), in the order of ``targets`` (query,); of several inputs those side by
    side, (query, number). ``logits``: (1, classes).
    ``seconds`` and ``taken``: what it took, in seconds and bytes (NaN where the system does not say);
    ``seconds_estimated`` is None where `xai-harness estimate` has not measured this machine.
    """

    case: Case
    backend: Backend
    targets: np.ndarray
    logits: np.ndarray
    attribution_array: np.ndarray
    plan: Plan
    seconds: float
    taken: float
    seconds_estimated: float | None

    @property
    def attributions(self) -> Any:
        """(query, *input shape), in the order of ``targets``; of a model of several inputs a dict of them by name."""
        inputs = self.case.model.graph.inputs
        return parted(inputs, self.attribution_array) if inputs else self.attribution_array

    def __len__(self) -> int:
        return len(self.targets)

    def __repr__(self) -> str:
        return (
            f"Queries({self.case.method.name} of {self.case.model.name} by {self.backend.name}, {self.case.dtype}, "
            f"{len(self)} targets, attributions {self.attribution_array.shape}, {self.seconds:.3g} s)"
        )

    def trace(self, place: int) -> Trace:
        """The run for the target at ``place``, without layers, for `harness.compare` and to be stored."""
        case = self.case.with_target(self.targets[place : place + 1])
        provenance = {
            "backend": self.backend.name,
            "versions": versions_of(self.backend),
            "model_digest": case.model.digest,
            "dtype": case.dtype,
            "device": case.device,
            "input_digest": array_digest(case.x),
            "chunk": case.chunk,
        }
        attribution = self.attribution_array[place : place + 1]
        return Trace(
            case.model.name,
            case.method,
            self.backend.name,
            case.dtype,
            self.targets[place : place + 1],
            self.logits,
            attribution,
            {},
            provenance,
            case=case,
            executed_by=self.backend,
            inputs=case.model.graph.inputs,
        )

    def report(self) -> str:
        """What it took, and how far off that is from what was estimated."""
        took = f"{self.seconds:.1f} s ({self.seconds / len(self):.2f} s a query)"
        if self.seconds_estimated:
            took += f", {self.seconds / self.seconds_estimated:.2f} times the {self.seconds_estimated:.1f} s estimated"
        used = "memory that this system does not measure"
        if math.isfinite(self.taken):
            used = f"{self.taken / 1e9:.2f} GB, {self.taken / self.plan.memory:.2f} times the bound"
        return f"{len(self)} queries, {self.plan.chunk} at a time: {took}; {used} of {self.plan.memory / 1e9:.2f} GB"


def explain_many(
    model: Any,
    x: Any,
    method: str | Method,
    targets: Sequence[int] | np.ndarray,
    backend: str | Backend | None = None,
    dtype: str = "float32",
    memory: str | int = MEMORY,
) -> Queries:
    """Explain each of ``targets`` (query,) on one input ``x``, (1, *input_shape).

    What :func:`harness.explain` with ``layers=False`` gives for each target, to the rounding of sums that are made for
    several targets at once. ``memory``: bytes (``"4G"``) that are taken at most beside the loaded model; the
    attributions count. How many targets are computed together follows from it and from shapes alone, and is part of
    the digest of a case. Other arguments as of `harness.explain`; a backend has to offer "queries" (the reference and
    the port of the usual family do).

    Raises InvalidInputError where even one target at a time takes more, for more than one sample, no targets, or a
    method of more than one pass backwards; else what `harness.explain` raises.
    """
    resolved = method_named(method)
    chosen = backend_named(defaults_of(resolved).reference if backend is None else backend)
    loaded = as_model(model)
    wanted = _checked_targets(targets)
    first = next(iter(x.values()), ()) if isinstance(x, Mapping) else x
    rank = np.ndim(first) if isinstance(x, Mapping) else len(loaded.input_shape) + 1
    if np.ndim(first) == rank and rank and len(first) != 1:
        raise InvalidInputError(
            f"many targets are those of one sample, found {len(first)} samples; give one: x[:1]"
        )
    case = Case.checked(loaded, x, resolved, wanted[:1], dtype, layers=False)
    for target in (wanted.min(), wanted.max()):  # the others are between them
        Case.checked(loaded, case.x, resolved, [target], dtype, layers=False)
    require_support(chosen, case)
    plan = planned(loaded, resolved, chosen, len(wanted), dtype, memory)
    case = Case(loaded, case.x, resolved, case.target, dtype, layers=False, chunk=plan.chunk)
    prepared = required(engine().prepared(loaded, chosen, dtype), "queries", chosen)
    attributions = np.empty((len(wanted), *case.x.shape[1:]), case.x.dtype)
    logits: list[np.ndarray] = []

    def run() -> None:
        place = 0
        for arrays in prepared.run_queries(case.x.copy(), resolved, wanted.copy(), plan.chunk):
            attributions[place : place + len(arrays.attribution)] = arrays.attribution
            place += len(arrays.attribution)
            logits[:] = [np.array(arrays.logits)]

    began = time.perf_counter()
    taken = peak_bytes(run)
    seconds = time.perf_counter() - began
    pace = known_pace(chosen, dtype, Store()) if is_installed(chosen) else None
    estimated = None if pace is None else seconds_of(loaded.graph, resolved, plan.count, plan.chunk, pace)
    return Queries(case, chosen, wanted, logits[0], attributions, plan, seconds, taken, estimated)


def planned(model: Any, method: Method, backend: Backend, count: int, dtype: str, memory: str | int) -> Plan:
    """How ``count`` targets of one sample are done within ``memory``: as many together as fit, by shapes alone.

    Raises InvalidInputError as :func:`explain_many`.
    """
    if not isinstance(method.procedure, Backward):
        raise InvalidInputError(
            f"{method.name} is more than one pass backwards ({type(method.procedure).__name__}), which is not computed "
            "for many targets at once; explain its targets one at a time"
        )
    given = byte_count(str(memory), "memory")
    prepared = required(engine().prepared(model, backend, dtype), "queries", backend)
    result = count * _numbers(model.graph) * np.dtype(dtype).itemsize
    for chunk in range(min(count, MOST_TOGETHER), 0, -1):
        need = result + prepared.query_bytes(method, chunk)
        if need <= given:
            return Plan(count, chunk, need)
    raise InvalidInputError(
        f"{count} queries of {model.name} by {method.name} take {need / 1e9:.2f} GB even one at a time, "
        f"{result / 1e9:.2f} GB of it the attributions, found memory={memory!r}; give more memory or fewer targets"
    )


def _numbers(graph: Graph) -> int:
    return math.prod(graph.input.shape)


def _checked_targets(targets: Any) -> np.ndarray:
    """As (query,) int64. Raises InvalidInputError."""
    array = np.asarray(targets)
    if array.ndim != 1 or array.dtype.kind not in "iu" or not len(array):
        raise InvalidInputError(
            f"targets must be one class index or more in a row, found {targets!r}; "
            "for the largest logit: harness.explain"
        )
    return array.astype(np.int64)
