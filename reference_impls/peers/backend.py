"""A real library as a backend: one worker process per peer, one request per explanation.

What a side script (`innvestigate_side.py`, `signxai_side.py`) is asked:

- ``version`` -> ``{"versions": {package: version}}``; must not load the framework.
- ``model``, payload ``{"model": key, "graph": graph_json.graph_payload, "dtype": ...}``, arrays
  ``graph_weights``: keep it under the key, in place of the one before.
- ``explain``, payload ``{"model": key, "method": what `Adapter.call` made, "activations": form, "layers":
  bool}``, arrays ``x``, ``target`` (int64) and those of `Adapter.call` -> payload ``{"facts": {...}}``, arrays
  ``attribution``, ``logits`` and, where the library keeps them, ``activation/NAME`` and ``relevance/NAME`` by
  canonical name. Where the key is not the model it has (its process is new, or another model came in between) it
  answers ``{"unknown_model": true}``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from harness.backends.protocol import Arrays, Model
from harness.backends.worker import Peer, Worker
from harness.checks import require_device
from harness.errors import InvalidInputError, PeerError
from harness.graph import Graph
from harness.methods import Backward, IntegratedGradients, Method, Smoothed
from harness.peers import python_of
from reference_impls.peers.graph_json import graph_payload, graph_weights, require_peer_kinds

#: Ways to write a network's activations in Keras 2; see `keras2.FORMS`.
FORMS = ("activation", "fused", "layers", "sequential")


@dataclass(frozen=True)
class Call:
    """What the side script is to do for one method: JSON, arrays (noise), and the form of the activations.

    ``form`` is None where the method does not care how the activations are written.
    """

    payload: dict[str, Any]
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    form: str | None = None


@dataclass(frozen=True)
class Adapter:
    """What is particular about one peer.

    ``knows(method)``: whether the library has it under this name. ``call(method, graph, shape, dtype)``: how
    it is asked for, ``shape`` being that of ``x`` with its batch axis; raises UnsupportedMethodError.
    ``dtypes``: what it computes in.
    """

    peer: Peer
    knows: Callable[[Method], bool]
    call: Callable[[Method, Graph, tuple[int, ...], str], Call]
    dtypes: tuple[str, ...] = ("float32",)


class PeerBackend:
    """The real library, in its own interpreter; the process starts with the first request.

    ``activations``: the form of :data:`FORMS` that networks are written in where a method does not demand
    one. ``limit_s``: how long one request may take.
    """

    def __init__(self, adapter: Adapter, activations: str = "activation", limit_s: float = 600.0) -> None:
        if activations not in FORMS:
            raise InvalidInputError(
                f"{adapter.peer.name}: activations must be one of {', '.join(FORMS)}, found {activations!r}"
            )
        self.name = adapter.peer.name
        self.adapter = adapter
        self.activations = activations
        self._limit_s = limit_s
        self._worker: tuple[Path, Worker] | None = None
        self._version: dict[str, str] | None = None

    @property
    def worker(self) -> Worker:
        """The process that answers, of the interpreter that is the peer's now. Raises PeerError without one."""
        python = python_of(self.name)
        if self._worker is None or self._worker[0] != python:
            if self._worker is not None:
                self._worker[1].close()
            made = Worker(
                self.name, python, self.adapter.peer.adapter, self._limit_s, environment=_ENVIRONMENT
            )
            self._worker, self._version = (python, made), None
        return self._worker[1]

    def version(self) -> dict[str, str]:
        """Versions that the peer's interpreter has, `pins` and `source` (sha256 of both); PeerError without it."""
        worker = self.worker
        if self._version is None:
            reply, _ = worker.request("version", {})
            self._version = {
                **{package: str(version) for package, version in sorted(reply["versions"].items())},
                "activations": self.activations,
                "pins": _digest([self.adapter.peer.constraints]),
                "source": _digest(sorted(Path(__file__).parent.glob("*.py"))),
            }
        return dict(self._version)

    def supports(self, method: Method, graph: Graph) -> str:
        """Why the library has no ``method`` under its name; empty where it has."""
        return "" if self.adapter.knows(method) else "the library has no method of this name"

    def prepare(self, model: Model, dtype: str, device: str = "cpu") -> PreparedPeer:
        """``model`` for this library. Raises InvalidInputError for a dtype that it does not compute in and for another
        device than the CPU (the worker hides the others), UnsupportedLayerError for a layer that it has no form of.
        """
        require_device(self.name, device)
        if dtype not in self.adapter.dtypes:
            raise InvalidInputError(
                f"{self.name} computes in {' and '.join(self.adapter.dtypes)}, not in {dtype!r}"
            )
        require_peer_kinds(model.graph, self.name)
        return PreparedPeer(self, model, dtype)


