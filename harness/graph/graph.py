"""The neutral description of a network: what a layer is, in NumPy and plain data.

Everything here is channels-last and batch-first. A :class:`Graph` is what an ONNX file says once its
nodes have been read as layers; both twins are built from it, and every table is ordered by it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from harness.graph.kinds import KINDS, Kind


@dataclass(frozen=True, eq=False)
class Layer:
    """One layer, its place in the graph and its weights.

    ``inputs`` are the names of the layers whose outputs it reads. ``input_shapes`` and ``shape`` leave
    the batch axis out; ``axes`` names all axes of the output, ``"batch"`` first. What ``attributes``
    and ``weights`` hold depends on ``kind`` (spatial tuples are in the order of the spatial axes,
    paddings are pairs ``(before, after)`` per spatial axis, always explicit numbers):

    ============================ =============================================== ==============================
    kind                         attributes                                      weights (axes)
    ============================ =============================================== ==============================
    input                        none                                            none
    dense                        none (acts on the last axis)                    kernel (in, out), bias (out)?
    conv1d, conv2d, conv3d       strides, dilations, groups, padding             kernel (*space, in/groups, out), bias?
    conv_transpose1d/2d/3d       strides, dilations, groups, padding (cropped    kernel (*space, in, out/groups), bias?
                                 from the full output), output_padding
    separable_conv1d/2d          strides, dilations, padding                     depthwise_kernel (*space, in,
                                                                                 multiplier), pointwise_kernel
                                                                                 (in*multiplier, out), bias?
    batch_norm                   epsilon (statistics per last axis)              gamma?, beta?, mean, variance
    scale                        none (per last axis: kernel * x + bias)         kernel (channel), bias (channel)?
    layer_norm                   epsilon, axes_count (normalises that many       gamma?, beta?
                                 last axes)
    group_norm                   epsilon, groups (of consecutive channels, each   gamma?, beta? (channel)
                                 normalised over its channels and all places)
    affine                       none (kernel * x + bias, number by number)      kernel?, bias? (the input's shape)
    leaky_relu, elu              alpha                                           none
    prelu                        none                                            alpha (channel)
    hard_sigmoid                 alpha, beta: clip(alpha * x + beta, 0, 1)       none
    clip                         low, high                                       none
    gelu                         approximate ("none" or "tanh")                  none
    softmax                      axis (negative, canonical layout)               none
    max_pool*, average_pool*     pool_size, strides, padding;                    none
                                 average: count_include_pad
    global_*_pool                keepdims                                        none
    flatten                      order ("channels_last" or "channels_first")     none
    reshape                      target (without batch), order                   none
    permute                      dims (of the non-batch axes, 1-based as Keras)  none
    zero_pad, crop               padding                                         none
    pad                          padding (of all axes but the batch), value      none
    take                         axis (negative), indices along it               none
    resample                     axis (negative)                                 matrix (out, in) along it
    upsample                     size, interpolation ("nearest" or "bilinear")   none
    add, multiply                none                                            none
    concat                       axis (negative, canonical layout)               none
    dropout                      rate                                            none
    ============================ =============================================== ==============================

    A ``?`` marks weights that may be absent. ``order="channels_first"`` means: move the channel axis
    to the front (of the non-batch axes), then reshape (and for a ``reshape`` to two or more axes, move
    the first non-batch axis of the result to the end).
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    input_shapes: tuple[tuple[int, ...], ...]
    shape: tuple[int, ...]
    axes: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    weights: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def traits(self) -> Kind:
        """What the layer's kind is."""
        return KINDS[self.kind]


@dataclass(frozen=True, eq=False)
class Graph:
    """Layers in forward order; the first is the only input, ``output`` names the layer with the logits."""

    name: str
    layers: tuple[Layer, ...]
    output: str

    @cached_property
    def _by_name(self) -> dict[str, Layer]:
        return {layer.name: layer for layer in self.layers}

    def __getitem__(self, name: str) -> Layer:
        return self._by_name[name]

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    @property
    def input(self) -> Layer:
        """The input layer."""
        return self.layers[0]

    def consumers(self, name: str) -> tuple[Layer, ...]:
        """The layers that read the output of ``name``, in forward order."""
        return tuple(layer for layer in self.layers if name in layer.inputs)

    def backward(self) -> Iterator[Layer]:
        """The layers that the output depends on, the output first, the input last."""
        reached = {self.output}
        for layer in reversed(self.layers):
            if layer.name in reached:
                reached.update(layer.inputs)
                yield layer

    def index(self, layer: Layer) -> int:
        """The place of ``layer`` in forward order, the input being 0."""
        return next(place for place, each in enumerate(self.layers) if each.name == layer.name)

    def reads_input(self, layer: Layer, through_padding: bool = False) -> bool:
        """Whether ``layer`` sees only the network's input, at most reshaped (iNNvestigate's `is_input_layer`).

        With ``through_padding`` zero padding in between does not count either (signxai's `is_input_layer`).
        """
        producers = [self[name] for name in layer.inputs]
        return bool(producers) and all(
            producer.traits.family == "input"
            or (
                (producer.traits.family == "shape" or (through_padding and producer.kind == "zero_pad"))
                and self.reads_input(producer, through_padding)
            )
            for producer in producers
        )
