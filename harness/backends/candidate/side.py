"""The side of a user's backend that runs in its own process: an adapter of `harness.backends.worker`.

The backend is loaded once, models and what it prepared are kept; a request names what it needs by key, and is
answered with ``{"lost": ...}`` where this process, begun anew, does not have it.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable
from typing import Any

# The folder of this file is there for scripts that stand alone; here its modules would hide the user's.
sys.path.remove(os.path.dirname(os.path.abspath(__file__)))

import numpy as np

from harness.api import load_model
from harness.backends import (
    Model,
    Prepared,
    backend_named,
    capability,
    checked_prepared,
    run_on_copies,
    why_unsupported,
)
from harness.backends.candidate import wire
from harness.backends.candidate.pair import Pair, graphs_from_wire
from harness.backends.user_file import import_from_sources, modules_of
from harness.case import Case
from harness.errors import HarnessError, described

#: The capabilities that requests can ask for.
CARRIED = ("logits", "activations", "steps", "programs")
Arrays = dict[str, np.ndarray]
Answer = tuple[dict[str, Any], Arrays]

_backend: Any = None
_models: dict[str, Model] = {}
#: What was prepared, and the model and dtype that it was for.
_prepared: dict[str, tuple[Prepared, Model, str]] = {}


def handle(op: str, payload: dict[str, Any], arrays: Arrays) -> Answer:
    """Carry out ``op``; whatever the user's code raises is said in ``raised``, in one line."""
    try:
        return _OPS[op](payload, arrays)
    except HarnessError as error:
        return {"raised": described(error), "refused": str(error)}, {}
    except BaseException as error:
        return {"raised": described(error)}, {}


def _load(payload: dict[str, Any], arrays: Arrays) -> Answer:
    global _backend
    import_from_sources()
    os.chdir(payload["folder"])
    # What was prepared by the file as it was is no longer what it prepares.
    _prepared.clear()
    _backend = backend_named(payload["backend"])
    modules = modules_of(payload["backend"])
    digests = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in modules.items()}
    return {"name": _backend.name, "modules": digests, "files": [str(path) for path in modules.values()]}, {}


def _version(payload: dict[str, Any], arrays: Arrays) -> Answer:
    return {"version": {str(key): str(value) for key, value in _backend.version().items()}}, {}


def _supports(payload: dict[str, Any], arrays: Arrays) -> Answer:
    method, graph = wire.method_from_wire(payload["method"]), wire.structure_from_wire(payload["graph"])
    return {"reason": why_unsupported(_backend, method, graph)}, {}


def _model(payload: dict[str, Any], arrays: Arrays) -> Answer:
    graph, torch_graph, orders = graphs_from_wire(payload, arrays)
    model: Model = load_model(graph)
    if torch_graph is not None:
        model = Pair(model, load_model(torch_graph), orders)
    if model.digest != payload["digest"]:
        raise HarnessError(f"{model.name} does not arrive as it is; run this candidate with --in-process")
    _models[payload["model"]] = model
    return {}, {}


def _prepare(payload: dict[str, Any], arrays: Arrays) -> Answer:
    if payload["model"] not in _models:
        return {"lost": "model"}, {}
    model = _models[payload["model"]]
    prepared = checked_prepared(_backend, _backend.prepare(model, payload["dtype"], payload["device"]))
    _prepared[payload["prepared"]] = prepared, model, payload["dtype"]
    return {"capabilities": [name for name in CARRIED if capability(prepared, name) is not None]}, {}


def _run(payload: dict[str, Any], arrays: Arrays) -> Answer:
    prepared, model, dtype = _prepared[payload["prepared"]]
    method = wire.method_from_wire(payload["method"])
    case = Case(model, arrays["x"], method, arrays["target"], dtype, payload["layers"])
    return wire.run_to_wire(run_on_copies(prepared, case, model, _backend.name))


def _logits(payload: dict[str, Any], arrays: Arrays) -> Answer:
    prepared: Any = _prepared[payload["prepared"]][0]
    return {}, {"logits": np.asarray(prepared.logits(arrays["x"]))}


def _activations(payload: dict[str, Any], arrays: Arrays) -> Answer:
    prepared: Any = _prepared[payload["prepared"]][0]
    return {}, {name: np.asarray(array) for name, array in prepared.activations(arrays["x"]).items()}


def _step(payload: dict[str, Any], arrays: Arrays) -> Answer:
    steps: Any = _prepared[payload["prepared"]][0]
    layer, inputs = _layer(payload, arrays)
    method = wire.method_from_wire(payload["method"])
    shares = steps.step(layer, inputs, arrays["relevance"], method)
    given = {str(place): np.asarray(share) for place, share in enumerate(shares) if share is not None}
    return {"count": len(shares)}, given


def _program(payload: dict[str, Any], arrays: Arrays) -> Answer:
    programs: Any = _prepared[payload["prepared"]][0]
    layer, inputs = _layer(payload, arrays)
    method, kept = wire.method_from_wire(payload["method"]), arrays.get("kept")
    if "relevance" in arrays:
        return wire.program_to_wire(programs.step_program(layer, inputs, arrays["relevance"], method, kept))
    return wire.program_to_wire(programs.forward_program(layer, inputs, method, kept))


def _layer(payload: dict[str, Any], arrays: Arrays) -> tuple[Any, tuple[np.ndarray, ...]]:
    inputs = tuple(arrays[f"input/{place}"] for place in range(payload["inputs"]))
    return wire.layer_from_wire(payload["layer"], arrays, "layer"), inputs


def _needing(what: Callable[[dict[str, Any], Arrays], Answer]) -> Callable[[dict[str, Any], Arrays], Answer]:
    """``what``, where this process has the backend and what it prepared."""

    def answer(payload: dict[str, Any], arrays: Arrays) -> Answer:
        if _backend is None:
            return {"lost": "backend"}, {}
        if what is not _prepare and "prepared" in payload and payload["prepared"] not in _prepared:
            return {"lost": "prepared"}, {}
        return what(payload, arrays)

    return answer


_OPS = {
    "load": _load,
    "model": _model,
    **{
        name: _needing(op)
        for name, op in {
            "version": _version,
            "supports": _supports,
            "prepare": _prepare,
            "run": _run,
            "logits": _logits,
            "activations": _activations,
            "step": _step,
            "program": _program,
        }.items()
    },
}
