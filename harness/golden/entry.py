"""One golden as bytes: arrays in safetensors, and in its header, as JSON, the facts; one hash holds both.

A golden in full has every tensor, a sketch what `harness.golden.sketch` keeps of each. The input and the activations
lie in a file of their own, which all methods of one model, input and dtype share.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from harness.checks import GivenInput
from harness.comparison import NoiseFloor
from harness.engine.memo import bytes_of
from harness.errors import ModelSourceError, described
from harness.golden.manifest import REMEDY
from harness.golden.sketch import Sketch, packed, sketch_of, unpacked
from harness.graph import KINDS, parted
from harness.graph.inputs import as_attribute, from_attribute
from harness.methods import Method, from_json, to_json
from harness.trace import LayerTrace, Trace

FORMS = ("full", "sketch")
_ATTRIBUTION = "attribution"
#: What reading a document of the wrong types raises; SafetensorError is none of Python's own.
UNREADABLE = (SafetensorError, AttributeError, KeyError, TypeError, ValueError, RecursionError, IndexError)


@dataclass(frozen=True, eq=False)
class Golden:
    """A stored run of the reference.

    ``layers``: name, kind, axes and inputs of each, in forward order, without arrays for a sketch. ``relevance``,
    ``activation``: sketches by layer, empty for a golden in full. ``attribution``: its sketch; None in full.
    ``trace``: the run, whose tensors are absent for a sketch. ``facts``: provenance and the rest, as JSON.
    """

    path: Path
    facts: Mapping[str, Any]
    method: Method
    x: np.ndarray
    floor: NoiseFloor
    trace: Trace
    relevance: Mapping[str, Sketch]
    activation: Mapping[str, Sketch]
    attribution: Sketch | None

    @property
    def form(self) -> str:
        return str(self.facts["form"])

    @property
    def run_bytes(self) -> int:
        """The memory that the tensors of the stored run take, also where it holds sketches of them."""
        if self.form == "full":
            return bytes_of(self.trace)
        sketches = (*self.relevance.values(), *self.activation.values())
        return sum(prod(each.shape) for each in sketches) * np.dtype(self.trace.dtype).itemsize

    @property
    def input_name(self) -> str:
        return str(self.facts["input"]["name"])

    @property
    def example(self) -> GivenInput:
        """The input as whoever loads the model again gives it: several by name, numbers of rows as whole numbers."""
        if not self.trace.inputs:
            source = next(iter(self.trace.layers), "")
            return self.x.astype(np.int64) if self._names_rows(source) else self.x
        given = parted(self.trace.inputs, self.x)
        for each in self.trace.inputs:
            if self._names_rows(each.layer):
                given[each.name] = given[each.name].astype(np.int64)
        return given

    def _names_rows(self, source: str) -> bool:
        readers = (layer for layer in self.trace.layers.values() if layer.inputs == (source,))
        return any(layer.kind in KINDS and KINDS[layer.kind].family == "lookup" for layer in readers)


def encoded_shared(trace: Trace, x: np.ndarray, form: str) -> bytes:
    """The file that ``trace`` shares with other methods: the input, and activations by ``form``."""
    activation = {
        name: layer.activation for name, layer in trace.layers.items() if layer.activation is not None
    }
    if form == "full":
        kept = {f"activation/{name}": array for name, array in activation.items()}
    else:
        kept = packed({name: sketch_of(array) for name, array in activation.items()}, "activation")
    return _saved({"input": x, **kept}, None)


def encoded(trace: Trace, floor: NoiseFloor, form: str, facts: Mapping[str, Any]) -> bytes:
    """The entry of ``trace``; ``facts`` go in as they are, as JSON."""
    layers = list(trace.layers.values())
    relevance = {each.name: each.relevance for each in layers if each.relevance is not None}
    arrays = {"target": trace.target, "logits": trace.logits, **_floors(floor, trace)}
    if form == "full":
        arrays |= {_ATTRIBUTION: trace.attribution_array}
        arrays |= {f"relevance/{name}": array for name, array in relevance.items()}
    else:
        arrays |= packed({_ATTRIBUTION: sketch_of(trace.attribution_array)}, _ATTRIBUTION)
        arrays |= packed({name: sketch_of(array) for name, array in relevance.items()}, "relevance")
    document = {
        **facts,
        "form": form,
        "model": trace.model,
        "method": to_json(trace.method),
        "backend": trace.backend,
        "dtype": trace.dtype,
        "floor": {
            "how": floor.how,
            "terms": floor.terms,
            "attribution": str(floor.attribution),
            **({"inputs": {name: str(each) for name, each in floor.inputs.items()}} if floor.inputs else {}),
        },
        "layers": [
            {
                "name": each.name,
                "kind": each.kind,
                "axes": list(each.axes),
                "inputs": None if each.inputs is None else list(each.inputs),
                "relevance": None if each.relevance is None else list(each.relevance.shape),
                "activation": None if each.activation is None else list(each.activation.shape),
            }
            for each in layers
        ],
        "attribution": list(trace.attribution_array.shape),
        **({"inputs": as_attribute(trace.inputs)} if trace.inputs else {}),
        "run": trace.provenance,
    }
    text = json.dumps(document, allow_nan=False, default=str, separators=(",", ":"))
    return _saved(arrays, {"golden": text})


def decoded(path: Path, content: bytes, shared: bytes) -> Golden:
    """The golden in ``content``, whose hash is known to be right. Raises ModelSourceError where it is none."""
    try:
        facts = facts_in(content)
        arrays, common = load(content), load(shared)
        return _golden(path, facts, arrays, common)
    except UNREADABLE as error:
        raise ModelSourceError(f"{path} is no readable golden ({described(error)}); {REMEDY}") from None


def facts_in(content: bytes) -> dict[str, Any]:
    """The facts in an entry's header. Raises one of `UNREADABLE`."""
    length = int.from_bytes(content[:8], "little")
    facts: dict[str, Any] = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["golden"])
    return facts


