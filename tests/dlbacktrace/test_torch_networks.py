"""Torch networks with each kind of layer that DLBacktrace has a reading for: both sides, both dtypes, both modes."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import harness
from harness.errors import InvalidInputError
from ported_models.model import PortedModel

pytestmark = pytest.mark.thinned(0.3)


class Net(nn.Module):
    """``body`` of the input and ``parts``, flattened, and three outputs."""

    def __init__(self, features: int, body: Callable[..., Tensor], *parts: nn.Module) -> None:
        super().__init__()
        self.parts, self.body = nn.ModuleList(parts), body
        self.logits = nn.Linear(features, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.logits(self.body(x, *self.parts).flatten(1))
        return logits


def conv(channels: int) -> nn.Conv2d:
    return nn.Conv2d(2, channels, 3, padding=1)


def picture(*shape: int) -> Tensor:
    return torch.randn(2, *shape)


#: By what is looked at, the network and an example.
NETWORKS: dict[str, Callable[[], tuple[Net, Tensor]]] = {
    "embedding, mean over steps": lambda: (
        Net(5, lambda x, embed: embed(x).mean(1), nn.Embedding(7, 5)),
        torch.randint(0, 7, (2, 6)),
    ),
    "lstm": lambda: (
        Net(24, lambda x, lstm: lstm(x)[0], nn.LSTM(4, 4, batch_first=True)),
        torch.randn(2, 6, 4),
    ),
    "slice": lambda: (Net(4 * 3 * 6, lambda x, c: torch.relu(c(x))[:, :, 1:4], conv(4)), picture(2, 6, 6)),
    "transpose": lambda: (
        Net(
            40, lambda x, one, two: two(torch.relu(one(x)).transpose(1, 2)), nn.Linear(4, 5), nn.Linear(6, 8)
        ),
        torch.randn(2, 6, 4),
    ),
    "gelu, dropout, layer norm": lambda: (
        Net(
            48,
            lambda x, norm, up, gelu, drop: drop(gelu(up(norm(x)))),
            nn.LayerNorm(4),
            nn.Linear(4, 8),
            nn.GELU(),
            nn.Dropout(),
        ),
        torch.randn(2, 6, 4),
    ),
    "multiply": lambda: (
        Net(4 * 36, lambda x, one, two: one(x) * torch.sigmoid(two(x)), conv(4), conv(4)),
        picture(2, 6, 6),
    ),
    "transposed convolutions": lambda: (
        Net(
            3 * 11,
            lambda x, one, two: two(torch.relu(one(x)).mean(2)),
            nn.ConvTranspose2d(2, 4, 3, stride=2, padding=1, output_padding=1),
            nn.ConvTranspose1d(4, 3, 2),
        ),
        picture(2, 5, 5),
    ),
    "adaptive pooling": lambda: (
        Net(
            4 * 4 + 4,
            lambda x, c, average, largest: torch.cat(
                [average(torch.relu(c(x))).flatten(1), largest(c(x)).flatten(1)], 1
            ),
            conv(4),
            nn.AdaptiveAvgPool2d((2, 2)),
            nn.AdaptiveMaxPool2d(1),
        ),
        picture(2, 6, 6),
    ),
}
#: Kinds that each must hold, so that none is tested by its name alone.
KINDS = {
    "embedding, mean over steps": {"embedding", "global_average_pool"},
    "lstm": {"lstm"},
    "slice": {"take"},
    "transpose": {"permute"},
    "gelu, dropout, layer norm": {"gelu", "dropout", "layer_norm"},
    "multiply": {"multiply"},
    "transposed convolutions": {"conv_transpose2d", "conv_transpose1d"},
    "adaptive pooling": {"average_pool2d", "global_max_pool"},
}


@cache
def network(name: str) -> tuple[PortedModel, np.ndarray]:
    torch.manual_seed(19)
    module, example = NETWORKS[name]()
    axes = ("batch", "time", "feature") if example.dim() == 3 else None
    model = harness.load_model(module.eval(), name="net", example=example, axes=axes)
    return model, np.asarray(example) if example.dim() < 4 else np.moveaxis(np.asarray(example), 1, -1)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("mode", ["backtrace.default", "backtrace.contrast"])
@pytest.mark.parametrize("name", NETWORKS)
def test_both_sides_are_equivalent_at_every_layer(name: str, mode: str, dtype: str) -> None:
    model, x = network(name)
    assert KINDS[name] <= {layer.kind for layer in model.graph}
    if name == "lstm" and "contrast" in mode:
        with pytest.raises(InvalidInputError, match=r"no rule for layer '\w+' \(lstm\)"):
            harness.explain(model, x, mode, dtype=dtype)
        return
    reference = harness.explain(model, x, mode, dtype=dtype)
    candidate = harness.explain(
        model, x, mode, backend="backtrace-torch", target=reference.target, dtype=dtype
    )
    compared = harness.compare(reference, candidate)
    assert compared.passed, compared.table[["layer", "verdict", "floors"]]
    assert len(compared.table) == len(model.graph)
    assert np.abs(reference.attribution).max() > 0
