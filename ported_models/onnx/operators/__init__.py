"""Each ONNX operator as a layer: ``OPERATORS[op_type](reading, node)`` appends it, or raises."""

from ported_models.onnx.operators import axes, elementwise, kernels, windows

OPERATORS = {**kernels.OPERATORS, **windows.OPERATORS, **elementwise.OPERATORS, **axes.OPERATORS}
#: Those that look for the channels of their input at axis 1.
CHANNELS_FIRST = kernels.CHANNELS_FIRST | windows.CHANNELS_FIRST

__all__ = ["CHANNELS_FIRST", "OPERATORS"]
