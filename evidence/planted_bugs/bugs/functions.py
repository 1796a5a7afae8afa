"""Functions that return an attribution and show no layers: a person's own LRP, gradients and path, each with a slip."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from evidence.functions import lrp
from evidence.functions.right import gradient_of_logit, method_as_it_says, own_logit, treated
from evidence.planted_bugs import Fault, Mutant
from harness import backend_from_function
from harness.diagnosis.findings import Stage
from harness.methods import (
    AlphaBeta,
    BatchNormReverse,
    Epsilon,
    Flat,
    FusedBatchNorm,
    Gradient,
    Method,
    Pass,
    ReplaceZero,
    Sign,
    SignedEpsilon,
    StdEpsilon,
    WSquare,
    Z,
)

SOURCE = "usual slip: a black-box function"
SMALL = ("digits-cnn", "ecg-cnn1d")


def whole(
    name: str,
    what: str,
    function: Callable[..., Any],
    *faults: Fault,
    methods: tuple[str, ...],
    models: tuple[str, ...] = SMALL,
    framework: str = "torch",
    **facts: Any,
) -> Mutant:
    def build() -> Any:
        return backend_from_function(name, function, framework)

    return Mutant(name, what, faults, build, methods, models, SOURCE, first_seen=True, **facts)


def fault(cause: str, stage: Stage | None = "rule", *or_cause: str) -> Fault:
    return Fault(cause, None, stage, or_cause)


def with_steps(changed: dict[type, lrp.Step], start: Any = None) -> Callable[..., Tensor]:
    """The LRP function with other steps for some rules."""

    def function(twin: Any, x: Tensor, target: Tensor, method: Method) -> Tensor:
        relevance = lrp.explain(twin, x, target, method, {**lrp.STEPS, **changed}, start)
        return treated(relevance, x, method)

    return function


def ended(change: Callable[[Tensor], Tensor], start: Any = None) -> Callable[..., Tensor]:
    """The right function, then ``change`` of the attribution."""

    def function(twin: Any, x: Tensor, target: Tensor, method: Method) -> Tensor:
        return change(treated(lrp.explain(twin, x, target, method, start=start), x, method))

    return function


def dividing(divisor: Callable[[Tensor, float], Tensor]) -> lrp.Step:
    """Epsilon with ``divisor(z, epsilon)``."""

    def step(rule: Epsilon, module: nn.Module, inputs: lrp.Inputs, relevance: Tensor) -> lrp.Inputs:
        return lrp.ratio(module, inputs, relevance, lambda z: divisor(z, rule.epsilon))

    return step


def instead(rule: Any) -> lrp.Step:
    """Another rule, whatever the method says."""
    return lambda _, module, inputs, relevance: lrp.STEPS[type(rule)](rule, module, inputs, relevance)


def changed(**fields: Any) -> Callable[[type], lrp.Step]:
    """The rule with other values of its fields."""
    return lambda kind: (
        lambda rule, module, inputs, relevance: lrp.STEPS[kind](
            replace(rule, **fields), module, inputs, relevance
        )
    )


def then(kind: type, change: Callable[[Tensor], Tensor]) -> lrp.Step:
    """The right step of a rule, and ``change`` of what it hands on."""
    return lambda rule, module, inputs, relevance: tuple(
        change(each) for each in lrp.STEPS[kind](rule, module, inputs, relevance)
    )


def bias_times(times: int) -> lrp.Step:
    def step(rule: Epsilon, module: nn.Module, inputs: lrp.Inputs, relevance: Tensor) -> lrp.Inputs:
        used = lrp.with_weights(module, lambda w: w, lambda b: times * b)
        return lrp.ratio(used, inputs, relevance, lambda z: lrp.stabilised(z, SignedEpsilon(rule.epsilon)))

    return step


def beta_added(rule: AlphaBeta, module: nn.Module, inputs: lrp.Inputs, relevance: Tensor) -> lrp.Inputs:
    (both,) = lrp.alpha_beta(rule, module, inputs, relevance)
    (first,) = lrp.alpha_beta(replace(rule, alpha=1, beta=0), module, inputs, relevance)
    first = rule.alpha * first
    return (first + (first - both),)


def with_real_input(change: lrp.Weights) -> lrp.Step:
    """Flat or w-square with the layer's input where ones should stand."""

    def step(rule: Any, module: nn.Module, inputs: lrp.Inputs, relevance: Tensor) -> lrp.Inputs:
        used = lrp.with_weights(module, change, None)
        return lrp.ratio(used, inputs, relevance, lambda z: lrp.stabilised(z, rule.stabilizer))

    return step


