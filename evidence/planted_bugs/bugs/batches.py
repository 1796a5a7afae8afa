"""One sample's result depends on the others."""

from __future__ import annotations

import numpy as np
from torch import Tensor, nn

from harness.graph import Layer
from harness.methods import Epsilon, StdEpsilon

from .arithmetic import nonzero, sign
from .formulas import divided
from .planting import after, formula, mutant, rebuilt, seeded
from .seeds import at, own
from .sites import Where, convolutions, inner, kernels, output

ISSUE_91 = "innvestigate issue 91: relevance sums grow with the batch"
SMALL = ("digits-cnn", "ecg-cnn1d", "tokens-net")


def centred(module: nn.Module, x: Tensor, relevance: Tensor) -> Tensor:
    """The mean over the batch is taken off."""
    return relevance - relevance.mean(dim=0, keepdim=True)


def by_batch_statistics(module: nn.Module, layer: Layer) -> nn.Module:
    """A batch norm in training mode; momentum 0 keeps its running statistics as they are."""
    module.momentum = 0.0
    return module.train()


def over_the_batch(x: Tensor, z: Tensor) -> Tensor:
    """signxai's own reading, which explains one sample at a time."""
    return nonzero(z + 0.5 * x.std(correction=0) * sign(z))


def mean_square_of_all(x: Tensor, z: Tensor) -> Tensor:
    return z + 0.25 * (z**2).mean() ** 0.5 * sign(z)


MUTANTS = (
    mutant(
        "starts-from-the-batch-size-times-the-logit",
        "every sample starts with its logit as often as there are samples",
        seeded(
            output,
            "batch-coupling",
            lambda logits, target: at(logits, target, len(logits) * own(logits, target)),
        ),
        methods=("lrp.epsilon",),
        models=SMALL,
        source=ISSUE_91,
        hard=True,
    ),
    mutant(
        "starts-from-the-sum-of-the-batch",
        "every sample starts with the sum of all samples' logits",
        seeded(
            output,
            "batch-coupling",
            lambda logits, target: at(logits, target, np.sum(own(logits, target))),
        ),
        methods=("lrp.epsilon",),
        models=SMALL,
        source=ISSUE_91,
        hard=True,
    ),
    mutant(
        "std-over-the-batch",
        "the deviation in epsilon is that of all samples together",
        formula(kernels(ruled=(StdEpsilon,)), "batch-coupling", divided(over_the_batch)),
        methods=("lrp_epsilon_0_5_std_x",),
        models=SMALL,
        source="signxai 1.1.9.2 StdxEpsilonRule on a batch",
        hard=True,
    ),
    mutant(
        "relevance-centred-over-the-batch",
        "the mean of all samples' relevance is taken off at one convolution",
        after(convolutions("middle", inner), "batch-coupling", centred),
        methods=("lrp.epsilon",),
        models=("digits-cnn", "ecg-cnn1d", "slopes-net"),
        source=ISSUE_91,
    ),
    mutant(
        "mean-square-over-the-batch",
        "the stabilizer's mean square is that of all samples together",
        formula(
            convolutions("last", ruled=(Epsilon,)),
            "batch-coupling",
            divided(mean_square_of_all),
            "stabilizer-form",
        ),
        methods=("lrp.epsilon:epsilon=0.25",),
        models=("digits-cnn", "ecg-cnn1d", "slopes-net"),
        source="notebook of rodrigobdz/lrp: (dividend**2).mean()**.5 of a batch",
        hard=True,
    ),
    mutant(
        "batch-norm-in-training-mode",
        "batch norm takes the statistics of the batch",
        rebuilt(Where(("batch_norm",), "first"), "batch-coupling", by_batch_statistics, "batchnorm"),
        methods=("gradient",),
        models=("digits-cnn", "ecg-cnn1d", "branches-net"),
        source="model.eval() forgotten",
    ),
)