def method_in(path: Path) -> Method:
    """The method of the entry at ``path``, of which the header alone is read. Raises `UNREADABLE` and OSError."""
    with open(path, "rb") as file:
        length = file.read(8)
        header = file.read(min(int.from_bytes(length, "little"), path.stat().st_size))
    method = from_json(facts_in(length + header)["method"])
    if not isinstance(method, Method):
        raise TypeError(f"the method is {type(method).__name__}")
    return method


def _saved(arrays: Mapping[str, np.ndarray], metadata: dict[str, str] | None) -> bytes:
    content: bytes = save({name: np.array(array, order="C") for name, array in arrays.items()}, metadata)
    return content


def _floors(floor: NoiseFloor, trace: Trace) -> dict[str, np.ndarray]:
    """The figures of a floor by layer, in the order of the layers: as arrays, which hold NaN too."""
    names = list(trace.layers)
    return {
        "floor/relevance": np.array([floor.relevance.get(name, 0.0) for name in names], np.float64),
        "floor/activation": np.array([floor.activation.get(name, 0.0) for name in names], np.float64),
        "floor/activation_terms": np.array([floor.activation_terms.get(name, 1) for name in names], np.int64),
    }


def _golden(
    path: Path, facts: Mapping[str, Any], arrays: Mapping[str, np.ndarray], shared: Mapping[str, np.ndarray]
) -> Golden:
    full = facts["form"] == "full"
    layers = {
        each["name"]: LayerTrace(
            each["name"],
            each["kind"],
            tuple(each["axes"]),
            shared.get(f"activation/{each['name']}"),
            arrays.get(f"relevance/{each['name']}"),
            None if each["inputs"] is None else tuple(each["inputs"]),
        )
        for each in facts["layers"]
    }
    names = list(layers)
    floor = NoiseFloor(
        facts["dtype"],
        facts["floor"]["how"],
        float(facts["floor"]["attribution"]),
        dict(zip(names, map(float, arrays["floor/relevance"]), strict=True)),
        dict(zip(names, map(float, arrays["floor/activation"]), strict=True)),
        int(facts["floor"]["terms"]),
        dict(zip(names, map(int, arrays["floor/activation_terms"]), strict=True)),
        {str(name): float(each) for name, each in facts["floor"].get("inputs", {}).items()},
    )
    shape = tuple(facts[_ATTRIBUTION])
    sketches = {
        part: {}
        if full
        else unpacked(
            source,
            part,
            {each["name"]: tuple(each[part]) for each in facts["layers"] if each[part] is not None},
        )
        for part, source in (("relevance", arrays), ("activation", shared))
    }
    method = from_json(facts["method"])
    if not isinstance(method, Method):
        raise TypeError(f"the method is {type(method).__name__}")
    trace = Trace(
        model=facts["model"],
        method=method,
        backend=facts["backend"],
        dtype=facts["dtype"],
        target=arrays["target"],
        logits=arrays["logits"],
        attribution_array=arrays[_ATTRIBUTION] if full else np.zeros(shape, facts["dtype"]),
        layers=layers,
        provenance=facts["run"],
        inputs=from_attribute(facts.get("inputs", ())),
    )
    attribution = None if full else unpacked(arrays, _ATTRIBUTION, {_ATTRIBUTION: shape})[_ATTRIBUTION]
    return Golden(
        path,
        facts,
        method,
        shared["input"],
        floor,
        trace,
        sketches["relevance"],
        sketches["activation"],
        attribution,
    )