def absolute_weights(rule: Any, module: nn.Module, inputs: lrp.Inputs, relevance: Tensor) -> lrp.Inputs:
    ones = (torch.ones_like(inputs[0]),)
    used = lrp.with_weights(module, torch.abs, None)
    return lrp.ratio(used, ones, relevance, lambda z: lrp.stabilised(z, rule.stabilizer))


def real_norm(rule: FusedBatchNorm, module: nn.Module, inputs: lrp.Inputs, relevance: Tensor) -> lrp.Inputs:
    """The rule on the line that the batch norm computes."""
    return lrp.STEPS[type(rule.rule)](rule.rule, module, inputs, relevance)


def winner_takes_all(rule: Z, module: nn.Module, inputs: lrp.Inputs, relevance: Tensor) -> lrp.Inputs:
    """Average pooling treated as max pooling; other layers under Z as they should be."""
    if isinstance(module, nn.AvgPool1d):
        pool: nn.Module = nn.MaxPool1d(module.kernel_size, module.stride, module.padding)
        return lrp.back(pool, inputs, relevance)
    if isinstance(module, nn.AvgPool2d):
        return lrp.back(nn.MaxPool2d(module.kernel_size, module.stride, module.padding), inputs, relevance)
    return lrp.z_rule(rule, module, inputs, relevance)


def pooling_by_gradient(rule: Z, module: nn.Module, inputs: lrp.Inputs, relevance: Tensor) -> lrp.Inputs:
    if "Pool" in type(module).__name__ or "Avg" in type(module).__name__:
        return lrp.back(module, inputs, relevance)
    return lrp.z_rule(rule, module, inputs, relevance)


def std_of(correction: int, of: str, over: str) -> lrp.Step:
    def step(rule: StdEpsilon, module: nn.Module, inputs: lrp.Inputs, relevance: Tensor) -> lrp.Inputs:
        def divisor(z: Tensor) -> Tensor:
            values = (inputs[0] if of == "input" else z).flatten(1 if over == "sample" else 0)
            size = rule.factor * values.std(dim=-1, correction=correction, keepdim=True)
            size = size.reshape(-1, *(1,) * (z.ndim - 1))
            return z + torch.where(z >= 0, size, -size)

        return lrp.ratio(module, inputs, relevance, divisor)

    return step


def rectified(rule: Z, module: nn.Module, inputs: lrp.Inputs, relevance: Tensor) -> lrp.Inputs:
    """The output after a ReLU is what is divided by."""
    return lrp.ratio(module, inputs, relevance, lambda z: lrp.stabilised(z.clamp(min=0), ReplaceZero(1e-7)))


def branches_alike(rule: Any, module: nn.Module, inputs: lrp.Inputs, relevance: Tensor) -> lrp.Inputs:
    """Each branch of an add gets the same; kernels as they should."""
    if len(inputs) > 1:
        return tuple(relevance / len(inputs) for _ in inputs)
    return lrp.STEPS[type(rule)](rule, module, inputs, relevance)


def probability(logits: Tensor, target: Tensor) -> Tensor:
    own = torch.zeros_like(logits).scatter(1, target[:, None], 1.0)
    return own * torch.softmax(logits, dim=1)


def one(logits: Tensor, target: Tensor) -> Tensor:
    return torch.zeros_like(logits).scatter(1, target[:, None], 1.0)


def against_the_rest(logits: Tensor, target: Tensor) -> Tensor:
    """One at the target, minus one shared among the other classes."""
    own = one(logits, target)
    return own - (1 - own) / (logits.shape[1] - 1)


