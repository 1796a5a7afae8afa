"""Formats of few digits, NaN, randomness."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from harness.graph import Layer
from harness.methods import Epsilon, Rule

from .arithmetic import back, changed, keep, run, sign
from .formulas import EPSILON, divided
from .planting import after, finished, formula, mutant, rebuilt
from .sites import Where, convolutions, dense, inner, kernels, readers_of_the_input, source

Round = Callable[[Tensor], Tensor]
FORMATS = "usual slip; guide from iNNvestigate to Zennit: numerical precision handling"


def through(dtype: torch.dtype, x: Tensor) -> Tensor:
    """Rounded to ``dtype`` and back."""
    return x.to(dtype).to(x.dtype)


half, brain = partial(through, torch.float16), partial(through, torch.bfloat16)


def tf32(x: Tensor) -> Tensor:
    """Rounded to the 10 bits of fraction that a tensor core keeps, ties away from zero."""
    bits = x.to(torch.float32).contiguous().view(torch.int32)
    return ((bits + 0x1000) & ~0x1FFF).view(torch.float32).to(x.dtype)


def rounded_operands(rule: Rule, module: nn.Module, x: Tensor, relevance: Tensor, to: Round) -> Tensor:
    """The epsilon rule whose two products take operands rounded by ``to``, and sum in full."""
    assert isinstance(rule, Epsilon)
    z = run(module, to(x), to)
    s = relevance / (z + rule.epsilon * sign(z))
    return x * back(module, x, to(s), to)


def all_in(rule: Rule, module: nn.Module, x: Tensor, relevance: Tensor, to: Round) -> Tensor:
    """The epsilon rule with every result rounded by ``to``."""
    assert isinstance(rule, Epsilon)
    x, relevance = to(x), to(relevance)
    z = to(run(module, x, to, to))
    s = to(relevance / to(z + rule.epsilon * sign(z)))
    return to(x * to(back(module, x, s, to)))


class _Instead(torch.autograd.Function):
    """``rounded`` for ``right``, which alone is gone back through."""

    @staticmethod
    def forward(ctx: Any, right: Tensor, rounded: Tensor) -> Tensor:
        return rounded.clone()

    @staticmethod
    def backward(ctx: Any, relevance: Tensor) -> tuple[Tensor, None]:
        return relevance, None


def rounded_going_forward(to: Round, result: Round, module: nn.Module, layer: Layer) -> nn.Module:
    """Operands rounded by ``to`` and the output by ``result``; the way back is the right one."""
    healthy = module.forward

    def forward(x: Tensor) -> Tensor:
        return _Instead.apply(healthy(x), result(_run_here(module, healthy, to, x)))

    module.forward = forward
    return module


def _run_here(module: nn.Module, forward: Callable[[Tensor], Tensor], to: Round, x: Tensor) -> Tensor:
    with torch.no_grad(), changed(module, to, keep):
        return forward(to(x))


def in_single(rule: Rule, module: nn.Module, x: Tensor, relevance: Tensor) -> Tensor:
    """The epsilon rule in float32 from beginning to end."""
    assert isinstance(rule, Epsilon)
    with changed(module, Tensor.float, Tensor.float):
        x32 = x.float()
        z = run(module, x32)
        s = relevance.float() / (z + rule.epsilon * sign(z))
        return (x32 * back(module, x32, s)).to(x.dtype)


def multiplied_and_divided(module: nn.Module, x: Tensor, relevance: Tensor) -> Tensor:
    """``R x / x``: 0/0 where the input is zero."""
    return relevance * x / x


def divided_by_row_sums(attribution: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Divided by the sum of each row of pixels: 0/0 where the whole row is zero."""
    with np.errstate(all="ignore"):
        return attribution / attribution.sum(axis=2, keepdims=True)


