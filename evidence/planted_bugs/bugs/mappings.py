"""Which layer has which rule, and what the rules of the first layer take for input."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from harness.graph import ACTIVATION_KINDS, AVERAGE_POOLING_KINDS, Graph, Layer
from harness.methods import (
    AlphaBeta,
    Bounded,
    Deconvolution,
    Epsilon,
    Flat,
    GuidedReLU,
    Pass,
    Rule,
    Sign,
    WSquare,
)

from .arithmetic import Change, back, keep, negative, none, nonzero, positive, run, sign
from .formulas import alpha_one, ones_like_kernel, signed, square, with_ones, z_rule
from .networks import ZOO
from .planting import exchange, formula, mutant
from .sites import Where, convolutions, dense, first_kernel

FLAT_HOOK = "documentation of signxai2's hooks: InnvestigateFlatHook with the real input"


def w_square(rule: Rule, module: nn.Module, x: Tensor, relevance: Tensor) -> Tensor:
    ones = torch.ones_like(x)
    return back(module, ones, relevance / nonzero(run(module, ones, square, none)), square)


def with_real_input(rule: Rule, module: nn.Module, x: Tensor, relevance: Tensor, kernel: Any) -> Tensor:
    """``f^T(R / S(f(x; V)); V)``: the denominator of the input itself, the numerator of ones."""
    return back(module, x, relevance / nonzero(run(module, x, kernel, none)), kernel)


def bounded(rule: Rule, module: nn.Module, x: Tensor, relevance: Tensor, low: float, high: float) -> Tensor:
    lows, highs = torch.full_like(x, low), torch.full_like(x, high)
    z = run(module, x, keep, none) - run(module, lows, positive, none) - run(module, highs, negative, none)
    s = relevance / nonzero(z)
    return x * back(module, x, s) - low * back(module, x, s, positive) - high * back(module, x, s, negative)


def signs(rule: Rule, module: nn.Module, x: Tensor, relevance: Tensor, of: Change) -> Tensor:
    """The SIGN rule with ``of(x)`` for the sign."""
    return of(x) * back(module, x, relevance / nonzero(run(module, x)))


def at_threshold(x: Tensor, threshold: float) -> Tensor:
    """1 where ``x`` is above the threshold, -1 where it is at or below it."""
    return torch.where(x <= threshold, -torch.ones_like(x), torch.ones_like(x))


def with_values_at(model: Any, value: float) -> Any:
    """The model's first example with every seventh value set to ``value``."""
    x = next(iter(model.examples.values()))().copy()
    x.reshape(-1)[::7] = value
    return x


def not_averaged(layer: Layer, graph: Graph) -> bool:
    """No average pooling reads it, which gives nothing to zeros and so hides what is done to them."""
    return not any(reader.kind in AVERAGE_POOLING_KINDS for reader in graph.consumers(layer.name))


def gradient(healthy: Any, layer: Layer, rule: Rule) -> None:
    return None


def rectified_relevance(rule: Rule, module: nn.Module, x: Tensor, relevance: Tensor) -> Tensor:
    return relevance.clamp(min=0)


def guided(rule: Rule, module: nn.Module, x: Tensor, relevance: Tensor) -> Tensor:
    return back(module, x, relevance.clamp(min=0))


LAST_CONVOLUTION = convolutions("last", ruled=(AlphaBeta,))
ONE_RELU = Where(("relu", "relu6"), "middle")
THREE = ("digits-cnn", "ecg-cnn1d", "vgg16-mri")


def at_each_half(rule: Any, module: Any, x: Tensor, relevance: Tensor) -> Tensor:
    """Epsilon at the pointwise convolution, then at the depthwise one, which has no bias."""
    between = run(module.depthwise, x)
    for half, inputs in ((module.pointwise, between), (module.depthwise, x)):
        z = run(half, inputs)
        relevance = inputs * back(half, inputs, relevance / (z + rule.epsilon * sign(z)))
    return relevance


