"""Denominators: another epsilon, another form, another standard deviation."""

from __future__ import annotations

from torch import Tensor, nn

from harness.methods import AlphaBeta, BatchNormReverse, Epsilon, Rule, StdEpsilon, Z

from .arithmetic import Change, back, negative, nonzero, per_channel, per_sample, positive, run, sign
from .formulas import Quotient, divided, signed
from .networks import WITH_DENSE, ZOO
from .planting import Formula, formula, mutant
from .sites import Where, biased, convolutions, dense, kernels, negative_too


def deviation(ddof: int, x: Tensor) -> Tensor:
    return per_sample(x.flatten(1).std(dim=1, correction=ddof), x)


def std_of(factor: float, spread: Quotient) -> Formula:
    """Epsilon is ``factor`` times ``spread(x, z)``."""
    return divided(lambda x, z: nonzero(z + factor * spread(x, z) * sign(z)))


def root_mean_square(z: Tensor, epsilon: float) -> Tensor:
    """``z + epsilon * mean(z**2)**0.5 + 1e-9``, word for word as in the notebook."""
    return z + epsilon * (z**2).mean() ** 0.5 + 1e-9


def alpha_one(module: nn.Module, x: Tensor, relevance: Tensor, by: Change) -> Tensor:
    up, down = positive(x), negative(x)
    z = run(module, up, positive, positive) + run(module, down, negative, negative)
    s = relevance / by(z)
    return up * back(module, up, s, positive) + down * back(module, down, s, negative)


def reverse_of_batch_norm(rule: Rule, module: nn.Module, x: Tensor, relevance: Tensor) -> Tensor:
    """signxai's reverse rule with Keras's batch-norm epsilon 1e-3 where its stabilizer 1e-7 belongs."""
    y = module.forward(x)
    z = (x - per_channel(module.running_mean, x)) * y
    return x * (y - per_channel(module.bias, x)) * relevance / (z + 1e-3 * sign(z))


EPSILON_7 = kernels(ruled=(Epsilon,))
NOTEBOOK = "notebook of rodrigobdz/lrp: three forms of stabilizer"

