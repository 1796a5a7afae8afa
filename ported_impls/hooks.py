"""LRP rules as hooks on Zennit's core: a rule is a handful of values, the mechanism is written once.

A rule is a list of parts ``(input modifier, parameter modifier)``, a gradient mapper that turns the
relevance ``R`` and the parts' outputs into what is sent back through each part, and a reducer that joins
the parts' inputs and gradients to the relevance of the input. What the rules compute is defined in
`harness.methods.rules`, after iNNvestigate 2.1.2 (`analyzer/relevance_based/relevance_rule.py`).

Two mechanisms, both :class:`zennit.core.BasicHook`. :class:`OwnStep` serves rules that leave input and
parameters as they are: the module's own output is the denominator and its own backward pass the
transpose, so nothing is computed twice. :class:`ModifiedStep` serves the others: the module is run again
with each part's input and parameters, and its own backward pass is left out.

Tensors are in the twin's layout: batch first, channels on axis 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor

from harness.methods import ReplaceZero, Stabilizer
from ported_impls.torchvision_shim import zennit

InputModifier = Callable[[Tensor], Tensor]
GradientMapper = Callable[[Tensor, Sequence[Tensor]], Sequence[Tensor]]
Reducer = Callable[[Sequence[Tensor], Sequence[Tensor]], Tensor]


# --- what rules are made of ---------------------------------------------------------------------------


def stabilize(stabilizer: Stabilizer, z: Tensor) -> Tensor:
    """The denominator ``S(z)``, in the dtype of ``z``."""
    if isinstance(stabilizer, ReplaceZero):
        return z.masked_fill(z == 0, stabilizer.value)
    return torch.where(z >= 0, z + stabilizer.epsilon, z - stabilizer.epsilon)


def keep(x: Tensor) -> Tensor:
    return x


def positive(x: Tensor) -> Tensor:
    return x.clamp(min=0)


def negative(x: Tensor) -> Tensor:
    return x.clamp(max=0)


class KernelMod(zennit.core.ParamMod):
    """``modifier`` on each parameter of a module and its submodules; without ``bias`` the bias is zero.

    Zennit's own `ParamMod` does not look into submodules, where a separable convolution has its kernels.
    """

    def __init__(self, modifier: Callable[[Tensor], Tensor], bias: bool) -> None:
        super().__init__(lambda parameter, name: modifier(parameter), zero_params=None if bias else ["bias"])

    @contextmanager
    def __call__(self, module: torch.nn.Module) -> Iterator[torch.nn.Module]:
        with ExitStack() as modified:
            for submodule in module.modules():
                modified.enter_context(super().__call__(submodule))
            yield module


Part = tuple[InputModifier, KernelMod]


# --- the mechanisms -----------------------------------------------------------------------------------


class _ScaledRelevance(torch.autograd.Function):
    """Identity; on the way back relevance ``R`` becomes ``mapper(R, (z,))[0]``."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, mapper: GradientMapper) -> Tensor:
        ctx.save_for_backward(z)
        ctx.mapper = mapper
        return z.view_as(z)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, relevance: Tensor) -> tuple[Tensor, None]:
        return ctx.mapper(relevance, ctx.saved_tensors)[0], None


class _Detour(torch.autograd.Function):
    """``output`` unchanged; on the way back zeros, until Zennit's hook puts the relevance in their place."""

    @staticmethod
    def forward(ctx: Any, output: Tensor, *inputs: Tensor) -> Tensor:
        ctx.shapes = [x.shape for x in inputs]
        return output.view_as(output)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, relevance: Tensor) -> tuple[Tensor | None, ...]:
        return (None, *(relevance.new_zeros(()).expand(shape) for shape in ctx.shapes))


