"""Default mode through an LSTM (`harness.methods.BacktraceLstm`), a step at a time, from the last to the first."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from harness.graph import Layer
from harness.methods import Backtrace
from reference_impls.dlbacktrace.contributions import Contributions
from reference_impls.dlbacktrace.kernels import sides_of
from reference_impls.dlbacktrace.maps import Linear

_WINDOWED = Backtrace("convolution")


class Gate(NamedTuple):
    """One of input, forget, cell and output: ``z = entering + recurring``."""

    entering: np.ndarray
    recurring: np.ndarray


class Moment(NamedTuple):
    """One step: what it was given, its gates before their activations, the cell after it."""

    x: np.ndarray
    state: np.ndarray
    cell: np.ndarray
    gates: tuple[Gate, Gate, Gate, Gate]
    after: np.ndarray


def step(layer: Layer, x: np.ndarray, relevance: np.ndarray) -> np.ndarray:
    """The relevance of ``x`` (batch, time, feature) from that of the output, (batch, time, unit) or (batch, unit)."""
    weights = {name: np.asarray(array, x.dtype) for name, array in layer.weights.items()}
    units = weights["recurrent_kernel"].shape[0]
    bias = weights.get("bias", np.zeros(4 * units, x.dtype))
    entering = [_line(w, b) for w, b in zip(_four(weights["kernel"]), _four(bias), strict=True)]
    none = np.zeros(units, x.dtype)
    recurring = [_line(w, none) for w in _four(weights["recurrent_kernel"])]
    order = list(range(x.shape[1]))
    if layer.attributes["reverse"]:
        order.reverse()
    moments = _forward(x, order, entering, recurring, units)
    shares = np.zeros_like(x)
    from_state = np.zeros((len(x), units), x.dtype)
    from_cell = np.zeros_like(from_state)
    for place, moment in zip(reversed(order), reversed(moments), strict=True):
        if layer.attributes["sequences"]:
            from_state = from_state + relevance[:, place]
        elif place == order[-1]:
            from_state = from_state + relevance
        shares[:, place], from_state, from_cell = _back(moment, entering, recurring, from_state, from_cell)
    return shares


def _forward(
    x: np.ndarray, order: list[int], entering: list[Linear], recurring: list[Linear], units: int
) -> list[Moment]:
    state = cell = np.zeros((len(x), units), x.dtype)
    moments = []
    for place in order:
        gates = tuple(
            Gate(own.apply(x[:, place], own.kernel) + own.bias, again.apply(state, again.kernel))
            for own, again in zip(entering, recurring, strict=True)
        )
        i, f, g, o = _activated(gates)
        after = f * cell + i * g
        moments.append(Moment(x[:, place], state, cell, gates, after))  # type: ignore[arg-type]
        state, cell = o * np.tanh(after), after
    return moments


def _activated(gates: tuple[Gate, ...]) -> tuple[np.ndarray, ...]:
    """Input, forget, cell and output gate after their activations."""
    sums = [gate.entering + gate.recurring for gate in gates]
    return tuple(np.tanh(z) if place == 2 else 1 / (1 + np.exp(-z)) for place, z in enumerate(sums))


def _back(
    moment: Moment,
    entering: list[Linear],
    recurring: list[Linear],
    from_state: np.ndarray,
    from_cell: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What the input, the state before and the cell before get of one step."""
    i, f, g, o = _activated(moment.gates)
    of_output, of_after = _product(o, np.tanh(moment.after), from_state)
    kept, added = _sum(f * moment.cell, i * g, of_after + from_cell)
    of_forget, of_cell = _product(f, moment.cell, kept)
    of_input, of_candidate = _product(i, g, added)
    x, state = np.zeros_like(moment.x), np.zeros_like(moment.state)
    received = (of_input, of_forget, of_candidate, of_output)
    for gate, own, again, share in zip(moment.gates, entering, recurring, received, strict=True):
        to_entering, to_recurring = _sum(gate.entering, gate.recurring, share)
        x += _through(own, moment.x, to_entering)
        state += _through(again, moment.state, to_recurring)
    return x, state, of_cell


def _through(linear: Linear, x: np.ndarray, relevance: np.ndarray) -> np.ndarray:
    contributions = Contributions(linear, x)
    quotient = relevance / sides_of(contributions, _WINDOWED).denominator
    return contributions.shared(quotient, quotient)


def _line(kernel: np.ndarray, bias: np.ndarray) -> Linear:
    return Linear(lambda x, w: x @ w, lambda s, w: s @ w.T, kernel, bias)


def _four(array: np.ndarray) -> list[np.ndarray]:
    return np.split(array, 4, axis=-1)


def _sum(a: np.ndarray, b: np.ndarray, relevance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return _parts(np.abs(a), np.abs(b), relevance)


def _product(a: np.ndarray, b: np.ndarray, relevance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return _parts(np.abs(a * b - a), np.abs(a * b - b), relevance)


def _parts(a: np.ndarray, b: np.ndarray, relevance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    total = a + b
    quotient = relevance / np.where(total == 0, total.dtype.type(1), total)
    return a * quotient, b * quotient