MUTANTS = (
    mutant(
        "epsilon-1e-6-for-1e-7",
        "epsilon 1e-6 where the rule has 1e-7, at every layer with a kernel",
        formula(EPSILON_7, "epsilon-value", signed(1e-6)),
        methods=("lrp.epsilon",),
        models=(*ZOO, "tokens-net"),
        source="usual slip; documentation of signxai2's hooks recommends 1e-6",
        hard=True,
    ),
    mutant(
        "epsilon-1e-6-at-one-convolution",
        "epsilon 1e-6 where the rule has 1e-7, at the middle convolution alone",
        formula(convolutions("middle", ruled=(Epsilon,)), "epsilon-value", signed(1e-6)),
        methods=("lrp.epsilon",),
        models=ZOO,
        source="usual slip",
        hard=True,
    ),
    mutant(
        "epsilon-ten-times-smaller-at-one-dense",
        "epsilon 0.02 where the method has 0.2, at the first dense layer",
        formula(dense("first", ruled=(Epsilon,)), "epsilon-value", signed(0.02)),
        methods=("lrp_epsilon_0_2",),
        models=(*WITH_DENSE, "tokens-net"),
        source="guide from iNNvestigate to Zennit: parameter routing (one default for all epsilons)",
    ),
    mutant(
        "epsilon-of-another-method",
        "epsilon 0.25 where the method has 0.1, everywhere: the parameter of the caller is ignored",
        formula(EPSILON_7, "epsilon-value", signed(0.25)),
        methods=("lrp_epsilon_0_1",),
        models=ZOO,
        source="guide from iNNvestigate to Zennit: filtered_kwargs drops the caller's epsilon",
    ),
    mutant(
        "epsilon-of-batch-norm-reverse",
        "the reverse rule of batch norm is stabilised with 1e-3 for 1e-7",
        formula(
            Where(("batch_norm",), ruled=(BatchNormReverse,)),
            "epsilon-value",
            reverse_of_batch_norm,
            "batchnorm",
        ),
        methods=("lrp_epsilon_0_1",),
        models=("digits-cnn", "ecg-cnn1d", "fer-xception", "efficientnet-lite0", "branches-net"),
        source="the two epsilons that a Keras batch norm has",
        hard=True,
    ),
    mutant(
        "std-factor-halved",
        "epsilon is 0.25 times the deviation of the input where the method has 0.5",
        formula(kernels(ruled=(StdEpsilon,)), "epsilon-value", std_of(0.25, lambda x, z: deviation(0, x))),
        methods=("lrp_epsilon_0_5_std_x",),
        models=("digits-cnn", "ecg-cnn1d", "fer-xception"),
        source="guide from iNNvestigate to Zennit: stdfactor and epsilon routed into one another",
    ),
    mutant(
        "std-ddof-1",
        "torch.std divides by n - 1, NumPy's and TensorFlow's by n",
        formula(kernels(ruled=(StdEpsilon,)), "std-ddof", std_of(0.5, lambda x, z: deviation(1, x))),
        methods=("lrp_epsilon_0_5_std_x",),
        models=(*ZOO, "tokens-net"),
        source="usual slip; guide from iNNvestigate to Zennit: epsilon = factor * std(x)",
        hard=True,
    ),
    mutant(
        "std-ddof-1-at-one-layer",
        "the same at the middle convolution alone",
        formula(
            convolutions("middle", ruled=(StdEpsilon,)),
            "std-ddof",
            std_of(0.25, lambda x, z: deviation(1, x)),
        ),
        methods=("lrp_epsilon_0_25_std_x",),
        models=("digits-cnn", "ecg-cnn1d", "fer-xception"),
        source="usual slip",
        hard=True,
    ),
    mutant(
        "std-of-the-output",
        "epsilon is a multiple of the deviation of the layer's output and not of its input",
        formula(
            kernels(ruled=(StdEpsilon,)),
            "stabilizer-form",
            std_of(0.5, lambda x, z: per_sample(z.flatten(1).std(dim=1, correction=0), z)),
        ),
        methods=("lrp_epsilon_0_5_std_x",),
        models=("digits-cnn", "ecg-cnn1d", "fer-xception"),
        source="documentation of signxai2's hooks: stabiliser computed from the output",
        hard=True,
    ),
    mutant(
        "plain-addition",
        "z + epsilon, whatever the sign of z",
        formula(
            kernels(having=negative_too, ruled=(Epsilon,)), "stabilizer-form", divided(lambda x, z: z + 0.25)
        ),
        methods=("lrp.epsilon:epsilon=0.25",),
        models=("digits-cnn", "ecg-cnn1d", "fer-xception", "efficientnet-lite0", "tokens-net"),
        source=f"{NOTEBOOK}, the vanilla one",
    ),
    mutant(
        "plain-addition-at-one-layer",
        "z + epsilon at the middle one of the convolutions that no ReLU reads",
        formula(
            convolutions("middle", negative_too, (Epsilon,)),
            "stabilizer-form",
            divided(lambda x, z: z + 1e-7),
        ),
        methods=("lrp.epsilon",),
        models=("digits-cnn", "ecg-cnn1d", "fer-xception"),
        source=NOTEBOOK,
        hard=True,
    ),
    mutant(
        "epsilon-times-root-mean-square",
        "z + epsilon * mean(z**2)**0.5 + 1e-9, at the first dense layer",
        formula(
            dense("first", ruled=(Epsilon,)),
            "stabilizer-form",
            divided(lambda x, z: root_mean_square(z, 0.25)),
        ),
        methods=("lrp.epsilon:epsilon=0.25",),
        models=WITH_DENSE,
        source=f"{NOTEBOOK}, the one scaled by the quadratic mean",
        x=lambda model: next(iter(model.examples.values()))(),
    ),
    mutant(
        "no-stabilizer",
        "R / z at the first dense layer",
        formula(dense("first", ruled=(Epsilon,)), "stabilizer-form", divided(lambda x, z: z)),
        methods=("lrp_epsilon_0_5",),
        models=WITH_DENSE,
        source="documentation of signxai2's hooks: overflow in the epsilon method",
    ),
    mutant(
        "clamped-from-below",
        "max(z, epsilon) at the middle convolution",
        formula(
            convolutions("middle", ruled=(Epsilon,)),
            "stabilizer-form",
            divided(lambda x, z: z.clamp(min=0.1)),
        ),
        methods=("lrp_epsilon_0_1",),
        models=("digits-cnn", "ecg-cnn1d", "fer-xception", "vgg16-mri"),
        source="ports that write clamp(min=eps)",
    ),
    mutant(
        "magnitude-clamped",
        "sign(z) * max(|z|, epsilon): only small denominators are moved",
        formula(
            convolutions("middle", ruled=(Epsilon,)),
            "stabilizer-form",
            divided(lambda x, z: sign(z) * z.abs().clamp(min=0.1)),
        ),
        methods=("lrp_epsilon_0_1",),
        models=("digits-cnn", "ecg-cnn1d", "fer-xception"),
        source="ports that clamp the magnitude",
        hard=True,
    ),
    mutant(
        "zenntis-default-in-z",
        "z + 1e-6 sign(z) where the Z rule replaces exact zeros only: Zennit's default stabilizer",
        formula(kernels(ruled=(Z,)), "stabilizer-form", signed(1e-6), "rule-mapping"),
        methods=("lrp.z",),
        models=("digits-cnn", "ecg-cnn1d", "fer-xception", "vgg16-mri"),
        source="guide from iNNvestigate to Zennit: Zennit 0.5.1 against iNNvestigate",
        hard=True,
    ),
    mutant(
        "alpha-beta-stabilised",
        "z + 1e-6 in alpha-beta's denominator, which is replaced only where it is zero",
        formula(
            kernels(ruled=(AlphaBeta,), having=biased),
            "stabilizer-form",
            lambda rule, module, x, relevance: alpha_one(module, x, relevance, lambda z: z + 1e-6 * sign(z)),
        ),
        methods=("lrp.alpha_1_beta_0",),
        models=("digits-cnn", "ecg-cnn1d", "vgg16-mri"),
        source="DLBacktrace chronicle: + eps in the Z+ handlers",
        hard=True,
    ),
)
