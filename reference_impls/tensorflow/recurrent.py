"""Z and Epsilon at a recurrent layer: gates held at the values that they took (`harness.methods.rules.Z`).

The gates come from a forward pass of the cell that Keras would make; relevance then goes back step by step.
"""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf

from harness.graph import Layer
from harness.methods import Epsilon, SignedEpsilon, Stabilizer, Z
from reference_impls.tensorflow.layers import Tensor, Tensors
from reference_impls.tensorflow.stabilizers import stabilized


@dataclass(frozen=True, eq=False)
class Moment:
    """One step as relevance sees it, all (batch, unit) but ``x`` (batch, feature).

    The state is ``kept + source``: ``kept`` is what of it comes from before by a gate, ``source`` what the candidate
    gives; ``total`` is what their shares are divided by, None where the state is the candidate alone. The candidate's
    sum is ``z = x W + front * (h U) + b`` or ``x W + (inside * h) U + b``.
    """

    x: Tensor
    h: Tensor
    kept: Tensor
    source: Tensor
    total: Tensor | None
    z: Tensor
    front: Tensor
    inside: Tensor


def held_gates(layer: Layer, x: Tensor, relevance: Tensor, rule: Z | Epsilon) -> Tensors:
    """The relevance of the input, (batch, time, feature), from that of the output."""
    stabilizer: Stabilizer = SignedEpsilon(rule.epsilon) if isinstance(rule, Epsilon) else rule.stabilizer
    weights = {name: tf.constant(array, x.dtype) for name, array in layer.weights.items()}
    steps = layer.input_shapes[0][0]
    order = list(reversed(range(steps))) if layer.attributes["reverse"] else list(range(steps))
    moments = _moments(layer, weights, [x[:, place] for place in order], rule.bias)
    kernel, recurrent = (_candidates(layer, weights[name]) for name in ("kernel", "recurrent_kernel"))
    state = cell = tf.zeros_like(moments[0].h)
    shares: dict[int, Tensor] = {}
    for number in reversed(range(steps)):
        moment, place = moments[number], order[number]
        if layer.attributes["sequences"]:
            state = state + relevance[:, place]
        elif number == steps - 1:
            state = state + relevance
        received, before = state + cell, tf.zeros_like(state)
        if moment.total is not None:
            part = received / stabilized(moment.total, stabilizer)
            before, received = moment.kept * part, moment.source * part
        s = received / stabilized(moment.z, stabilizer)
        shares[place] = moment.x * tf.matmul(s, kernel, transpose_b=True)
        state = moment.inside * moment.h * tf.matmul(moment.front * s, recurrent, transpose_b=True)
        # What is kept of an LSTM's cell goes to the cell before, of a GRU's state to the state before.
        if layer.kind == "lstm":
            cell = before
        else:
            state = state + before
    return (tf.stack([shares[place] for place in range(steps)], axis=1),)


def _candidates(layer: Layer, kernel: Tensor) -> Tensor:
    """The part of a kernel, or of a bias, that makes the candidate: the third of an LSTM's four and a GRU's three."""
    if layer.kind == "simple_rnn":
        return kernel
    return tf.split(kernel, 4 if layer.kind == "lstm" else 3, axis=-1)[2]


def _moments(layer: Layer, weights: dict[str, Tensor], xs: list[Tensor], bias: bool) -> list[Moment]:
    kernel, recurrent = weights["kernel"], weights["recurrent_kernel"]
    zero = tf.zeros(kernel.shape[-1:], kernel.dtype)
    b, rb = weights.get("bias", zero), weights.get("recurrent_bias", zero)
    h = tf.zeros((xs[0].shape[0], recurrent.shape[0]), kernel.dtype)
    one, c, moments = tf.ones_like(h), h, []
    of = _candidates
    for x in xs:
        entering, carried = x @ kernel + b, h @ recurrent + rb
        candidate = x @ of(layer, kernel) + (of(layer, b) if bias else 0.0)
        if layer.kind == "lstm":
            i, f, g, o = tf.split(entering + carried, 4, axis=-1)
            kept, source = tf.sigmoid(f) * c, tf.sigmoid(i) * tf.tanh(g)
            z = candidate + h @ of(layer, recurrent)
            moments.append(Moment(x, h, kept, source, kept + source, z, one, one))
            c = kept + source
            h = tf.sigmoid(o) * tf.tanh(c)
        elif layer.kind == "gru":
            u, r = (
                tf.sigmoid(gate) for gate in tf.split((entering + carried)[:, : 2 * h.shape[-1]], 2, axis=-1)
            )
            if layer.attributes["reset_after"]:
                n = tf.tanh(of(layer, entering) + r * of(layer, carried))
                own = h @ of(layer, recurrent) + (of(layer, rb) if bias else 0.0)
                z, front, inside = candidate + r * own, r, one
            else:
                inner = (r * h) @ of(layer, recurrent)
                n = tf.tanh(of(layer, entering) + inner)
                z, front, inside = candidate + inner, one, r
            kept, source = u * h, (1.0 - u) * n
            moments.append(Moment(x, h, kept, source, kept + source, z, front, inside))
            h = kept + source
        else:
            z = candidate + h @ recurrent
            moments.append(Moment(x, h, one, one, None, z, one, one))
            full = entering + carried
            h = tf.tanh(full) if layer.attributes["activation"] == "tanh" else tf.nn.relu(full)
    return moments
