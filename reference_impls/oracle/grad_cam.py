"""Grad-CAM and guided Grad-CAM (Selvaraju et al. 2017) as signxai 1.1.9.2 computes them, sample by sample."""

from __future__ import annotations

import numpy as np

from harness.graph import Graph
from harness.methods import GRADIENT, GradCam, Method, cam_layer
from reference_impls.oracle import pillow_resize
from reference_impls.oracle.backward import Activations, Relevances, backward, initial


def grad_cam(
    graph: Graph, activations: Activations, target: np.ndarray, method: Method, procedure: GradCam
) -> tuple[np.ndarray, Relevances]:
    """The map of the CAM layer over the input, repeated over its channels, and the relevance of every layer.

    The relevances are the gradient of the start down to the CAM layer, whatever the composite, and zero in
    the layers before it in forward order. With ``guided`` the map is multiplied by what the composite
    carries to the input from ones at the CAM layer's output. Raises as `cam_layer`.
    """
    cam = cam_layer(graph, procedure.layer).name
    start = initial(activations[graph.output], target, method.head)
    relevances = backward(graph, activations, GRADIENT, start, down_to=cam)
    maps = heat_maps(activations[cam], relevances[cam])
    *space, _ = graph.input.shape
    if procedure.resize == "bicubic_8bit":
        resized = np.stack([pillow_resize.resize(to_8_bits(each), *space) for each in maps])
    else:
        resized = np.stack([interpolated(each, *space) for each in maps])
    attribution = np.repeat(resized.astype(np.float64)[..., None], graph.input.shape[-1], axis=-1)
    if procedure.guided:
        ones = np.ones(activations[cam].shape)
        guided = backward(graph, activations, method.composite, ones, origin=cam)
        attribution = attribution * guided[graph.input.name]
    return attribution, relevances


def heat_maps(activation: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    """``m = max(h, 0) / max(h)``, ``h = A w``, ``w = mean of G over space``: (batch, *space).

    Both arguments are (batch, *space, channel). Where the largest ``h`` is 0 the map is 0/0, NaN; where it
    is below 0 the map is zero.
    """
    space = tuple(range(1, activation.ndim - 1))
    h = (activation * gradient.mean(axis=space, keepdims=True)).sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        return np.maximum(h, 0.0) / h.max(axis=space, keepdims=True)


def to_8_bits(heat_map: np.ndarray) -> np.ndarray:
    """One map (height, width) on 0..255: minus its minimum, over its maximum unless that is 0, times 255.

    What is behind the point is cut off; NaN becomes 0 (Keras `array_to_img`).
    """
    moved = heat_map - heat_map.min()
    largest = moved.max()
    scaled = (moved / largest if largest != 0 else moved) * 255
    return np.nan_to_num(scaled, nan=0.0).astype(np.uint8)


def interpolated(heat_map: np.ndarray, length: int) -> np.ndarray:
    """One map (time,) at ``linspace(0, len(map) - 1, length)``, a straight line between its values."""
    return np.interp(np.linspace(0, len(heat_map) - 1, length), np.arange(len(heat_map)), heat_map)
