"""Pooling layers, batch norm, groups of channels."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.graph import AVERAGE_POOLING_KINDS
from harness.methods import BatchNormReverse, Epsilon, FusedBatchNorm, Rule, Z
from ported_impls.torchvision_shim import zennit

from .arithmetic import nonzero, per_channel, sign
from .formulas import EPSILON
from .planting import after, exchange, formula, mutant
from .sites import Where

MAX_POOL = Where(("max_pool2d",), "first")
LAST_MAX_POOL = Where(("max_pool2d",), "last")
WITH_BATCH_NORM = ("digits-cnn", "ecg-cnn1d", "fer-xception", "efficientnet-lite0", "branches-net")


def windows(module: nn.Module, x: Tensor) -> Tensor:
    """The values under each window of a two-dimensional pooling, (batch, channel, *out, height, width)."""
    size, stride = pair(module.kernel_size), pair(module.stride)
    pads = getattr(module, "explicit_padding", None)
    if pads is None:
        height, width = pair(module.padding)
        pads = (width, width, height, height)
    padded = F.pad(x, pads, value=-math.inf)
    return padded.unfold(2, size[0], stride[0]).unfold(3, size[1], stride[1])


def pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value


def by_shares(module: nn.Module, x: Tensor, relevance: Tensor, shares: object) -> Tensor:
    """Each window's relevance times what ``shares`` makes of its values."""
    with torch.enable_grad():
        seen = x.detach().requires_grad_()
        values = windows(module, seen)
        weights = shares(values.detach())  # type: ignore[operator]
        (gradient,) = torch.autograd.grad(values, seen, weights * relevance[..., None, None])
    return gradient


def largest(values: Tensor) -> Tensor:
    """1 where a value is the largest of its window, else 0."""
    return (values == values.amax(dim=(-2, -1), keepdim=True)).to(values)


def shared_by_ties(rule: Rule, module: nn.Module, x: Tensor, relevance: Tensor) -> Tensor:
    def shares(values: Tensor) -> Tensor:
        ties = largest(values)
        return ties / ties.sum(dim=(-2, -1), keepdim=True)

    return by_shares(module, x, relevance, shares)


def whole_to_each_tie(rule: Rule, module: nn.Module, x: Tensor, relevance: Tensor) -> Tensor:
    return by_shares(module, x, relevance, largest)


def last_tie(rule: Rule, module: nn.Module, x: Tensor, relevance: Tensor) -> Tensor:
    """The last of the largest takes all."""

    def shares(values: Tensor) -> Tensor:
        flat = largest(values).flatten(-2)
        place = flat.shape[-1] - 1 - flat.flip(-1).argmax(dim=-1, keepdim=True)
        return torch.zeros_like(flat).scatter(-1, place, 1.0).reshape(values.shape)

    return by_shares(module, x, relevance, shares)


def like_an_average(rule: Rule, module: nn.Module, x: Tensor, relevance: Tensor) -> Tensor:
    """Every value under a window the same."""

    def shares(values: Tensor) -> Tensor:
        inside = (values > -math.inf).to(values)
        return inside / inside.sum(dim=(-2, -1), keepdim=True)

    return by_shares(module, x, relevance, shares)


def in_proportion(rule: Rule, module: nn.Module, x: Tensor, relevance: Tensor) -> Tensor:
    """By value, as relevance is shared out at an average pooling."""

    def shares(values: Tensor) -> Tensor:
        values = values.clamp(min=0)
        return values / nonzero(values.sum(dim=(-2, -1), keepdim=True))

    return by_shares(module, x, relevance, shares)


def counting_padding(rule: Rule, module: nn.Module, x: Tensor, relevance: Tensor) -> Tensor:
    """The gradient of an average that divides by the size of the window everywhere."""
    size = pair(module.kernel_size)

    def shares(values: Tensor) -> Tensor:
        return torch.full_like(values, 1 / (size[0] * size[1]))

    return by_shares(module, x, relevance, shares)


def equal_shares(healthy: object, layer: object, rule: object) -> None:
    """The gradient of the average."""
    return None


def unchanged(healthy: object, layer: object, rule: object) -> object:
    return zennit.rules.Pass()


def line(module: nn.Module) -> tuple[Tensor, Tensor]:
    """What a batch norm computes: ``factor * x + term``."""
    factor = module.weight / torch.sqrt(module.running_var + module.eps)
    return factor, module.bias - factor * module.running_mean


def of_the_line(rule: Rule, module: nn.Module, x: Tensor, relevance: Tensor) -> Tensor:
    """The rule inside ``rule`` on the line that the layer computes, variance not squared."""
    factor, term = (per_channel(each, x) for each in line(module))
    z = factor * x + term
    inner = rule.rule  # type: ignore[union-attr]
    by = z + inner.epsilon * sign(z) if isinstance(inner, Epsilon) else nonzero(z)
    return factor * x * relevance / by


def without_gamma(rule: Rule, module: nn.Module, x: Tensor, relevance: Tensor) -> Tensor:
    """iNNvestigate's one line, with 1 for gamma."""
    deviation = torch.sqrt(module.running_var**2 + module.eps)
    factor, term = 1 / deviation, module.bias - module.running_mean / deviation
    z = per_channel(factor, x) * x + per_channel(term, x)
    return per_channel(factor, x) * x * relevance / (z + EPSILON * sign(z))


def with_beta(rule: Rule, module: nn.Module, x: Tensor, relevance: Tensor) -> Tensor:
    """signxai's reverse rule with ``y`` for ``y - beta``."""
    y = module.forward(x)
    z = (x - per_channel(module.running_mean, x)) * y
    return x * y * relevance / (z + EPSILON * sign(z))


