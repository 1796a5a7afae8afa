"""ONNX models of a few nodes, what ONNX Runtime makes of them, and the twins beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper, shape_inference

from ported_models.model import PortedModel
from ported_models.twins.forward import (
    keras_activations,
    keras_logits,
    relative_difference,
    torch_activations,
    torch_logits,
)
from ported_models.twins.layout import to_canonical


def run_onnx(proto: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    """The output of ONNX Runtime's CPU kernels on the model's one input."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, {session.get_inputs()[0].name: x})[0]


def assert_twins_agree(model: PortedModel, x: np.ndarray) -> None:
    """Both twins compute the same in float64 at every layer, and in float32 the logits of ONNX Runtime.

    The bounds are those of the project: 1e-12 relative (L2) a layer, 1e-5 of the logits.
    """
    keras = keras_activations(model.keras("float64"), model.graph, x)
    torch = torch_activations(model.torch("float64"), model.graph, x)
    assert list(keras) == list(torch) == [layer.name for layer in model.graph]
    for name in keras:
        assert relative_difference(torch[name], keras[name]) <= 1e-12, name
    logits = to_canonical(run_onnx(model.onnx, x.astype(np.float32)))
    for twin, found in (("Keras", keras_logits(model.keras(), x)), ("torch", torch_logits(model.torch(), x))):
        assert relative_difference(found, logits) <= 1e-5, twin


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