class PreparedPeer:
    """A model that the peer is sent when it first needs it."""

    def __init__(self, backend: PeerBackend, model: Model, dtype: str) -> None:
        self._backend = backend
        self._model = model
        self._dtype = dtype
        self._key = f"{model.digest}/{dtype}"

    def run(self, x: np.ndarray, method: Method, target: np.ndarray, layers: bool) -> Arrays:
        """Run ``method`` on ``x``; see `harness.backends.protocol.Prepared`.

        Layers are shown as far as the library keeps them. Raises UnsupportedMethodError where the library has no such
        method for this network, PeerError with the library's own words where it fails.
        """
        graph = self._model.graph
        call = self._backend.adapter.call(method, graph, x.shape, self._dtype)
        payload = {
            "model": self._key,
            "method": call.payload,
            "activations": call.form or self._backend.activations,
            "layers": layers and isinstance(method.procedure, Backward | IntegratedGradients | Smoothed),
        }
        arrays = {**call.arrays, "x": np.ascontiguousarray(x, dtype=self._dtype), "target": target}
        reply, arrays_ = self._ask(payload, arrays)
        activations, relevances = (
            {
                layer.name: arrays_[f"{what}/{layer.name}"]
                for layer in graph
                if f"{what}/{layer.name}" in arrays_
            }
            for what in ("activation", "relevance")
        )
        facts = {"peer": reply.get("facts", {})}
        return Arrays(arrays_["logits"], arrays_["attribution"], activations, relevances, facts=facts)

    def _ask(
        self, payload: dict[str, Any], arrays: dict[str, np.ndarray]
    ) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """The answer to ``explain``, the model sent first where the process does not have it."""
        worker = self._backend.worker
        reply, answer = worker.request("explain", payload, arrays)
        if reply.get("unknown_model"):
            graph = self._model.graph
            worker.request(
                "model",
                {"model": self._key, "graph": graph_payload(graph), "dtype": self._dtype},
                graph_weights(graph),
            )
            reply, answer = worker.request("explain", payload, arrays)
        missing = [name for name in ("attribution", "logits") if name not in answer]
        if missing:
            raise PeerError(
                f"{self._backend.name}: the answer to 'explain' has no {missing[0]}, only "
                f"{', '.join(sorted(answer)) or 'nothing'}; the adapter {self._backend.adapter.peer.adapter.name} "
                "does not keep to the protocol of backend.py"
            )
        return reply, answer


def innvestigate_backend() -> PeerBackend:
    """iNNvestigate 2.1.2."""
    from reference_impls.peers.innvestigate_calls import ADAPTER

    return PeerBackend(ADAPTER)


def signxai_backend() -> PeerBackend:
    """signxai 1.1.9.2."""
    from reference_impls.peers.signxai import ADAPTER

    return PeerBackend(ADAPTER)


#: Quiet frameworks; no GPU, whose rounding differs from run to run.
_ENVIRONMENT = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}


def _digest(paths: list[Path]) -> str:
    """sha256 (hex) over names and contents."""
    digest = hashlib.sha256()
    for path in paths:
        content = path.read_bytes()
        digest.update(f"{path.name} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()
