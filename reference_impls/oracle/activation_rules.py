"""Rules that see no weights: relevance handed on, and what is cut off at an activation. They divide by nothing.

Arrays are batch-first, channels-last, float64.
"""

from __future__ import annotations

import numpy as np

from harness.errors import UnsupportedMethodError
from harness.graph import ACTIVATION_KINDS, Layer
from harness.methods import Deconvolution, GuidedReLU
from reference_impls.oracle import derivative
from reference_impls.oracle.linear import Arrays
from reference_impls.oracle.parts import require


def pass_through(layer: Layer, inputs: Arrays, relevance: np.ndarray) -> Arrays:
    """``R_x = R`` (iNNvestigate 2.1.2 `LRP._default_reverse_mapping`, for activations); a token gets its features' sum.

    Raises UnsupportedMethodError where the layer has several inputs or its output another shape.
    """
    if layer.kind == "embedding":
        return (relevance.sum(axis=-1),)
    if len(inputs) != 1 or inputs[0].shape != relevance.shape:
        shapes = ", ".join(str(x.shape) for x in inputs)
        raise UnsupportedMethodError(
            f"Pass at layer {layer.name!r} ({layer.kind}): it takes {shapes} to {relevance.shape}, "
            "expected one input of the shape of the output; assign Gradient instead"
        )
    return (relevance,)


def guided_relu(layer: Layer, inputs: Arrays, relevance: np.ndarray, rule: GuidedReLU) -> Arrays:
    """``R_x = J^T max(R, 0)`` at an activation (Springenberg et al. 2015).

    What ``per_edge`` asks for happens where the shares of several readers are summed
    (`reference_impls.oracle.backward`), before this step.
    """
    require(layer, rule, ACTIVATION_KINDS)
    return derivative.vjp(layer, inputs, np.maximum(relevance, 0.0))


def deconvolution(layer: Layer, relevance: np.ndarray, rule: Deconvolution) -> Arrays:
    """``R_x = max(R, 0)`` at an activation (Zeiler and Fergus 2014); ``per_edge`` as for :func:`guided_relu`."""
    require(layer, rule, ACTIVATION_KINDS)
    return (np.maximum(relevance, 0.0),)
