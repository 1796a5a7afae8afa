"""Faults that are in no list: only ``unknown`` is right."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from harness.graph import Layer
from harness.methods import Epsilon, Rule

from .arithmetic import back, keep, run, sign
from .formulas import EPSILON
from .planting import after, finished, formula, mutant, rebuilt
from .sites import Where, both, convolutions, dense, inner, ordinary

INVENTED = "invented: nobody should find a name for it"
SITE = convolutions("middle", both(inner, ordinary))
MODELS = ("digits-cnn", "ecg-cnn1d", "vgg16-mri")


def waves(module: nn.Module, x: Tensor, relevance: Tensor) -> Tensor:
    """Multiplied by a smooth field between 0.5 and 1.5."""
    places = torch.arange(relevance[0].numel(), dtype=relevance.dtype).reshape(relevance.shape[1:])
    return relevance * (1 + 0.5 * torch.sin(0.37 * places))


def cubed(module: nn.Module, x: Tensor, relevance: Tensor) -> Tensor:
    """``R**3``"""
    return relevance**3


def with_mirror_image(module: nn.Module, x: Tensor, relevance: Tensor) -> Tensor:
    """0.7 of itself and 0.3 of its mirror image."""
    return 0.7 * relevance + 0.3 * relevance.flip(2)


def blurred(module: nn.Module, x: Tensor, relevance: Tensor) -> Tensor:
    """The mean of each value and its two neighbours along the first axis of space."""
    return (relevance + relevance.roll(1, 2) + relevance.roll(-1, 2)) / 3


def rotated_kernel(kernel: Tensor) -> Tensor:
    return torch.flip(kernel, dims=tuple(range(2, kernel.ndim)))


def back_through_another_kernel(rule: Rule, module: nn.Module, x: Tensor, relevance: Tensor) -> Tensor:
    """Half of the way back goes through the kernel turned round: correlation taken for convolution."""
    z = run(module, x)
    s = relevance / (z + EPSILON * sign(z))
    return x * (0.5 * back(module, x, s, keep) + 0.5 * back(module, x, s, rotated_kernel))


def bent(module: nn.Module, layer: Layer) -> nn.Module:
    """A dense layer with ``y + 0.05 y**2`` for its output."""
    forward = module.forward
    module.forward = lambda x: forward(x) + 0.05 * forward(x) ** 2
    return module


MUTANTS = (
    mutant(
        "relevance-times-waves",
        "what one convolution hands on is multiplied by a smooth field",
        after(SITE, "unknown", waves),
        methods=("lrp.epsilon",),
        models=(*MODELS, "slopes-net"),
        source=INVENTED,
        hard=True,
    ),
    mutant(
        "relevance-cubed",
        "what a dense layer hands on is cubed",
        after(dense("first"), "unknown", cubed),
        methods=("lrp.epsilon", "lrp.alpha_1_beta_0"),
        models=(*MODELS, "tokens-net"),
        source=INVENTED,
    ),
    mutant(
        "mixed-with-its-mirror-image",
        "what one convolution hands on is mixed with its mirror image",
        after(SITE, "unknown", with_mirror_image),
        methods=("lrp.epsilon",),
        models=(*MODELS, "slopes-net"),
        source=INVENTED,
        hard=True,
    ),
    mutant(
        "relevance-blurred",
        "what one convolution hands on is blurred",
        after(SITE, "unknown", blurred),
        methods=("lrp.epsilon",),
        models=(*MODELS, "slopes-net"),
        source=INVENTED,
    ),
    mutant(
        "back-through-two-kernels",
        "half of the relevance goes back through the kernel turned round",
        formula(
            convolutions("middle", both(inner, ordinary), (Epsilon,)), "unknown", back_through_another_kernel
        ),
        methods=("lrp.epsilon",),
        models=MODELS,
        source=INVENTED,
    ),
    mutant(
        "output-bent",
        "a dense layer's output has a little of its square added",
        rebuilt(Where(("dense",), "first"), "unknown", bent),
        methods=("gradient",),
        models=("digits-cnn", "ecg-cnn1d", "tokens-net"),
        source=INVENTED,
        hard=True,
    ),
    mutant(
        "attribution-smoothed",
        "the attribution is averaged with its neighbour",
        finished("unknown", lambda attribution, x: (attribution + np.roll(attribution, 1, axis=1)) / 2),
        methods=("lrp.epsilon",),
        models=("digits-cnn", "ecg-cnn1d", "vgg16-mri"),
        source=INVENTED,
    ),
)
