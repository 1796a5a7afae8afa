"""Grad-CAM and guided Grad-CAM in signxai 1.1.9.2's reading (`methods/grad_cam.py`, `guided_backprop.py`)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import tensorflow as tf
from PIL import Image

from harness.methods import GRADIENT, GradCam, Rule, cam_layer
from reference_impls.tensorflow.layers import Tensor
from reference_impls.tensorflow.run import Explained, Forward, Network, run_backward


def explain_grad_cam(
    network: Network, forward: Forward, procedure: GradCam, rules: Mapping[str, Rule], initial: Tensor
) -> Explained:
    """The map of `harness.methods.GradCam`, times the guided gradient where the procedure asks for it.

    ``initial``: relevance at the output. ``rules``: those of the guided gradient. The layers' relevance is
    the plain gradient, of layers from the output back to the CAM layer in forward order.
    """
    graph = network.graph
    chosen = cam_layer(graph, procedure.layer).name
    plain = GRADIENT.assign(graph)
    relevance = dict(run_backward(network, forward, plain, graph.output, initial, last=chosen))
    activation = forward.outputs[chosen]
    gradient = relevance.get(chosen, tf.zeros_like(activation))
    x = forward.outputs[graph.input.name]
    heat = np.asarray(_heat(activation, gradient))
    resized = _bicubic_8bit if procedure.resize == "bicubic_8bit" else _linear
    maps = np.stack([resized(each, tuple(x.shape[1:-1])) for each in heat])
    attribution = tf.constant(np.broadcast_to(maps[..., None], x.shape).astype(heat.dtype))
    if procedure.guided:
        attribution *= _guided_gradient(network, forward, rules, chosen)
    return Explained(attribution, relevance)


def _heat(activation: Tensor, gradient: Tensor) -> Tensor:
    """``max(h, 0) / max(h)``, (batch, *space), ``h = A w``, ``w = mean of G over space``."""
    space = list(range(1, activation.shape.rank - 1))
    weights = tf.reduce_mean(gradient, axis=space)
    heat = tf.linalg.matvec(tf.reshape(activation, (len(activation), -1, activation.shape[-1])), weights)
    heat = tf.nn.relu(heat) / tf.reduce_max(heat, axis=1, keepdims=True)
    return tf.reshape(heat, activation.shape[:-1])


def _bicubic_8bit(heat: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """``heat`` (height, width) as an 8-bit image of ``size``, values 0 to 255.

    Scaled as `array_to_img` of Keras 2.12 does it, cut off to whole numbers, resized by Pillow. NaN becomes 0,
    which is what the cast to 8 bits made of it for signxai.
    """
    heat = heat - np.min(heat)
    largest = np.max(heat)
    if largest != 0:
        heat = heat / largest
    pixels = np.nan_to_num(heat * 255, nan=0.0).astype(np.uint8)
    height, width = size
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC))


def _linear(heat: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """``heat`` (time,) between its values at ``linspace(0, len(heat) - 1, length)``, as `scipy.interpolate.interp1d`.

    The places are float64 in every run: in float32 the far end of a long series would be off by more than
    rounding explains.
    """
    places = np.linspace(0, len(heat) - 1, size[0])
    before = np.floor(places).astype(int)
    after = np.minimum(before + 1, len(heat) - 1)
    fraction = (places - before).astype(heat.dtype)
    return heat[before] + fraction * (heat[after] - heat[before])


def _guided_gradient(network: Network, forward: Forward, rules: Mapping[str, Rule], start: str) -> Tensor:
    """``d sum(A) / d x`` under ``rules``, ``A`` the output of layer ``start``."""
    source = network.graph.input.name
    # One after the other: those of all layers would take the memory of a forward pass.
    for name, gradient in run_backward(network, forward, rules, start, tf.ones_like(forward.outputs[start])):
        if name == source:
            return gradient
    return tf.zeros_like(forward.outputs[source])
