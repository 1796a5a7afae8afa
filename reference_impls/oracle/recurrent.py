"""Recurrent layers by hand: forward, the product ``J^T s`` through time, and relevance with the gates held; float64.

An input is (batch, time, feature), a state (batch, unit); a state before the first step is zero. ``s`` and relevance
have the shape of the output: (batch, time, unit), or (batch, unit) where only the last state is given. Gates stand in
kernels in the order of `harness.graph.kinds`. Sources: Hochreiter and Schmidhuber 1997 with the forget gate of Gers et
al. 2000 (lstm); Cho et al. 2014, arXiv:1406.1078, eq. 5 to 8 (gru; ``reset_after``: arXiv:1412.3555 as cuDNN has it).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from harness.graph import Layer
from reference_impls.oracle.linear import Arrays, weights_of
from reference_impls.oracle.parts import Denominator


@dataclass(frozen=True, eq=False)
class _Lstm:
    """One step: ``x``, the state before (``h0``, ``c0``), the gates, the cell and its sum ``z`` for ``g``."""

    x: np.ndarray
    h0: np.ndarray
    c0: np.ndarray
    i: np.ndarray
    f: np.ndarray
    g: np.ndarray
    o: np.ndarray
    c: np.ndarray
    h: np.ndarray


@dataclass(frozen=True, eq=False)
class _Gru:
    """One step: ``x``, the state before (``h0``), the gates, the candidate ``n``, and ``m = U_n h0 + b``."""

    x: np.ndarray
    h0: np.ndarray
    z: np.ndarray
    r: np.ndarray
    n: np.ndarray
    m: np.ndarray
    h: np.ndarray


@dataclass(frozen=True, eq=False)
class _Simple:
    x: np.ndarray
    h0: np.ndarray
    h: np.ndarray


class _Weights:
    """Kernels and biases by gate; absent biases are zero."""

    def __init__(self, layer: Layer) -> None:
        weights = weights_of(layer)
        gates = {"lstm": 4, "gru": 3}.get(layer.kind, 1)
        units = weights["recurrent_kernel"].shape[0]
        zero = np.zeros(gates * units)
        self.w = np.split(weights["kernel"], gates, axis=1)
        self.u = np.split(weights["recurrent_kernel"], gates, axis=1)
        self.b = np.split(weights.get("bias", zero), gates)
        self.rb = np.split(weights.get("recurrent_bias", zero), gates)
        self.units = units

    def sum_of(self, gate: int, x: np.ndarray, h: np.ndarray) -> np.ndarray:
        return x @ self.w[gate] + h @ self.u[gate] + self.b[gate] + self.rb[gate]


def _sigmoid(z: np.ndarray) -> np.ndarray:
    return 0.5 * (1.0 + np.tanh(0.5 * z))


def _order(layer: Layer) -> list[int]:
    """The steps in the order in which they are taken."""
    steps = list(range(layer.input_shapes[0][0]))
    return steps[::-1] if layer.attributes["reverse"] else steps


def _steps(layer: Layer, x: np.ndarray) -> list[_Lstm | _Gru | _Simple]:
    """Every step, in the order in which it is taken."""
    weights = _Weights(layer)
    h = c = np.zeros((len(x), weights.units))
    taken: list[_Lstm | _Gru | _Simple] = []
    for place in _order(layer):
        step: _Lstm | _Gru | _Simple
        if layer.kind == "lstm":
            step = _lstm_step(weights, x[:, place], h, c)
            c = step.c
        elif layer.kind == "gru":
            step = _gru_step(weights, x[:, place], h, layer.attributes["reset_after"])
        else:
            z = weights.sum_of(0, x[:, place], h)
            after = np.tanh(z) if layer.attributes["activation"] == "tanh" else np.maximum(z, 0.0)
            step = _Simple(x[:, place], h, after)
        taken.append(step)
        h = step.h
    return taken


def _lstm_step(weights: _Weights, x: np.ndarray, h: np.ndarray, c: np.ndarray) -> _Lstm:
    i, f, o = (_sigmoid(weights.sum_of(gate, x, h)) for gate in (0, 1, 3))
    g = np.tanh(weights.sum_of(2, x, h))
    after = f * c + i * g
    return _Lstm(x, h, c, i, f, g, o, after, o * np.tanh(after))


def _gru_step(weights: _Weights, x: np.ndarray, h: np.ndarray, reset_after: bool) -> _Gru:
    z, r = (_sigmoid(weights.sum_of(gate, x, h)) for gate in (0, 1))
    m = h @ weights.u[2] + weights.rb[2]
    state = r * m if reset_after else (r * h) @ weights.u[2]
    n = np.tanh(x @ weights.w[2] + weights.b[2] + state)
    return _Gru(x, h, z, r, n, m, z * h + (1.0 - z) * n)


def forward(layer: Layer, inputs: Arrays) -> np.ndarray:
    """The state after each step, at the step's place, or the state after the last step taken."""
    (x,) = inputs
    steps = _steps(layer, x)
    if not layer.attributes["sequences"]:
        return steps[-1].h
    output = np.zeros((len(x), *layer.shape))
    for place, step in zip(_order(layer), steps, strict=True):
        output[:, place] = step.h
    return output


