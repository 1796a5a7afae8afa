"""The file format of a trace: arrays in safetensors, facts in JSON beside it. Nothing in either is executed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import ModelSourceError
from harness.files import write_json, write_with
from harness.methods import from_json, to_json
from harness.trace.trace import LayerTrace, Trace

FORMAT = 1


def save_trace(trace: Trace, path: Any, extra: Mapping[str, Any] | None = None) -> None:
    """Write the arrays to ``path`` and the facts to the same name with the suffix ``.json``.

    ``extra`` goes into the JSON under its own keys. Both files are written atomically, the JSON last:
    it carries the sha256 of the arrays, so a pair from an interrupted run is recognised.
    """
    from safetensors.numpy import save_file

    path = Path(path)
    arrays: dict[str, np.ndarray] = {
        "target": np.ascontiguousarray(trace.target),
        "logits": np.ascontiguousarray(trace.logits),
        "attribution": np.ascontiguousarray(trace.attribution),
    }
    for name, layer in trace.layers.items():
        if layer.activation is not None:
            arrays[f"activation/{name}"] = np.ascontiguousarray(layer.activation)
        if layer.relevance is not None:
            arrays[f"relevance/{name}"] = np.ascontiguousarray(layer.relevance)
    write_with(path, lambda temporary: save_file(arrays, temporary))
    facts = {
        "format": FORMAT,
        "model": trace.model,
        "method": to_json(trace.method),
        "backend": trace.backend,
        "dtype": trace.dtype,
        "layers": [
            {
                "name": layer.name,
                "kind": layer.kind,
                "axes": list(layer.axes),
                "inputs": None if layer.inputs is None else list(layer.inputs),
            }
            for layer in trace.layers.values()
        ],
        "provenance": trace.provenance,
        "arrays_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        **(extra or {}),
    }
    write_json(path.with_suffix(".json"), facts)


def load_trace(path: Any) -> Trace:
    """Read a trace that :meth:`Trace.save` wrote; raises ModelSourceError for a damaged or foreign file."""
    return load_trace_with_facts(path)[0]


def load_trace_with_facts(path: Any) -> tuple[Trace, dict[str, Any]]:
    """The trace and the whole JSON document beside it."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    path = Path(path)
    sidecar = path.with_suffix(".json")
    for needed in (path, sidecar):
        if not needed.is_file():
            raise ModelSourceError(
                f"{needed} does not exist; a trace is a .safetensors file and a .json beside it"
            )
    try:
        facts = json.loads(sidecar.read_text(encoding="utf-8"))
        if facts["format"] != FORMAT:
            raise ModelSourceError(
                f"{sidecar} has format {facts['format']}, this version reads {FORMAT}; record the trace again"
            )
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != facts["arrays_sha256"]:
            raise ModelSourceError(
                f"{path} does not belong to {sidecar.name} or is damaged; record the trace again"
            )
        arrays = load(content)
        layers = {
            entry["name"]: LayerTrace(
                entry["name"],
                entry["kind"],
                tuple(entry["axes"]),
                arrays.get(f"activation/{entry['name']}"),
                arrays.get(f"relevance/{entry['name']}"),
                None if entry.get("inputs") is None else tuple(entry["inputs"]),
            )
            for entry in facts["layers"]
        }
        trace = Trace(
            model=facts["model"],
            method=from_json(facts["method"]),
            backend=facts["backend"],
            dtype=facts["dtype"],
            target=arrays["target"],
            logits=arrays["logits"],
            attribution=arrays["attribution"],
            layers=layers,
            provenance=facts["provenance"],
        )
    except (SafetensorError, json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise ModelSourceError(f"{path} is no readable trace ({error}); record it again") from None
    return trace, facts
