"""Default mode through an LSTM: all gates of a step in one product (`harness.methods.BacktraceLstm`)."""

from __future__ import annotations

import torch
from torch import Tensor

from harness.graph import Layer


def step(layer: Layer, x: Tensor, relevance: Tensor) -> Tensor:
    """The relevance of ``x`` (batch, feature, time) from that of the output, (batch, unit, time) or (batch, unit)."""
    return _Lstm(layer, x).back(relevance)


class _Lstm:
    """The steps of a layer on one input, in the order in which they are taken. Gates i, f, g, o along the last axis."""

    def __init__(self, layer: Layer, x: Tensor) -> None:
        def weight(name: str) -> Tensor:
            return torch.as_tensor(layer.weights[name].copy(), dtype=x.dtype, device=x.device)

        self.w, self.u = weight("kernel"), weight("recurrent_kernel")
        self.b = weight("bias") if "bias" in layer.weights else torch.zeros_like(self.u[0])
        self.sequences = bool(layer.attributes["sequences"])
        self.x = x.movedim(1, -1)
        steps = range(self.x.shape[1])
        self.order = list(reversed(steps)) if layer.attributes["reverse"] else list(steps)
        units = self.u.shape[0]
        states, cells = [x.new_zeros(len(x), units)], [x.new_zeros(len(x), units)]
        for place in self.order:
            i, f, g, o = self._gates(self.x[:, place], states[-1])
            cells.append(f * cells[-1] + i * g)
            states.append(o * cells[-1].tanh())
        self.states, self.cells = states, cells

    def _gates(self, x: Tensor, state: Tensor) -> tuple[Tensor, ...]:
        i, f, g, o = (x @ self.w + self.b + state @ self.u).chunk(4, dim=-1)
        return i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()

    def back(self, relevance: Tensor) -> Tensor:
        received = relevance.movedim(1, -1) if self.sequences else relevance
        shares = torch.zeros_like(self.x)
        to_state, to_cell = torch.zeros_like(self.states[0]), torch.zeros_like(self.cells[0])
        for number in reversed(range(len(self.order))):
            place = self.order[number]
            if self.sequences:
                to_state = to_state + received[:, place]
            elif number == len(self.order) - 1:
                to_state = to_state + received
            x, state, before, after = self.x[:, place], self.states[number], *self.cells[number : number + 2]
            i, f, g, o = self._gates(x, state)
            r_o, r_after = _product(o, after.tanh(), to_state)
            r_kept, r_added = _split((f * before).abs(), (i * g).abs(), r_after + to_cell)
            r_f, to_cell = _product(f, before, r_kept)
            r_i, r_g = _product(i, g, r_added)
            gates = torch.cat([r_i, r_f, r_g, r_o], dim=-1)
            entering, recurring = x @ self.w + self.b, state @ self.u
            r_entering, r_recurring = _split(entering.abs(), recurring.abs(), gates)
            shares[:, place] = _line(x, self.w, self.b.abs(), r_entering)
            to_state = _line(state, self.u, torch.zeros_like(self.b), r_recurring)
        return shares.movedim(-1, 1)


def _line(x: Tensor, weight: Tensor, bias: Tensor, relevance: Tensor) -> Tensor:
    total = x.abs() @ weight.abs() + bias
    return x.abs() * ((relevance / torch.where(total == 0, 1e-12, total)) @ weight.abs().T)


def _product(a: Tensor, b: Tensor, relevance: Tensor) -> tuple[Tensor, Tensor]:
    y = a * b
    return _split((y - a).abs(), (y - b).abs(), relevance)


def _split(a: Tensor, b: Tensor, relevance: Tensor) -> tuple[Tensor, Tensor]:
    total = a + b
    quotient = relevance / torch.where(total == 0, 1.0, total)
    return a * quotient, b * quotient
