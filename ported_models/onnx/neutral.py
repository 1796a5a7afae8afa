"""Reading back what `ported_models.onnx.writer` wrote: the same graph, bit for bit."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from harness.errors import ModelSourceError
from harness.graph import Graph, Layer
from ported_models.onnx.layout import weight_from_onnx
from ported_models.onnx.writer import FORMAT_KEY, FORMAT_VERSION, LAYER_KEY, REMOVED_KEY


def is_neutral(proto: onnx.ModelProto) -> bool:
    """Whether the file says that this project wrote it."""
    return FORMAT_KEY in _metadata(proto)


#: What the first files of this format said: whether a softmax was removed.
_SOFTMAX_KEY = "xai_harness.removed_softmax"


def removed_ending(proto: onnx.ModelProto) -> str | None:
    """The ending of the source that the graph in the file no longer has, as its metadata says."""
    metadata = _metadata(proto)
    if REMOVED_KEY in metadata:
        removed = json.loads(metadata[REMOVED_KEY])
        return None if removed is None else str(removed)
    return "softmax" if json.loads(metadata.get(_SOFTMAX_KEY, "false")) else None


def neutral_to_graph(proto: onnx.ModelProto, name: str) -> Graph:
    """The graph that was written. Raises `ModelSourceError` for another format version, or a file that
    was changed since (a node without its layer's description, a weight that is gone)."""
    version = _metadata(proto)[FORMAT_KEY]
    if version != FORMAT_VERSION:
        raise ModelSourceError(
            f"{name}: neutral ONNX format {version!r}, expected {FORMAT_VERSION!r}; "
            "load the model from its original source again"
        )
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    layers: dict[str, Layer] = {}
    for node in proto.graph.node:
        layers[node.name] = _layer(node, layers, arrays, name)
    return Graph(name, tuple(layers.values()), proto.graph.output[0].name)


def _layer(node: onnx.NodeProto, layers: dict[str, Layer], arrays: dict[str, np.ndarray], file: str) -> Layer:
    described = {entry.key: entry.value for entry in node.metadata_props}.get(LAYER_KEY)
    if described is None:
        raise ModelSourceError(
            f"{file}: node {node.name!r} ({node.op_type}) has no {LAYER_KEY!r} metadata although the file "
            "says it is a neutral graph: another tool has rewritten it; save it again from its source"
        )
    facts = json.loads(described)
    kind, shape = facts["kind"], tuple(facts["shape"])
    inputs = tuple(name for name in node.input if name in layers)
    input_shapes = tuple(layers[name].shape for name in inputs)
    weights = {}
    for key, dtype in facts["weights"].items():
        if f"{node.name}.{key}" not in arrays:
            raise ModelSourceError(f"{file}: the weight {node.name}.{key} is missing; save the file again")
        stored = arrays[f"{node.name}.{key}"].astype(dtype)
        channels = input_shapes[0][-1]
        weights[key] = np.ascontiguousarray(weight_from_onnx(kind, key, stored, len(shape) + 1, channels))
    return Layer(
        name=node.name,
        kind=kind,
        inputs=inputs,
        input_shapes=input_shapes,
        shape=shape,
        axes=tuple(facts["axes"]),
        attributes={key: _tuples(value) for key, value in facts["attributes"].items()},
        weights=weights,
    )


def _metadata(proto: onnx.ModelProto) -> dict[str, str]:
    return {entry.key: entry.value for entry in proto.metadata_props}


def _tuples(value: Any) -> Any:
    """JSON's lists as the tuples that attributes are."""
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
