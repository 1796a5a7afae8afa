"""Two and three faults at once, at different layers and at the same one."""

from __future__ import annotations

from functools import partial

import numpy as np
from torch import Tensor, nn

from evidence.planted_bugs import Fault
from harness.methods import AlphaBeta, Epsilon, Rule, StdEpsilon

from .arithmetic import back, keep, none, nonzero, per_sample, run, sign
from .formulas import epsilon_with_bias, ones_like_kernel, signed, weighted
from .networks import BIASED
from .planting import Plant, after, exchange, finished, formula, mutant, rebuilt, seeded
from .seeds import at
from .sites import Where, biased, convolutions, dense, first_kernel, inner, output

SOURCE = "usual slip: two faults at once"
SMALL = ("digits-cnn", "ecg-cnn1d")


def flat_of_the_input(rule: Rule, module: nn.Module, x: Tensor, relevance: Tensor) -> Tensor:
    s = relevance / nonzero(run(module, x, ones_like_kernel, none))
    return back(module, x, s, ones_like_kernel)


def deviation_without_bias(rule: Rule, module: nn.Module, x: Tensor, relevance: Tensor) -> Tensor:
    """ddof 1, and no bias."""
    z = run(module, x, keep, none)
    epsilon = 0.5 * per_sample(x.flatten(1).std(dim=1, correction=1), z)
    return x * back(module, x, relevance / nonzero(z + epsilon * sign(z)))


def plain_without_bias(rule: Rule, module: nn.Module, x: Tensor, relevance: Tensor) -> Tensor:
    """``z + epsilon`` of a ``z`` without bias."""
    return x * back(module, x, relevance / (run(module, x, keep, none) + 0.1))


def without_bias_clipped(rule: Rule, module: nn.Module, x: Tensor, relevance: Tensor) -> Tensor:
    return epsilon_with_bias(rule, module, x, relevance, times=0).clamp(min=0)


def other_bias_and_epsilon(rule: Rule, module: nn.Module, x: Tensor, relevance: Tensor) -> Tensor:
    """No bias, and epsilon 0.01 for 0.1."""
    return epsilon_with_bias(rule, module, x, relevance, times=0, epsilon=0.01)


def with_epsilon(module: nn.Module, layer: object) -> nn.Module:
    module.eps = 1e-3
    return module


def equal_shares(healthy: object, layer: object, rule: object) -> None:
    return None


def clipped(module: nn.Module, x: Tensor, relevance: Tensor) -> Tensor:
    return relevance.clamp(min=0)


def together(plant: Plant, cause: str) -> Plant:
    """A second fault that sits in the same formula as ``plant``."""
    return Plant(Fault(cause, plant.fault.site, plant.fault.stage))


def pair(site: object, causes: tuple[str, str], step: object) -> tuple[Plant, Plant]:
    """One formula with two faults."""
    first = formula(site, causes[0], step)  # type: ignore[arg-type]
    return first, together(first, causes[1])


FIRST_DENSE = dense("first", biased)
ONE_CONVOLUTION = convolutions("middle", inner)

MUTANTS = (
    mutant(
        "bias-here-epsilon-there",
        "no bias at one convolution, and another epsilon at a dense layer",
        formula(convolutions("last", biased), "bias-handling", partial(epsilon_with_bias, times=0)),
        formula(dense("first"), "epsilon-value", signed(1e-3)),
        methods=("lrp.epsilon",),
        models=(*SMALL, "vgg16-mri"),
        source=SOURCE,
    ),
    mutant(
        "seed-and-epsilon",
        "starts from one, and epsilon is 1e-6 everywhere",
        seeded(output, "output-seed", lambda logits, target: at(logits, target, 1.0)),
        formula(Where((), "all", (Epsilon,)), "epsilon-value", signed(1e-6)),
        methods=("lrp.epsilon",),
        models=(*SMALL, "fer-xception", "vgg16-mri"),
        source=SOURCE + "; guide from iNNvestigate to Zennit: a factor hides an epsilon",
        hard=True,
    ),
    mutant(
        "forward-epsilon-and-clipping",
        "another epsilon of batch norm in the forward pass, and relevance clipped at one convolution",
        rebuilt(Where(("batch_norm",), "first"), "forward-epsilon", with_epsilon),
        after(ONE_CONVOLUTION, "negative-clipped", clipped),
        methods=("lrp.epsilon",),
        models=SMALL,
        source=SOURCE,
    ),
    mutant(
        "pooling-and-scale",
        "an average pooling shares alike, and the attribution is multiplied by 21",
        exchange(Where(("average_pool2d", "average_pool1d"), "first"), "pooling", equal_shares),
        finished("scale", lambda attribution, x: 21 * attribution),
        methods=("lrp.epsilon",),
        models=SMALL,
        source=SOURCE + "; guide from iNNvestigate to Zennit",
    ),
    mutant(
        "flat-input-and-alpha-beta",
        "Flat with the real input at the first layer, and 2 and 1 for alpha 1 and beta 0 further up",
        formula(first_kernel, "flat-input", flat_of_the_input),
        formula(convolutions("last", ruled=(AlphaBeta,)), "alpha-beta", partial(weighted, alpha=2, beta=1)),
        methods=("lrp.sequential_preset_a_flat",),
        models=(*SMALL, "vgg16-mri"),
        source=SOURCE + "; documentation of signxai2's hooks",
    ),
    mutant(
        "seed-bias-and-absolute-value",
        "starts from one, no bias in one denominator, the sign of the attribution lost",
        seeded(output, "output-seed", lambda logits, target: at(logits, target, 1.0)),
        formula(FIRST_DENSE, "bias-handling", partial(epsilon_with_bias, times=0)),
        finished("absolute-contributions", lambda attribution, x: np.abs(attribution)),
        methods=("lrp.epsilon",),
        models=SMALL,
        source=SOURCE,
    ),
    mutant(
        "bias-and-epsilon-at-one-layer",
        "no bias, and epsilon 0.01 for 0.1, at the same dense layer",
        *pair(FIRST_DENSE, ("bias-handling", "epsilon-value"), other_bias_and_epsilon),
        methods=("lrp_epsilon_0_1",),
        models=(*SMALL, "vgg16-mri"),
        source=SOURCE,
        hard=True,
    ),
    mutant(
        "ddof-and-bias-at-one-layer",
        "deviation with ddof 1, and no bias, at the same dense layer",
        *pair(dense("first", biased, (StdEpsilon,)), ("std-ddof", "bias-handling"), deviation_without_bias),
        methods=("lrp_epsilon_0_5_std_x",),
        models=SMALL,
        source=SOURCE,
        hard=True,
    ),
    mutant(
        "form-and-bias-at-one-layer",
        "z + epsilon of a z without bias at one convolution",
        *pair(convolutions("last", biased), ("stabilizer-form", "bias-handling"), plain_without_bias),
        methods=("lrp_epsilon_0_1",),
        models=(*SMALL, "vgg16-mri"),
        source=SOURCE + "; notebook of rodrigobdz/lrp; documentation of signxai2's hooks",
        hard=True,
    ),
    mutant(
        "bias-and-clipping-at-one-layer",
        "no bias, and the result clipped, at one dense layer",
        *pair(FIRST_DENSE, ("bias-handling", "negative-clipped"), without_bias_clipped),
        methods=("lrp.epsilon",),
        models=(*SMALL, *BIASED[1:]),
        source=SOURCE + "; DLBacktrace chronicle",
        hard=True,
    ),
)
