"""LRP as a function on a torch module, written as a person writes it: hooks keep what goes in, a loop goes back.

The rules of `harness.methods` are read by their names; no code is shared with the port, the reference or the oracle.
A step is ``step(rule, module, inputs, relevance) -> relevance of each input``; whoever wants another one puts it into a
copy of :data:`STEPS`. Tensors are channels first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from harness.methods import (
    AlphaBeta,
    AlphaBetaX,
    BatchNormReverse,
    Bounded,
    Epsilon,
    Flat,
    FusedBatchNorm,
    Gamma,
    Gradient,
    GuidedReLU,
    Method,
    Pass,
    ReplaceZero,
    Sign,
    SignedEpsilon,
    StdEpsilon,
    WSquare,
    Z,
    ZPlusFast,
)
from harness.methods import Deconvolution as DeconvolutionRule

Inputs = tuple[Tensor, ...]
Step = Callable[[Any, nn.Module, Inputs, Tensor], Inputs]
#: A layer's forward pass with other weights: (module, input, keep the bias) -> output.
Weights = Callable[[Tensor], Tensor]


def explain(
    twin: Any,
    x: Tensor,
    target: Tensor,
    method: Method,
    steps: Mapping[type, Step] | None = None,
    start: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> Tensor:
    """The relevance of the input; ``start``: from logits and target to that of the output, else the method's head."""
    steps = STEPS if steps is None else steps
    outputs, inputs = _forward(twin, x)
    graph = twin.graph
    relevance = {graph.output: (start or _head(method))(outputs[graph.output], target)}
    rectified = method.composite.rectified_sources(graph)
    for layer in reversed(list(graph)):
        if layer.name == graph.input.name or layer.name not in relevance:
            continue
        rule = method.composite.rule_for(layer, graph)
        module = twin.get_submodule(layer.name)
        shares = steps[type(rule)](rule, module, inputs[layer.name], relevance.pop(layer.name))
        passed: dict[str, Tensor] = {}
        for name, share in zip(layer.inputs, shares, strict=True):
            passed[name] = passed.get(name, 0) + share
        for name, share in passed.items():
            kept = share.clamp(min=0) if name in rectified else share
            relevance[name] = relevance.get(name, 0) + kept
    return relevance[graph.input.name].detach()


def _forward(twin: Any, x: Tensor) -> tuple[dict[str, Tensor], dict[str, Inputs]]:
    outputs: dict[str, Tensor] = {}
    inputs: dict[str, Inputs] = {}
    handles = []
    for layer in twin.graph:
        if layer.inputs:

            def keep(module: nn.Module, given: Inputs, output: Tensor, name: str = layer.name) -> None:
                inputs[name], outputs[name] = tuple(each.detach() for each in given), output.detach()

            handles.append(twin.get_submodule(layer.name).register_forward_hook(keep))
    with torch.no_grad():
        twin(x)
    for handle in handles:
        handle.remove()
    return outputs, inputs


def _head(method: Method) -> Callable[[Tensor, Tensor], Tensor]:
    def start(logits: Tensor, target: Tensor) -> Tensor:
        own = torch.zeros_like(logits).scatter(1, target[:, None], 1.0)
        starts = {"logit": own * logits, "one": own, "relu_logit": own * logits.clamp(min=0)}
        return starts[str(method.head)]

    return start


def back(module: Callable[..., Tensor], inputs: Inputs, relevance: Tensor) -> Inputs:
    """The vector-Jacobian product of a module."""
    with torch.enable_grad():
        leaves = tuple(each.detach().clone().requires_grad_() for each in inputs)
        output = module(*leaves)
        grads = torch.autograd.grad(output, leaves, relevance, allow_unused=True)
    return tuple(torch.zeros_like(x) if each is None else each for x, each in zip(inputs, grads, strict=True))


def stabilised(z: Tensor, stabilizer: Any) -> Tensor:
    if isinstance(stabilizer, ReplaceZero):
        return torch.where(z == 0, torch.full_like(z, stabilizer.value), z)
    assert isinstance(stabilizer, SignedEpsilon)
    # Of z's own dtype: between two numbers, torch.where chooses float32.
    return z + torch.where(z >= 0, torch.full_like(z, stabilizer.epsilon), -stabilizer.epsilon)


def with_weights(module: nn.Module, change: Weights, bias: Weights | None) -> Callable[[Tensor], Tensor]:
    """``module`` with ``change`` of its weights and ``bias`` of its bias (None: none)."""
    changed = {
        name: (torch.zeros_like(value) if bias is None else bias(value))
        if name.endswith("bias")
        else change(value)
        for name, value in module.named_parameters()
    }
    return lambda x: torch.func.functional_call(module, changed, (x,))


