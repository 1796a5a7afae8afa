"""A neutral graph as ONNX: one node per layer, its name the canonical layer name.

The file takes its input in canonical order (channels last). The node of the input layer moves the last
axis to position 1, where ONNX wants the channels, and every tensor of rank 3 and more stays so to the output.
A layer that takes several operators is a model-local function of the domain ``xai_harness``, so that it is
still one node. A tensor is named after its layer, a weight ``layer.weight`` (no layer name holds a dot).

ONNX attributes are float32 and its tensors carry no axis names; each node's ``metadata_props`` therefore
holds its layer exactly, as JSON, and `ported_models.onnx.neutral` reads a graph back bit for bit.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from harness.graph import Graph, Layer
from ported_models.onnx.bodies import body_of
from ported_models.onnx.body import Body
from ported_models.onnx.layout import channels_first_order, weight_to_onnx

DOMAIN = "xai_harness"
FORMAT_KEY = "xai_harness.format"
FORMAT_VERSION = "1"
REMOVED_KEY = "xai_harness.removed"
LAYER_KEY = "xai_harness.layer"
#: Opset 20 is the first with a Gelu; IR version 10 the first with metadata on nodes.
OPSET = 20
IR_VERSION = 10


def graph_to_onnx(graph: Graph, removed: str | None = None) -> onnx.ModelProto:
    """Write ``graph``; ``removed``, the ending that its source has, is noted in the file's metadata.

    The file's floating type is double where a weight is float64, and float otherwise (ONNX operators mix
    no types; a weight of another type is widened, and read back in its own). The output tensor is
    that of the last layer, in ONNX's axis order, which for logits (batch, classes) is the canonical one.

    Raises `UnsupportedLayerError` for a layer of an unknown kind.
    """
    wide = any(array.dtype == np.float64 for layer in graph for array in layer.weights.values())
    dtype = np.dtype(np.float64 if wide else np.float32)
    nodes, initializers, functions = [], [], _Functions()
    for layer in graph:
        body = body_of(layer, dtype)
        weights = {
            f"{layer.name}.{key}": np.ascontiguousarray(
                weight_to_onnx(layer.kind, key, array, len(layer.axes)).astype(dtype)
            )
            for key, array in layer.weights.items()
        }
        inputs = list(layer.inputs) or [f"{layer.name}.channels_last"]
        node, constants = _node(layer, body, inputs, functions)
        node.metadata_props.add(key=LAYER_KEY, value=_layer_json(layer))
        nodes.append(node)
        initializers += [
            numpy_helper.from_array(array, name) for name, array in {**weights, **constants}.items()
        ]
    model = helper.make_model(
        helper.make_graph(
            nodes,
            graph.name,
            [_value(f"{graph.input.name}.channels_last", ("batch", *graph.input.shape), dtype)],
            [_value(graph.output, _onnx_shape(graph[graph.output]), dtype)],
            initializers,
            value_info=[
                _value(layer.name, _onnx_shape(layer), dtype) for layer in graph if layer.name != graph.output
            ],
        ),
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, 1)],
        functions=functions.protos,
        ir_version=IR_VERSION,
        producer_name="xai-harness",
    )
    helper.set_model_props(
        model,
        {
            FORMAT_KEY: FORMAT_VERSION,
            REMOVED_KEY: json.dumps(removed),
            "xai_harness.layout": "input channels-last, inside channels-first",
        },
    )
    return model


class _Functions:
    """The file's local functions, one for each distinct body."""

    def __init__(self) -> None:
        self.protos: list[onnx.FunctionProto] = []
        self._names: dict[bytes, str] = {}

    def name_of(self, kind: str, body: Body) -> str:
        """The operator type that stands for ``body``: the kind in camel case, numbered from the second on."""
        proto = helper.make_function(
            DOMAIN,
            "",
            body.inputs,
            [body.output],
            body.nodes_with_constants(),
            [helper.make_opsetid("", OPSET)],
        )
        key = kind.encode() + b"\0" + proto.SerializeToString(deterministic=True)
        if key not in self._names:
            camel = "".join(word.capitalize() for word in kind.split("_"))
            taken = sum(name.split("_")[0] == camel for name in self._names.values())
            proto.name = f"{camel}_{taken + 1}" if taken else camel
            self._names[key] = proto.name
            self.protos.append(proto)
        return self._names[key]


def _node(
    layer: Layer, body: Body, inputs: list[str], functions: _Functions
) -> tuple[onnx.NodeProto, dict[str, np.ndarray]]:
    """The layer's one node, and the constants that it reads beside its weights."""
    names = dict(zip(body.data_inputs, inputs, strict=True))
    if len(body.nodes) > 1:
        arguments = [names.get(name, f"{layer.name}.{name}") for name in body.inputs]
        kind = functions.name_of(layer.kind, body)
        return helper.make_node(kind, arguments, [layer.name], layer.name, domain=DOMAIN), {}
    node = onnx.NodeProto()
    node.CopyFrom(body.nodes[0])
    node.name = layer.name
    arguments = [names.get(name, f"{layer.name}.{name}" if name else "") for name in node.input]
    del node.input[:]
    node.input.extend(arguments)
    node.output[0] = layer.name
    return node, {f"{layer.name}.{name}": array for name, array in body.constants.items()}


def _layer_json(layer: Layer) -> str:
    """What the ONNX node does not say, or not exactly."""
    return json.dumps(
        {
            "kind": layer.kind,
            "attributes": dict(layer.attributes),
            "axes": layer.axes,
            "shape": layer.shape,
            "weights": {key: str(array.dtype) for key, array in layer.weights.items()},
        },
        default=_plain,
    )


def _plain(value: Any) -> Any:
    """NumPy numbers, which JSON does not know, as Python's."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"an attribute of type {type(value).__name__} is no plain data")


def _onnx_shape(layer: Layer) -> tuple[int | str, ...]:
    """The layer's output shape in ONNX's axis order, the batch axis by name."""
    canonical: tuple[int | str, ...] = ("batch", *layer.shape)
    return tuple(canonical[axis] for axis in channels_first_order(len(canonical)))


def _value(name: str, shape: tuple[int | str, ...], dtype: np.dtype) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(dtype), shape)
