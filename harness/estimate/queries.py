"""What many queries on one input take: counted on the graph, times what this machine takes for one backend's pieces."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np

from harness.api import load_model
from harness.backends import Backend, required
from harness.engine import Store, engine
from harness.estimate.machine import machine_key, networks, nonnegative_fit, shared_method
from harness.estimate.work import work_of
from harness.graph import Graph
from harness.methods import Method

#: How many queries a network is measured with: one, and several together.
_COUNTS = (1, 8)


@dataclass(frozen=True)
class Pace:
    """Seconds of one backend in one dtype: a layer and chunk, a multiply-add, a number in a tensor."""

    layer_s: float
    multiply_add_s: float
    number_s: float


def known_pace(backend: Backend, dtype: str, store: Store) -> Pace | None:
    """What :func:`measured_pace` has found before on this machine; None where it has not."""
    kept = store.get(_key(backend, dtype))
    return None if kept is None else Pace(**kept)


def measured_pace(backend: Backend, dtype: str, store: Store) -> Pace:
    """The figures of this machine: those that ``store`` has, else measured, which takes a few seconds.

    Raises what ``backend`` raises.
    """
    kept = known_pace(backend, dtype, store)
    if kept is not None:
        return kept
    rows, seconds = [], []
    for graph in networks():
        method = shared_method(graph, backend, backend)
        for count in _COUNTS:
            rows.append(_row(graph, method, count, count))
            seconds.append(_timed(graph, method, backend, dtype, count))
    pace = Pace(*nonnegative_fit(rows, seconds))
    store.put(_key(backend, dtype), "estimate: queries on this machine", asdict(pace))
    return pace


def seconds_of(graph: Graph, method: Method, count: int, chunk: int, pace: Pace) -> float:
    """What ``count`` queries of one sample take, ``chunk`` of them together."""
    layers, multiply_adds, numbers = _row(graph, method, count, chunk)
    return pace.layer_s * layers + pace.multiply_add_s * multiply_adds + pace.number_s * numbers


def _row(graph: Graph, method: Method, count: int, chunk: int) -> list[float]:
    """Layers, multiply-adds and numbers in tensors: forwards once a chunk, backwards once a query."""
    chunks = math.ceil(count / chunk)
    work = work_of(graph, method)
    return [
        2.0 * chunks * work.layers,
        chunks * work.forward + count * (work.multiply_adds - work.forward),
        (chunks + count) * work.trace / 2,
    ]


def _key(backend: Backend, dtype: str) -> str:
    return f"queries {machine_key(backend, backend, dtype)}"


def _timed(graph: Graph, method: Method, backend: Backend, dtype: str, count: int) -> float:
    """Seconds of ``count`` queries together on ``graph``, without preparing the model; the least of two times."""
    model = load_model(graph)
    prepared = required(engine().prepared(model, backend, dtype), "queries", backend)
    x = np.random.default_rng(0).random((1, *model.input_shape)).astype(dtype)
    targets = np.arange(count) % model.graph[model.graph.output].shape[0]

    def once() -> float:
        began = time.perf_counter()
        for _ in prepared.run_queries(x, method, targets, count):
            pass
        return time.perf_counter() - began

    return _least(once)


def _least(call: Callable[[], float]) -> float:
    call()  # the first is slower
    return min(call(), call())
