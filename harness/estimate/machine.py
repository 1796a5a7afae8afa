"""What this machine takes for the pieces of a case, measured on a few small networks that are run whole."""

from __future__ import annotations

import math
import os
import platform
import resource
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from harness.api import load_model
from harness.backends import Backend, is_installed, packages_of, versions_of, why_unsupported
from harness.engine import Store, engine
from harness.errors import HarnessError
from harness.estimate.work import work_of
from harness.files import code_digest, json_digest
from harness.graph import Graph, Layer
from harness.methods import Method, method
from harness.runner.run import Finished, Selection, events

#: What the networks are explained by, the first that both sides have: rules with one product forwards and one back.
_METHODS = ("lrp.epsilon", "backtrace.default")
#: A convolution of 3x3 that keeps the number of places.
_SAME = {"strides": (1, 1), "dilations": (1, 1), "groups": 1, "padding": ((1, 1), (1, 1))}
_VARIABLES = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "XAI_HARNESS_MEMO_BYTES")


@dataclass(frozen=True)
class Machine:
    """Seconds and bytes of a whole case, both sides, their comparison and the files, in one dtype.

    A case takes ``case_s`` plus so much a layer, a multiply-add and a number in a tensor, counted for one side
    (`harness.estimate.work`). A model takes ``load_s`` plus so much a layer and a weight, once. ``files`` and
    ``file_layer`` are bytes on the disk, of a case and of each of its layers. ``resident`` is what the process has
    taken at most with a model that is next to nothing, in bytes.
    """

    case_s: float
    layer_s: float
    multiply_add_s: float
    number_s: float
    load_s: float
    load_layer_s: float
    load_weight_s: float
    files: float
    file_layer: float
    resident: float


def machine_key(reference: Backend, candidate: Backend, dtype: str) -> str:
    """A digest of what the figures depend on: processors, threads, the code of both sides and its versions."""
    packages = {name for side in (reference, candidate) if is_installed(side) for name in packages_of(side)}
    return json_digest(
        [
            "machine",
            platform.node(),
            platform.processor() or platform.machine(),
            len(os.sched_getaffinity(0)),
            [os.environ.get(name) for name in _VARIABLES],
            [[side.name, versions_of(side)] for side in (reference, candidate)],
            code_digest("harness", *packages),
            dtype,
        ]
    )


def known_machine(reference: Backend, candidate: Backend, dtype: str, store: Store) -> Machine | None:
    """What :func:`measured_machine` has found before; None where it has not."""
    kept = store.get(machine_key(reference, candidate, dtype))
    return None if kept is None else Machine(**kept)


def measured_machine(reference: Backend, candidate: Backend, dtype: str, store: Store) -> Machine:
    """The figures of this machine: those that ``store`` has, else measured, which takes a few seconds.

    Each network is loaded and explained three times: the first time says what loading takes, the others what a case
    takes.
    Raises what the sides raise.
    """
    kept = known_machine(reference, candidate, dtype, store)
    if kept is not None:
        return kept
    works, first, second, sizes = [], [], [], []
    with TemporaryDirectory(prefix="xai-harness-estimate-") as folder:
        graphs = networks()
        # The frameworks themselves are loaded with the first network, which is not counted.
        _timed(graphs[0], reference, candidate, dtype, Path(folder))
        resident = peak_bytes()
        for network in graphs:
            slow, quick, size = _timed(network, reference, candidate, dtype, Path(folder))
            works.append(work_of(network, shared_method(network, reference, candidate)))
            first.append(slow - quick)
            second.append(quick)
            sizes.append(size)
    case = nonnegative_fit([[1, w.layers, w.multiply_adds, w.tensors] for w in works], second)
    load = nonnegative_fit([[1, w.layers, w.weights] for w in works], first)
    size_of = nonnegative_fit([[1, w.layers] for w in works], sizes)
    machine = Machine(
        case_s=case[0],
        layer_s=case[1],
        multiply_add_s=case[2],
        number_s=case[3],
        load_s=load[0],
        load_layer_s=load[1],
        load_weight_s=load[2],
        files=size_of[0],
        file_layer=size_of[1],
        resident=resident,
    )
    store.put(machine_key(reference, candidate, dtype), "estimate: this machine", asdict(machine))
    return machine


