"""The file format of a trace: arrays in safetensors, facts in JSON beside it. Nothing in either is executed."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError

from harness.errors import ModelSourceError, described
from harness.files import write_text, write_with
from harness.graph.inputs import as_attribute, from_attribute
from harness.methods import from_json, to_json
from harness.trace.trace import LayerTrace, Trace

FORMAT = 2
#: The last key of the document, with the hash of all of its text; and what stands there while it is hashed.
_SEAL = "facts_sha256"
_BLANK = "0" * 64
_SEALED = re.compile(rf'"{_SEAL}": "([0-9a-f]{{64}})"\n}}\n\Z'.encode())
#: What reading a document of the wrong types raises; SafetensorError is none of Python's own.
_UNREADABLE = (SafetensorError, AttributeError, KeyError, TypeError, ValueError, RecursionError)


def save_trace(trace: Trace, path: Any, extra: Mapping[str, Any] | None = None) -> None:
    """Write the arrays to ``path`` and the facts to the same name with the suffix ``.json``.

    ``extra`` goes into the JSON under its own keys. Both files are written atomically, the JSON last:
    it carries the sha256 of the arrays, so a pair from an interrupted run is recognised, and that of its own text.
    """
    from safetensors.numpy import save_file

    path = Path(path)
    arrays: dict[str, np.ndarray] = {
        "target": np.ascontiguousarray(trace.target),
        "logits": np.ascontiguousarray(trace.logits),
        "attribution": np.ascontiguousarray(trace.attribution_array),
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
        **({"inputs": as_attribute(trace.inputs)} if trace.inputs else {}),
        "provenance": trace.provenance,
        "arrays_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        **(extra or {}),
    }
    write_text(path.with_suffix(".json"), sealed(facts))


def load_trace(path: Any) -> Trace:
    """Read a trace that :meth:`Trace.save` wrote; raises ModelSourceError for a damaged or foreign file."""
    return load_trace_with_facts(path)[0]


def load_trace_with_facts(path: Any, remedy: str = "record the trace again") -> tuple[Trace, dict[str, Any]]:
    """The trace and the whole JSON document beside it.

    ``remedy``: what the message of a ModelSourceError says is to be done about a damaged file.
    """
    path = Path(path)
    sidecar = path.with_suffix(".json")
    for needed in (path, sidecar):
        if not needed.is_file():
            raise ModelSourceError(
                f"{needed} does not exist; a trace is a .safetensors file and a .json beside it; {remedy}"
            )
    try:
        text, content = sidecar.read_bytes(), path.read_bytes()
    except OSError as error:
        raise ModelSourceError(f"{error.filename} cannot be read ({error.strerror}); {remedy}") from None
    facts = _checked_facts(text, sidecar, remedy)
    try:
        if hashlib.sha256(content).hexdigest() != facts["arrays_sha256"]:
            raise ModelSourceError(f"{path} is damaged or does not belong to {sidecar.name}; {remedy}")
        return _trace(facts, content), facts
    except _UNREADABLE as error:
        raise ModelSourceError(f"{path} is no readable trace ({described(error)}); {remedy}") from None


def sealed(facts: Mapping[str, Any]) -> str:
    """The JSON document of ``facts``, last in it the sha256 of its own text with zeros in the place of that hash."""
    text = json.dumps({**facts, _SEAL: _BLANK}, indent=1, allow_nan=False) + "\n"
    head, _, tail = text.rpartition(_BLANK)
    return head + hashlib.sha256(text.encode()).hexdigest() + tail


def _checked_facts(content: bytes, path: Path, remedy: str) -> dict[str, Any]:
    """The facts in the document ``content`` of the file ``path``, if not a byte of it has changed."""
    seal = _SEALED.search(content)
    whole = (
        seal
        and hashlib.sha256(content[: seal.start(1)] + _BLANK.encode() + content[seal.end(1) :]).hexdigest()
        == seal[1].decode()
    )
    try:
        facts = json.loads(content)
        written = facts["format"]
    except _UNREADABLE as error:
        raise ModelSourceError(
            f"{path} is damaged: no readable trace ({described(error)}); {remedy}"
        ) from None
    if written == 1 and _SEAL not in facts:
        raise ModelSourceError(
            f"{path} has format 1, which has no hash of these facts, so that nothing vouches for them; "
            f"take a file of format {FORMAT} from version control, or record it again"
        )
    if written != FORMAT:
        raise ModelSourceError(
            f"{path} has format {repr(written)[:40]}, this version reads {FORMAT}; {remedy}"
        )
    if not whole:
        raise ModelSourceError(f"{path} is damaged: its text is not the one that was written; {remedy}")
    document: dict[str, Any] = facts
    return document


def _trace(facts: Mapping[str, Any], content: bytes) -> Trace:
    """The trace of ``facts`` with the arrays in ``content``. Raises one of `_UNREADABLE`."""
    from safetensors.numpy import load

    for name in ("model", "backend", "dtype"):
        if not isinstance(facts[name], str):
            raise TypeError(f"{name!r} is {repr(facts[name])[:40]}, expected a string")
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
    return Trace(
        model=facts["model"],
        method=from_json(facts["method"]),
        backend=facts["backend"],
        dtype=facts["dtype"],
        target=arrays["target"],
        logits=arrays["logits"],
        attribution_array=arrays["attribution"],
        layers=layers,
        provenance=facts["provenance"],
        inputs=from_attribute(facts.get("inputs", ())),
    )
