"""Loading proves itself: a source's own output against that of both twins, on the same inputs.

A network that was read wrongly computes something else than its source. So the source is run by itself, as
its user would run it, and what it gives has to be what the twins give. The reading is not trusted, however
carefully it was written: hooks, patched methods and layers of a new kind are not seen by it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np

from harness.errors import ModelSourceError
from harness.graph import Graph, joined, parted
from ported_models.endings import ENDINGS
from ported_models.limits import check_cost
from ported_models.model import PortedModel
from ported_models.twins.forward import keras_activations, keras_logits, torch_activations, torch_logits

#: Largest relative difference of a sample's output between a source and a twin. In double precision too: some
#: kernels of TensorFlow (gelu, leaky_relu, bilinear resizing) have constants of single precision in them.
BOUND = 1e-5
#: The same between the two twins in double precision, which agree on those constants.
TWINS_BOUND = 1e-10
#: A difference beyond the bound is rounding if it is within this many times what rounding alone changes ...
FLOORS = 10
#: ... and this small: where rounding changes more, the output says nothing about what was read.
LARGEST = 1e-2
#: Where 1 and the next number are further apart than this, the precision is half: too coarse for the bound.
HALF = 1e-4
#: The inputs that are drawn: standard normal, and wide enough to reach the far sides of clipped activations.
SCALES = (1.0, 8.0)


class Source(Protocol):
    """A model of another framework or file that can be run by itself.

    ``what``: its name as messages begin. ``graph``: what was read from it. ``removed``: the final
    activation that its output has and the graph lacks, None for none. ``dtype``: what the twins are
    built in, "float64" for a source in double precision. ``takes``: the NumPy dtype of each input. ``eps``: the
    distance of 1 to the next number in the precision that it computes in. ``batch``: how many samples it takes
    at once. ``examples``: batches of the user's. Arrays are canonical: (batch, ..., channel).
    """

    @property
    def what(self) -> str: ...
    @property
    def graph(self) -> Graph: ...
    @property
    def removed(self) -> str | None: ...
    @property
    def dtype(self) -> str: ...
    @property
    def takes(self) -> tuple[str, ...]: ...
    @property
    def eps(self) -> float: ...
    @property
    def batch(self) -> int: ...
    @property
    def examples(self) -> tuple[np.ndarray, ...]: ...

    def run(self, x: np.ndarray) -> np.ndarray:
        """Its output on ``x``, its final activation included. Raises ModelSourceError where it cannot be run."""
        ...

    def layers(self, x: np.ndarray) -> Mapping[str, np.ndarray]:
        """By canonical name, what it computes at those layers of the graph at which it can be watched."""
        ...

    def remark(self, layer: str | None) -> str:
        """What stands at ``layer`` (None: nowhere to be seen) that reading does not follow; "" for nothing."""
        ...


@dataclass(frozen=True)
class _Side:
    """One twin: its framework's name, and how its logits and its layers are computed.

    ``release``: lets go of the twins made so far, where they are large.
    """

    framework: str
    twin: Callable[[str], Any]
    logits: Callable[[Any, np.ndarray], np.ndarray]
    activations: Callable[[Any, Graph, np.ndarray], dict[str, np.ndarray]]
    release: Callable[[], None]


_NOT_FOLLOWED = "is it changed by a hook or a patched method? write that as a layer"
#: The packages of the two twins.
FRAMEWORKS = ("tensorflow", "torch")


def prove(model: PortedModel, source: Source, frameworks: tuple[str, ...] = FRAMEWORKS) -> tuple[str, ...]:
    """Compare ``source``'s own output with the twins' on its examples and on noise; returns what to note.

    ``frameworks``: whose twins, of :data:`FRAMEWORKS`.

    Each sample counts by itself: ``|source - twin| / |source|``, norms over the sample's output, is within
    :data:`BOUND`, or it is what rounding explains: within ten times what one unit in the last place of
    the input changes in the source, or single precision in the twin. After a softmax or sigmoid the
    logarithms are compared, in which a class of small probability counts as much as another.

    Raises ModelSourceError that names the first layer at which source and twin differ, where it can be seen; for
    a source that computes in half precision; and for one whose samples are not each computed by itself.
    """
    if source.eps > HALF:
        raise ModelSourceError(
            f"{source.what}: computes in half precision, in which its output cannot be told from another network's "
            f"to {BOUND:g}; load it in single precision (torch: module.float(); Keras: "
            "layer.dtype_policy = 'float32' for every layer; ONNX: exported so)"
        )
    sides, notes = _sides(model, source, frameworks)
    if not (_compare_all(source, sides, _inputs(source)) or _compare_all(source, sides, _magnitudes(source))):
        notes = (
            *notes,
            f"{source.what}: its own output was compared with nothing, because it is not finite on any input that was "
            "drawn",
        )
    _check_samples(source)
    model.release_twins()
    return notes


def noted(model: PortedModel, notes: tuple[str, ...]) -> PortedModel:
    """``model`` with ``notes`` among its own; each is also a warning to whoever loads it."""
    for note in notes:
        warnings.warn(note, stacklevel=4)
    return replace(model, notes=(*model.notes, *notes)) if notes else model


def prove_twins(model: PortedModel, graph: Graph, what: str, why: str) -> tuple[str, ...]:
    """For a source that cannot be run, because of ``why``: compare the twins with each other; returns the note.

    Raises ModelSourceError where they differ by more than rounding in float64, and for a file that asks for more than
    one of its size may (`ported_models.limits`).
    """
    check_cost(graph, what)
    x = drawn_input(graph)
    absent = [package for package in FRAMEWORKS if find_spec(package) is None]
    if absent:
        return (
            f"{what}: its own output was compared with nothing, because {why}, and {absent[0]} is not installed",
        )
    logits = [keras_logits(model.keras("float64"), x), torch_logits(model.torch("float64"), x)]
    difference = apart(logits[0], logits[1], logits[0])
    if not difference <= TWINS_BOUND:
        raise ModelSourceError(
            f"{what}: its two twins differ by {difference:.2g} relative in float64, expected at most "
            f"{TWINS_BOUND:g}, and its own output is not known, because {why}"
        )
    return (f"{what}: its own output was not compared with its twins', only theirs with each other: {why}",)


def _sides(
    model: PortedModel, source: Source, frameworks: tuple[str, ...]
) -> tuple[list[_Side], tuple[str, ...]]:
    every = {
        "tensorflow": _Side("Keras", model.keras, keras_logits, keras_activations, model.release_twins),
        "torch": _Side("torch", model.torch, torch_logits, torch_activations, model.release_twins),
    }
    known = {package: every[package] for package in frameworks}
    sides = [side for package, side in known.items() if find_spec(package) is not None]
    return sides, tuple(
        f"{source.what}: the {side.framework} twin was not compared with it, because {package} is not installed"
        for package, side in known.items()
        if side not in sides
    )


def _inputs(source: Source) -> Iterator[tuple[np.ndarray, bool]]:
    """Batches, and whether they are the user's; source and twin get the same numbers, those that it can take."""
    for x in source.examples:
        if np.isfinite(x).all():
            yield x.astype(source.dtype), True
    for scale in SCALES:
        yield _noise(source, source.batch, scale), False


