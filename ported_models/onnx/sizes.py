"""The sizes of a file's tensors, as ONNX infers them."""

from __future__ import annotations

from math import prod

import onnx
from onnx import shape_inference

#: Constants of more numbers are no sizes, nor what sizes and conditions are computed from.
LARGEST_SHAPE = 64


def inferred_sizes(proto: onnx.ModelProto) -> dict[str, list[int]]:
    """By tensor, its sizes as ONNX infers them, 0 for a size that is not known; its large weights are left out."""
    bare = onnx.ModelProto()
    bare.CopyFrom(proto)
    for tensor in bare.graph.initializer:
        if prod(tensor.dims) > LARGEST_SHAPE:
            bare.graph.input.append(
                onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            )
    kept = [tensor for tensor in bare.graph.initializer if prod(tensor.dims) <= LARGEST_SHAPE]
    del bare.graph.initializer[:]
    bare.graph.initializer.extend(kept)
    try:
        graph = shape_inference.infer_shapes(bare, data_prop=True).graph
    except Exception:  # it fails in ways of its own on a file that it cannot follow: then nothing is known
        return {}
    return {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.value_info, *graph.output)
        if value.type.tensor_type.HasField("shape")
    }
