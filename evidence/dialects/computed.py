"""Readings that no method of the catalogue has, put together from runs of methods."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from PIL import Image

from evidence.dialects.idea import Runs
from harness.graph import KERNEL_KINDS
from harness.methods import Assignment, Composite, Epsilon, Smoothed, cam_layer, gaussian_noise, method

#: Points on a path and samples of noise, where their number is not the subject.
FEW = 4
#: Epsilon of 0.25 standard deviations of the layer input.
STD = "lrp_epsilon_0_25_std_x"


def _mean_gradient(runs: Runs, points: list[np.ndarray], own_target: bool = False) -> np.ndarray:
    total = sum(runs.trace(method("gradient"), point, own_target).attribution for point in points)
    return np.asarray(total) / len(points)


def right_ends(runs: Runs) -> np.ndarray:
    """Integrated Gradients with baseline 0 at ``t = 1/n, 2/n, ..., 1``."""
    return runs.x * _mean_gradient(runs, [runs.x * (k + 1) / FEW for k in range(FEW)])


def target_of_each_step(runs: Runs) -> np.ndarray:
    """Integrated Gradients with both ends, each step with its own largest logit."""
    return runs.x * _mean_gradient(runs, [runs.x * k / (FEW - 1) for k in range(FEW)], own_target=True)


def scaled_by_range(runs: Runs) -> np.ndarray:
    """Zennit's SmoothGrad: deviation 0.1 times the range of the input, and a last sample without noise."""
    axes = tuple(range(1, runs.x.ndim))
    deviation = 0.1 * (runs.x.max(axes, keepdims=True) - runs.x.min(axes, keepdims=True))
    noise = gaussian_noise(Smoothed(FEW - 1, 1.0), runs.x.shape)
    return _mean_gradient(runs, [*(runs.x + deviation * each for each in noise), runs.x])


def std_of_the_batch(runs: Runs) -> np.ndarray:
    """Epsilon with 0.25 times the deviation of all samples' layer inputs: one number a layer, from the activations."""
    wanted = method(STD)
    activations = runs.trace(wanted, layers=True).layers
    assigned = tuple(
        Assignment(
            Epsilon(0.25 * float(np.std(np.asarray(activations[layer.inputs[0]].activation)))),
            names=(layer.name,),
        )
        for layer in runs.graph
        if layer.kind in KERNEL_KINDS
    )
    composite = Composite((*assigned, *wanted.composite.assignments))
    return runs.trace(replace(wanted, name="std of the batch", composite=composite)).attribution


def all_noise_at_once(runs: Runs) -> np.ndarray:
    """What is left of SmoothGrad when all samples are one array: the gradient at the input plus all the noise."""
    noise = sum(gaussian_noise(Smoothed(FEW, 0.2), runs.x.shape))
    return runs.trace(method("gradient"), runs.x + noise, own_target=True).attribution


def bilinear(runs: Runs) -> np.ndarray:
    """Grad-CAM's map, times 255, resized in floating point."""
    layer = cam_layer(runs.graph, None)
    at = runs.trace(method("grad_cam"), layers=True).layers[layer.name]
    activation, gradient = np.asarray(at.activation), np.asarray(at.relevance)
    height, width, channels = runs.x.shape[1:]
    maps = []
    for values, weights in zip(activation, gradient.mean(axis=(1, 2)), strict=True):
        heat = values @ weights
        shown = 255 * np.maximum(heat, 0) / heat.max()
        resized = Image.fromarray(shown.astype(np.float32)).resize((width, height), Image.Resampling.BILINEAR)
        maps.append(np.repeat(np.asarray(resized, dtype=np.float64)[..., None], channels, axis=-1))
    return np.stack(maps)


def signs_as_written(runs: Runs) -> np.ndarray:
    """The relevance behind the quirk, which has the sign 1 everywhere, times the signs that the formula has."""
    return runs.trace(method("lrpsign_z_mu_neg_1")).attribution * np.where(runs.x >= -1, 1.0, -1.0)
