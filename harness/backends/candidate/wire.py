"""What passes between the harness and the process of a user's backend: plain JSON, and arrays by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from harness.backends.protocol import StepProgram
from harness.graph import Graph, Layer
from harness.methods import Method, from_json, to_json
from harness.trace.trace import LayerTrace, Trace

Arrays = dict[str, np.ndarray]


def layer_to_wire(layer: Layer, prefix: str) -> tuple[dict[str, Any], Arrays]:
    """A layer as JSON, and its weights under ``prefix``."""
    facts = {
        "name": layer.name,
        "kind": layer.kind,
        "inputs": layer.inputs,
        "input_shapes": layer.input_shapes,
        "shape": layer.shape,
        "axes": layer.axes,
        "attributes": _plain(layer.attributes),
        "weights": list(layer.weights),
    }
    return facts, {f"{prefix}/{name}": np.asarray(array) for name, array in layer.weights.items()}


def layer_from_wire(facts: Mapping[str, Any], arrays: Mapping[str, np.ndarray], prefix: str) -> Layer:
    """The inverse of :func:`layer_to_wire`."""
    rest = {key: _tuples(value) for key, value in facts.items() if key not in ("attributes", "weights")}
    return Layer(
        **rest,
        attributes={key: _tuples(value) for key, value in facts["attributes"].items()},
        weights={name: arrays[f"{prefix}/{name}"] for name in facts["weights"]},
    )


def graph_to_wire(graph: Graph) -> tuple[dict[str, Any], Arrays]:
    """A graph as JSON, and its weights."""
    layers: list[dict[str, Any]] = []
    arrays: Arrays = {}
    for place, layer in enumerate(graph):
        facts, weights = layer_to_wire(layer, str(place))
        layers.append(facts)
        arrays |= weights
    return {"name": graph.name, "output": graph.output, "layers": layers}, arrays


def graph_from_wire(facts: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Graph:
    """The inverse of :func:`graph_to_wire`."""
    layers = (layer_from_wire(each, arrays, str(place)) for place, each in enumerate(facts["layers"]))
    return Graph(facts["name"], tuple(layers), facts["output"])


def trace_to_wire(trace: Trace) -> tuple[dict[str, Any], Arrays]:
    """A trace as JSON, and its arrays. Raises TypeError for a provenance that JSON cannot say."""
    arrays: Arrays = {"target": trace.target, "logits": trace.logits, "attribution": trace.attribution}
    layers = []
    for place, (key, layer) in enumerate(trace.layers.items()):
        layers.append([key, layer.name, layer.kind, list(layer.axes)])
        for what, array in (("activation", layer.activation), ("relevance", layer.relevance)):
            if array is not None:
                arrays[f"{place}/{what}"] = array
    facts = {
        "model": trace.model,
        "method": to_json(trace.method),
        "backend": trace.backend,
        "dtype": trace.dtype,
        "layers": layers,
        "provenance": trace.provenance,
        "activations": trace.activations is not None,
    }
    return facts, arrays


def trace_from_wire(facts: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Trace:
    """The inverse of :func:`trace_to_wire`, but for ``activations``, which the caller asks for where it needs them.

    Raises KeyError, TypeError, ValueError and HarnessError for what is no trace.
    """
    layers = {
        key: LayerTrace(
            name,
            kind,
            tuple(axes),
            activation=arrays.get(f"{place}/activation"),
            relevance=arrays.get(f"{place}/relevance"),
        )
        for place, (key, name, kind, axes) in enumerate(facts["layers"])
    }
    return Trace(
        facts["model"],
        method_from_wire(facts["method"]),
        facts["backend"],
        facts["dtype"],
        arrays["target"],
        arrays["logits"],
        arrays["attribution"],
        layers,
        dict(facts["provenance"]),
    )


def method_from_wire(facts: Any) -> Method:
    """A method. Raises TypeError for anything else."""
    found = from_json(facts)
    if not isinstance(found, Method):
        raise TypeError(f"a {type(found).__name__}, expected a Method")
    return found


def program_to_wire(program: StepProgram) -> tuple[dict[str, Any], Arrays]:
    """A program as JSON, and its arrays."""
    arrays = {f"constant/{name}": np.asarray(array) for name, array in program.constants.items()}
    arrays |= {f"found/{place}": np.asarray(array) for place, array in enumerate(program.found)}
    return {
        "framework": program.framework,
        "code": program.code,
        "constants": list(program.constants),
        "found": len(program.found),
    }, arrays


def program_from_wire(facts: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> StepProgram:
    """The inverse of :func:`program_to_wire`."""
    return StepProgram(
        str(facts["framework"]),
        str(facts["code"]),
        {name: arrays[f"constant/{name}"] for name in facts["constants"]},
        tuple(arrays[f"found/{place}"] for place in range(facts["found"])),
    )


def _plain(value: Any) -> Any:
    """``value`` with NumPy's numbers as Python's."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value


def _tuples(value: Any) -> Any:
    """``value`` with the lists that JSON makes of tuples as tuples again."""
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