def _same(value: Tensor) -> Tensor:
    return value


def positive(value: Tensor) -> Tensor:
    return value.clamp(min=0)


def negative(value: Tensor) -> Tensor:
    return value.clamp(max=0)


def gradient(rule: Gradient, module: nn.Module, inputs: Inputs, relevance: Tensor) -> Inputs:
    return back(module, inputs, relevance)


def passed(rule: Pass, module: nn.Module, inputs: Inputs, relevance: Tensor) -> Inputs:
    return (relevance,)


def guided(rule: GuidedReLU, module: nn.Module, inputs: Inputs, relevance: Tensor) -> Inputs:
    return back(module, inputs, relevance.clamp(min=0))


def deconvolution(rule: DeconvolutionRule, module: nn.Module, inputs: Inputs, relevance: Tensor) -> Inputs:
    return (relevance.clamp(min=0),)


def ratio(
    module: Callable[..., Tensor],
    inputs: Inputs,
    relevance: Tensor,
    divisor: Callable[[Tensor], Tensor],
    factors: Inputs | None = None,
) -> Inputs:
    """``x * f^T(R / divisor(f(x)))``; ``factors`` in the place of ``x`` in front."""
    with torch.no_grad():
        z = module(*inputs)
    grads = back(module, inputs, relevance / divisor(z))
    return tuple(x * each for x, each in zip(factors or inputs, grads, strict=True))


def z_rule(rule: Z, module: nn.Module, inputs: Inputs, relevance: Tensor) -> Inputs:
    used = module if rule.bias else with_weights(module, _same, None)
    return ratio(used, inputs, relevance, lambda z: stabilised(z, rule.stabilizer))


def epsilon(rule: Epsilon, module: nn.Module, inputs: Inputs, relevance: Tensor) -> Inputs:
    return z_rule(Z(rule.bias, SignedEpsilon(rule.epsilon)), module, inputs, relevance)


def std_epsilon(rule: StdEpsilon, module: nn.Module, inputs: Inputs, relevance: Tensor) -> Inputs:
    used = module if rule.bias else with_weights(module, _same, None)
    (x,) = inputs
    spread = rule.factor * x.flatten(1).std(dim=1, correction=0)

    def divisor(z: Tensor) -> Tensor:
        size = spread.reshape(-1, *(1,) * (z.ndim - 1))
        divided = z + torch.where(z >= 0, size, -size)
        return torch.where(divided == 0, torch.full_like(z, 1e-7), divided)

    return ratio(used, inputs, relevance, divisor)


def alpha_beta(rule: AlphaBeta, module: nn.Module, inputs: Inputs, relevance: Tensor) -> Inputs:
    (x,) = inputs
    plus, minus = x.clamp(min=0), x.clamp(max=0)

    def part(first: Weights, second: Weights) -> Tensor:
        """Contributions of the positive inputs through ``first`` and the negative ones through ``second``."""
        one = with_weights(module, first, first if rule.bias else None)
        other = with_weights(module, second, second if rule.bias and not rule.split_bias else None)
        with torch.no_grad():
            z = one(plus) + other(minus)
        shared = relevance / stabilised(z, rule.stabilizer)
        return plus * back(one, (plus,), shared)[0] + minus * back(other, (minus,), shared)[0]

    result = rule.alpha * part(positive, negative)
    return (result - rule.beta * part(negative, positive) if rule.beta else result,)


def alpha_beta_x(rule: AlphaBetaX, module: nn.Module, inputs: Inputs, relevance: Tensor) -> Inputs:
    (x,) = inputs
    total = torch.zeros_like(x)
    for factor, part, sign in (
        (rule.alpha[0], x.clamp(min=0), positive),
        (rule.alpha[1], x.clamp(max=0), negative),
        (-rule.beta[0], x.clamp(min=0), negative),
        (-rule.beta[1], x.clamp(max=0), positive),
    ):
        if factor:
            used = with_weights(module, sign, sign)
            (share,) = ratio(used, (part,), relevance, lambda z: stabilised(z, rule.stabilizer))
            total = total + factor * share
    return (total,)


def z_plus_fast(rule: ZPlusFast, module: nn.Module, inputs: Inputs, relevance: Tensor) -> Inputs:
    used = with_weights(module, positive, None)
    return ratio(used, inputs, relevance, lambda z: stabilised(z, rule.stabilizer))