def with_blank_part(model: object) -> np.ndarray:
    """The first example with its first half (of height, or of time) set to zero."""
    x = next(iter(model.examples.values()))().copy()  # type: ignore[attr-defined]
    x[:, : x.shape[1] // 2] = 0
    return x


def torch_sign(z: Tensor) -> Tensor:
    return z + EPSILON * torch.sign(z)


def noisy(module: nn.Module, x: Tensor, relevance: Tensor) -> Tensor:
    return relevance * (1 + 1e-3 * torch.randn_like(relevance))


def trained(module: nn.Module, layer: Layer) -> nn.Module:
    return module.train()


def noisy_input(module: nn.Module, layer: Layer) -> nn.Module:
    return Noisy()


class Noisy(nn.Module):
    """An input with noise that nobody has seeded."""

    def forward(self, x: Tensor) -> Tensor:
        return x + 1e-3 * torch.randn_like(x)


CONVOLUTIONS = Where(("conv1d", "conv2d"))

MUTANTS = (
    mutant(
        "tf32-convolutions",
        "the convolutions of the forward pass take operands of 10 bits",
        rebuilt(CONVOLUTIONS, "precision", partial(rounded_going_forward, tf32, keep)),
        methods=("gradient",),
        models=("digits-cnn", "ecg-cnn1d", "vgg16-mri", "slopes-net"),
        source=FORMATS,
        dtype="float32",
    ),
    mutant(
        "tf32-in-one-step",
        "the products of one convolution's step take operands of 10 bits",
        formula(
            Where(("conv1d", "conv2d"), "middle", (Epsilon,)),
            "precision",
            partial(rounded_operands, to=tf32),
        ),
        methods=("lrp.epsilon:epsilon=0.25",),
        models=("digits-cnn", "ecg-cnn1d"),
        source=FORMATS,
        dtype="float32",
        hard=True,
    ),
    mutant(
        "bfloat16-dense",
        "a dense layer's step is computed in bfloat16",
        formula(dense("first", ruled=(Epsilon,)), "precision", partial(all_in, to=brain)),
        methods=("lrp.epsilon:epsilon=0.25",),
        models=("digits-cnn", "ecg-cnn1d", "tokens-net"),
        source=FORMATS,
        dtype="float32",
    ),
    mutant(
        "float16-dense-forward",
        "a dense layer of the forward pass is computed in float16",
        rebuilt(Where(("dense",), "first"), "precision", partial(rounded_going_forward, half, half)),
        methods=("gradient", "lrp.epsilon"),
        models=("digits-cnn", "ecg-cnn1d"),
        source=FORMATS,
        dtype="float32",
    ),
    mutant(
        "float16-step",
        "a convolution's step is computed in float16",
        formula(convolutions("middle", ruled=(Epsilon,)), "precision", partial(all_in, to=half)),
        methods=("lrp.epsilon:epsilon=0.25",),
        models=("digits-cnn", "ecg-cnn1d"),
        source=FORMATS,
        dtype="float32",
        hard=True,
    ),
    mutant(
        "float32-where-float64-was-asked-for",
        "one dense layer's step is computed in float32",
        formula(dense("first", ruled=(Epsilon,)), "precision", in_single),
        methods=("lrp.epsilon:epsilon=0.25",),
        models=("digits-cnn", "ecg-cnn1d", "tokens-net"),
        source=FORMATS,
        hard=True,
    ),
    mutant(
        "nan-from-x-over-x",
        "relevance is multiplied by the input and divided by it again: 0/0 at zeros",
        after(convolutions("middle", inner), "nan", multiplied_and_divided),
        methods=("lrp.epsilon",),
        models=("digits-cnn", "ecg-cnn1d", "vgg16-mri", "groups-net"),
        source="notebook of rodrigobdz/lrp: MulBackward0 returned nan values",
    ),
    mutant(
        "nan-from-torch-sign",
        "torch.sign in the stabilizer: 0/0 where a denominator is exactly zero",
        formula(
            kernels("first", ruled=(Epsilon,)), "nan", divided(lambda x, z: torch_sign(z)), "stabilizer-form"
        ),
        methods=("lrp.epsilon",),
        models=("ecg-cnn1d", "efficientnet-lite0"),
        source="notebook of rodrigobdz/lrp: (dividend == 0).to(dividend) is there for a reason",
        hard=True,
        x=with_blank_part,
    ),
    mutant(
        "nan-in-the-attribution",
        "each row of the attribution is divided by its sum: 0/0 in rows without relevance",
        finished("nan", divided_by_row_sums),
        methods=("lrp.epsilon",),
        models=("digits-cnn", "ecg-cnn1d"),
        source="report on LRP for MaskDINO: normalisation of relevance maps, sum = 1",
        x=with_blank_part,
    ),
    mutant(
        "dropout-left-on",
        "dropout drops values",
        rebuilt(Where(("dropout",)), "nondeterminism", trained),
        methods=("gradient", "lrp.epsilon"),
        models=("groups-net",),
        source="usual slip; DLBacktrace chronicle: dropout1 and dropout2 of VGG19",
    ),
    mutant(
        "unseeded-noise-on-the-input",
        "the network sees its input with noise that is drawn anew each time",
        rebuilt(source, "nondeterminism", noisy_input, or_site=readers_of_the_input),
        methods=("gradient",),
        models=("digits-cnn", "ecg-cnn1d", "tokens-net"),
        source="documentation of signxai2's hooks: SmoothGrad is not deterministic",
    ),
    mutant(
        "noise-in-one-step",
        "relevance is multiplied by 1 + noise at one convolution",
        after(convolutions("middle", inner), "nondeterminism", noisy),
        methods=("lrp.epsilon",),
        models=("digits-cnn", "ecg-cnn1d", "fer-xception", "vgg16-mri"),
        source="documentation of signxai2's hooks: SmoothGrad is not deterministic",
    ),
    mutant(
        "noise-on-the-attribution",
        "the attribution has noise that is drawn anew each time",
        finished(
            "nondeterminism",
            lambda attribution, x: attribution * (1 + 1e-4 * np.random.default_rng().normal(size=x.shape)),
        ),
        methods=("lrp.epsilon",),
        models=("digits-cnn", "ecg-cnn1d", "tokens-net"),
        source="documentation of signxai2's hooks: SmoothGrad is not deterministic",
    ),
)
