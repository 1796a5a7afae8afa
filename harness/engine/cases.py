"""The engine computes cases: whoever in the harness needs a run, or one step of one, asks here.

A result is computed once. It is kept under the digest of its case and of its backend's code, where that code is an
installed package; what a user's own object gives is never taken for what it gave before.
"""

from __future__ import annotations

import logging
import time
import weakref
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, partial
from typing import Any

import numpy as np

from harness.backends import (
    Arrays,
    Backend,
    Model,
    Prepared,
    Steps,
    backend_named,
    capability,
    defaults_of,
    graph_of,
    installed_name,
    logits_on_copies,
    required,
    run_on_copies,
    steps_of,
    to_watch,
    why_unsupported,
)
from harness.case import Case, class_count
from harness.comparison.deviations import with_moved_deviations
from harness.comparison.floor import RUNS, NoiseFloor, moved_by_units
from harness.comparison.summation import units_of
from harness.engine.memo import Memo, bytes_of
from harness.engine.prepared import PreparedModels, Ready, trim
from harness.engine.prepared import bytes_of as size_of
from harness.errors import UnsupportedMethodError
from harness.files import array_digest, json_digest
from harness.graph import Layer
from harness.methods import GRADIENT, Method
from harness.naming import printable
from harness.pairs import check_applies, of_model
from harness.trace import LayerTrace, Trace

log = logging.getLogger(__name__)

#: The most that a network takes in float32, weights and tensors, whose copies with moved weights are kept for the next
#: case; and where copies are asked for. In bytes.
KEPT_MOVED, KEPT_IF_ASKED = 2**28, 2**29
#: Bytes of a run above which :meth:`Engine.let_go` lets go of it.
LARGE = 2**26
#: Logits do not depend on the method.
_ANY = Method("gradient", GRADIENT)


class _Alone:
    """Runs what is prepared with nothing from other runs."""

    def __init__(self, prepared: Any) -> None:
        self.run = prepared.run_alone
        self.graph = getattr(prepared, "graph", None)


