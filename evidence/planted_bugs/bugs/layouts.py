"""Axes and channels in another order."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from harness.graph import Layer
from harness.methods import Rule

from .planting import after, finished, formula, mutant, rebuilt
from .sites import Where, both, convolutions, inner, ordinary, spread_out, square

AXES = "report on LRP for MaskDINO; guide from iNNvestigate to Zennit: NHWC against NCHW, (T, B, C) against (B, T, C)"
FLATTEN = Where(("flatten",), having=spread_out)


def transposed(module: nn.Module, x: Tensor, relevance: Tensor) -> Tensor:
    return relevance.transpose(2, 3).contiguous()


def channels_reversed(module: nn.Module, x: Tensor, relevance: Tensor) -> Tensor:
    return relevance.flip(1)


def mirrored(module: nn.Module, x: Tensor, relevance: Tensor) -> Tensor:
    return relevance.flip(2)


def batch_for_time(module: nn.Module, x: Tensor, relevance: Tensor) -> Tensor:
    """(batch, channel, time) with batch and time exchanged."""
    return relevance.transpose(0, 2).contiguous()


class Flatten(nn.Module):
    """``channels_last``: in the order of a channels-last framework, else in torch's own."""

    def __init__(self, channels_last: bool) -> None:
        super().__init__()
        self.channels_last = channels_last

    def forward(self, x: Tensor) -> Tensor:
        return (x.movedim(1, -1) if self.channels_last else x).flatten(1)


def flattened_otherwise(module: nn.Module, layer: Layer) -> nn.Module:
    return Flatten(channels_last=layer.attributes["order"] == "channels_first")


def unflattened_otherwise(rule: Rule, module: nn.Module, x: Tensor, relevance: Tensor) -> Tensor:
    """The relevance of a flattened layer put back in the other order."""
    places = torch.arange(x[0].numel()).reshape(1, *x.shape[1:])
    channels_first = torch.equal(module.forward(places.to(x)).long(), places.flatten(1))
    if channels_first:
        space = (*x.shape[2:], x.shape[1])
        return relevance.reshape(len(x), *space).movedim(-1, 1).contiguous()
    return relevance.reshape(x.shape)


MUTANTS = (
    mutant(
        "height-and-width-exchanged",
        "what one convolution hands on is transposed",
        after(convolutions("middle", both(square, inner)), "layout", transposed),
        methods=("lrp.epsilon",),
        models=("digits-cnn", "fer-xception", "vgg16-mri", "efficientnet-lite0"),
        source=AXES,
    ),
    mutant(
        "channels-reversed-at-one-layer",
        "the channels of what one convolution hands on are in reverse order",
        after(convolutions("last", both(inner, ordinary)), "layout", channels_reversed),
        methods=("lrp.alpha_1_beta_0",),
        models=("digits-cnn", "ecg-cnn1d", "vgg16-mri"),
        source=AXES,
    ),
    mutant(
        "mirrored-at-one-layer",
        "what one convolution hands on is upside down, or backwards in time",
        after(convolutions("middle", both(inner, ordinary)), "layout", mirrored),
        methods=("lrp.epsilon",),
        models=("digits-cnn", "ecg-cnn1d", "vgg16-mri"),
        source=AXES,
    ),
    mutant(
        "batch-and-tokens-exchanged",
        "relevance (T, B, C) taken for (B, T, C), with as many tokens as samples",
        after(Where(("dense",), "middle"), "layout", batch_for_time, "batch-coupling"),
        methods=("lrp.epsilon",),
        models=("tokens-net",),
        source="report on LRP for MaskDINO: shape mismatch in the decoder",
        hard=True,
    ),
    mutant(
        "attribution-transposed",
        "height and width of the attribution are exchanged",
        finished("layout", lambda attribution, x: attribution.swapaxes(1, 2).copy()),
        methods=("gradient", "lrp.epsilon"),
        models=("digits-cnn", "fer-xception", "vgg16-mri"),
        source=AXES,
    ),
    mutant(
        "attribution-channels-reversed",
        "the attribution's channels are in reverse order",
        finished("layout", lambda attribution, x: attribution[..., ::-1].copy()),
        methods=("lrp.epsilon",),
        models=("ecg-cnn1d", "efficientnet-lite0", "vgg16-mri", "slopes-net"),
        source="caffe-style preprocessing undone once too often",
    ),
    mutant(
        "flattened-in-the-other-order",
        "NHWC flattened as NCHW, or the other way round, in front of the same dense weights",
        rebuilt(FLATTEN, "flatten-order", flattened_otherwise),
        methods=("gradient", "lrp.epsilon"),
        models=("digits-cnn", "vgg16-mri", "slopes-net", "groups-net"),
        source="usual slip; guide from iNNvestigate to Zennit: memory layout",
        hard=True,
    ),
    mutant(
        "unflattened-in-the-other-order",
        "the forward pass is right; the relevance is put back in the other order",
        formula(FLATTEN, "flatten-order", unflattened_otherwise, "layout"),
        methods=("lrp.epsilon",),
        models=("digits-cnn", "vgg16-mri", "slopes-net", "groups-net", "tokens-net"),
        source="DLBacktrace chronicle: calculate_wt_rshp",
        hard=True,
    ),
)
