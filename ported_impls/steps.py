"""How a rule becomes a hook on Zennit's core; the mechanism is written once, the rules are in `hooks`.

A rule is a list of parts ``(input modifier, parameter modifier)``, a gradient mapper that turns the
relevance ``R`` and the parts' outputs into what is sent back through each part, and a reducer that joins
the parts' inputs and gradients to the relevance of the input.

Two mechanisms, both :class:`zennit.core.BasicHook`. :class:`OwnStep` serves rules that leave input and
parameters as they are: the module's own output is the denominator and its own backward pass the
transpose, so nothing is computed twice. :class:`ModifiedStep` serves the others: the module is run again
with each part's input and parameters, and its own backward pass is left out.

Tensors are in the twin's layout: batch first, channels on axis 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor

from ported_impls.torchvision_shim import zennit

InputModifier = Callable[[Tensor], Tensor]
GradientMapper = Callable[[Tensor, Sequence[Tensor]], Sequence[Tensor]]
Reducer = Callable[[Sequence[Tensor], Sequence[Tensor]], Tensor]
#: A rule is applied to the module itself, or to what this makes of the module.
ReadAs = Callable[[torch.nn.Module], torch.nn.Module] | None


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
    """A rule that leaves input and parameters as they are, for any number of inputs.

    ``R_i = reducer(x_i, (the module's own backward pass)(gradient_mapper(R, z))_i)``, ``z`` the output.
    """

    def __init__(self, gradient_mapper: GradientMapper, reducer: Reducer) -> None:
        super().__init__(gradient_mapper=gradient_mapper, reducer=reducer)

    def copy(self) -> OwnStep:
        return OwnStep(self.gradient_mapper, self.reducer)

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
        read_as: ReadAs = None,
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