def gamma(rule: Gamma, module: nn.Module, inputs: Inputs, relevance: Tensor) -> Inputs:
    """Zennit's, for inputs of both signs."""
    assert rule.signed
    (x,) = inputs
    plus, minus = x.clamp(min=0), x.clamp(max=0)

    def more(value: Tensor) -> Tensor:
        return value + rule.gamma * value.clamp(min=0)

    def less(value: Tensor) -> Tensor:
        return value + rule.gamma * value.clamp(max=0)

    with torch.no_grad():
        z = module(x)
    result = torch.zeros_like(x)
    for first, second, where in ((more, less, z > 0), (less, more, z < 0)):
        one, other = with_weights(module, first, first), with_weights(module, second, None)
        with torch.no_grad():
            divided = stabilised(one(plus) + other(minus), rule.stabilizer)
        shared = where * relevance / divided
        result = result + plus * back(one, (plus,), shared)[0] + minus * back(other, (minus,), shared)[0]
    return (result,)


def sign(rule: Sign, module: nn.Module, inputs: Inputs, relevance: Tensor) -> Inputs:
    (x,) = inputs
    own = torch.where((x >= rule.threshold) | (rule.threshold <= -1), 1.0, -1.0).to(x.dtype)
    return ratio(module, inputs, relevance, lambda z: stabilised(z, rule.stabilizer), (own,))


def w_square(rule: WSquare, module: nn.Module, inputs: Inputs, relevance: Tensor) -> Inputs:
    ones = (torch.ones_like(inputs[0]),)
    squared = with_weights(module, torch.square, None)
    return ratio(squared, ones, relevance, lambda z: stabilised(z, rule.stabilizer))


def flat(rule: Flat, module: nn.Module, inputs: Inputs, relevance: Tensor) -> Inputs:
    ones = (torch.ones_like(inputs[0]),)
    return ratio(
        with_weights(module, torch.ones_like, None), ones, relevance, lambda z: stabilised(z, rule.stabilizer)
    )


def bounded(rule: Bounded, module: nn.Module, inputs: Inputs, relevance: Tensor) -> Inputs:
    (x,) = inputs
    low, high = torch.full_like(x, rule.low), torch.full_like(x, rule.high)
    parts = (
        (x, with_weights(module, _same, None)),
        (-low, with_weights(module, positive, None)),
        (-high, with_weights(module, negative, None)),
    )
    with torch.no_grad():
        z = sum(f(value) for value, f in parts)
    shared = relevance / stabilised(torch.as_tensor(z), rule.stabilizer)
    total = sum(value * back(f, (value,), shared)[0] for value, f in parts)
    return (torch.as_tensor(total),)


def fused_batch_norm(rule: FusedBatchNorm, module: nn.Module, inputs: Inputs, relevance: Tensor) -> Inputs:
    """iNNvestigate's line for a batch norm: its variance is squared, and the mean is not multiplied by gamma."""
    assert rule.mode == "one_linear"
    norm: Any = module
    (x,) = inputs
    deviation = torch.sqrt(norm.running_var**2 + norm.eps)
    scale = torch.ones_like(deviation) if norm.weight is None else norm.weight
    line = nn.Conv1d(len(scale), len(scale), 1, groups=len(scale), dtype=x.dtype)
    line.weight.data = (scale / deviation).reshape(-1, 1, 1)
    line.bias.data = (0 if norm.bias is None else norm.bias) - norm.running_mean / deviation
    line.requires_grad_(False)
    inner = STEPS[type(rule.rule)]
    (result,) = inner(rule.rule, line, (x.flatten(2),), relevance.flatten(2))
    return (result.reshape(x.shape),)


def batch_norm_reverse(
    rule: BatchNormReverse, module: nn.Module, inputs: Inputs, relevance: Tensor
) -> Inputs:
    norm: Any = module
    (x,) = inputs
    shape = (1, -1, *(1,) * (x.ndim - 2))
    with torch.no_grad():
        y = norm(x)
    beta = 0 if norm.bias is None else norm.bias.reshape(shape)
    z = (x - norm.running_mean.reshape(shape)) * y
    return (x * (y - beta) * relevance / stabilised(z, SignedEpsilon(rule.epsilon)),)


#: By rule, its step.
STEPS: dict[type, Step] = {
    Z: z_rule,
    Epsilon: epsilon,
    StdEpsilon: std_epsilon,
    AlphaBeta: alpha_beta,
    AlphaBetaX: alpha_beta_x,
    ZPlusFast: z_plus_fast,
    Gamma: gamma,
    Sign: sign,
    WSquare: w_square,
    Flat: flat,
    Bounded: bounded,
    Pass: passed,
    Gradient: gradient,
    GuidedReLU: guided,
    DeconvolutionRule: deconvolution,
    FusedBatchNorm: fused_batch_norm,
    BatchNormReverse: batch_norm_reverse,
}
