"""Backends made ready for models, kept up to a number of bytes: the network that was not used for longest goes first.

What is made ready holds its model, so that neither would ever go by itself.
"""

from __future__ import annotations

import ctypes
import gc
import sys
import weakref
from collections import OrderedDict
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from harness.backends import Backend, Model, Prepared, capability, checked_prepared, versions_of

#: As many prepared backends are kept for a model, the last ones used.
KEPT = 8
#: Of so many of them, what they keep of their runs: two sides, each in two dtypes.
KEPT_RUNS = 4
#: Bytes of all that is prepared, as :func:`bytes_of` counts them, above which other networks than the present one go.
LIMIT = 2**29


@dataclass(frozen=True, eq=False)
class Ready:
    """What a backend prepared, and its versions. The backend is kept: no other object then has its identity."""

    backend: Backend
    prepared: Prepared
    versions: dict[str, str]
    bytes: int

    def forget(self) -> None:
        """Have the prepared backend let go of what it keeps of its runs."""
        forgets = capability(self.prepared, "forgets")
        if forgets is not None:
            forgets.forget()


@dataclass(eq=False)
class _OfModel:
    """``made``: by the backend's identity, the dtype and the device, the last used last."""

    model: Model
    made: dict[tuple[int, str, str], Ready]

    @property
    def bytes(self) -> int:
        return sum(each.bytes for each in self.made.values())


class PreparedModels:
    """Prepares each backend once for a model, and lets go of what the memory is needed for.

    A network and its copies (:meth:`copied`) go together, and none of them while one is in use.
    """

    def __init__(self) -> None:
        self._models: OrderedDict[int, _OfModel] = OrderedDict()
        #: By copy, what it was made of.
        self._origin: weakref.WeakKeyDictionary[Any, weakref.ref[Any]] = weakref.WeakKeyDictionary()
        #: The copy that goes once anything else is asked for.
        self._passing: weakref.ref[Any] | None = None

    def copied(self, copy: Model, model: Model, passing: bool) -> None:
        """``copy`` is ``model`` but for its weights; ``passing``: it is used now and not again."""
        self._origin[copy] = weakref.ref(model)
        self._pass_on(copy)
        if passing:
            self._passing = weakref.ref(copy)

    def ready(self, model: Model, backend: Backend, dtype: str, device: str) -> Ready:
        """``backend`` prepared for ``model``. Raises what `Engine.prepared` raises."""
        self._pass_on(model)
        of_model = self._models.setdefault(id(model), _OfModel(model, {}))
        self._models.move_to_end(id(model))
        key = (id(backend), dtype, device)
        if key in of_model.made:
            ready = of_model.made.pop(key)
        else:
            prepared = checked_prepared(backend, backend.prepare(model, dtype, device))
            ready = Ready(backend, prepared, versions_of(backend), bytes_of(model, dtype))
            for earlier in list(of_model.made.values())[: 1 - KEPT_RUNS]:
                earlier.forget()
        of_model.made[key] = ready
        while len(of_model.made) > KEPT:
            del of_model.made[next(iter(of_model.made))]
        self._shed(model)
        return ready

    def forget(self, model: Model) -> None:
        """As :meth:`let_go`, and the memory goes back to the system."""
        self.let_go(model)
        trim()

    def let_go(self, model: Model) -> None:
        """Have all that is prepared for ``model`` let go of what it keeps of its runs."""
        of_model = self._models.get(id(model))
        for ready in () if of_model is None else of_model.made.values():
            ready.forget()

    def models(self) -> list[Model]:
        """Those that something is prepared for, the last used last."""
        return [each.model for each in self._models.values()]

    def _pass_on(self, model: Model) -> None:
        passing = self._passing() if self._passing is not None else None
        if passing is not None and passing is not model and id(passing) in self._models:
            del self._models[id(passing)]
            self._passing = None
            hand_back()

    def _shed(self, model: Model) -> None:
        used = self._original(model)
        others = [key for key, each in self._models.items() if self._original(each.model) is not used]
        total = sum(each.bytes for each in self._models.values())
        if total <= LIMIT or not others:
            return
        for key in others:
            if total > LIMIT:
                total -= self._models.pop(key).bytes
        hand_back()

    def _original(self, model: Model) -> Any:
        origin = self._origin.get(model)
        return model if origin is None else origin() or model


def bytes_of(model: Model, dtype: str) -> int:
    """About what a prepared backend comes to hold: the weights, and the tensors of one sample in one run."""
    weights = sum(array.size for layer in model.graph for array in layer.weights.values())
    tensors = 2 * sum(prod(layer.shape) for layer in model.graph)
    return int(np.dtype(dtype).itemsize * (weights + tensors))


def hand_back() -> None:
    """Give the memory of models that were let go of back to the system; they hold each other in circles."""
    gc.collect()
    trim()


def trim() -> None:
    """Give memory that was freed back to the system, which glibc by itself does only in part."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # other C libraries have no such function
        if trim is not None:
            trim(0)
