"""The derivative of an ONNX file by another reader's autograd: onnx2torch (Apache 2.0), in double precision.

Only for files whose operators it converts. What does not depend on the input is computed first, by ONNX's reference
evaluator: onnx2torch takes weights from the file alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any


def derivative(proto: Any, output: str, x: Any, number: Callable[[Any], Any]) -> Any:
    """The derivative of what ``number`` makes of the tensor ``output`` with respect to ``x``, axes as in the file.

    Raises NotConvertedError where onnx2torch does not read the file.
    """
    import onnx
    import torch

    import ported_impls.torchvision_shim  # noqa: F401  (onnx2torch imports torchvision)

    try:
        from onnx2torch import convert

        module = convert(onnx.shape_inference.infer_shapes(only_weights(proto, output)))
        given = torch.from_numpy(x.astype("float64")).requires_grad_()
        result = module.double().eval()(given)
    except Exception as error:  # another library's, which raises what its parts raise
        raise NotConvertedError(" ".join(str(error).split())[:160]) from error
    (gradient,) = torch.autograd.grad(number(result), given)
    return gradient.numpy()


class NotConvertedError(Exception):
    """onnx2torch does not read the file."""


def only_weights(proto: Any, output: str) -> Any:
    """The part of ``proto`` that gives ``output``, whose one input is what changes: all constants are weights.

    A dropout, which passes on what it gets where nothing is trained, is an Identity.
    """
    from onnx import ModelProto, TensorProto, helper, numpy_helper
    from onnx.reference import ReferenceEvaluator

    (domain,) = (each for each in proto.opset_import if each.domain in ("", "ai.onnx"))
    weights = {tensor.name for tensor in proto.graph.initializer}
    needed = _before(proto.graph.node, output)
    read = {name for node in needed for name in node.input}
    (given,) = (each for each in proto.graph.input if each.name in read - weights)
    changing = {given.name}
    for node in needed:
        if changing.intersection(node.input):
            changing.update(node.output)
    running = [_without_dropout(node) for node in needed if changing.intersection(node.output)]
    wanted = {name for node in running for name in node.input if name} - changing - weights
    constant = ModelProto()
    constant.CopyFrom(proto)
    del (
        constant.graph.node[:],
        constant.graph.output[:],
        constant.graph.input[:],
        constant.graph.value_info[:],
    )
    constant.graph.node.extend(node for node in needed if not changing.intersection(node.output))
    names = sorted(wanted)
    constant.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names
    )
    values = ReferenceEvaluator(constant).run(None, {}) if names else []
    tensors = [
        tensor for tensor in proto.graph.initializer if any(tensor.name in node.input for node in running)
    ]
    tensors += [numpy_helper.from_array(value, name) for name, value in zip(names, values, strict=True)]
    end = helper.make_tensor_value_info(output, TensorProto.FLOAT, None)
    graph = helper.make_graph(running, "running", [given], [end], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", domain.version)], ir_version=8)


def _without_dropout(node: Any) -> Any:
    from onnx import helper

    if node.op_type != "Dropout":
        return node
    return helper.make_node("Identity", node.input[:1], node.output[:1])


def _before(nodes: Sequence[Any], output: str) -> list[Any]:
    """The nodes that ``output`` is computed by, in their order."""
    needed, kept = {output}, []
    for node in reversed(nodes):
        if needed.intersection(node.output):
            needed.update(node.input)
            kept.append(node)
    return kept[::-1]
