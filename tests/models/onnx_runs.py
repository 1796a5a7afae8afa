"""ONNX models of a few nodes, and what ONNX Runtime makes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper, shape_inference


def run_onnx(proto: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    """The output of ONNX Runtime's CPU kernels on the model's one input."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, {session.get_inputs()[0].name: x})[0]


def exported(
    nodes: Sequence[onnx.NodeProto],
    shape: Sequence[int | str],
    constants: Mapping[str, np.ndarray] | None = None,
    opset: int = 17,
    output: str = "y",
) -> onnx.ModelProto:
    """A model as an exporter writes it: input ``x`` of ``shape``, weights as initializers, output ``y``."""
    graph = helper.make_graph(
        list(nodes),
        "exported",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()],
    )
    domains = {"": opset} | {node.domain: 1 for node in nodes if node.domain}
    opsets = [helper.make_opsetid(domain, version) for domain, version in domains.items()]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    return shape_inference.infer_shapes(model)


def node(
    operator: str, inputs: str, output: str = "y", name: str = "", **attributes: object
) -> onnx.NodeProto:
    """One node; ``inputs`` are separated by blanks."""
    return helper.make_node(operator, inputs.split(), [output], name=name, **attributes)


def whole_numbers(seed: int, *shape: int) -> np.ndarray:
    """Whole numbers from -4 to 4 as float32: sums of their products are exact in any order."""
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(np.float32)


def ints(*values: int) -> np.ndarray:
    """An int64 constant, as shapes, axes and paddings are."""
    return np.array(values, np.int64)
