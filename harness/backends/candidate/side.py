"""The side of a user's backend that runs in its own process: an adapter of `harness.backends.worker`.

The backend is loaded once, models and what it prepared are kept; a request names what it needs by key, and is
answered with ``{"lost": ...}`` where this process, begun anew, does not have it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

# The folder of this file is there for scripts that stand alone; here its modules would hide the user's.
sys.path.remove(os.path.dirname(os.path.abspath(__file__)))

import numpy as np

from harness.api import load_model
from harness.backends import Model, Prepared, backend_named, run_on_copies, step_on_copies
from harness.backends.candidate import wire
from harness.backends.protocol import Programs, Steps
from harness.backends.user_file import import_from_sources
from harness.errors import HarnessError, described

Arrays = dict[str, np.ndarray]
Answer = tuple[dict[str, Any], Arrays]

_backend: Any = None
_models: dict[str, Model] = {}
_prepared: dict[str, tuple[Model, Prepared]] = {}
#: By number of the run, how to get the activations of the last one.
_activations: dict[int, Callable[[], Any]] = {}


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
    _backend = backend_named(payload["backend"])
    return {"name": _backend.name}, {}


def _version(payload: dict[str, Any], arrays: Arrays) -> Answer:
    return {"version": {str(key): str(value) for key, value in _backend.version().items()}}, {}


def _supports(payload: dict[str, Any], arrays: Arrays) -> Answer:
    return {"supports": bool(_backend.supports(wire.method_from_wire(payload["method"])))}, {}


def _model(payload: dict[str, Any], arrays: Arrays) -> Answer:
    model = load_model(wire.graph_from_wire(payload["graph"], arrays))
    if model.digest != payload["digest"]:
        raise HarnessError(f"{model.name} is not a model of one source; run this candidate with --in-process")
    _models[payload["model"]] = model
    return {}, {}


def _prepare(payload: dict[str, Any], arrays: Arrays) -> Answer:
    if payload["model"] not in _models:
        return {"lost": "model"}, {}
    model = _models[payload["model"]]
    prepared = _backend.prepare(model, payload["dtype"])
    _prepared[payload["prepared"]] = model, prepared
    return {"steps": isinstance(prepared, Steps), "programs": isinstance(prepared, Programs)}, {}


def _explain(payload: dict[str, Any], arrays: Arrays) -> Answer:
    model, prepared = _prepared[payload["prepared"]]
    _activations.clear()
    trace = run_on_copies(
        prepared,
        arrays["x"],
        wire.method_from_wire(payload["method"]),
        arrays.get("target"),
        payload["layers"],
        watched=model,
    )
    if trace.activations is not None:
        _activations[payload["run"]] = trace.activations
    return wire.trace_to_wire(trace)


def _known_activations(payload: dict[str, Any], arrays: Arrays) -> Answer:
    return {}, {name: np.asarray(array) for name, array in _activations[payload["run"]]().items()}


def _propagate(payload: dict[str, Any], arrays: Arrays) -> Answer:
    steps: Any = _prepared[payload["prepared"]][1]
    layer, inputs = _layer(payload, arrays)
    method = wire.method_from_wire(payload["method"])
    shares = step_on_copies(steps, layer, inputs, arrays["relevance"], method)
    return {"count": len(shares)}, {str(place): share for place, share in enumerate(shares)}


def _program(payload: dict[str, Any], arrays: Arrays) -> Answer:
    programs: Any = _prepared[payload["prepared"]][1]
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
            "explain": _explain,
            "activations": _known_activations,
            "propagate": _propagate,
            "program": _program,
        }.items()
    },
}
