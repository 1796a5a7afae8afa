# ruff: noqa: B905  (zip has no strict= in the oldest Python that a peer runs on)
"""iNNvestigate 2.1.2 in its own interpreter: answers the requests of `backend.py`.

How an analyzer is made of the library, and what is done to it: `innvestigate_analyzers.py`.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import sys
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

#: Memory for the analyzers of one model: each has a copy of the model and up to two of every kernel.
_KEPT_BYTES = 2**30
_COPIES = 3


def handle(
    op: str, payload: dict[str, Any], arrays: dict[str, np.ndarray]
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """One request; see `backend.py`. What the library raises is raised as it is; ValueError for another op."""
    if op == "version":
        return {"versions": _versions()}, {}
    if op == "model":
        _SENT.take(payload, arrays)
        return {}, {}
    if op == "explain":
        if _SENT.key != payload["model"]:
            return {"unknown_model": True}, {}
        return _explain(payload, arrays)
    raise ValueError(f"unknown request {op!r}; known: version, model, explain")


def _versions() -> dict[str, str]:
    versions = {name: importlib.metadata.version(name) for name in ("innvestigate", "keras", "numpy")}
    for name in ("tensorflow", "tensorflow-cpu", "tensorflow-intel"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions["tensorflow"] = importlib.metadata.version(name)
    return {**versions, "python": ".".join(map(str, sys.version_info[:3]))}


# What is kept between requests ---------------------------------------------------------------------------


class Room:
    """A TensorFlow graph and session of its own with the network in it, and what was made of the network.

    One for each analyzer: in one graph for all, every `tf.gradients` would walk over what the others left.
    """

    def __init__(self, sent: Sent, form: str) -> None:
        import tensorflow as tf

        if tf.executing_eagerly():
            tf.compat.v1.disable_eager_execution()
        import keras2  # type: ignore[import-not-found]  # beside this file, on the path there

        self._graph = tf.Graph()
        with self._graph.as_default():
            self._session = tf.compat.v1.Session(graph=self._graph)
        with self.entered():
            # Left open, batch norm becomes a conditional that a gradient analyzer's copy of it cannot take in.
            tf.keras.backend.set_learning_phase(0)
            # Under names of their own: the library adds layers under Keras's default names, `add_1` and so on.
            self.network = keras2.build(sent.graph, sent.weights, sent.dtype, form, prefix="network_")
        self.made: Any = None

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        with self._graph.as_default(), self._session.as_default():
            yield

    def close(self) -> None:
        self._session.close()


@dataclass
class Sent:
    """The model that was sent last, and the rooms it is in by what they are for."""

    key: str | None = None
    graph: dict[str, Any] = field(default_factory=dict)
    weights: dict[str, np.ndarray] = field(default_factory=dict)
    dtype: str = "float32"
    rooms: OrderedDict[str, Room] = field(default_factory=OrderedDict)

    def take(self, payload: Mapping[str, Any], weights: Mapping[str, np.ndarray]) -> None:
        while self.rooms:
            self.rooms.popitem()[1].close()
        self.graph, self.dtype = payload["graph"], payload["dtype"]
        self.weights = {name: array.astype(self.dtype) for name, array in weights.items()}
        self.key = payload["model"]

    def room(self, purpose: str, form: str) -> Room:
        """The room for ``purpose`` with the activations in ``form``; those longest unused make place."""
        name = f"{purpose} {form}"
        if name not in self.rooms:
            size = _COPIES * sum(array.nbytes for array in self.weights.values())
            while len(self.rooms) > 1 and (len(self.rooms) + 1) * size > _KEPT_BYTES:
                self.rooms.popitem(last=False)[1].close()
            self.rooms[name] = Room(self, form)
        self.rooms.move_to_end(name)
        return self.rooms[name]


_SENT = Sent()


# Explaining ----------------------------------------------------------------------------------------------


def _explain(
    payload: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    x, layers, method, form = arrays["x"], payload["layers"], payload["method"], payload["activations"]
    answer = _forward(_SENT.room("forward", form), x, layers)

    # After Keras has been set up by the first room.
    import innvestigate_analyzers  # type: ignore[import-not-found]  # beside this file, on the path there

    room = _SENT.room(repr((sorted(method.items(), key=str), layers)), form)
    with room.entered():
        if room.made is None:
            started = time.time()
            print(f"{method['analyzer']} {method['arguments']}: building the analyzer", flush=True)
            room.made = innvestigate_analyzers.make(room.network, method, layers)
            print(f"{method['analyzer']}: built in {time.time() - started:.1f} s", flush=True)
        attribution, relevances = innvestigate_analyzers.analyze(
            room.made, x, arrays["target"], arrays.get("noise")
        )
    answer["attribution"] = attribution
    answer.update({f"relevance/{name}": relevance for name, relevance in relevances.items()})
    return {"facts": {**room.made.facts, "substitutes": room.network.substitutes}}, answer


def _forward(room: Room, x: np.ndarray, layers: bool) -> dict[str, np.ndarray]:
    """``logits`` and, with ``layers``, ``activation/NAME`` of every layer that the network shows."""
    from tensorflow.keras import backend

    network = room.network
    with room.entered():
        if room.made is None:
            # A tensor that is fed cannot be asked for.
            names = [name for name in network.outputs if name != network.input]
            source = [network.outputs[network.input]]
            room.made = (
                names,
                backend.function(source, [network.outputs[name] for name in names]),
                backend.function(source, [network.outputs[network.output]]),
            )
        names, every, last = room.made
        if not layers:
            return {"logits": last([x])[0]}
        values = {network.input: x, **dict(zip(names, every([x])))}
    return {
        "logits": values[network.output],
        **{f"activation/{name}": value for name, value in values.items()},
    }
