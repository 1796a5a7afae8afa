"""The two ends of a run: the relevance at the output it starts from, and what is done at the input."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from harness.methods import Head, Postprocess, Selection, TimesSign
from reference_impls.tensorflow.layers import Tensor
from reference_impls.tensorflow.stabilizers import signs


def initial_relevance(
    logits: Tensor, target: np.ndarray, head: Head, selection: Selection = "target"
) -> Tensor:
    """(batch, classes): at each sample's target its logit, one, or its logit's positive part; else zero.

    "logits", "ones" and "relu_logits" are these at every class. With the selection "run_maximum" the largest of the
    ``logits`` stands for the target.
    """
    values = np.asarray(logits)
    if selection == "run_maximum":
        target = np.argmax(values, axis=-1)
    initial = np.zeros_like(values)
    rows = np.arange(len(values))
    match head:
        case "one":
            initial[rows, target] = 1
        case "relu_logit":
            initial[rows, target] = np.maximum(values[rows, target], 0)
        case "logit":
            initial[rows, target] = values[rows, target]
        case "ones":
            initial[:] = 1
        case "relu_logits":
            initial = np.maximum(values, 0)
        case "logits":
            initial = values
    return tf.constant(initial)


def postprocessed(attribution: Tensor, x: Tensor, postprocess: Postprocess) -> Tensor:
    """The attribution that a method gives, from what its procedure found at the input ``x``."""
    match postprocess:
        case "times_input":
            return attribution * x
        case "abs":
            return tf.abs(attribution)
        case "square":
            return tf.square(attribution)
        case TimesSign(threshold):
            return attribution * signs(x, threshold)
        case _:
            return attribution
