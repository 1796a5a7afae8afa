"""What torch networks use beside stock layers: cuts, shuffles, paddings, norms, gates, windows that do not divide."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.errors import UnsupportedLayerError
from ported_models import load_model
from ported_models.sources.torch_source import from_module, read_module
from tests.models.torch_checks import Function, check

MODULES = [
    nn.Hardswish(),
    nn.Hardsigmoid(),
    nn.Hardtanh(-0.5, 0.25),
    nn.Mish(),
    nn.PReLU(),
    nn.PReLU(4),
    nn.GroupNorm(2, 4),
    nn.GroupNorm(1, 4, affine=False),
    nn.InstanceNorm2d(4, affine=True),
    nn.InstanceNorm2d(4, track_running_stats=True),
    nn.AvgPool2d(2, ceil_mode=True),
    nn.AvgPool2d(3, 2, 1, ceil_mode=True),
    nn.AvgPool2d(3, 3, 1, ceil_mode=True, count_include_pad=False),
    nn.AdaptiveAvgPool2d((4, 2)),
    nn.AdaptiveAvgPool2d((10, 12)),
    nn.AdaptiveAvgPool2d((14, 9)),
    nn.AdaptiveMaxPool2d((4, 4)),
    nn.AdaptiveMaxPool2d((5, 1)),
    nn.AdaptiveAvgPool2d((1, 4)),
    nn.LeakyReLU(-0.25),
    nn.CELU(0.7),
    nn.GLU(1),
    nn.Sequential(nn.Flatten(2), nn.AdaptiveMaxPool1d(40)),
    nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect"),
    nn.Conv2d(4, 6, (3, 5), padding=(1, 2), padding_mode="replicate", groups=2),
    nn.Conv2d(4, 6, (2, 3), padding="same", padding_mode="circular"),
    nn.ConstantPad2d((1, 0, 2, 1), 0.75),
    nn.ReflectionPad2d((2, 1, 0, 3)),
    nn.ReplicationPad2d(2),
    nn.CircularPad2d((1, 2, 3, 0)),
    nn.ZeroPad2d((-1, 2, 1, -2)),
    nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
    nn.Upsample(size=(10, 11), mode="bilinear"),
    nn.Upsample(size=(3, 20), mode="nearest"),
    nn.Upsample(scale_factor=(1.5, 2.0), mode="bicubic"),
    nn.ChannelShuffle(2),
    nn.PixelShuffle(2),
    nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.PixelUnshuffle(2)),
    nn.Sequential(nn.Flatten(1), nn.Unflatten(1, (2, -1, 9))),
]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: str(module).replace("\n", ""))
def test_a_module_computes_what_it_computes(module: nn.Module) -> None:
    check(module, 4, 7, 9)


@pytest.mark.parametrize(
    "module",
    [
        nn.Conv3d(2, 3, (3, 2, 1), stride=(1, 2, 1), padding=(1, 0, 0)),
        nn.BatchNorm3d(2),
        nn.MaxPool3d(2, ceil_mode=True),
        nn.AvgPool3d(2),
        nn.AdaptiveAvgPool3d((2, 3, 2)),
        nn.AdaptiveAvgPool3d(1),
        nn.InstanceNorm3d(2),
        nn.ReplicationPad3d(1),
    ],
    ids=str,
)
def test_a_module_of_three_spatial_axes_computes_what_it_computes(module: nn.Module) -> None:
    check(module, 2, 5, 4, 6)


def shuffled(x: Tensor) -> Tensor:
    """ShuffleNet's own: two groups of channels interleaved."""
    batch, channels, height, width = x.shape
    return (
        x.view(batch, 2, channels // 2, height, width)
        .transpose(1, 2)
        .contiguous()
        .view(batch, -1, height, width)
    )


def gated(x: Tensor) -> Tensor:
    """Efficient channel attention: a gate of (batch, channel) is shaped and repeated over the places."""
    y = x.mean((2, 3)).view(x.shape[0], 1, -1)
    return x * y.sigmoid().view(x.shape[0], -1, 1, 1).expand_as(x)


def radix(x: Tensor) -> Tensor:
    """Split attention (ResNeSt): two branches side by side, summed, and weighted by a softmax over both."""
    branches = x.reshape(x.shape[0], 2, 2, x.shape[2], x.shape[3])
    weights = (
        branches.sum(dim=1).mean((2, 3), keepdim=True).repeat(1, 2, 1, 1).view(-1, 1, 2, 2).transpose(1, 2)
    )
    return (branches * F.softmax(weights, dim=1).reshape(x.shape[0], 2, 2, 1, 1)).sum(dim=1)


def with_a_constant(x: Tensor) -> Tensor:
    ones = torch.ones(1, 1, 7, 9, dtype=x.dtype, device=x.device)
    return torch.cat([ones.expand(x.shape[0], -1, -1, -1), x], 1)


def looped(x: Tensor) -> Tensor:
    """Branches and loops on shapes: it is read as it is for the example's."""
    if x.shape[-1] > 8 and x.ndim == 4:
        x = x[..., : int(x.size(3) * 0.5)]
    for place in range(x.shape[1]):
        x = x + x[:, place : place + 1]
    return x.flatten(x.dim() - 2)


FUNCTIONS: dict[str, Any] = {
    "a gated linear unit of three axes": lambda x: F.glu(x.flatten(1, 2)[..., :8]),
    "unit vectors of channels": lambda x: F.normalize(x.relu()),
    "unit vectors of features": lambda x: F.normalize(x.flatten(2), dim=-1),
    "a mean over features": lambda x: x.flatten(1) - x.flatten(1).mean(1, keepdim=True),
    "a resize with antialias": lambda x: F.interpolate(x, size=(3, 5), mode="bilinear", antialias=True),
    "a bicubic resize with antialias": lambda x: F.interpolate(
        x, size=(4, 9), mode="bicubic", antialias=True
    ),
    "chunks": lambda x: torch.cat(
        [part.tanh() * place for place, part in enumerate(x.chunk(3, dim=2), 1)], 2
    ),
    "uneven chunks": lambda x: torch.cat(x.chunk(3, 1)[::-1], 1),
    "split": lambda x: torch.cat([part.relu() for part in torch.split(x, 3, dim=1)][::-1], dim=1),
    "split by sections": lambda x: torch.cat(x.split([1, 2, 1], 1)[1:], 1),
    "unbind": lambda x: sum(x.unbind(1)),
    "slices": lambda x: x[:, :2] + x[:, 2:] * x[:, -1:],
    "steps": lambda x: x[..., ::2, 1::3],
    "a number": lambda x: x[:, 1].flatten(1) + x[:, :, -1, 2:3].mean(1),
    "a list": lambda x: x[:, [3, 0, 0]],
    "new axes": lambda x: (x[:, None] + x[:, :, None, 0:1][:, None, :, 0]).flatten(1, 2),
    "select and narrow": lambda x: x.select(1, 2)[:, None] + x.narrow(1, 1, 2),
    "flip and roll": lambda x: x.flip(3) + x.roll(2, 1) + torch.roll(x, (1, -2), (2, 3)),
    "a channel shuffle": shuffled,
    "a repeated gate": gated,
    "split attention": radix,
    "spatial attention": lambda x: (
        x * torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1).mean(1, True)
    ),
    "a mean over rows": lambda x: x.mean(2),
    "a mean over everything": lambda x: x.mean((1, 2, 3), keepdim=True) + x,
    "a sum over places": lambda x: x.sum((2, 3)),
    "a sum over channels, kept": lambda x: x.sum(1, keepdim=True) * x,
    "stack": lambda x: torch.stack([x, x.tanh()], dim=1).sum(1),
    "stack at the end": lambda x: torch.stack([x, -x], dim=-1).flatten(3),
    "a difference": lambda x: x.tanh() - x.sigmoid() * x,
    "a square": lambda x: x**2 + x.pow(2) - torch.square(x) * 0.5,
    "clipped": lambda x: x.clamp(-0.5, 0.7) + torch.clamp(x, max=0.2),
    "reflected": lambda x: F.pad(x, (1, 2, 3, 0), mode="reflect"),
    "padded channels": lambda x: F.pad(x, (0, 0, 0, 0, 1, 2)),
    "a crop by a negative pad": lambda x: F.pad(x, (-1, -1, -2, 0)),
    "a module made in forward": lambda x: nn.Hardswish()(nn.ReLU()(x)),
    "functions": lambda x: (
        F.hardswish(x) + F.hardsigmoid(x) + F.mish(x) + F.group_norm(x, 2) + F.instance_norm(x)
    ),
    "a constant a place": lambda x: x + torch.arange(63.0, dtype=x.dtype).view(1, 1, 7, 9) / 63,
    "a constant in front": with_a_constant,
    "a scale that broadcasts rows": lambda x: x * torch.arange(7.0, dtype=x.dtype).view(7, 1),
    "loops on shapes": looped,
    "views by name": lambda x: x.permute(dims=(0, 2, 3, 1)).reshape(shape=(x.shape[0], -1)),
    "interpolated to a size": lambda x: F.interpolate(F.max_pool2d(x, 3), size=x.shape[-2:], mode="nearest"),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_computes_what_it_computes(name: str) -> None:
    check(Function(FUNCTIONS[name]), 4, 7, 9)


def test_a_layer_scale_and_a_drop_path_are_a_scale_and_nothing() -> None:
    class DropPath(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if not self.training:
                return x
            return x * torch.rand(x.shape[0], 1, 1, 1)

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mix, self.drop = nn.Conv2d(4, 4, 1), DropPath()
            self.gamma = nn.Parameter(torch.ones(4))

        def forward(self, x: Tensor) -> Tensor:
            return x + self.drop(self.mix(x) * self.gamma.view(1, -1, 1, 1))

    check(Block(), 4, 7, 9)
    kinds = [layer.kind for layer in from_module(Block().eval(), torch.zeros(1, 4, 7, 9)).layers]
    assert kinds == ["input", "conv2d", "scale", "add"]


def test_adaptive_windows_are_those_of_torch() -> None:
    """7 values in 4 windows: 0-1, 1-3, 3-5, 5-6; each is averaged, so no relevance method meets another kind."""
    graph = read_module(nn.AdaptiveAvgPool1d(4), torch.zeros(1, 1, 7)).graph
    taken = [layer.attributes["indices"] for layer in graph if layer.kind == "take"]
    assert taken == [(0, 1), (1, 2, 3), (3, 4, 5), (5, 6)]
    assert {layer.kind for layer in graph} == {"input", "take", "average_pool1d", "concat"}


def test_windows_that_stand_evenly_are_one_pool() -> None:
    """AlexNet's 13 values in 6 windows of 3, 2 apart from one another: 0, 2, 4, 6, 8, 10."""
    graph = read_module(nn.AdaptiveAvgPool1d(6), torch.zeros(1, 1, 13)).graph
    (pool,) = [layer for layer in graph if layer.kind != "input"]
    assert (pool.attributes["pool_size"], pool.attributes["strides"]) == ((3,), (2,))
    assert all(after - before == 2 for before, after in pairwise([place * 13 // 6 for place in range(6)]))


def test_a_padding_of_another_mode_leaves_the_convolution_its_name() -> None:
    module = nn.Sequential(nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect"))
    layers = from_module(module, torch.zeros(1, 4, 7, 9)).layers
    assert [(layer.name, layer.kind) for layer in layers if layer.kind == "conv2d"] == [("0", "conv2d")]
    assert np.isfinite(layers[-1].weights["kernel"]).all()


def test_what_chunks_show_is_not_read_after_a_change_in_place() -> None:
    """`relu_` changes what both halves show: reading the halves afterwards would be silently wrong."""

    def forward(x: Tensor) -> Tensor:
        y = x.tanh()
        halves = y.chunk(2, 1)
        y.relu_()
        return halves[0] + halves[1]

    with pytest.raises(UnsupportedLayerError, match="works in place on memory"):
        from_module(Function(forward), torch.zeros(1, 4, 7, 9))


REFUSED = {
    "a norm": (Function(lambda x: x.norm(dim=(2, 3))), r"'norm' \(norm\) is not supported"),
    "a choice of samples": (Function(lambda x: x[:1]), "the batch axis"),
    "an empty slice": (Function(lambda x: x[:, 4:]), "an empty result"),
    "a sum over the batch": (Function(lambda x: x.sum()), "axes without the batch"),
    "limits that are computed": (Function(lambda x: torch.clamp(x, min=x)), "limits that are tensors"),
    "a third power": (Function(lambda x: x**3), "exponent 3"),
    "a constant between": (
        Function(lambda x: torch.cat([x, torch.ones(2, 1, 7, 9), x], 1)),
        "a constant between two tensors",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_graph_cannot_express_is_an_error_that_names_it(name: str) -> None:
    module, message = REFUSED[name]
    with pytest.raises(UnsupportedLayerError, match=message):
        from_module(module.eval(), torch.zeros(2, 4, 7, 9))


class _Addcmul(nn.Module):
    """``torch.addcmul`` is no operation that is read; torch's exporter writes it as a product and a sum."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.a(x)
        return torch.addcmul(y, y, y)


def test_the_advice_to_export_is_given_where_the_file_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, example = _Addcmul().eval(), torch.ones(1, 4)
    with pytest.raises(
        UnsupportedLayerError, match="is not supported; replace it; or export it with"
    ) as caught:
        load_model(module, example=example)
    monkeypatch.chdir(tmp_path)
    (advice,) = re.findall(r"torch\.onnx\.export\(.*?False\)", str(caught.value))
    eval(advice, {"torch": torch, "module": module, "example": example})
    assert [layer.kind for layer in load_model(tmp_path / "model.onnx").layers][:3] == [
        "input",
        "dense",
        "multiply",
    ]


@pytest.mark.parametrize("function", [nn.functional.softsign, torch.logaddexp2, lambda x: torch.sort(x)[0]])
def test_the_advice_to_export_is_not_given_where_it_leads_into_another_refusal(function: Any) -> None:
    class Net(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return function(x, x) if function is torch.logaddexp2 else function(x)

    net = Net()
    before = dict(vars(net))
    with pytest.raises(UnsupportedLayerError) as caught:
        load_model(net, example=torch.ones(1, 4))
    assert "export" not in str(caught.value)
    assert vars(net) == before


def test_a_slope_below_zero_is_a_prelu_in_both_twins() -> None:
    """Keras' leaky ReLU takes none below zero, and a trained PReLU of one weight may have one."""
    module = nn.Sequential(nn.Linear(3, 4), nn.LeakyReLU(-0.25), nn.Linear(4, 2), nn.PReLU(init=-0.5))
    model = load_model(module, example=torch.zeros(1, 3))
    assert [layer.kind for layer in model.graph][1:] == ["dense", "prelu", "dense", "prelu"]


def test_a_cell_state_that_is_read_is_refused_by_name() -> None:
    module = Function(lambda x, lstm: lstm(x)[1][1][0], lstm=nn.LSTM(3, 4, batch_first=True))
    with pytest.raises(UnsupportedLayerError, match=r"layer 'lstm' \(LSTM\) has its last cell states read"):
        load_model(module, example=torch.zeros(1, 5, 3))


def test_the_advice_to_export_is_not_given_where_the_file_is_another_network() -> None:
    """Torch's exporter leaves out the divisor of an average pool."""
    module = nn.Sequential(nn.AvgPool2d(2, divisor_override=5), nn.Flatten(), nn.Linear(8, 2))
    with pytest.raises(UnsupportedLayerError, match="divisor_override=5") as refused:
        load_model(module, example=torch.zeros(1, 2, 4, 4))
    assert "torch.onnx.export" not in str(refused.value)


def test_an_export_that_fails_writes_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    """Torch's exporter writes its whole graph past Python."""
    with pytest.raises(UnsupportedLayerError, match="FractionalMaxPool2d"):
        load_model(nn.Sequential(nn.FractionalMaxPool2d(2, output_size=3)), example=torch.zeros(1, 2, 8, 8))
    assert "graph" not in "".join(capfd.readouterr())