def nonnegative_fit(rows: Sequence[Sequence[float]], measured: Sequence[float]) -> list[float]:
    """The factors, none below zero, with which ``rows`` come closest to ``measured``, each row by its share of itself.

    What would be below zero is left out, the most negative first. Rows are weighed by what was found: a network that
    takes ten times as long may be ten times further off.
    """
    known = np.maximum(np.asarray(measured, float), 1e-9)
    matrix = np.asarray(rows, float) / known[:, None]
    scale = np.maximum(np.abs(matrix).max(axis=0), 1e-300)
    left = list(range(matrix.shape[1]))
    factors = np.zeros(matrix.shape[1])
    while left:
        solved, *_ = np.linalg.lstsq(matrix[:, left] / scale[left], np.ones(len(known)), rcond=None)
        if solved.min() >= 0:
            factors[left] = solved / scale[left]
            break
        del left[int(solved.argmin())]
    return [float(factor) for factor in factors]


def peak_bytes() -> float:
    """The most that this process has taken of the memory so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0


def shared_method(graph: Graph, *sides: Backend) -> Method:
    """The first of :data:`_METHODS` that both sides have; the first of all where they have none in common."""
    known = [method(name) for name in _METHODS]
    return next(
        (each for each in known if not any(why_unsupported(side, each, graph) for side in sides)), known[0]
    )


def _timed(
    graph: Graph, reference: Backend, candidate: Backend, dtype: str, folder: Path
) -> tuple[float, float, float]:
    """Seconds of loading and a first case together, seconds of a later case, bytes of a case's files."""
    began = time.perf_counter()
    model: Any = load_model(graph)
    x = np.random.default_rng(0).random((1, *model.input_shape), dtype=np.float32)

    def case() -> dict[str, Any]:
        name = shared_method(model.graph, reference, candidate).name
        chosen = Selection((model,), (name,), (dtype,), reference, candidate, x)
        timed = events(chosen, folder, Store(limit=0))
        row = next(event.row for event in timed if isinstance(event, Finished))
        if row["verdict"] == "error":
            raise HarnessError(f"this machine cannot be measured: {row['message']}")
        return row

    case()
    slow = time.perf_counter() - began
    quick = math.inf
    for _ in range(2):  # whatever else the machine does only adds to it
        engine().clear()
        row = case()
        quick = min(quick, row["seconds_with_files"])
    engine().clear()
    size = sum((folder / name).stat().st_size for name in row["files"])
    return slow, quick, float(size)


def networks() -> list[Graph]:
    """Small; of many layers; of many multiply-adds; of many pixels; of many weights."""
    return [
        convolutions("estimate_small", side=8, channels=(4,)),
        convolutions("estimate_layers", side=8, channels=(4,) * 8),
        convolutions("estimate_products", side=28, channels=(512, 512)),
        convolutions("estimate_pixels", side=128, channels=(8, 8)),
        convolutions("estimate_weights", side=8, channels=(64,), hidden=512),
    ]


def convolutions(name: str, side: int, channels: tuple[int, ...], hidden: int = 0) -> Graph:
    """Convolutions of 3x3 with ReLU, then a dense layer to ten classes, one of ``hidden`` units before it."""
    generator = np.random.default_rng(0)
    axes = ("batch", "height", "width", "channel")
    layers = [Layer("x", "input", (), (), (side, side, 3), axes)]

    def add(
        kind: str, shape: tuple[int, ...], axes: tuple[str, ...], *kernel: int, **attributes: Any
    ) -> None:
        before = layers[-1]
        weights = {}
        if kernel:
            deviation = math.sqrt(2 / math.prod(kernel[:-1]))
            weights["kernel"] = generator.normal(0, deviation, kernel).astype(np.float32)
            weights["bias"] = np.zeros(kernel[-1], np.float32)
        place = f"{kind}_{len(layers)}"
        layers.append(Layer(place, kind, (before.name,), (before.shape,), shape, axes, attributes, weights))

    for count in channels:
        kernel = (3, 3, layers[-1].shape[-1], count)
        add("conv2d", (side, side, count), axes, *kernel, **_SAME)
        add("relu", (side, side, count), axes)
    row = ("batch", "feature")
    add("flatten", (math.prod(layers[-1].shape),), row, order="channels_last")
    for units in (hidden, 10) if hidden else (10,):
        add("dense", (units,), row, layers[-1].shape[0], units)
    return Graph(name, tuple(layers), layers[-1].name)