def times_groups(module: nn.Module, x: Tensor, relevance: Tensor) -> Tensor:
    return relevance * module.groups


FUSED = Where(("batch_norm",), ruled=(FusedBatchNorm,))
REVERSED = Where(("batch_norm",), ruled=(BatchNormReverse,))
AVERAGE = Where(AVERAGE_POOLING_KINDS, "all", (Z,))
TIES = "usual slip; reduce_max of TensorFlow shares ties, max_pool does not"

MUTANTS = (
    mutant(
        "max-pooling-shares-ties",
        "equal maxima share the relevance, which the first of them should have",
        formula(MAX_POOL, "pooling", shared_by_ties),
        methods=("lrp.flat",),
        models=("digits-cnn", "groups-net", "vgg16-mri"),
        source=TIES,
        hard=True,
    ),
    mutant(
        "max-pooling-gives-each-tie-all",
        "equal maxima have the whole relevance each",
        formula(MAX_POOL, "pooling", whole_to_each_tie),
        methods=("lrp.flat",),
        models=("digits-cnn", "groups-net", "vgg16-mri"),
        source="x == maxpool(x) as a mask",
        hard=True,
    ),
    mutant(
        "max-pooling-takes-the-last-tie",
        "the last of equal maxima has the relevance",
        formula(MAX_POOL, "pooling", last_tie),
        methods=("lrp.flat",),
        models=("digits-cnn", "groups-net"),
        source="argmax of another library",
        hard=True,
    ),
    mutant(
        "max-pooling-like-an-average",
        "all values under a window have the same share",
        formula(LAST_MAX_POOL, "pooling", like_an_average),
        methods=("lrp.epsilon",),
        models=("digits-cnn", "fer-xception", "vgg16-mri", "groups-net"),
        source="DLBacktrace chronicle: calculate_wt_maxpool",
    ),
    mutant(
        "max-pooling-in-proportion",
        "the values under a window share in proportion to themselves",
        formula(LAST_MAX_POOL, "pooling", in_proportion),
        methods=("lrp.epsilon",),
        models=("digits-cnn", "vgg16-mri", "groups-net"),
        source="max pooling handled by the rule of average pooling",
    ),
    mutant(
        "average-pooling-shares-alike",
        "an average pooling gives all values the same, whatever they contribute",
        exchange(AVERAGE, "pooling", equal_shares),
        methods=("lrp.epsilon",),
        models=("digits-cnn", "ecg-cnn1d", "fer-xception", "efficientnet-lite0", "branches-net"),
        source="innvestigate issue 180: AveragePoolingReverseLayer",
    ),
    mutant(
        "average-pooling-counts-padding-going-back",
        "the gradient of an average pooling is divided by the window's size at the border too",
        formula(Where(("average_pool2d",), "first"), "pooling", counting_padding),
        methods=("gradient",),
        models=("slopes-net",),
        source="usual slip",
        hard=True,
    ),
    mutant(
        "batch-norm-passes",
        "relevance goes through batch norm unchanged",
        exchange(FUSED, "batchnorm", unchanged),
        methods=("lrp.epsilon",),
        models=WITH_BATCH_NORM,
        source="innvestigate issue 118: let BatchNormalizationReverseLayer return Rs",
    ),
    mutant(
        "batch-norm-reverse-passes",
        "relevance goes through batch norm unchanged where signxai reverses it",
        exchange(REVERSED, "batchnorm", unchanged),
        methods=("lrp_epsilon_0_1",),
        models=WITH_BATCH_NORM,
        source="Zennit's composites pass batch norm when it is not merged",
    ),
    mutant(
        "batch-norm-as-it-computes",
        "the line that batch norm computes, where iNNvestigate squares the variance and leaves out a gamma",
        formula(FUSED, "batchnorm", of_the_line),
        methods=("lrp.epsilon", "lrp.z"),
        models=WITH_BATCH_NORM,
        source="merged batch norms; innvestigate 2.1.2 backend/graph.py",
        hard=True,
    ),
    mutant(
        "batch-norm-without-gamma",
        "gamma left out of the line that a rule is applied to",
        formula(FUSED, "batchnorm", without_gamma),
        methods=("lrp.epsilon",),
        models=("digits-cnn", "ecg-cnn1d", "branches-net"),
        source="innvestigate 2.1.2 leaves gamma out of one of its two places",
        hard=True,
    ),
    mutant(
        "batch-norm-reverse-with-beta",
        "beta is not taken off the output in signxai's reverse rule",
        formula(REVERSED, "batchnorm", with_beta),
        methods=("lrp_epsilon_0_1",),
        models=WITH_BATCH_NORM,
        source="guide from iNNvestigate to Zennit: different approaches to layer-wise propagation",
        hard=True,
    ),
    mutant(
        "batch-norm-gradient",
        "the plain gradient at batch norm",
        exchange(FUSED, "batchnorm", lambda healthy, layer, rule: None),
        methods=("lrp.z",),
        models=WITH_BATCH_NORM,
        source="hooks on convolutions and dense layers alone",
    ),
    mutant(
        "heads-not-divided",
        "each of eight groups of channels has the whole relevance: eight times too much",
        after(
            Where(("conv2d",), having=lambda layer, graph: layer.attributes["groups"] == 8),
            "head-normalisation",
            times_groups,
        ),
        methods=("lrp.epsilon", "lrp.alpha_1_beta_0"),
        models=("groups-net",),
        source="report on LRP for MaskDINO: splat_to_level without R / H_heads",
    ),
)
