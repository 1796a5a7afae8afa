"""Asks `keras2.py` for what a network of Keras 2 computes; run by a worker in a peer's interpreter."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np


def handle(
    op: str, payload: dict[str, Any], arrays: dict[str, np.ndarray]
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """``output/NAME`` of every layer that has one, and ``gradient``: of sum(output * ``s``) by the input.

    ``payload["folder"]`` is where `keras2.py` is; the weights are the arrays under ``weight/``.
    """
    import tensorflow as tf

    if payload["folder"] not in sys.path:
        sys.path.insert(0, payload["folder"])
        tf.compat.v1.disable_eager_execution()
    import keras2

    weights = {name[len("weight/") :]: array for name, array in arrays.items() if name.startswith("weight/")}
    backend = tf.keras.backend
    with tf.Graph().as_default(), tf.compat.v1.Session().as_default():
        backend.set_learning_phase(0)
        network = keras2.build(
            payload["graph"], weights, payload["dtype"], payload["form"], payload["prefix"]
        )
        source, output = network.outputs[network.input], network.outputs[network.output]
        names = [name for name in network.outputs if name != network.input]
        s = tf.constant(arrays["s"])
        (gradient,) = tf.gradients([output], [source], grad_ys=[s])
        found = backend.function([source], [network.outputs[name] for name in names] + [gradient])(
            [arrays["x"]]
        )
    answer = {f"output/{name}": value for name, value in zip(names, found)}  # noqa: B905
    layers = {name: [type(layer).__name__, layer.name] for name, layer in network.layers.items()}
    return {"layers": layers, "substitutes": network.substitutes}, {**answer, "gradient": found[-1]}
