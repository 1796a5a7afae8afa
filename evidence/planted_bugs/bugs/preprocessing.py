"""The network is given another input than the one that is explained."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from .planting import Plant, mutant, rebuilt
from .sites import readers_of_the_input, source

INPUTS = "guide from iNNvestigate to Zennit: input processing"
IMAGES = ("efficientnet-lite0", "vgg16-mri", "slopes-net")


class Prepared(nn.Module):
    """Stands for the input: what the network sees of it."""

    def __init__(self, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.change = change

    def forward(self, x: Tensor) -> Tensor:
        return self.change(x)


def prepared(change: Callable[[Tensor], Tensor]) -> Plant:
    replacement = Prepared(change)
    return rebuilt(source, "preprocessing", lambda module, layer: replacement, or_site=readers_of_the_input)


def standardised(x: Tensor) -> Tensor:
    """ImageNet's means and deviations, for as many channels as there are."""
    mean, deviation = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    shape = (1, -1, *(1,) * (x.ndim - 2))
    return (x - x.new_tensor(mean).reshape(shape)) / x.new_tensor(deviation).reshape(shape)


def in_half_range(x: Tensor) -> Tensor:
    """(x - 0.5) * 2"""
    return (x - 0.5) * 2


MUTANTS = (
    mutant(
        "channels-of-the-input-reversed",
        "the network is given BGR for RGB",
        prepared(lambda x: x.flip(1)),
        methods=("gradient", "lrp.epsilon"),
        models=("ecg-cnn1d", *IMAGES),
        source=INPUTS,
    ),
    mutant(
        "divided-by-255-again",
        "the input is divided by 255 once too often",
        prepared(lambda x: x / 255),
        methods=("gradient",),
        models=("digits-cnn", "fer-xception", *IMAGES),
        source=INPUTS,
    ),
    mutant(
        "standardised-for-another-network",
        "the input has ImageNet's means taken off and is divided by its deviations",
        prepared(standardised),
        methods=("gradient", "lrp.epsilon"),
        models=IMAGES,
        source="notebook of rodrigobdz/lrp: norm.ImageNetNorm; guide from iNNvestigate to Zennit",
    ),
    mutant(
        "moved-to-another-range",
        "the input is moved from [0, 1] to [-1, 1]",
        prepared(in_half_range),
        methods=("gradient",),
        models=("digits-cnn", "vgg16-mri"),
        source=INPUTS,
    ),
)