def next_class(twin: Any, x: Tensor, target: Tensor, method: Method) -> Tensor:
    classes = twin(x).shape[1]
    return method_as_it_says(twin, x, (target + 1) % classes, method)


def of_probability(twin: Any, x: Tensor, target: Tensor, method: Method) -> Tensor:
    """The gradient of the softmax probability."""
    x = x.detach().clone().requires_grad_()
    chosen = torch.softmax(twin(x), dim=1).gather(1, target[:, None]).sum()
    return torch.autograd.grad(chosen, x)[0]


def unguided(twin: Any, x: Tensor, target: Tensor, method: Method) -> Tensor:
    return gradient_of_logit(twin, x, target) * own_logit(twin, x, target)


def in_single(twin: Any, x: Tensor, target: Tensor, method: Method) -> Tensor:
    """The attribution is stored in float32 on the way out."""
    return method_as_it_says(twin, x, target, method).float().to(x.dtype)


def without_input(twin: Any, x: Tensor, target: Tensor, method: Method) -> Tensor:
    return gradient_of_logit(twin, x, target)


def input_twice(twin: Any, x: Tensor, target: Tensor, method: Method) -> Tensor:
    return x * x * gradient_of_logit(twin, x, target)


def path(
    twin: Any, x: Tensor, target: Tensor, method: Method, steps: int, start: float, end: float
) -> Tensor:
    """Integrated gradients at ``steps`` points ``start + k * (end - start) / steps`` of the path."""
    points = [start + k * (end - start) / steps for k in range(steps)]
    return x * sum(gradient_of_logit(twin, t * x, target) for t in points) / steps


def noisy(twin: Any, x: Tensor, target: Tensor, method: Method) -> Tensor:
    """Noise of its own, drawn anew in each run."""
    return gradient_of_logit(twin, x + 0.01 * torch.randn_like(x), target)


def by_255(twin: Any, x: Tensor, target: Tensor, method: Method) -> Tensor:
    """The network is given the input divided by 255."""
    x = x.detach().clone().requires_grad_()
    return torch.autograd.grad(twin(x / 255).gather(1, target[:, None]).sum(), x)[0]


def reversed_channels(twin: Any, x: Tensor, target: Tensor, method: Method) -> Tensor:
    x = x.detach().clone().requires_grad_()
    return torch.autograd.grad(twin(x.flip(1)).gather(1, target[:, None]).sum(), x)[0]


def leaves_a_hook(twin: Any, x: Tensor, target: Tensor, method: Method) -> Tensor:
    gradient = gradient_of_logit(twin, x, target)
    next(m for m in twin.modules() if isinstance(m, nn.ReLU)).register_full_backward_hook(lambda *given: None)
    return gradient


def keras_absolute(twin: Any, x: Any, target: Any, method: Method) -> Any:
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(x)
        chosen = tf.gather(twin(x, training=False), target, axis=1, batch_dims=1)
    return tf.nn.relu(tape.gradient(chosen, x))


def own_maximum(a: Tensor) -> Tensor:
    return a / a.abs().amax(dim=tuple(range(1, a.ndim)), keepdim=True)


def blurred(a: Tensor) -> Tensor:
    """Each value the mean of itself and the next."""
    return (a + a.roll(1, dims=-1)) / 2


EPSILON = ("lrp.epsilon",)
LARGE_EPSILON = ("lrp.epsilon:epsilon=0.25",)
ALPHA_BETA = ("lrp.alpha_2_beta_1",)