class Engine:
    """Computes cases in this process."""

    def __init__(self, memo: Memo | None = None) -> None:
        self.memo = Memo() if memo is None else memo
        self._models = PreparedModels()
        self._expected: weakref.WeakKeyDictionary[Any, tuple[Method, ...]] = weakref.WeakKeyDictionary()
        #: By installed backend, a digest of its code and of the libraries that it computes with.
        self._code: weakref.WeakKeyDictionary[Backend, str] = weakref.WeakKeyDictionary()
        #: The target of a case that has none, by the key of its logits.
        self._targets: dict[str, np.ndarray] = {}
        #: Floors by the key of their run, and those of activations, which all methods on an input share.
        self.floors: dict[str, NoiseFloor] = {}
        self.activation_floors: dict[str, Mapping[str, float]] = {}
        #: What came of the last runs of two sides in step (`harness.engine.many_runs`), by their key.
        self.in_step: dict[str, Any] = {}
        #: Models with weights moved by rounding, and the generator that goes on to move their inputs; of one model.
        self._moved: OrderedDict[tuple[int, int, str, bool], tuple[Model, Model, Mapping[str, Any]]] = (
            OrderedDict()
        )
        self._kept_moved = KEPT_MOVED

    def prepared(self, model: Model, backend: Backend, dtype: str, device: str = "cpu") -> Prepared:
        """``backend`` prepared for ``model``; what is kept of it, and how long: `harness.engine.prepared`.

        Raises what the backend raises for a model, dtype or device that it does not take, and InvalidInputError where
        what it prepared does not keep to the contract.
        """
        return self._ready(model, backend, dtype, device).prepared

    def _ready(self, model: Model, backend: Backend, dtype: str, device: str) -> Ready:
        ready = self._models.ready(model, backend, dtype, device)
        expecting = capability(ready.prepared, "expects")
        if expecting is not None:
            expecting.expect(self._expected.get(model, ()))
        return ready

    def expect(self, model: Model, methods: Sequence[Method]) -> None:
        """``methods`` will be asked for on ``model``, next to each other: a backend may compute some together."""
        self._expected[model] = tuple(methods)

    def expected(self, model: Model) -> tuple[Method, ...]:
        """The methods that :meth:`expect` was last given for ``model``."""
        return self._expected.get(model, ())

    def offered(self, case: Case, backend: Backend, name: str) -> Any:
        """What ``backend`` offers of the capability ``name`` on the model and in the dtype of ``case``, or None.

        Single steps are offered for methods whose traces show all that a step takes.
        """
        if name in ("steps", "walks", "programs") and not case.method.stepwise:
            return None
        return capability(self.prepared(case.model, backend, case.dtype, case.device), name)

    def steps(self, case: Case, backend: Backend) -> Steps | None:
        """The single steps of ``backend`` for ``case``, as `harness.backends.steps_of` has them; None for none."""
        return steps_of(self.prepared(case.model, backend, case.dtype, case.device), case.method)

    def oracle(self, model: Model, method: Method, name: str) -> Any:
        """The oracle of ``method`` with ``model``, for its capability ``name``.

        Raises InvalidInputError where it does not offer it.
        """
        backend = backend_named(defaults_of(method).oracle)
        return required(self.prepared(model, backend, "float64"), name, backend)

    def run(self, case: Case, backend: Backend, again: bool = False, keep: bool = True) -> Trace:
        """``case`` by ``backend``, its target resolved; the trace carries both.

        ``again``: it is computed even where its result is known, with nothing that ``backend`` keeps of earlier runs.
        ``keep``: whoever asks next may have the result too, so that its arrays are read-only. Raises
        UnsupportedMethodError, MethodDoesNotApplyError, and what the backend raises.
        """
        require_support(backend, case)
        case = self.resolved(case, backend)
        key = self.key(case, backend)
        known = None if key is None or again else self.memo.get(key)
        if known is None:
            ready = self._ready(case.model, backend, case.dtype, case.device)
            if again:
                ready.forget()
            share = key is not None and keep
            started = time.monotonic()
            arrays = run_on_copies(ready.prepared, case, to_watch(backend, case.model), backend.name, share)
            known = of_model(_trace(arrays, case, ready), case.model)
            _log(backend, f"computed in {time.monotonic() - started:.3f} s", case)
            if key is not None and keep:
                self.memo.put(key, _read_only(known))
        else:
            _log(backend, "looked up", case)
        return replace(known, case=case, executed_by=backend)

    def alone(self, case: Case, backend: Backend) -> Trace | None:
        """``case``, which is resolved, where ``backend`` shares nothing between runs; None where it never does.

        Nothing is kept. Raises what the backend raises.
        """
        ready = self._ready(case.model, backend, case.dtype, case.device)
        if not getattr(ready.prepared, "shares", False) or capability(ready.prepared, "alone") is None:
            return None
        arrays = run_on_copies(_Alone(ready.prepared), case, to_watch(backend, case.model), backend.name)
        return _trace(arrays, case, ready)

    def resolved(self, case: Case, backend: Backend) -> Case:
        """``case`` with its target: where it has none, the largest of ``backend``'s logits, the first of equal ones.

        Whoever asks a second backend asks it for the case that the first one's trace carries.
        """
        if case.target is not None:
            return case
        key = self.key(replace(case, layers=False, method=_ANY), backend)
        target = None if key is None else self._targets.get(key)
        if target is None:
            prepared = self.prepared(case.model, backend, case.dtype, case.device)
            logits = logits_on_copies(prepared, case, to_watch(backend, case.model), backend.name)
            target = logits.argmax(axis=1)
            if key is not None:
                self._targets[key] = target
        return case.with_target(target)

    def key(self, case: Case, backend: Backend) -> str | None:
        """What a result is kept under; None where the backend's code is not known, so that nothing is kept."""
        name = installed_name(backend)
        if name is None:
            return None
        if backend not in self._code:
            self._code[backend] = json_digest([name, backend.version()])
        return f"{case.digest} {self._code[backend]}"

    def clear(self) -> None:
        """Let go of all results, and have backends let go of what they keep of their runs."""
        self.memo = Memo(self.memo.limit)
        for model in self._models.models():
            self._models.let_go(model)
        self._targets.clear()
        self.floors.clear()
        self.activation_floors.clear()
        self.in_step.clear()

    def make_room(self, model: Model) -> None:
        """Have what is prepared for ``model`` let go of what it keeps of its runs: the memory is needed."""
        self._models.forget(model)

    def forget(self, case: Case, backend: Backend) -> None:
        """Let go of a result, which is large."""
        key = self.key(case, backend)
        if key is not None:
            self.memo.drop(key)

    def let_go(self, traces: Iterable[Trace]) -> None:
        """Of what large ones of ``traces``, whose cases are not asked for again, have left in memory."""
        large = [trace for trace in traces if bytes_of(trace) > LARGE]
        for trace in large:
            assert trace.case is not None and trace.executed_by is not None
            for case in (trace.case, trace.case.in_dtype("float64")):
                self.forget(case, trace.executed_by)
        if large:
            trim()

    @contextmanager
    def copies_kept(self) -> Iterator[None]:
        """While the block runs, copies with moved weights are kept for the next case, up to KEPT_IF_ASKED each.

        For many cases on one large network that each measure a floor: four networks are in memory, and each computes
        its forward pass once.
        """
        self._kept_moved = KEPT_IF_ASKED
        try:
            yield
        finally:
            self._kept_moved = KEPT_MOVED
            self._moved.clear()

    def moved(self, case: Case, backend: Backend, sums: bool = False) -> Iterator[Case]:
        """``case`` with all weights and the input moved by one unit in the last place of its dtype, at random.

        With ``sums`` kernels are moved by the square root of the number of terms that their sums have: so far apart are
        two orders of one sum, where the movements of single terms average out (`harness.comparison.summation`). That
        counts where a sum nearly cancels and is divided by.

        In float64 the standard deviations that its rules take are moved as well, by their own rounding
        (`harness.comparison.deviations`), where ``backend`` runs a method that is changed so.
        One after the other: of a large network only one such copy is there at a time, but within :meth:`copies_kept`.
        """
        for seed in range(RUNS):
            moved = self._moved_case(case, seed, sums)
            if case.dtype == "float64":
                generator = np.random.default_rng(seed)
                method = with_moved_deviations(case.method, case.model.graph, generator)
                if method is not case.method and not why_unsupported(backend, method, case.model.graph):
                    moved = replace(moved, method=method)
            yield moved

    def _moved_case(self, case: Case, seed: int, sums: bool) -> Case:
        key = (id(case.model), seed, case.dtype, sums)
        if key not in self._moved:
            generator = np.random.default_rng(seed)

            def move(layer: Layer, name: str, array: np.ndarray) -> np.ndarray:
                return moved_by_units(
                    array.astype(case.dtype), generator, units_of(layer, name) if sums else 1
                )

            model = case.model.with_weights(move)
            state = generator.bit_generator.state
            small = size_of(model, "float32") <= self._kept_moved
            self._models.copied(model, case.model, passing=not small)
            if small:
                # The model itself is kept as well: while it is there, no other has its identity.
                self._moved[key] = case.model, model, state
            while len(self._moved) > RUNS:
                self._moved.popitem(last=False)
        else:
            _, model, state = self._moved[key]
        generator = np.random.default_rng()
        generator.bit_generator.state = state
        return replace(case, model=model, x=moved_by_units(case.x.astype(case.dtype), generator))


