"""A layer as LRP needs it: its function with other weights, the transpose of it, and its gradient.

Tensors are batch-first and channels-last, as the graph has them; a bias lies on the last axis.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import tensorflow as tf

from harness.graph import Layer

Tensor = Any
Tensors = tuple[Any, ...]


@dataclass(frozen=True, eq=False)
class Weights:
    """The weights of an affine layer: its kernels (two for a separable convolution) and its bias, if any."""

    kernels: Tensors
    bias: Tensor | None

    def map(self, function: Callable[[Tensor], Tensor]) -> Weights:
        """Every weight array replaced by ``function`` of it."""
        return Weights(
            tuple(function(kernel) for kernel in self.kernels),
            None if self.bias is None else function(self.bias),
        )

    def without_bias(self) -> Weights:
        """The same kernels with a bias of zeros."""
        return Weights(self.kernels, None if self.bias is None else tf.zeros_like(self.bias))


@dataclass(frozen=True, eq=False)
class Affine:
    """A layer that is affine in its one input, as a function of its weights too.

    ``function(x, kernels, bias)`` is ``f(x; W, b)``. ``transposed(x, kernels, s)`` is ``f^T(s; W)``; of
    ``x`` only the shape counts.
    """

    weights: Weights
    function: Callable[[Tensor, Tensors, Tensor | None], Tensor]
    transposed: Callable[[Tensor, Tensors, Tensor], Tensor]

    def apply(self, x: Tensor, weights: Weights) -> Tensor:
        """``f(x; W, b)``, the shape of the layer's output."""
        return self.function(x, weights.kernels, weights.bias)

    def transpose(self, x: Tensor, weights: Weights, s: Tensor) -> Tensor:
        """``f^T(s; W)``, the shape of ``x``; ``s`` has the shape of the layer's output."""
        return self.transposed(x, weights.kernels, s)


@dataclass(frozen=True, eq=False)
class TwinLayer:
    """A layer of the graph and how to run it; ``affine`` is None where the kind has no kernel."""

    layer: Layer
    function: Callable[..., Tensor]
    affine: Affine | None


@dataclass(frozen=True, eq=False)
class Step:
    """A layer at one place: the point at which a rule is applied.

    ``inputs`` are the tensors that the layer reads, in the order of ``layer.inputs``.
    """

    twin: TwinLayer
    inputs: Tensors

    @property
    def layer(self) -> Layer:
        return self.twin.layer

    @property
    def affine(self) -> Affine | None:
        return self.twin.affine

    @cached_property
    def output(self) -> Tensor:
        """What the layer makes of its inputs, computed once."""
        if self.affine is not None:
            return self.affine.apply(self.inputs[0], self.affine.weights)
        return self.twin.function(*self.inputs)

    def pullback(self, s: Tensor, places: Sequence[int] | None = None) -> Tensors:
        """``J^T s``, the layer's vector-Jacobian product at its inputs, one tensor for each of them.

        ``places``: those of the inputs that are asked for, the others being held; None for all.
        """
        if self.affine is not None:
            return (self.affine.transpose(self.inputs[0], self.affine.weights, s),)
        moved = tuple(range(len(self.inputs))) if places is None else tuple(places)

        def function(*points: Tensor) -> Tensor:
            by_place = dict(zip(moved, points, strict=True))
            return self.twin.function(*(by_place.get(place, x) for place, x in enumerate(self.inputs)))

        return _pullback(function, tuple(self.inputs[place] for place in moved), s)


def twin_layer(layer: Layer, keras_layer: Any, dtype: str) -> TwinLayer:
    """``layer`` as the Keras layer of its name computes it (a `scale` as its own line)."""

    def function(*inputs: Tensor) -> Tensor:
        return keras_layer(list(inputs) if len(inputs) > 1 else inputs[0], training=False)

    if layer.traits.kernel:
        return TwinLayer(layer, function, _kernel_affine(layer, keras_layer, dtype))
    if layer.kind == "scale":
        kernel = tf.constant(layer.weights["kernel"], dtype)
        bias = tf.constant(layer.weights["bias"], dtype) if "bias" in layer.weights else None
        return TwinLayer(layer, function, line(kernel, bias))
    return TwinLayer(layer, function, None)


