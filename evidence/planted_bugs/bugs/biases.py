"""The bias: left out, counted twice, counted once an input, shared out; alpha and beta."""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn

from harness.methods import AlphaBeta, Epsilon, Rule, WSquare

from .arithmetic import back, negative, none, nonzero, positive, run, sign
from .formulas import EPSILON, activating, epsilon_with_bias, square, weighted
from .networks import BIASED, WITH_DENSE, ZOO
from .planting import formula, mutant
from .sites import biased, convolutions, dense, kernels

ISSUE_327 = "innvestigate issue 327"


def bias_shared_out(rule: Rule, module: nn.Module, x: Tensor, relevance: Tensor) -> Tensor:
    """``R_i = sum_j (x_i W_ij + b_j / n) / S(z_j) R_j`` at a dense layer of ``n`` inputs."""
    z = run(module, x)
    s = relevance / (z + EPSILON * sign(z))
    share = (s * module.bias).sum(dim=1, keepdim=True) / x.shape[1]
    return x * back(module, x, s) + share


def bias_once_per_input(rule: Rule, module: nn.Module, x: Tensor, relevance: Tensor) -> Tensor:
    """The positive bias as often as the layer has inputs; what the reporter of the issue expects."""
    count = x.shape[1]
    return activating(
        rule, module, x, relevance, lambda b: count * positive(b), lambda b: count * negative(b)
    )


def w_square_with_bias(rule: Rule, module: nn.Module, x: Tensor, relevance: Tensor) -> Tensor:
    ones = x * 0 + 1
    return back(module, ones, relevance / nonzero(run(module, ones, square, square)), square)


MUTANTS = (
    mutant(
        "bias-left-out-at-one-convolution",
        "no bias in the denominator of the middle convolution",
        formula(convolutions("middle", biased), "bias-handling", partial(epsilon_with_bias, times=0)),
        methods=("lrp.epsilon",),
        models=("digits-cnn", "ecg-cnn1d", "fer-xception", "vgg16-mri", "slopes-net"),
        source="documentation of signxai2's hooks: zs without bias",
    ),
    mutant(
        "bias-left-out-everywhere",
        "no bias in any denominator",
        formula(
            kernels(having=biased, ruled=(Epsilon,)), "bias-handling", partial(epsilon_with_bias, times=0)
        ),
        methods=("lrp.epsilon",),
        models=(*ZOO, "tokens-net"),
        source="Zennit's zero_params='bias'",
    ),
    mutant(
        "bias-twice-at-one-dense",
        "the bias is added to an output that has it already",
        formula(dense("first", biased), "bias-handling", partial(epsilon_with_bias, times=2)),
        methods=("lrp.epsilon",),
        models=(*WITH_DENSE, "tokens-net"),
        source="usual slip",
        hard=True,
    ),
    mutant(
        "bias-twice-at-one-convolution",
        "the bias is added to an output that has it already",
        formula(convolutions("first", biased), "bias-handling", partial(epsilon_with_bias, times=2)),
        methods=("lrp.epsilon",),
        models=("digits-cnn", "ecg-cnn1d", "fer-xception", "vgg16-mri"),
        source="usual slip",
        hard=True,
    ),
    mutant(
        "bias-shared-out",
        "every input of a dense layer gets its part of the bias",
        formula(dense("first", biased), "bias-handling", bias_shared_out),
        methods=("lrp.epsilon",),
        models=("digits-cnn", "ecg-cnn1d", "vgg16-mri"),
        source=ISSUE_327 + ": the bias has to go somewhere for relevance to be conserved",
        hard=True,
    ),
    mutant(
        "bias-once-per-input",
        "alpha-beta's denominator has the bias as often as there are inputs",
        formula(dense("first", biased), "bias-handling", bias_once_per_input),
        methods=("lrp.alpha_1_beta_0",),
        models=("digits-cnn", "ecg-cnn1d", "vgg16-mri"),
        source=ISSUE_327,
        hard=True,
    ),
    mutant(
        "bias-of-one-sign-only",
        "alpha-beta's denominator has the positive bias and not the negative",
        formula(
            kernels(having=biased, ruled=(AlphaBeta,)),
            "bias-handling",
            partial(activating, first=positive, second=none),
        ),
        methods=("lrp.alpha_1_beta_0",),
        models=("digits-cnn", "ecg-cnn1d", "vgg16-mri"),
        source="zennit issue 53: alpha-beta includes the bias two times",
        hard=True,
    ),
    mutant(
        "bias-kept",
        "the denominator has the bias where the method leaves it out",
        formula(
            convolutions("all", biased, (AlphaBeta,)),
            "bias-handling",
            partial(activating, first=positive, second=negative),
        ),
        methods=("lrp.alpha_1_beta_0_IB",),
        models=("digits-cnn", "ecg-cnn1d", "vgg16-mri"),
        source="innvestigate issue 91: deep Taylor with the bias of its parent class",
    ),
    mutant(
        "w-square-with-bias",
        "the squared bias is added to the w-square denominator, as Zennit does",
        formula(kernels(having=biased, ruled=(WSquare,)), "bias-handling", w_square_with_bias),
        methods=("lrp.w_square",),
        models=("digits-cnn", "ecg-cnn1d", "vgg16-mri"),
        source="guide from iNNvestigate to Zennit: w2 methods",
    ),
    mutant(
        "alpha-and-beta-exchanged",
        "1 A - 2 B where the method has 2 A - 1 B",
        formula(kernels(having=biased, ruled=(AlphaBeta,)), "alpha-beta", partial(weighted, alpha=1, beta=2)),
        methods=("lrp.alpha_2_beta_1",),
        models=(*BIASED, "ecg-cnn1d"),
        source="documentation of signxai2's hooks: alpha and beta by position",
    ),
    mutant(
        "beta-added",
        "2 A + 1 B: the sign of beta",
        formula(
            convolutions("middle", ruled=(AlphaBeta,)), "alpha-beta", partial(weighted, alpha=2, beta=-1)
        ),
        methods=("lrp.alpha_2_beta_1",),
        models=("digits-cnn", "ecg-cnn1d", "vgg16-mri"),
        source="sign conventions for beta",
    ),
    mutant(
        "alpha-missing-from-the-configuration",
        "alpha 1, beta 0 at one dense layer where the method has 2 and 1: a default steps in",
        formula(dense("first", ruled=(AlphaBeta,)), "alpha-beta", partial(weighted, alpha=1, beta=0)),
        methods=("lrp.alpha_2_beta_1",),
        models=(*WITH_DENSE, "tokens-net"),
        source="DLBacktrace chronicle: activation_master without alpha and beta",
    ),
)
