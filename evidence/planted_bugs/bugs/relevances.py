"""What is done to relevance at one layer: clipped, rectified, scaled; and the activation in the denominator."""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn

from harness.methods import AlphaBeta, Epsilon, Rule

from .arithmetic import back, keep, nonzero, run, sign
from .formulas import EPSILON, signed
from .networks import ZOO
from .planting import Formula, after, formula, mutant
from .sites import Where, biased, both, convolutions, dense, inner, kernels, ordinary

CLAMP = "DLBacktrace chronicle: relevance_map = np.maximum(0, rel_from_pos)"
ABSOLUTE = "DLBacktrace chronicle: torch.abs(negative_contributions) in vgg_layers.py"


def magnitude(x: Tensor) -> Tensor:
    return x.abs()


def clipped(module: nn.Module, x: Tensor, relevance: Tensor) -> Tensor:
    return relevance.clamp(min=0)


def rectified(module: nn.Module, x: Tensor, relevance: Tensor) -> Tensor:
    return relevance.abs()


def times(factor: float, module: nn.Module, x: Tensor, relevance: Tensor) -> Tensor:
    return factor * relevance


def incoming_clipped(rule: Rule, module: nn.Module, x: Tensor, relevance: Tensor) -> Tensor:
    """The epsilon rule of ``max(R, 0)``."""
    return signed(EPSILON)(rule, module, x, relevance.clamp(min=0))


def input_clipped(rule: Rule, module: nn.Module, x: Tensor, relevance: Tensor) -> Tensor:
    """The epsilon rule as if negative inputs were zero."""
    return signed(EPSILON)(rule, module, x.clamp(min=0), relevance)


def stabilised(rule: Rule, z: Tensor) -> Tensor:
    """As ``rule`` does it: epsilon, or zeros replaced."""
    return z + rule.epsilon * sign(z) if isinstance(rule, Epsilon) else nonzero(z)


def all_absolute(rule: Rule, module: nn.Module, x: Tensor, relevance: Tensor) -> Tensor:
    """``R_i = sum_j |x_i W_ij| / (sum_i |x_i W_ij| + |b_j|) R_j``"""
    size = x.abs()
    z = stabilised(rule, run(module, size, magnitude, magnitude))
    return size * back(module, size, relevance / z, magnitude)


def absolute_denominator(rule: Rule, module: nn.Module, x: Tensor, relevance: Tensor) -> Tensor:
    """``R_i = sum_j x_i W_ij / (sum_i |x_i W_ij| + |b_j|) R_j``"""
    z = stabilised(rule, run(module, x.abs(), magnitude, magnitude))
    return x * back(module, x, relevance / z, keep)


def after_activation(activation: nn.Module) -> Formula:
    """The epsilon rule with ``activation(z)`` in the denominator."""

    def step(rule: Rule, module: nn.Module, x: Tensor, relevance: Tensor) -> Tensor:
        z = activation(run(module, x))
        return x * back(module, x, relevance / (z + EPSILON * sign(z)))

    return step


