"""The torch twin's modules of sequences: torch's own recurrent modules in the twin's layout, (batch, feature, time)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from harness.graph import Layer


class Recurrent(nn.Module):
    """``inner``, which takes (batch, time, feature), run in either direction; its states, or the last one taken."""

    def __init__(self, inner: nn.Module, reverse: bool, sequences: bool) -> None:
        super().__init__()
        self.inner, self.reverse, self.sequences = inner, reverse, sequences

    def forward(self, x: Tensor) -> Tensor:
        steps = x.movedim(1, 2)
        states = self.inner(steps.flip(1) if self.reverse else steps)
        states = states[0] if isinstance(states, tuple) else states
        if not self.sequences:
            return states[:, -1]
        return (states.flip(1) if self.reverse else states).movedim(2, 1)


class ResetBeforeGRU(nn.Module):
    """A GRU whose reset gate is multiplied to the state before the product, as in Cho et al. 2014; gates z, r, n.

    Takes and gives (batch, time, ...); torch's own multiplies it to the product.
    """

    def __init__(self, kernel: Tensor, recurrent: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.kernel, self.recurrent, self.bias = (
            nn.Parameter(each, requires_grad=False) for each in (kernel, recurrent, bias)
        )

    def forward(self, x: Tensor) -> Tensor:
        units = len(self.recurrent)
        h, states = x.new_zeros((len(x), units)), []
        entering = x @ self.kernel + self.bias
        for step in entering.unbind(1):
            gates = step[:, : 2 * units] + h @ self.recurrent[:, : 2 * units]
            z, r = torch.sigmoid(gates).chunk(2, 1)
            n = torch.tanh(step[:, 2 * units :] + (r * h) @ self.recurrent[:, 2 * units :])
            h = z * h + (1 - z) * n
            states.append(h)
        return torch.stack(states, 1)


class _Rows(torch.autograd.Function):
    """The rows of numbers, rounded; a number has no slope, so that zeros go back, as where a layer is flat."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, table: Tensor) -> Tensor:
        ctx.shape = x.shape
        return table[x.round().clamp(0, len(table) - 1).long()]

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return gradients[0].new_zeros(ctx.shape), None


class RowEmbedding(nn.Module):
    """The row of ``weight`` (rows, features) of each number, the nearest that there is; adds the channel axis."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight, requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        numbers = x if x.ndim < 3 else x.movedim(1, -1)
        return _Rows.apply(numbers, self.weight).movedim(-1, 1)


def recurrent(layer: Layer, convert: Any) -> nn.Module:
    """The module of a recurrent kind. ``convert``: arrays to tensors of the twin's dtype."""
    a, weights = layer.attributes, layer.weights
    features, units = weights["kernel"].shape[0], weights["recurrent_kernel"].shape[0]
    zero = np.zeros(weights["kernel"].shape[1])
    bias, recurrent_bias = weights.get("bias", zero), weights.get("recurrent_bias", zero)
    if layer.kind == "gru" and not a["reset_after"]:
        arrays = (weights["kernel"], weights["recurrent_kernel"], bias)
        return Recurrent(ResetBeforeGRU(*map(convert, arrays)), a["reverse"], a["sequences"])
    inner: nn.RNNBase
    order: tuple[int, ...]
    if layer.kind == "lstm":
        inner, order = nn.LSTM(features, units, batch_first=True), (0, 1, 2, 3)
    elif layer.kind == "gru":
        # torch has the reset gate before the update gate.
        inner, order = nn.GRU(features, units, batch_first=True), (1, 0, 2)
    else:
        inner, order = nn.RNN(features, units, nonlinearity=a["activation"], batch_first=True), (0,)

    def rows(array: np.ndarray) -> np.ndarray:
        gates = np.split(array, len(order), axis=-1)
        return np.concatenate([gates[gate] for gate in order], axis=-1).T

    arrays_of = {
        "weight_ih_l0": weights["kernel"],
        "weight_hh_l0": weights["recurrent_kernel"],
        "bias_ih_l0": bias,
        "bias_hh_l0": recurrent_bias,
    }
    for name, array in arrays_of.items():
        setattr(inner, name, nn.Parameter(convert(rows(array)), requires_grad=False))
    return Recurrent(inner, a["reverse"], a["sequences"])


def embedding(layer: Layer, convert: Any) -> nn.Module:
    return RowEmbedding(convert(layer.weights["kernel"]))
