"""Each ONNX operator as a layer: ``OPERATORS[op_type](reading, node)`` appends it, or raises."""

from ported_models.onnx.operators import (
    cutting,
    elementwise,
    kernels,
    normalising,
    resizing,
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
    **resizing.OPERATORS,
}

__all__ = ["OPERATORS"]