def _log(backend: Backend, done: str, case: Case) -> None:
    """What `--log-level debug` shows of a run."""
    if log.isEnabledFor(logging.DEBUG):
        what = f"{case.method.name} on {getattr(case.model, 'name', 'a model')} in {case.dtype}"
        log.debug("%s: %s %s", printable(backend.name), printable(what), done)


def require_support(backend: Backend, case: Case) -> None:
    """Raise UnsupportedMethodError where ``backend`` cannot run ``case``, and what `check_applies` raises."""
    check_applies(case.method, case.model)
    class_count(case.model)
    reason = why_unsupported(backend, case.method, case.model.graph)
    if reason:
        raise UnsupportedMethodError(
            f"backend {backend.name!r} does not implement {case.method.name!r}: {reason}; see: xai-harness methods"
        )


def _trace(arrays: Arrays, case: Case, ready: Ready) -> Trace:
    """The trace of a run: what the backend gave, and everything that the harness knows of it."""
    assert case.target is not None
    shown = arrays.activations.keys() | arrays.relevances.keys()
    offered = capability(ready.prepared, "activations") if arrays.on_input and not shown else None
    return Trace(
        model=case.model.name,
        method=case.method,
        backend=ready.backend.name,
        dtype=case.dtype,
        target=case.target,
        logits=arrays.logits,
        attribution_array=arrays.attribution,
        layers={
            layer.name: LayerTrace(
                layer.name,
                layer.kind,
                layer.axes,
                arrays.activations.get(layer.name),
                arrays.relevances.get(layer.name),
            )
            for layer in graph_of(ready.prepared, case)
            if layer.name in shown
        },
        provenance={
            "backend": ready.backend.name,
            "versions": ready.versions,
            "model_digest": case.model.digest,
            "dtype": case.dtype,
            "device": case.device,
            "input_digest": array_digest(case.x),
            **arrays.facts,
        },
        activations=None if offered is None else partial(offered.activations, case.x),
        inputs=case.model.graph.inputs,
    )


def _read_only(trace: Trace) -> Trace:
    """``trace`` with arrays that nobody can write to: whoever asks next gets the same ones."""
    arrays = [trace.logits, trace.target, trace.attribution_array]
    for layer in trace.layers.values():
        arrays += [array for array in (layer.activation, layer.relevance) if array is not None]
    for array in arrays:
        array.setflags(write=False)
    return trace


@cache
def engine() -> Engine:
    """That of this process."""
    return Engine()