class OwnStep(zennit.core.BasicHook):
    """``R_i = x_i * (the module's own backward pass)(R / S(z))_i`` for every input ``x_i``, ``z`` the output.

    The Z and Epsilon rules with bias; also of add and average pooling.
    """

    def __init__(self, stabilizer: Stabilizer) -> None:
        super().__init__(gradient_mapper=partial(_divide_by_sum, stabilizer), reducer=_sum_of_products)
        self.stabilizer = stabilizer

    def copy(self) -> OwnStep:
        return OwnStep(self.stabilizer)

    def post_forward(self, module: torch.nn.Module, input: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return super().post_forward(module, input, _ScaledRelevance.apply(output, self.gradient_mapper))

    def backward(
        self, module: torch.nn.Module, grad_input: tuple[Tensor, ...], grad_output: tuple[Tensor, ...]
    ) -> tuple[Tensor, ...]:
        inputs = self.stored_tensors["input"]
        return tuple(
            self.reducer((x.detach(),), (gradient,)) for x, gradient in zip(inputs, grad_input, strict=True)
        )


class ModifiedStep(zennit.core.BasicHook):
    """A rule that runs the module with modified inputs and parameters, one part after the other.

    A part whose input is zero everywhere (the negative part after a ReLU) is not run: its output is its
    bias, what it contributes is zero, and both are exact. ``read_as`` replaces the module by the one that
    the rule is applied to (a batch norm by its fused line).
    """

    def __init__(
        self,
        parts: Sequence[Part],
        gradient_mapper: GradientMapper,
        reducer: Reducer,
        read_as: Callable[[torch.nn.Module], torch.nn.Module] | None = None,
    ) -> None:
        super().__init__(
            input_modifiers=[modifier for modifier, _ in parts],
            param_modifiers=[modifier for _, modifier in parts],
            gradient_mapper=gradient_mapper,
            reducer=reducer,
        )
        self.parts = parts
        self.read_as = read_as

    def copy(self) -> ModifiedStep:
        return ModifiedStep(self.parts, self.gradient_mapper, self.reducer, self.read_as)

    def post_forward(self, module: torch.nn.Module, input: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return super().post_forward(module, input, _Detour.apply(output.detach(), *input))

    def backward(
        self, module: torch.nn.Module, grad_input: tuple[Tensor, ...], grad_output: tuple[Tensor, ...]
    ) -> tuple[Tensor, ...]:
        if self.read_as is not None:
            module = self.read_as(module)
        x = self.stored_tensors["input"][0].detach()
        inputs, outputs = [], []
        for input_modifier, param_modifier in self.parts:
            part = input_modifier(x).detach()
            with param_modifier(module), torch.enable_grad():
                if part.any():
                    part.requires_grad_()
                    outputs.append(module.forward(part))
                else:
                    outputs.append(_output_at_zero(module, part))
            inputs.append(part)
        upper = self.gradient_mapper(grad_output[0], [output.detach() for output in outputs])
        gradients = list(inputs)  # where a part was not run: zeros, as its input
        run = [index for index, part in enumerate(inputs) if part.requires_grad]
        if run:
            found = torch.autograd.grad(
                [outputs[index] for index in run],
                [inputs[index] for index in run],
                [upper[index] for index in run],
            )
            for index, gradient in zip(run, found, strict=True):
                gradients[index] = gradient
        return (self.reducer([part.detach() for part in inputs], [g.detach() for g in gradients]),)


def _output_at_zero(module: torch.nn.Module, x: Tensor) -> Tensor:
    """What a linear module makes of zeros, to be broadcast: its bias along axis 1, or zero."""
    for submodule in module.modules():
        bias = getattr(submodule, "bias", None)
        if bias is not None:
            return bias.detach().reshape(1, -1, *(1,) * (x.ndim - 2))
    return x.new_zeros((1,) * x.ndim)


# --- gradient mappers and reducers --------------------------------------------------------------------


def _divide_by_sum(stabilizer: Stabilizer, relevance: Tensor, outputs: Sequence[Tensor]) -> list[Tensor]:
    """``R / S(sum of all outputs)`` for every part."""
    return [relevance / stabilize(stabilizer, _total(outputs))] * len(outputs)


def _divide_by_pairs(stabilizer: Stabilizer, relevance: Tensor, outputs: Sequence[Tensor]) -> list[Tensor]:
    """``R / S(o0 + o1)`` for the first two parts, ``R / S(o2 + o3)`` for the last two."""
    first, last = outputs[:2], outputs[2:]
    return _divide_by_sum(stabilizer, relevance, first) + _divide_by_sum(stabilizer, relevance, last)


def _divide_by_difference(
    stabilizer: Stabilizer, relevance: Tensor, outputs: Sequence[Tensor]
) -> list[Tensor]:
    """``R / S(o0 - (o1 + o2))`` for every part."""
    return [relevance / stabilize(stabilizer, outputs[0] - (outputs[1] + outputs[2]))] * 3


def _products(inputs: Sequence[Tensor], gradients: Sequence[Tensor]) -> list[Tensor]:
    return [x * gradient for x, gradient in zip(inputs, gradients, strict=True)]


def _total(tensors: Sequence[Tensor]) -> Tensor:
    return tensors[0] if len(tensors) == 1 else tensors[0] + _total(tensors[1:])


def _sum_of_products(inputs: Sequence[Tensor], gradients: Sequence[Tensor]) -> Tensor:
    return _total(_products(inputs, gradients))


def _weighted_pairs(
    alpha: float, beta: float, inputs: Sequence[Tensor], gradients: Sequence[Tensor]
) -> Tensor:
    products = _products(inputs, gradients)
    return alpha * _total(products[:2]) - beta * _total(products[2:])


def _difference_of_products(inputs: Sequence[Tensor], gradients: Sequence[Tensor]) -> Tensor:
    inside, low, high = _products(inputs, gradients)
    return inside - (low + high)


def _first_gradient(inputs: Sequence[Tensor], gradients: Sequence[Tensor]) -> Tensor:
    return gradients[0]


# --- the rules ----------------------------------------------------------------------------------------

#: A rule is applied to the module itself, or to what this makes of the module.
ReadAs = Callable[[torch.nn.Module], torch.nn.Module] | None


def proportional(stabilizer: Stabilizer, bias: bool, read_as: ReadAs = None) -> zennit.core.BasicHook:
    """Z and Epsilon (Bach et al. 2015, eq. 56 and 58; iNNvestigate 2.1.2 `ZRule`, `EpsilonRule`)."""
    if bias and read_as is None:
        return OwnStep(stabilizer)
    return ModifiedStep(
        [(keep, KernelMod(keep, bias))], partial(_divide_by_sum, stabilizer), _sum_of_products, read_as
    )


def alpha_beta(
    alpha: float, beta: float, stabilizer: Stabilizer, bias: bool, read_as: ReadAs = None
) -> ModifiedStep:
    """AlphaBeta, with both signs of the bias in both denominators (iNNvestigate 2.1.2 `AlphaBetaRule`)."""
    up, down = KernelMod(positive, bias), KernelMod(negative, bias)
    activating: list[Part] = [(positive, up), (negative, down)]
    inhibiting: list[Part] = [(positive, down), (negative, up)]
    if beta == 0:  # then alpha is one
        return ModifiedStep(activating, partial(_divide_by_sum, stabilizer), _sum_of_products, read_as)
    return ModifiedStep(
        activating + inhibiting,
        partial(_divide_by_pairs, stabilizer),
        partial(_weighted_pairs, alpha, beta),
        read_as,
    )


def w_square(stabilizer: Stabilizer, read_as: ReadAs = None) -> ModifiedStep:
    """WSquare: ones for the input, squared kernels, no bias (Montavon et al. 2017; `WSquareRule`)."""
    return ModifiedStep(
        [(torch.ones_like, KernelMod(torch.square, bias=False))],
        partial(_divide_by_sum, stabilizer),
        _first_gradient,
        read_as,
    )


def flat(stabilizer: Stabilizer, read_as: ReadAs = None) -> ModifiedStep:
    """Flat: ones for the input and the kernels, no bias (Lapuschkin et al. 2019; `FlatRule`)."""
    return ModifiedStep(
        [(torch.ones_like, KernelMod(torch.ones_like, bias=False))],
        partial(_divide_by_sum, stabilizer),
        _first_gradient,
        read_as,
    )


def bounded(low: float, high: float, stabilizer: Stabilizer, read_as: ReadAs = None) -> ModifiedStep:
    """The z^B rule for inputs in ``[low, high]``, without bias (Montavon et al. 2017; `BoundedRule`)."""
    return ModifiedStep(
        [
            (keep, KernelMod(keep, bias=False)),
            (partial(torch.full_like, fill_value=low), KernelMod(positive, bias=False)),
            (partial(torch.full_like, fill_value=high), KernelMod(negative, bias=False)),
        ],
        partial(_divide_by_difference, stabilizer),
        _difference_of_products,
        read_as,
    )


class _FusedLine(torch.nn.Module):
    """``weight * x + bias`` along axis 1."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(weight, requires_grad=False)
        self.bias = torch.nn.Parameter(bias, requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        along_channels = (1, -1, *(1,) * (x.ndim - 2))
        return x * self.weight.reshape(along_channels) + self.bias.reshape(along_channels)


def fused_line(batch_norm: torch.nn.Module) -> _FusedLine:
    """A batch norm as iNNvestigate 2.1.2 reads it.

    ``gamma / d * x + (beta - mean / d)`` per channel, ``d = sqrt(variance**2 + epsilon)``: the squared
    variance and the mean without gamma are as they stand in `apply_mapping_to_fused_bn_layer`
    (``fuse_mode="one_linear"``).
    """
    mean, variance = batch_norm.running_mean, batch_norm.running_var
    deviation = torch.sqrt(variance**2 + batch_norm.eps)
    gamma = torch.ones_like(mean) if batch_norm.weight is None else batch_norm.weight.detach()
    beta = torch.zeros_like(mean) if batch_norm.bias is None else batch_norm.bias.detach()
    return _FusedLine(gamma / deviation, beta - mean / deviation)
