"""One layer's step on both sides of the family, and small networks."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from harness.graph import Graph, Layer
from harness.methods import Rule
from ported_impls.dlbacktrace.rules import propagate as ported
from ported_impls.layout import to_canonical, to_twin
from ported_models.build import Builder
from ported_models.twins.torch_twin import build
from reference_impls.dlbacktrace.contrast import Pair
from reference_impls.dlbacktrace.rules import propagate, propagate_pair

Arrays = tuple[np.ndarray, ...]


def layer_of(
    kind: str,
    input_shapes: list[tuple[int, ...]],
    attributes: dict[str, Any] | None = None,
    weights: dict[str, Any] | None = None,
) -> Layer:
    """A layer of ``kind`` behind inputs of these shapes; several are made of the one by a ReLU each."""
    builder = Builder("one", input_shapes[0])
    names = ["input"]
    for number in range(1, len(input_shapes)):
        names.append(builder.add("relu", f"other{number}", "input"))
    arrays = {name: np.asarray(array, np.float64) for name, array in (weights or {}).items()}
    builder.add(kind, "layer", names, attributes, arrays)
    return builder.graph()["layer"]


def module_of(layer: Layer) -> nn.Module:
    """The layer's module of a torch twin, in float64."""
    shapes = dict(zip(layer.inputs, layer.input_shapes, strict=True))
    inputs = [Layer(name, "input", (), (), shape, ("batch",)) for name, shape in shapes.items()]
    twin = build(Graph("one", (*inputs, layer), layer.name), "float64")
    module = twin.get_submodule(layer.name)
    assert isinstance(module, nn.Module)
    return module


def on_reference(layer: Layer, inputs: Arrays, received: Arrays, rule: Rule) -> list[Arrays]:
    """For each input its relevances, by the NumPy reference; ``received``: one array, or two in contrast mode."""
    if len(received) == 1:
        return [(share,) for share in propagate(layer, inputs, received[0], rule)]
    return [tuple(pair) for pair in propagate_pair(layer, inputs, Pair(*received), rule)]


def on_port(
    layer: Layer, inputs: Arrays, received: Arrays, rule: Rule, size: int | None = None
) -> list[Arrays]:
    """The same by the PyTorch port."""
    module = module_of(layer)
    tensors = tuple(to_twin(x) for x in inputs)
    with torch.no_grad():
        passed = ported(layer, module, tensors, tuple(to_twin(each) for each in received), rule, size)
    return [tuple(to_canonical(share) for share in shares) for shares in passed]


SIDES = {"reference": on_reference, "port": on_port}
