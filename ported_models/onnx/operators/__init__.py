"""Each ONNX operator as a layer: ``OPERATORS[op_type](reading, node)`` appends it, or raises."""

from ported_models.onnx.operators import (
    cutting,
    elementwise,
    kernels,
    normalising,
    products,
    resizing,
    sequences,
    shaping,
    windows,
)

OPERATORS = {
    **kernels.OPERATORS,
    **normalising.OPERATORS,
    **windows.OPERATORS,
    **elementwise.OPERATORS,
    **shaping.OPERATORS,
    **cutting.OPERATORS,
    **products.OPERATORS,
    **resizing.OPERATORS,
    **sequences.OPERATORS,
}
#: Those that look for the channels of their input at axis 1.
CHANNELS_FIRST = (
    kernels.CHANNELS_FIRST | normalising.CHANNELS_FIRST | windows.CHANNELS_FIRST | shaping.CHANNELS_FIRST
)

__all__ = ["CHANNELS_FIRST", "OPERATORS"]
