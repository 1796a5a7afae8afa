"""What passes between the harness and the process of a user's backend: plain JSON, and arrays by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from harness.backends.protocol import Arrays as Run
from harness.backends.protocol import StepProgram
from harness.graph import Graph, Layer
from harness.methods import Method, from_json

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


def run_to_wire(run: Run) -> tuple[dict[str, Any], Arrays]:
    """What a run gave as JSON, and its arrays. Raises TypeError for facts that JSON cannot say."""
    arrays = {"logits": run.logits, "attribution": run.attribution}
    names = list({**run.activations, **run.relevances})
    for place, name in enumerate(names):
        for what, by_layer in (("activation", run.activations), ("relevance", run.relevances)):
            if name in by_layer:
                arrays[f"{place}/{what}"] = by_layer[name]
    return {"layers": names, "on_input": run.on_input, "facts": dict(run.facts)}, arrays


def run_from_wire(facts: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Run:
    """The inverse of :func:`run_to_wire`. Raises KeyError and TypeError for what is no run."""
    activations, relevances = (
        {
            name: arrays[f"{place}/{what}"]
            for place, name in enumerate(facts["layers"])
            if f"{place}/{what}" in arrays
        }
        for what in ("activation", "relevance")
    )
    on_input, more = bool(facts["on_input"]), dict(facts["facts"])
    return Run(arrays["logits"], arrays["attribution"], activations, relevances, on_input, more)


def structure_to_wire(graph: Graph) -> dict[str, Any]:
    """A graph as JSON, without the values of its weights."""
    facts, weights = graph_to_wire(graph)
    return facts | {"weights": {key: [str(array.dtype), array.shape] for key, array in weights.items()}}


def structure_from_wire(facts: Mapping[str, Any]) -> Graph:
    """The inverse of :func:`structure_to_wire`, but for the values of the weights, which are zero."""
    weights = {
        key: np.broadcast_to(np.zeros((), dtype), shape) for key, (dtype, shape) in facts["weights"].items()
    }
    return graph_from_wire(facts, weights)


def method_from_wire(facts: Any) -> Method:
    """A method. Raises TypeError for anything else."""
    method = from_json(facts)
    if not isinstance(method, Method):
        raise TypeError(f"a {type(method).__name__}, expected a Method")
    return method


def program_to_wire(program: StepProgram) -> tuple[dict[str, Any], Arrays]:
    """A program as JSON, and its arrays."""
    arrays = {f"constant/{name}": np.asarray(array) for name, array in program.constants.items()}
    arrays |= {f"result/{place}": np.asarray(array) for place, array in enumerate(program.results)}
    return {
        "framework": program.framework,
        "code": program.code,
        "constants": list(program.constants),
        "results": len(program.results),
    }, arrays


def program_from_wire(facts: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> StepProgram:
    """The inverse of :func:`program_to_wire`."""
    return StepProgram(
        str(facts["framework"]),
        str(facts["code"]),
        {name: arrays[f"constant/{name}"] for name in facts["constants"]},
        tuple(arrays[f"result/{place}"] for place in range(facts["results"])),
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