MUTANTS = (
    mutant(
        "negative-relevance-clipped-at-one-layer",
        "what the middle convolution hands on is clipped at zero",
        after(convolutions("middle", inner), "negative-clipped", clipped),
        methods=("lrp.epsilon",),
        models=(*ZOO, "slopes-net"),
        source=CLAMP,
        hard=True,
    ),
    mutant(
        "negative-relevance-clipped-in-dense",
        "what a dense layer hands on is clipped at zero",
        after(dense("first"), "negative-clipped", clipped),
        methods=("lrp.epsilon", "lrp.alpha_2_beta_1"),
        models=("digits-cnn", "ecg-cnn1d", "tokens-net"),
        source="DLBacktrace chronicle: result_ = np.maximum(0, result_) in calculate_wt_fc",
    ),
    mutant(
        "incoming-relevance-clipped",
        "a convolution takes the positive part of the relevance of its output",
        formula(convolutions("last", inner, (Epsilon,)), "negative-clipped", incoming_clipped),
        methods=("lrp.epsilon",),
        models=("digits-cnn", "ecg-cnn1d", "vgg16-mri"),
        source="DLBacktrace chronicle: negative R_j multiplied through the Z+ rule",
        hard=True,
    ),
    mutant(
        "negative-inputs-clipped",
        "the first layer's rule is applied to max(x, 0)",
        formula(Where((), "first", (Epsilon,)), "negative-clipped", input_clipped),
        methods=("lrp.epsilon",),
        models=("ecg-cnn1d", "fer-xception", "tokens-net", "slopes-net"),
        source="Z+ habits at a layer whose input has both signs",
    ),
    mutant(
        "absolute-contributions",
        "|x W| / (sum |x W| + |b|) at one convolution",
        formula(convolutions("middle", ordinary, (AlphaBeta,)), "absolute-contributions", all_absolute),
        methods=("lrp.alpha_1_beta_0",),
        models=("digits-cnn", "ecg-cnn1d", "vgg16-mri"),
        source=ABSOLUTE,
    ),
    mutant(
        "absolute-contributions-in-epsilon",
        "|x W| / (sum |x W| + |b|) at every layer with a kernel",
        formula(kernels(having=ordinary, ruled=(Epsilon,)), "absolute-contributions", all_absolute),
        methods=("lrp.epsilon",),
        models=("digits-cnn", "ecg-cnn1d", "tokens-net"),
        source=ABSOLUTE,
    ),
    mutant(
        "absolute-denominator",
        "x W / (sum |x W| + |b|) at the first dense layer",
        formula(dense("first", biased), "absolute-contributions", absolute_denominator),
        methods=("lrp.epsilon",),
        models=("digits-cnn", "ecg-cnn1d", "vgg16-mri", "tokens-net"),
        source="DLBacktrace chronicle: sum_positive + sum_negative_abs + bias in the denominator",
        hard=True,
    ),
    mutant(
        "absolute-relevance-at-one-layer",
        "the sign of relevance is lost at the middle convolution",
        after(convolutions("middle", inner), "absolute-contributions", rectified),
        methods=("lrp.epsilon",),
        models=("digits-cnn", "ecg-cnn1d", "fer-xception", "vgg16-mri"),
        source=ABSOLUTE,
        hard=True,
    ),
    mutant(
        "leaky-output-in-the-denominator",
        "the output after the leaky ReLU stands where the one before it should",
        formula(
            Where(("conv2d",), "first"),
            "preactivation",
            after_activation(nn.LeakyReLU(0.3)),
        ),
        methods=("lrp.epsilon",),
        models=("slopes-net",),
        source="usual slip; documentation of signxai2's hooks: self.forward_output in the denominator",
        hard=True,
    ),
    mutant(
        "elu-and-tanh-output-in-the-denominator",
        "the output after ELU, and after tanh, stands where the one before it should",
        formula(
            Where(("conv2d",), "last"),
            "preactivation",
            after_activation(nn.ELU()),
        ),
        formula(
            Where(("dense",), "first"),
            "preactivation",
            after_activation(nn.Tanh()),
        ),
        methods=("lrp.epsilon",),
        models=("slopes-net",),
        source="documentation of signxai2's hooks: self.forward_output in the denominator",
    ),
    mutant(
        "gelu-output-in-the-denominator",
        "the output after GELU stands where the one before it should",
        formula(
            Where(("dense",), "middle", having=both(biased, lambda layer, graph: layer.name == "up")),
            "preactivation",
            after_activation(nn.GELU()),
        ),
        methods=("lrp.epsilon",),
        models=("tokens-net",),
        source="documentation of signxai2's hooks: self.forward_output in the denominator",
    ),
    mutant(
        "one-layer-scaled",
        "what one convolution hands on is 4.4 times too large",
        after(convolutions("middle", both(inner, ordinary)), "scale", partial(times, 4.4)),
        methods=("lrp.epsilon",),
        models=("digits-cnn", "ecg-cnn1d", "fer-xception", "vgg16-mri"),
        source="guide from iNNvestigate to Zennit: scale factors fitted by hand, one of them inside a hook",
    ),
)