def _kernel_affine(layer: Layer, keras_layer: Any, dtype: str) -> Affine:
    """A Keras layer with its weights as arguments; compiled, for two reasons.

    The gradient of a convolution in eager mode also computes that of the kernel and runs the forward
    pass; a compiled function leaves out both. And Keras compiles a grouped convolution anew at every
    eager call.
    """
    variables = [*keras_layer.trainable_variables, *keras_layer.non_trainable_variables]
    kernels = tuple(_values(variable) for variable in variables if variable.name != "bias")
    biases = [_values(variable) for variable in variables if variable.name == "bias"]
    weights = Weights(kernels, biases[0] if biases else None)

    def function(x: Tensor, kernels: Tensors, bias: Tensor | None) -> Tensor:
        remaining = iter(kernels)
        by_variable = [bias if variable.name == "bias" else next(remaining) for variable in variables]
        trainable = len(keras_layer.trainable_variables)
        output, _ = keras_layer.stateless_call(by_variable[:trainable], by_variable[trainable:], x)
        return output

    def transposed(x: Tensor, kernels: Tensors, s: Tensor) -> Tensor:
        bias = weights.without_bias().bias
        return _pullback(lambda point: function(point, kernels, bias), (x,), s)[0]

    if _turns(layer):
        transposed = functools.partial(_turned, layer)
    x = tf.TensorSpec((None, *layer.input_shapes[0]), dtype)
    s = tf.TensorSpec((None, *layer.shape), dtype)
    kernel_specs = tuple(tf.TensorSpec(kernel.shape, dtype) for kernel in kernels)
    bias_spec = None if weights.bias is None else tf.TensorSpec(weights.bias.shape, dtype)
    return Affine(
        weights,
        _compiled(function, x, kernel_specs, bias_spec),
        _compiled(transposed, x, kernel_specs, s),
    )


#: From so many places of the output and channels of the input on, a kernel is turned in less time than that saves.
_PLACES, _CHANNELS = 1024, 16


def _turns(layer: Layer) -> bool:
    """Whether :func:`_turned` is the transpose of ``layer``, and the faster way to it."""
    known = layer.attributes
    if layer.kind != "conv2d" or set(known["strides"]) != {1} or known["groups"] != 1:
        return False
    many = math.prod(layer.shape[:-1]) >= _PLACES and layer.input_shapes[0][-1] >= _CHANNELS
    return many and min(itertools.chain(*_turned_padding(layer))) >= 0


def _turned_padding(layer: Layer) -> list[tuple[int, int]]:
    """Before and after each spatial axis of the output, so that it is as long as the input and the kernel's reach."""
    reach = [
        dilation * (size - 1)
        for dilation, size in zip(layer.attributes["dilations"], layer.weights["kernel"].shape, strict=False)
    ]
    return [
        (far - before, far - after)
        for far, (before, after) in zip(reach, layer.attributes["padding"], strict=True)
    ]


def _turned(layer: Layer, x: Tensor, kernels: Tensors, s: Tensor) -> Tensor:
    """The transpose of a convolution that moves in steps of one: that of the kernel turned by half a circle.

    TensorFlow's own takes two to three times as long as a convolution where there are many places.
    """
    (kernel,) = kernels
    turned = tf.transpose(tf.reverse(kernel, (0, 1)), (0, 1, 3, 2))
    padding = ((0, 0), *_turned_padding(layer), (0, 0))
    return tf.nn.conv2d(s, turned, 1, padding, dilations=layer.attributes["dilations"])


def _values(variable: Any) -> Tensor:
    return tf.convert_to_tensor(variable.value)


def _compiled(function: Callable[..., Tensor], *signature: Any) -> Callable[..., Tensor]:
    """``function`` as one graph for all batch sizes, made at the first call."""
    concrete = functools.cache(lambda: tf.function(function).get_concrete_function(*signature))
    return lambda *arguments: concrete()(*arguments)


def line(kernel: Tensor, bias: Tensor | None) -> Affine:
    """``kernel * x + bias`` along the last axis; both (channel,)."""

    def function(x: Tensor, kernels: Tensors, bias: Tensor | None) -> Tensor:
        return x * kernels[0] if bias is None else x * kernels[0] + bias

    def transposed(x: Tensor, kernels: Tensors, s: Tensor) -> Tensor:
        return s * kernels[0]

    return Affine(Weights((kernel,), bias), function, transposed)


def _pullback(function: Callable[..., Tensor], inputs: Tensors, s: Tensor) -> Tensors:
    """Gradient of ``sum(function(*inputs) * s)`` with respect to every input."""
    # A tensor that is read twice (`x + x`) gets a share for each reading, hence the identities.
    points = tuple(tf.identity(x) for x in inputs)
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(points)
        output = function(*points)
    return tuple(
        tape.gradient(output, points, output_gradients=s, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    )
