"""Each ONNX operator as a layer: ``OPERATORS[op_type](reading, node)`` appends it, or raises."""

from ported_models.onnx.operators import axes, elementwise, kernels, windows

OPERATORS = {**kernels.OPERATORS, **windows.OPERATORS, **elementwise.OPERATORS, **axes.OPERATORS}

__all__ = ["OPERATORS"]