MUTANTS = (
    whole(
        "fn-epsilon-1e-6",
        "epsilon 1e-6 for 1e-7",
        with_steps({Epsilon: instead(Epsilon(1e-6))}),
        fault("epsilon-value"),
        methods=EPSILON,
        hard=True,
    ),
    whole(
        "fn-epsilon-in-single-precision",
        "epsilon 0.01 as float32 holds it",
        with_steps({Epsilon: instead(Epsilon(torch.tensor(0.01, dtype=torch.float32).item()))}),
        fault("precision", "rule", "epsilon-value"),
        methods=("lrp.epsilon:epsilon=0.01",),
        hard=True,
    ),
    whole(
        "fn-epsilon-0.01",
        "epsilon 0.01 for 0.25",
        with_steps({Epsilon: instead(Epsilon(0.01))}),
        fault("epsilon-value"),
        methods=LARGE_EPSILON,
    ),
    whole(
        "fn-epsilon-without-sign",
        "z + epsilon whatever the sign",
        with_steps({Epsilon: dividing(lambda z, e: z + e)}),
        fault("stabilizer-form"),
        methods=("lrp.epsilon:epsilon=0.01",),
    ),
    whole(
        "fn-clamped-denominator",
        "z, but at least epsilon in size",
        with_steps(
            {
                Epsilon: dividing(
                    lambda z, e: torch.where(z >= 0, torch.ones_like(z), -1.0) * z.abs().clamp(min=e)
                )
            }
        ),
        fault("stabilizer-form"),
        methods=LARGE_EPSILON,
    ),
    whole(
        "fn-absolute-denominator",
        "|z| + epsilon",
        with_steps({Epsilon: dividing(lambda z, e: z.abs() + e)}),
        fault("absolute-contributions", "rule", "stabilizer-form"),
        methods=EPSILON,
    ),
    whole(
        "fn-bias-left-out",
        "no bias in the denominator",
        with_steps({Epsilon: bias_times(0)}),
        fault("bias-handling"),
        methods=EPSILON,
    ),
    whole(
        "fn-bias-twice",
        "the bias twice",
        with_steps({Epsilon: bias_times(2)}),
        fault("bias-handling"),
        methods=LARGE_EPSILON,
    ),
    whole(
        "fn-alpha-1-beta-0",
        "alpha 1, beta 0 for 2 and 1",
        with_steps({AlphaBeta: changed(alpha=1, beta=0)(AlphaBeta)}),
        fault("alpha-beta"),
        methods=ALPHA_BETA,
    ),
    whole(
        "fn-beta-added",
        "beta's part is added",
        with_steps({AlphaBeta: beta_added}),
        fault("alpha-beta"),
        methods=ALPHA_BETA,
    ),
    whole(
        "fn-bias-by-sign",
        "the bias is split by its sign",
        with_steps({AlphaBeta: changed(split_bias=True)(AlphaBeta)}),
        fault("bias-handling", "rule", "rule-mapping"),
        methods=("lrp.alpha_1_beta_0",),
        hard=True,
    ),
    whole(
        "fn-clipped-after-each",
        "negative relevance set to zero after each kernel",
        with_steps({Epsilon: then(Epsilon, lambda r: r.clamp(min=0))}),
        fault("negative-clipped"),
        methods=LARGE_EPSILON,
    ),
    whole(
        "fn-absolute-after-each",
        "relevance taken absolute after each kernel",
        with_steps({Epsilon: then(Epsilon, torch.abs)}),
        fault("absolute-contributions"),
        methods=LARGE_EPSILON,
    ),
    whole(
        "fn-doubled-after-each",
        "relevance doubled after each kernel",
        with_steps({Epsilon: then(Epsilon, lambda r: 2 * r)}),
        fault("scale", None),
        methods=LARGE_EPSILON,
    ),
    whole(
        "fn-flat-with-input",
        "flat with the real input",
        with_steps({Flat: with_real_input(torch.ones_like)}),
        fault("flat-input"),
        methods=("lrp.flat",),
    ),
    whole(
        "fn-w-square-with-input",
        "w-square with the real input",
        with_steps({WSquare: with_real_input(torch.square)}),
        fault("flat-input"),
        methods=("lrp.w_square",),
    ),
    whole(
        "fn-w-for-w-square",
        "|W| for W^2",
        with_steps({WSquare: absolute_weights}),
        fault("input-layer-rule", "rule", "absolute-contributions", "rule-mapping"),
        methods=("lrp.w_square",),
    ),
    whole(
        "fn-norm-passes",
        "batch norm hands relevance on",
        with_steps({FusedBatchNorm: instead(Pass())}),
        fault("batchnorm", "rule", "rule-mapping"),
        methods=EPSILON,
    ),
    whole(
        "fn-norm-gradient",
        "batch norm by its gradient",
        with_steps({FusedBatchNorm: instead(Gradient())}),
        fault("batchnorm", "rule", "rule-mapping"),
        methods=EPSILON,
    ),
    whole(
        "fn-norm-as-it-computes",
        "the rule on the line that the batch norm computes",
        with_steps({FusedBatchNorm: real_norm}),
        fault("batchnorm"),
        methods=LARGE_EPSILON,
        hard=True,
    ),
    whole(
        "fn-norm-reverse-passes",
        "batch norm hands relevance on",
        with_steps({BatchNormReverse: instead(Pass())}),
        fault("batchnorm", "rule", "rule-mapping"),
        methods=("lrp_z",),
    ),
    whole(
        "fn-winner-takes-all",
        "average pooling as max pooling",
        with_steps({Z: winner_takes_all}),
        fault("pooling", "rule", "rule-mapping"),
        methods=LARGE_EPSILON,
    ),
    whole(
        "fn-pooling-by-gradient",
        "average pooling by its gradient",
        with_steps({Z: pooling_by_gradient}),
        fault("pooling", "rule", "rule-mapping"),
        methods=LARGE_EPSILON,
    ),
    whole(
        "fn-relu-gradient",
        "the gradient at ReLUs",
        with_steps({Pass: instead(Gradient())}),
        fault("rule-mapping"),
        methods=("lrp.flat",),
    ),
    whole(
        "fn-epsilon-at-the-input",
        "epsilon at the input instead of flat",
        with_steps({Flat: instead(Epsilon(1e-6))}),
        fault("input-layer-rule", "rule", "rule-mapping"),
        methods=("epsilon_plus_flat",),
    ),
    whole(
        "fn-sign-threshold",
        "threshold 0.5 for 0",
        with_steps({Sign: changed(threshold=0.5)(Sign)}),
        fault("sign-threshold"),
        methods=("lrpsign_z",),
    ),
    whole(
        "fn-z-for-sign",
        "z at the input instead of sign",
        with_steps({Sign: instead(Z())}),
        fault("input-layer-rule", None, "rule-mapping"),
        methods=("lrpsign_z",),
    ),
    whole(
        "fn-ddof-1",
        "the standard deviation divides by n - 1",
        with_steps({StdEpsilon: std_of(1, "input", "sample")}),
        fault("std-ddof"),
        methods=("lrp_epsilon_0_25_std_x",),
        hard=True,
    ),
    whole(
        "fn-std-of-the-batch",
        "the standard deviation of the batch",
        with_steps({StdEpsilon: std_of(0, "input", "batch")}),
        fault("batch-coupling"),
        methods=("lrp_epsilon_0_25_std_x",),
    ),
    whole(
        "fn-std-of-the-output",
        "the standard deviation of the output",
        with_steps({StdEpsilon: std_of(0, "z", "sample")}),
        fault("stabilizer-form"),
        methods=("lrp_epsilon_0_25_std_x",),
    ),
    whole(
        "fn-rectified-denominator",
        "the output after ReLU is divided by",
        with_steps({Z: rectified}),
        fault("preactivation", "rule", "negative-clipped"),
        methods=("lrp.z",),
    ),
    whole(
        "fn-branches-alike",
        "both branches of an add get the same",
        with_steps({Z: branches_alike, Epsilon: branches_alike}),
        fault("residual-split"),
        methods=EPSILON,
        models=("tokens-net",),
    ),
    whole(
        "fn-starts-from-probability",
        "starts from the softmax probability",
        with_steps({}, probability),
        fault("output-seed", "head"),
        methods=EPSILON,
    ),
    whole(
        "fn-contrast",
        "starts from a contrast to the other classes",
        with_steps({}, against_the_rest),
        fault("output-seed", "head"),
        methods=LARGE_EPSILON,
    ),
    whole(
        "fn-gradient-of-probability",
        "the gradient of the softmax probability",
        of_probability,
        fault("output-seed", "head", "softmax-kept"),
        methods=("gradient",),
    ),
    whole(
        "fn-one-and-absolute",
        "starts from one, and absolute values at the end",
        ended(torch.abs, one),
        fault("output-seed", "head"),
        fault("absolute-contributions", "postprocess"),
        methods=LARGE_EPSILON,
    ),
    whole(
        "fn-one-and-epsilon",
        "starts from one, with epsilon 0.01 for 0.25",
        with_steps({Epsilon: instead(Epsilon(0.01))}, one),
        fault("output-seed", "head"),
        fault("epsilon-value"),
        methods=LARGE_EPSILON,
    ),
    whole(
        "fn-bias-and-clipped",
        "no bias, and negative values cut off at the end",
        lambda *given: with_steps({Epsilon: bias_times(0)})(*given).clamp(min=0),
        fault("bias-handling"),
        fault("negative-clipped", "postprocess"),
        methods=LARGE_EPSILON,
    ),
    whole(
        "fn-channels-summed",
        "summed over the channels and repeated",
        ended(lambda a: a.sum(dim=1, keepdim=True).expand_as(a)),
        fault("layout", "postprocess"),
        methods=LARGE_EPSILON,
        models=("ecg-cnn1d",),
    ),
    whole(
        "fn-last-axis-reversed",
        "the last axis reversed",
        ended(lambda a: a.flip(-1)),
        fault("layout", "postprocess"),
        methods=LARGE_EPSILON,
    ),
    whole(
        "fn-own-maximum",
        "divided by its largest absolute value",
        ended(own_maximum),
        fault("scale", "postprocess"),
        methods=LARGE_EPSILON,
    ),
    whole(
        "fn-maximum-of-the-batch",
        "divided by the largest absolute value of the batch",
        ended(lambda a: a / a.abs().max()),
        fault("batch-coupling", "postprocess"),
        methods=LARGE_EPSILON,
    ),
    whole(
        "fn-blurred",
        "each value averaged with its neighbour",
        ended(blurred),
        fault("unknown", None),
        methods=LARGE_EPSILON,
    ),
    whole("fn-next-class", "the next class", next_class, fault("target", "head"), methods=LARGE_EPSILON),
    whole(
        "fn-unguided",
        "the gradient for guided backprop",
        unguided,
        fault("rule-mapping"),
        methods=("guided_backprop",),
    ),
    whole(
        "fn-without-input",
        "not multiplied by the input",
        without_input,
        fault("input-layer-rule", "postprocess"),
        methods=("input_t_gradient",),
    ),
    whole(
        "fn-input-twice",
        "multiplied by the input twice",
        input_twice,
        fault("input-layer-rule", "postprocess"),
        methods=("input_t_gradient",),
    ),
    whole(
        "fn-positive-part",
        "negative gradients cut off, on the Keras twin",
        keras_absolute,
        fault("negative-clipped", "postprocess"),
        methods=("gradient",),
        framework="tensorflow",
    ),
    whole(
        "fn-in-single-precision",
        "stored in float32",
        in_single,
        fault("precision", "postprocess"),
        methods=LARGE_EPSILON,
    ),
    whole(
        "fn-midpoints",
        "the midpoints of the path",
        partial(path, steps=8, start=1 / 16, end=1 + 1 / 16),
        fault("unknown", None),
        methods=("integrated_gradients:steps=8",),
    ),
    whole(
        "fn-twice-the-steps",
        "16 steps for 8",
        partial(path, steps=16, start=0.0, end=1.0),
        fault("unknown", None),
        methods=("integrated_gradients:steps=8",),
    ),
    whole(
        "fn-noise-of-its-own", "noise drawn anew", noisy, fault("nondeterminism", None), methods=("gradient",)
    ),
    whole(
        "fn-by-255",
        "the input divided by 255",
        by_255,
        fault("preprocessing", "forward"),
        methods=("gradient",),
    ),
    whole(
        "fn-reversed-channels",
        "the channels of the input reversed",
        reversed_channels,
        fault("preprocessing", "forward"),
        methods=("gradient",),
        models=("ecg-cnn1d",),
    ),
    whole(
        "fn-leaves-a-hook",
        "the gradient, and a hook left behind",
        leaves_a_hook,
        fault("state", "run"),
        methods=("gradient",),
    ),
)