MUTANTS = (
    mutant(
        "epsilon-at-each-half",
        "the epsilon rule at each half of a separable convolution",
        formula(Where(("separable_conv2d",), ruled=(Epsilon,)), "rule-twice", at_each_half),
        methods=("lrp.epsilon:epsilon=0.25", "lrp.epsilon"),
        models=("halves-net", "fer-xception"),
        source="Zennit 0.5.1 on a separable convolution of two modules",
        hard=True,
    ),
    mutant(
        "rules-shifted-to-the-neighbour",
        "the last convolution has the dense layers' rule, the first dense layer that of the convolutions",
        formula(LAST_CONVOLUTION, "rule-mapping", signed(0.1)),
        formula(dense("first", ruled=(Epsilon,)), "rule-mapping", alpha_one),
        methods=("lrp.sequential_preset_a",),
        models=THREE,
        source="usual slip; guide from iNNvestigate to Zennit: layer rule mapping",
        hard=True,
    ),
    mutant(
        "epsilon-one-layer-too-far",
        "the last convolution has the dense layers' epsilon rule",
        formula(LAST_CONVOLUTION, "rule-mapping", signed(0.1)),
        methods=("lrp.sequential_preset_a",),
        models=ZOO,
        source="guide from iNNvestigate to Zennit: composite methods; notebook of rodrigobdz/lrp: rules by index",
    ),
    mutant(
        "z-among-alpha-beta",
        "one convolution has the Z rule where the method has alpha 1, beta 0",
        formula(convolutions("middle", ruled=(AlphaBeta,)), "rule-mapping", z_rule),
        methods=("lrp.alpha_1_beta_0",),
        models=THREE,
        source="DLBacktrace chronicle: implicit choice of the rule by the activation's name",
    ),
    mutant(
        "flat-in-the-middle",
        "a convolution in the middle has the Flat rule",
        formula(
            convolutions("middle", ruled=(Epsilon,)),
            "rule-mapping",
            with_ones,
        ),
        methods=("lrp.epsilon",),
        models=("digits-cnn", "ecg-cnn1d"),
        source="guide from iNNvestigate to Zennit: input layer rule routed to other layers",
    ),
    mutant(
        "gradient-through-relu",
        "ReLUs that no average pooling reads have their gradient where relevance should pass",
        exchange(Where(("relu",), ruled=(Pass,), having=not_averaged), "rule-mapping", gradient),
        methods=("lrp.flat",),
        models=THREE,
        source="Zennit composites that leave activations to autograd",
        hard=True,
    ),
    mutant(
        "deconvolution-for-guided",
        "max(R, 0) without the ReLU's own mask",
        formula(Where(ACTIVATION_KINDS, ruled=(GuidedReLU,)), "rule-mapping", rectified_relevance),
        methods=("guided_backprop",),
        models=(*THREE, "groups-net"),
        source="documentation of signxai2's hooks: guided backpropagation",
    ),
    mutant(
        "guided-for-deconvolution",
        "the ReLU's own mask where Deconvolution has none",
        formula(Where(ACTIVATION_KINDS, ruled=(Deconvolution,)), "rule-mapping", guided),
        methods=("deconvnet",),
        models=(*THREE, "groups-net"),
        source="documentation of signxai2's hooks: guided backpropagation",
    ),
    mutant(
        "guided-at-one-relu",
        "one ReLU rectifies what it gets back, in a plain gradient",
        formula(ONE_RELU, "rule-mapping", guided, "negative-clipped"),
        methods=("gradient",),
        models=ZOO,
        source="hooks of one method left on the network of the next",
    ),
    mutant(
        "epsilon-at-the-input",
        "the first layer has the epsilon rule where the method has Flat",
        formula(first_kernel, "input-layer-rule", signed(1e-7)),
        methods=("lrp.epsilon:input_layer_rule=flat",),
        models=ZOO,
        source="guide from iNNvestigate to Zennit: input layer rule methods",
    ),
    mutant(
        "w-square-for-flat-at-the-input",
        "the first layer has the w-square rule where the method has Flat",
        formula(first_kernel, "input-layer-rule", w_square),
        methods=("lrp.sequential_preset_a_flat",),
        models=ZOO,
        source="guide from iNNvestigate to Zennit: flat and w2 methods",
    ),
    mutant(
        "bounded-by-other-numbers",
        "z^B with the bounds 0 and 1 where the method has -1 and 1",
        formula(Where((), "all", (Bounded,)), "input-layer-rule", partial(bounded, low=0.0, high=1.0)),
        methods=("lrp.epsilon:input_layer_rule=bounded",),
        models=ZOO,
        source="notebook of rodrigobdz/lrp: bounds of the normalised image",
        hard=True,
    ),
    mutant(
        "flat-with-the-real-input",
        "the input stands in the denominator of Flat at the first layer",
        formula(first_kernel, "flat-input", partial(with_real_input, kernel=ones_like_kernel)),
        methods=("lrp.epsilon:input_layer_rule=flat",),
        models=ZOO,
        source=FLAT_HOOK,
        hard=True,
    ),
    mutant(
        "flat-with-the-real-input-everywhere",
        "the same at every layer",
        formula(convolutions(ruled=(Flat,)), "flat-input", partial(with_real_input, kernel=ones_like_kernel)),
        methods=("lrp.flat",),
        models=("digits-cnn", "ecg-cnn1d"),
        source=FLAT_HOOK,
    ),
    mutant(
        "w-square-with-the-real-input",
        "the input stands in the denominator of w-square at the first layer",
        formula(Where((), "first", (WSquare,)), "flat-input", partial(with_real_input, kernel=square)),
        methods=("lrp.epsilon:input_layer_rule=w_square",),
        models=ZOO,
        source="documentation of signxai2's hooks: InnvestigateWSquareHook",
    ),
    mutant(
        "sign-of-zero-is-zero",
        "torch.sign in the SIGN rule: zero inputs get nothing",
        formula(Where((), "all", (Sign,)), "sign-threshold", partial(signs, of=torch.sign)),
        methods=("lrpsign_z",),
        models=("digits-cnn", "vgg16-mri"),
        source="usual slip; guide from iNNvestigate to Zennit: sign-based methods",
        hard=True,
    ),
    mutant(
        "sign-of-zero-is-minus",
        "x > 0 for x >= 0 in the SIGN rule",
        formula(
            Where((), "all", (Sign,)),
            "sign-threshold",
            partial(signs, of=partial(at_threshold, threshold=0.0)),
        ),
        methods=("lrpsign_epsilon_0_1",),
        models=("digits-cnn", "vgg16-mri"),
        source="usual slip; guide from iNNvestigate to Zennit: thresholding functions",
        hard=True,
    ),
    mutant(
        "at-the-sign-threshold",
        "<= for < at the SIGN threshold 0.5, which some inputs are exactly at",
        formula(
            Where((), "all", (Sign,)),
            "sign-threshold",
            partial(signs, of=partial(at_threshold, threshold=0.5)),
        ),
        methods=("lrpsign_epsilon_100_mu_0_5",),
        models=ZOO,
        source="usual slip; guide from iNNvestigate to Zennit: calculate_sign_mu",
        hard=True,
        x=lambda model: with_values_at(model, 0.5),
    ),
    mutant(
        "another-sign-threshold",
        "threshold 0 where the method has 0.5",
        formula(Where((), "all", (Sign,)), "sign-threshold", partial(signs, of=sign)),
        methods=("lrpsign_epsilon_100_mu_0_5",),
        models=ZOO,
        source="guide from iNNvestigate to Zennit: parameter routing of mu",
    ),
)
