"""Z and Epsilon at a recurrent module: its gates held at the values that they took.

What it computes is defined in `harness.methods.rules.Z`. The cells are run once more by torch's own, so that relevance
sees the states of the module; tensors are in the twin's layout, (batch, feature, time).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from harness.graph import Layer
from harness.methods import Epsilon, SignedEpsilon, Z
from ported_impls.mappers import stabilize
from ported_impls.steps import FormulaStep

#: ``S`` of `harness.methods.rules`.
Divide = Callable[[Tensor], Tensor]


def held_gates(rule: Z | Epsilon, layer: Layer) -> FormulaStep:
    """The hook of the rule at the module of ``layer``."""
    return FormulaStep(partial(_relevance, rule, layer))


def _relevance(rule: Z | Epsilon, layer: Layer, module: nn.Module, x: Tensor, relevance: Tensor) -> Tensor:
    stabilizer = SignedEpsilon(rule.epsilon) if isinstance(rule, Epsilon) else rule.stabilizer
    divide = partial(stabilize, stabilizer)
    xs = list(x.unbind(2))
    reverse, sequences = layer.attributes["reverse"], layer.attributes["sequences"]
    received = list(relevance.unbind(2)) if sequences else [torch.zeros_like(relevance)] * (len(xs) - 1)
    if reverse:
        xs, received = xs[::-1], received[::-1]
    if not sequences:
        received = [*received, relevance]
    backwards = {"lstm": _lstm, "gru": _gru, "simple_rnn": _simple}[layer.kind]
    shares = backwards(layer, xs, received, divide, rule.bias)
    return torch.stack(shares[::-1] if reverse else shares, dim=2)


class _Sum:
    """What the candidate's sum is made of: rows of torch's weights, ``W`` (unit, in), ``U`` (unit, unit), biases."""

    def __init__(self, layer: Layer, like: Tensor, bias: bool) -> None:
        kernel, recurrent = (
            torch.from_numpy(layer.weights[name].copy()).to(like).T for name in ("kernel", "recurrent_kernel")
        )
        self.kernel, self.recurrent = kernel, recurrent
        self.units = recurrent.shape[1]
        self.biases = [
            torch.from_numpy(layer.weights[name].copy()).to(like)
            if name in layer.weights
            else like.new_zeros(len(kernel))
            for name in ("bias", "recurrent_bias")
        ]
        rows = slice(0, None) if layer.kind == "simple_rnn" else slice(2 * self.units, 3 * self.units)
        self.w, self.u = kernel[rows], recurrent[rows]
        self.b, self.rb = (each[rows] * (1.0 if bias else 0.0) for each in self.biases)

    def gates(self, x: Tensor, h: Tensor) -> Tensor:
        return nn.functional.linear(x, self.kernel, self.biases[0]) + nn.functional.linear(
            h, self.recurrent, self.biases[1]
        )


def _lstm(layer: Layer, xs: list[Tensor], received: list[Tensor], divide: Divide, bias: bool) -> list[Tensor]:
    parts = _Sum(layer, xs[0], bias)
    h = c = xs[0].new_zeros((len(xs[0]), parts.units))
    kept = []
    for x in xs:
        i, f, g, o = parts.gates(x, h).chunk(4, 1)
        after = f.sigmoid() * c + i.sigmoid() * g.tanh()
        z = x @ parts.w.T + h @ parts.u.T + parts.b
        kept.append((x, h, f.sigmoid() * c, i.sigmoid() * g.tanh(), after, z))
        h, c = o.sigmoid() * after.tanh(), after
    state, cell, shares = torch.zeros_like(h), torch.zeros_like(h), []
    for (x, before, forgotten, new, after, z), own in zip(kept[::-1], received[::-1], strict=True):
        part = (state + own + cell) / divide(after)
        cell, s = forgotten * part, new * part / divide(z)
        shares.append(x * (s @ parts.w))
        state = before * (s @ parts.u)
    return shares[::-1]


def _gru(layer: Layer, xs: list[Tensor], received: list[Tensor], divide: Divide, bias: bool) -> list[Tensor]:
    parts = _Sum(layer, xs[0], bias)
    units, reset_after = parts.units, layer.attributes["reset_after"]
    h = xs[0].new_zeros((len(xs[0]), units))
    kept = []
    for x in xs:
        update, reset = parts.gates(x, h)[:, : 2 * units].sigmoid().chunk(2, 1)
        inner = reset * (h @ parts.u.T + parts.rb) if reset_after else (reset * h) @ parts.u.T
        z = x @ parts.w.T + inner + parts.b
        n = _candidate(parts, x, h, reset, reset_after)
        kept.append((x, h, update, reset, n, z))
        h = torch.lerp(n, h, update)
    state, shares = torch.zeros_like(h), []
    for (x, before, update, reset, n, z), own in zip(kept[::-1], received[::-1], strict=True):
        old, new = update * before, (1.0 - update) * n
        part = (state + own) / divide(old + new)
        s = new * part / divide(z)
        shares.append(x * (s @ parts.w))
        through = (reset * s) @ parts.u if reset_after else reset * (s @ parts.u)
        state = old * part + before * through
    return shares[::-1]


def _candidate(parts: _Sum, x: Tensor, h: Tensor, reset: Tensor, reset_after: bool) -> Tensor:
    """The candidate with its biases, whether or not the rule counts them."""
    rows = slice(2 * parts.units, None)
    bias, recurrent_bias = (each[rows] for each in parts.biases)
    inner = reset * (h @ parts.u.T + recurrent_bias) if reset_after else (reset * h) @ parts.u.T
    return (x @ parts.w.T + bias + inner).tanh()


def _simple(
    layer: Layer, xs: list[Tensor], received: list[Tensor], divide: Divide, bias: bool
) -> list[Tensor]:
    parts = _Sum(layer, xs[0], bias)
    h = xs[0].new_zeros((len(xs[0]), parts.units))
    kept = []
    for x in xs:
        kept.append((x, h, x @ parts.w.T + h @ parts.u.T + parts.b))
        full = parts.gates(x, h)
        h = full.tanh() if layer.attributes["activation"] == "tanh" else full.relu()
    state, shares = torch.zeros_like(h), []
    for (x, before, z), own in zip(kept[::-1], received[::-1], strict=True):
        s = (state + own) / divide(z)
        shares.append(x * (s @ parts.w))
        state = before * (s @ parts.u)
    return shares[::-1]
