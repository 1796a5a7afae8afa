"""The engine computes cases: whoever in the harness needs a run, or one step of one, asks here.

A result is computed once. It is kept under the digest of its case and of its backend's code, where that code is an
installed package; what a user's own object gives is never taken for what it gave before.
"""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from harness.backends import Backend, Model, Prepared, Steps, installed_name, run_on_copies, to_watch
from harness.case import Case
from harness.comparison.floor import RUNS, NoiseFloor, moved_one_ulp
from harness.engine.memo import Memo
from harness.errors import UnsupportedMethodError
from harness.files import json_digest
from harness.graph import Layer
from harness.methods import Method
from harness.pairs import of_model
from harness.trace import Trace

#: As many prepared backends are kept for a model, the last ones used: a large network takes gigabytes in each.
KEPT = 8
#: (backend, dtype) and what it prepared, by the backend's identity and the dtype, the last used last.
_Kept = dict[tuple[int, str], tuple[Backend, Prepared]]


class Engine:
    """Computes cases in this process."""

    def __init__(self, memo: Memo | None = None) -> None:
        self.memo = Memo() if memo is None else memo
        self._prepared: weakref.WeakKeyDictionary[Any, _Kept] = weakref.WeakKeyDictionary()
        #: By installed backend, a digest of its code and of the libraries that it computes with.
        self._code: weakref.WeakKeyDictionary[Backend, str] = weakref.WeakKeyDictionary()
        #: Floors by the key of their run, and those of activations, which all methods on an input share.
        self.floors: dict[str, NoiseFloor] = {}
        self.activation_floors: dict[str, Mapping[str, float]] = {}
        #: Models with weights moved by rounding, and the generator that goes on to move their inputs; of one model.
        self._moved: OrderedDict[tuple[int, int], tuple[Model, Model, Mapping[str, Any]]] = OrderedDict()

    def prepared(self, model: Model, backend: Backend, dtype: str) -> Prepared:
        """``backend`` prepared for ``model``; the last :data:`KEPT` of a model are kept while it lives.

        Raises what the backend raises for a model or dtype that it does not take.
        """
        kept = self._prepared.setdefault(model, {})
        key = (id(backend), dtype)
        # The backend is kept beside what it prepared: while it is there, no other object has its identity.
        found = kept.pop(key, None) or (backend, backend.prepare(model, dtype))
        kept[key] = found
        while len(kept) > KEPT:
            del kept[next(iter(kept))]
        return found[1]

    def steps(self, case: Case, backend: Backend) -> Steps | None:
        """The single steps of ``backend`` on the model and in the dtype of ``case``; None where it has none."""
        prepared = self.prepared(case.model, backend, case.dtype)
        return prepared if isinstance(prepared, Steps) else None

    def run(self, case: Case, backend: Backend, again: bool = False, keep: bool = True) -> Trace:
        """``case`` by ``backend``; the trace carries both.

        ``again``: it is computed even where its result is known. ``keep``: whoever asks next may have the result
        too, so that its arrays are read-only. Raises UnsupportedMethodError, and what the backend raises.
        """
        require_support(backend, case.method)
        key = self.key(case, backend)
        known = None if key is None or again else self.memo.get(key)
        if known is None:
            prepared = self.prepared(case.model, backend, case.dtype)
            watched = to_watch(backend, case.model)
            run = run_on_copies(prepared, case.x, case.method, case.target, case.layers, watched)
            known = of_model(run, case.model)
            if key is not None and keep:
                self.memo.put(key, _read_only(known))
        trace = replace(known, case=case.with_target(known.target), executed_by=backend)
        if keep and case.target is None and (asked := self.key(trace.case, backend)) is not None:
            self.memo.put(asked, known)
        return trace

    def key(self, case: Case, backend: Backend) -> str | None:
        """What a result is kept under; None where the backend's code is not known, so that nothing is kept."""
        name = installed_name(backend)
        if name is None:
            return None
        if backend not in self._code:
            self._code[backend] = json_digest([name, backend.version()])
        return f"{case.digest} {self._code[backend]}"

    def clear(self) -> None:
        """Let go of all results."""
        self.memo = Memo(self.memo.limit)
        self.floors.clear()
        self.activation_floors.clear()

    def forget(self, case: Case, backend: Backend) -> None:
        """Let go of a result, which is large."""
        key = self.key(case, backend)
        if key is not None:
            self.memo.drop(key)

    def moved(self, case: Case) -> list[Case]:
        """``case`` with all weights and the input moved by one unit in the last place of float64, at random."""
        return [self._moved_case(case, seed) for seed in range(RUNS)]

    def _moved_case(self, case: Case, seed: int) -> Case:
        key = (id(case.model), seed)
        if key not in self._moved:
            generator = np.random.default_rng(seed)

            def move(layer: Layer, name: str, array: np.ndarray) -> np.ndarray:
                return moved_one_ulp(array.astype(np.float64), generator)

            model = case.model.with_weights(move)
            # The model itself is kept as well: while it is there, no other has its identity.
            self._moved[key] = case.model, model, generator.bit_generator.state
            while len(self._moved) > RUNS:
                self._moved.popitem(last=False)
        _, model, state = self._moved[key]
        generator = np.random.default_rng()
        generator.bit_generator.state = state
        x = moved_one_ulp(case.x.astype(np.float64), generator)
        return Case(model, x, case.method, case.target, "float64", case.layers)


def require_support(backend: Backend, method: Method) -> None:
    """Raise UnsupportedMethodError where ``backend`` cannot run ``method``."""
    if not backend.supports(method):
        raise UnsupportedMethodError(
            f"backend {backend.name!r} does not implement {method.name!r}; see: xai-harness methods"
        )


def _read_only(trace: Trace) -> Trace:
    """``trace`` with arrays that nobody can write to: whoever asks next gets the same ones."""
    arrays = [trace.logits, trace.target, trace.attribution]
    for layer in trace.layers.values():
        arrays += [array for array in (layer.activation, layer.relevance) if array is not None]
    for array in arrays:
        array.setflags(write=False)
    return trace


@cache
def engine() -> Engine:
    """That of this process."""
    return Engine()
