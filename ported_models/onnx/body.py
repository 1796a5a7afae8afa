"""The ONNX operators of one layer, under construction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from harness.graph import Layer


class Body:
    """The operators of one layer under construction, and the constants they read.

    ``data_inputs`` are x0, x1, ...; a weight is called by its key; every other input is a constant.
    """

    def __init__(self, layer: Layer, dtype: np.dtype) -> None:
        self.layer = layer
        self.dtype = dtype
        self.data_inputs = [f"x{i}" for i in range(max(1, len(layer.inputs)))]
        self.inputs = [*self.data_inputs, *layer.weights]
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, np.ndarray] = {}

    def __call__(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Append one operator; returns the name of its output."""
        output = f"y{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    def constant(self, name: str, values: Any, dtype: Any = np.int64) -> str:
        """A constant of the layer, float constants in the file's type; returns its name."""
        self.constants[name] = np.asarray(values, dtype)
        return name

    def weight_or(self, key: str, fill: float, shape: Sequence[int]) -> str:
        """The weight ``key``, or a constant of ``fill`` where the layer has none."""
        return key if key in self.layer.weights else self.constant(key, np.full(shape, fill), self.dtype)

    def optional(self, key: str) -> tuple[str, ...]:
        """The weight ``key`` as the last input of an operator, if the layer has it."""
        return (key,) if key in self.layer.weights else ()

    @property
    def output(self) -> str:
        return self.nodes[-1].output[0]

    def nodes_with_constants(self) -> list[onnx.NodeProto]:
        """The operators after nodes for the constants, as a function needs them."""
        constants = [
            helper.make_node("Constant", [], [name], value=numpy_helper.from_array(array))
            for name, array in self.constants.items()
        ]
        return [*constants, *self.nodes]
