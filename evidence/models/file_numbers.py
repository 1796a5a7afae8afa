"""An exported module that runs with the numbers that its file holds.

Exporters compute what depends on weights alone, in single precision: they fold a batch norm into the convolution
before it, and standardise a kernel once. In double precision such a module is another network than its file, by that
rounding. Here each convolution and dense layer of the module takes the kernel and bias that the file holds, where they
are the module's own up to that rounding; a batch norm that the file holds inside a kernel is left out. A product
with a number, such as ``0.2 * x``, takes the file's number. A hard sigmoid takes the file's slope: that of torch is a
sixth, and one rounded to single precision in its derivative.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch.nn import functional
from torch.overrides import TorchFunctionMode

#: How far, relative and in L2, a kernel of the file may be from the module's: a few roundings to single precision.
ROUNDING = 1e-6
KERNELS = (
    torch.conv1d,
    torch.conv2d,
    torch.conv3d,
    torch.conv_transpose1d,
    torch.conv_transpose2d,
    torch.conv_transpose3d,
    functional.linear,
)
NORMS = (torch.batch_norm, functional.batch_norm)
PRODUCTS = ("mul", "mul_", "__mul__", "__rmul__", "__imul__")
HARD_SIGMOIDS = (functional.hardsigmoid, torch._C._nn.hardsigmoid, torch._C._nn.hardsigmoid_)


class FileNumbers(TorchFunctionMode):
    """While it is entered, a module in double precision computes with the numbers of ``proto``, its export."""

    def __init__(self, proto: onnx.ModelProto) -> None:
        super().__init__()
        self._held = list(_kernels(proto))
        self._scalars = {np.float32(each): float(each) for each in _single_numbers(proto)}
        hard = [node for node in proto.graph.node if node.op_type == "HardSigmoid"]
        self._slope = next((each.f for node in hard for each in node.attribute if each.name == "alpha"), None)
        self._made: dict[int, tuple[torch.Tensor, Callable[..., Any], tuple[Any, ...], dict[str, Any]]] = {}

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in KERNELS:
            return self._kernel(func, args, kwargs)
        if func in NORMS and id(args[0]) in self._made:
            return self._folded(func, args, kwargs)
        if getattr(func, "__name__", "") in PRODUCTS:
            args = tuple(
                self._scalars.get(np.float32(each), each) if type(each) is float else each for each in args
            )
        if func in HARD_SIGMOIDS and self._slope is not None:
            return torch.clamp(args[0] * self._slope + 0.5, 0.0, 1.0)
        return func(*args, **kwargs)

    def _kernel(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The layer with the file's kernel and bias; it is remembered for a batch norm that reads it."""
        x, kernel = args[:2]
        bias = args[2] if len(args) > 2 else kwargs.get("bias")
        rest, kwargs = args[3:], {name: each for name, each in kwargs.items() if name != "bias"}
        kernel, bias = self._of_file(kernel, bias) or (kernel, bias)
        y = func(x, kernel, bias, *rest, **kwargs)
        self._made[id(y)] = (y, func, (x, kernel, bias, *rest), kwargs)
        return y

    def _folded(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The layer before the batch norm with both in its kernel, where the file has them so."""
        y, layer, (x, kernel, bias, *rest), options = self._made[id(args[0])]
        norm = func(*args, **kwargs)
        transposed = "transpose" in layer.__name__
        channels, one = y.shape[1], torch.ones((), dtype=y.dtype)
        if transposed and kernel.shape[1] != channels:
            return norm  # the exporters fold none into a transposed convolution of groups
        # What the norm makes of zero and one in each channel gives its two numbers, however they were handed over.
        probe = torch.stack([0 * one, one])[:, None].expand(2, channels)
        zero, unit = func(probe, *args[1:], **kwargs)
        factor = (unit - zero).reshape(
            [*([1] if transposed else []), -1, *[1] * (kernel.ndim - 1 - transposed)]
        )
        shift = zero if bias is None else bias * (unit - zero) + zero
        found = self._of_file(kernel * factor, shift)
        return norm if found is None else layer(x, *found, *rest, **options)

    def _of_file(
        self, kernel: torch.Tensor, bias: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None] | None:
        """The kernel and bias of the file that are these up to rounding, those that are nearest."""
        kernel = kernel.detach()
        near = [
            (float(torch.linalg.norm(held - kernel)), held, held_bias)
            for held, held_bias in self._held
            if held.shape == kernel.shape and (bias is None) == (held_bias is None)
        ]
        if not near:
            return None
        distance, held, held_bias = min(near, key=lambda each: each[0])
        if distance > ROUNDING * float(torch.linalg.norm(kernel)):
            return None
        return held, held_bias


def _single_numbers(proto: onnx.ModelProto) -> Iterator[np.float32]:
    """The constants of one number in single precision."""
    held = [each.t for node in proto.graph.node if node.op_type == "Constant" for each in node.attribute]
    for tensor in (*proto.graph.initializer, *held):
        if tensor.data_type == onnx.TensorProto.FLOAT and np.prod(tensor.dims) == 1:
            yield numpy_helper.to_array(tensor).reshape(())[()]


def _kernels(proto: onnx.ModelProto) -> Iterator[tuple[torch.Tensor, torch.Tensor | None]]:
    """Kernel and bias of each convolution and dense layer, laid out as torch has them, in double precision."""
    weights = {each.name: each for each in proto.graph.initializer}
    for node in proto.graph.node:
        if node.op_type not in ("Conv", "ConvTranspose", "Gemm") or node.input[1] not in weights:
            continue
        kernel, *bias = (
            torch.from_numpy(numpy_helper.to_array(weights[name]).astype("float64"))
            for name in node.input[1:]
            if name in weights
        )
        attributes = {each.name: each for each in node.attribute}
        if node.op_type == "Gemm" and not ("transB" in attributes and attributes["transB"].i):
            kernel = kernel.T
        yield kernel, bias[0] if bias else None