def _received(layer: Layer, s: np.ndarray) -> list[np.ndarray]:
    """What the reader hands to the state after each step, in the order in which steps are taken."""
    order = _order(layer)
    if layer.attributes["sequences"]:
        return [s[:, place] for place in order]
    return [np.zeros_like(s)] * (len(order) - 1) + [s]


#: ``(weights, step, what the state gets, what the cell gets)`` to what the input, the state before and the cell before
#: get; a layer without a cell hands back what it was given for it.
_Back = Callable[[_Weights, "_Lstm | _Gru | _Simple", np.ndarray, np.ndarray], Arrays]


def _through_time(layer: Layer, x: np.ndarray, s: np.ndarray, back: _Back) -> Arrays:
    weights, steps = _Weights(layer), _steps(layer, x)
    state = cell = np.zeros((len(x), weights.units))
    shares = np.zeros(x.shape)
    backwards = zip(reversed(_order(layer)), reversed(steps), reversed(_received(layer, s)), strict=True)
    for place, step, received in backwards:
        shares[:, place], state, cell = back(weights, step, state + received, cell)
    return (shares,)


def vjp(layer: Layer, inputs: Arrays, s: np.ndarray) -> Arrays:
    """``J^T s`` by backpropagation through time."""

    def back(weights: _Weights, step: _Lstm | _Gru | _Simple, dh: np.ndarray, dc: np.ndarray) -> Arrays:
        before = np.zeros_like(dh)
        if isinstance(step, _Lstm):
            t = np.tanh(step.c)
            dc = dc + dh * step.o * (1.0 - t**2)
            gates = [
                dc * step.g * step.i * (1.0 - step.i),
                dc * step.c0 * step.f * (1.0 - step.f),
                dc * step.i * (1.0 - step.g**2),
                dh * t * step.o * (1.0 - step.o),
            ]
            dc = dc * step.f
        elif isinstance(step, _Gru):
            dn = dh * (1.0 - step.z) * (1.0 - step.n**2)
            before = dh * step.z
            if layer.attributes["reset_after"]:
                dr, before = dn * step.m, before + (dn * step.r) @ weights.u[2].T
            else:
                dq = dn @ weights.u[2].T
                dr, before = dq * step.h0, before + dq * step.r
            gates = [
                dh * (step.h0 - step.n) * step.z * (1.0 - step.z),
                dr * step.r * (1.0 - step.r),
                dn,
            ]
        else:
            slope = 1.0 - step.h**2 if layer.attributes["activation"] == "tanh" else (step.h > 0) * 1.0
            gates = [dh * slope]
        dx = sum((d @ w.T for d, w in zip(gates, weights.w, strict=True)), np.zeros(()))
        counted = gates[:2] if isinstance(step, _Gru) else gates
        for d, u in zip(counted, weights.u, strict=False):
            before = before + d @ u.T
        return dx, before, dc

    return _through_time(layer, inputs[0], s, back)


def held_gates(
    layer: Layer, inputs: Arrays, relevance: np.ndarray, divisor: Denominator, bias: bool
) -> Arrays:
    """Relevance with the gates held (`harness.methods.rules.Z`), ``divisor`` its ``S``, with or without ``bias``."""

    def back(weights: _Weights, step: _Lstm | _Gru | _Simple, rh: np.ndarray, rc: np.ndarray) -> Arrays:
        before = np.zeros_like(rh)
        if isinstance(step, _Lstm):
            gate, hold = 2, np.ones(())
            share = (rc + rh) / divisor(step.c)
            rc, source = step.f * step.c0 * share, step.i * step.g * share
            entering = step.h0 @ weights.u[gate]
        elif isinstance(step, _Gru):
            gate = 2
            share = rh / divisor(step.h)
            before, source = step.z * step.h0 * share, (1.0 - step.z) * step.n * share
            after = layer.attributes["reset_after"]
            # The reset gate stands in front of what the state becomes, or in front of the state.
            hold = step.r
            own = step.m if bias else step.h0 @ weights.u[gate]
            entering = hold * own if after else (hold * step.h0) @ weights.u[gate]
        else:
            gate, hold, source = 0, np.ones(()), rh
            entering = step.h0 @ weights.u[gate]
        z = step.x @ weights.w[gate] + entering + (weights.b[gate] if bias else 0.0)
        s = source / divisor(z)
        if isinstance(step, _Gru) and layer.attributes["reset_after"]:
            state = step.h0 * ((hold * s) @ weights.u[gate].T)
        else:
            state = hold * step.h0 * (s @ weights.u[gate].T)
        return step.x * (s @ weights.w[gate].T), before + state, rc

    return _through_time(layer, inputs[0], relevance, back)