def _magnitudes(source: Source) -> Iterator[tuple[np.ndarray, bool]]:
    """The inputs that are drawn without their signs: what begins with a root, say, is not a number on others."""
    for scale in SCALES:
        yield np.abs(_noise(source, source.batch, scale)), False


def _compare_all(source: Source, sides: list[_Side], inputs: Iterator[tuple[np.ndarray, bool]]) -> bool:
    """Compare on each of ``inputs``; whether the source gave anything on them that can be compared.

    One side after the other, so that of a large network one twin is there at a time.
    """
    outputs = []
    for x, given in inputs:
        own = source.run(x)
        if not given and not np.isfinite(own).all():
            continue  # an overflow on an input that nobody gave says nothing about what was read
        outputs.append((x, own))
    for side in sides:
        for x, own in outputs:
            _compare(source, side, x, own)
        side.release()
    return bool(outputs)


def drawn_input(graph: Graph) -> np.ndarray:
    """Two samples, (2, *input shape) float64: standard normal, and numbers of rows where the input is such."""
    x = np.random.default_rng(0).standard_normal((2, *graph.input.shape))
    return _with_rows(graph, x, np.random.default_rng(0))


def _with_rows(graph: Graph, x: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """``x`` with numbers of rows drawn where the input names rows."""
    rows = graph.rows_at_input
    if rows is None:
        return x
    drawn = generator.integers(0, np.maximum(rows, 1), x.shape)
    return np.where(rows > 0, drawn, x).astype(x.dtype)


def _noise(source: Source, samples: int, scale: float) -> np.ndarray:
    """Numbers that ``source`` and the twins can both take, (samples, ...); of rows, where it reads rows by number."""
    graph = source.graph
    noise = np.random.default_rng(0).standard_normal((samples, *graph.input.shape))
    if graph.inputs:
        parts = parted(graph.inputs, noise)
        taken = {
            name: _taken(part, scale, dtype)
            for (name, part), dtype in zip(parts.items(), source.takes, strict=True)
        }
        x = joined(graph.inputs, taken)
    else:
        (dtype,) = source.takes
        x = _taken(noise, scale, dtype)
    return _with_rows(graph, x.astype(source.dtype), np.random.default_rng(int(scale)))


def _taken(noise: np.ndarray, scale: float, dtype: str) -> np.ndarray:
    """``noise`` times ``scale`` as an input of ``dtype`` takes it: whole numbers from 0 on, for a flag 0 and 1."""
    if dtype == "bool":
        return (noise > 0).astype(np.float32)
    if np.dtype(dtype).kind in "iu":
        return np.asarray(np.rint(np.abs(noise * 8)) * scale)
    return np.asarray((noise * scale).astype(dtype))


def _check_samples(source: Source) -> None:
    """Raise ModelSourceError where what a sample gives depends on the samples beside it, or on their number.

    A source that takes only one number of samples has nothing beside them.
    """
    x = _noise(source, source.batch + 1, SCALES[0])
    alone = source.run(x[:-1])
    try:
        beside = source.run(x)[:-1]
    except ModelSourceError:
        return
    if beside.shape == alone.shape:
        difference = apart(alone, beside, alone)
        if difference <= BOUND:
            return
        floor = apart(alone, source.run(_moved(source, x[:-1])), alone)
        if difference <= FLOORS * floor:
            return
    raise ModelSourceError(
        f"{source.what}: its output on a batch of {source.batch} changes when one sample more is in the batch; "
        "expected each to be computed by itself: take out what reads the batch axis or its size (in hooks too)"
    )


def _compare(source: Source, side: _Side, x: np.ndarray, own: np.ndarray) -> None:
    logits = side.logits(side.twin(source.dtype), x)
    if own.shape != logits.shape:
        raise ModelSourceError(
            f"{source.what}: its own output has shape {own.shape}, that of the {side.framework} twin "
            f"read from it {logits.shape} (channels last); {_NOT_FOLLOWED}"
        )
    removed = source.removed
    compared = as_compared(own, removed)
    difference = apart(compared, logits_as_compared(logits, removed, own.dtype), own)
    if difference <= BOUND:
        return
    floor = apart(compared, as_compared(source.run(_moved(source, x)), removed), own)
    if source.dtype == "float32":
        side.release()
        exact = side.logits(side.twin("float64"), x.astype(np.float64))
        side.release()
        twin = [logits_as_compared(array, removed, own.dtype) for array in (exact, logits)]
        floor = max(floor, apart(twin[0], twin[1], own))
    if difference <= FLOORS * floor <= LARGEST:
        return
    raise ModelSourceError(f"{source.what}: {_reason(source, side, x, own, difference, floor)}")


def _moved(source: Source, x: np.ndarray) -> np.ndarray:
    """``x`` with every value moved by about one unit in the last place; numbers of rows as they are."""
    rows = source.graph.rows_at_input
    signs = np.random.default_rng(1).choice((-1.0, 1.0), x.shape)
    moved = (x * (1.0 + source.eps * signs)).astype(x.dtype)
    return moved if rows is None else np.where(rows > 0, x, moved)


def _reason(
    source: Source,
    side: _Side,
    x: np.ndarray,
    own: np.ndarray,
    difference: float,
    floor: float,
) -> str:
    again = apart(own, source.run(x), own)
    if again > BOUND:
        return (
            f"its own output changes from call to call, by {again:.2g} relative; take out what draws random "
            "numbers or keeps a state between calls (is a dropout active in evaluation mode?)"
        )
    if FLOORS * floor > LARGEST:
        return (
            f"rounding alone changes its output by {floor:.2g} relative, so that it cannot be told whether it "
            f"was read rightly (it differs by {difference:.2g}); load it in double precision"
        )
    return (
        f"its own output differs from that of the {side.framework} twin read from it by {difference:.2g} "
        f"relative, expected at most {BOUND:g}; {_where(source, side, x, max(BOUND, FLOORS * floor))}"
    )


def _where(source: Source, side: _Side, x: np.ndarray, bound: float) -> str:
    """The first layer at which the source computes something else, and what stands there."""
    own = source.layers(x)
    twin = side.activations(side.twin(source.dtype), source.graph, x)
    for layer in source.graph:
        watched, other = own.get(layer.name), twin[layer.name]
        if watched is None:
            continue
        if watched.shape != other.shape or not apart(watched, other, watched) <= bound:
            remark = source.remark(layer.name) or _NOT_FOLLOWED
            return f"the first layer that differs is {layer.name!r} ({layer.kind}): {remark}"
    remark = source.remark(None) or f"it is something between them; {_NOT_FOLLOWED}"
    return f"no layer that can be watched differs: {remark}"


def apart(own: np.ndarray, other: np.ndarray, scale: np.ndarray) -> float:
    """The largest relative L2 difference of a sample: |own - other| / max(|own|, |scale|).

    All are (batch, ...). NaN and Inf have to stand in the same places, and are left out.
    """
    own, other, scale = (array.astype(np.float64) for array in (own, other, scale))
    finite = np.isfinite(own)
    if not np.array_equal(finite, np.isfinite(other)):
        return float("inf")
    difference = _norms(np.where(finite, own, 0.0) - np.where(finite, other, 0.0))
    norm = np.maximum(
        _norms(np.where(finite, own, 0.0)), _norms(np.nan_to_num(scale, posinf=0.0, neginf=0.0))
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = np.where(difference == 0.0, 0.0, difference / norm)
    return float(relative.max())


def _norms(array: np.ndarray) -> np.ndarray:
    return np.sqrt(np.square(array).sum(tuple(range(1, array.ndim))))


def as_compared(own: np.ndarray, removed: str | None) -> np.ndarray:
    """A source's output, (batch, ...): logarithms of the probabilities that a softmax or sigmoid gave."""
    if removed not in ("softmax", "sigmoid"):
        return own
    return np.log(np.maximum(own.astype(np.float64), _least(own.dtype)))


def logits_as_compared(logits: np.ndarray, removed: str | None, dtype: np.dtype) -> np.ndarray:
    """The same of what a twin gives, (batch, ...), which lacks ``removed``; ``dtype`` is that of the source."""
    if removed is None:
        return logits
    logits = logits.astype(np.float64)
    logs = -np.logaddexp(0.0, -logits) if removed == "sigmoid" else ENDINGS["log_softmax"](logits)
    return logs if removed == "log_softmax" else np.maximum(logs, np.log(_least(dtype)))


def _least(dtype: np.dtype) -> float:
    """The smallest probability that ``dtype`` holds at full precision: a smaller one cannot be told."""
    return float(np.finfo(dtype).tiny)
