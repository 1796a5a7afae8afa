"""How a rule becomes a hook on Zennit's core; the mechanism is written once, the rules are in `hooks`.

A rule is a list of parts ``(input modifier, parameter modifier)``, a gradient mapper that turns the
relevance ``R``, the parts' outputs and the parts' inputs into what is sent back through each part, and a
reducer that joins the parts' inputs and gradients to the relevance of the input.

Three mechanisms. :class:`OwnStep` serves rules that leave input and parameters as they are: the module's
own output is the denominator and its own backward pass the transpose, so nothing is computed twice.
:class:`ModifiedStep` serves those that do not: the module is run again with each part's input and
parameters, and its own backward pass is left out. Both are :class:`zennit.core.BasicHook`.
:class:`FormulaStep` serves what is a formula without a transpose.

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
#: (relevance, outputs of the parts, inputs of the parts) -> for each part what is sent back, None for nothing.
GradientMapper = Callable[[Tensor, Sequence[Tensor], Sequence[Tensor]], Sequence[Tensor | None]]
Reducer = Callable[[Sequence[Tensor], Sequence[Tensor]], Tensor]
#: A rule is applied to the module itself, or to what this makes of it: modules that follow one another.
ReadAs = Callable[[torch.nn.Module], Sequence[torch.nn.Module]] | None
#: (module, its input, relevance of its output) -> relevance of its input.
Formula = Callable[[torch.nn.Module, Tensor, Tensor], Tensor]


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
    """Identity; on the way back relevance ``R`` becomes ``mapper(R, (z,), inputs)[0]``."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, mapper: GradientMapper, *inputs: Tensor) -> Tensor:
        ctx.save_for_backward(z, *inputs)
        ctx.mapper = mapper
        return z.view_as(z)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, relevance: Tensor) -> tuple[Tensor | None, ...]:
        z, *inputs = ctx.saved_tensors
        return (ctx.mapper(relevance, (z,), inputs)[0], None, *(None for _ in inputs))


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

    ``R_i = reducer(x_i, (the module's own backward pass)(gradient_mapper(R, z, x))_i)``, ``z`` the output.
    """

    def __init__(self, gradient_mapper: GradientMapper, reducer: Reducer) -> None:
        super().__init__(gradient_mapper=gradient_mapper, reducer=reducer)

    def copy(self) -> OwnStep:
        return OwnStep(self.gradient_mapper, self.reducer)

    def post_forward(self, module: torch.nn.Module, input: tuple[Tensor, ...], output: Tensor) -> Tensor:
        inputs = (x.detach() for x in input)
        return super().post_forward(
            module, input, _ScaledRelevance.apply(output, self.gradient_mapper, *inputs)
        )

    def backward(
        self, module: torch.nn.Module, grad_input: tuple[Tensor, ...], grad_output: tuple[Tensor, ...]
    ) -> tuple[Tensor, ...]:
        inputs = self.stored_tensors["input"]
        return tuple(
            self.reducer((x.detach(),), (gradient,)) for x, gradient in zip(inputs, grad_input, strict=True)
        )


class FormulaStep(zennit.core.Hook):
    """``R_x = formula(module, x, R)`` for a module with one input; its own backward pass is left out."""

    def __init__(self, formula: Formula) -> None:
        super().__init__()
        self.formula = formula

    def copy(self) -> FormulaStep:
        return FormulaStep(self.formula)

    def post_forward(self, module: torch.nn.Module, input: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return super().post_forward(module, input, _Detour.apply(output.detach(), *input))

    def forward(self, module: torch.nn.Module, input: tuple[Tensor, ...], output: Tensor) -> None:
        self.stored_tensors["input"] = input

    def backward(
        self, module: torch.nn.Module, grad_input: tuple[Tensor, ...], grad_output: tuple[Tensor, ...]
    ) -> tuple[Tensor, ...]:
        with torch.no_grad():
            return (self.formula(module, self.stored_tensors["input"][0].detach(), grad_output[0]),)


class ModifiedStep(zennit.core.BasicHook):
    """A rule that runs the module with modified inputs and parameters, one part after the other.

    ``products``: the reducer multiplies each part's gradient by its input. A part whose input is zero
    everywhere (the negative part after a ReLU) is then not run: its output is its bias, what it
    contributes is zero, and both are exact. ``read_as`` replaces the module by those that the rule is
    applied to, the last one first (a batch norm by its fused line, or by two).
    """

    def __init__(
        self,
        parts: Sequence[Part],
        gradient_mapper: GradientMapper,
        reducer: Reducer,
        read_as: ReadAs = None,
        products: bool = True,
    ) -> None:
        super().__init__(
            input_modifiers=[modifier for modifier, _ in parts],
            param_modifiers=[modifier for _, modifier in parts],
            gradient_mapper=gradient_mapper,
            reducer=reducer,
        )
        self.parts = parts
        self.read_as = read_as
        self.products = products

    def copy(self) -> ModifiedStep:
        return ModifiedStep(self.parts, self.gradient_mapper, self.reducer, self.read_as, self.products)

    def post_forward(self, module: torch.nn.Module, input: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return super().post_forward(module, input, _Detour.apply(output.detach(), *input))

    def backward(
        self, module: torch.nn.Module, grad_input: tuple[Tensor, ...], grad_output: tuple[Tensor, ...]
    ) -> tuple[Tensor, ...]:
        lines = [module] if self.read_as is None else list(self.read_as(module))
        inputs = [self.stored_tensors["input"][0].detach()]
        with torch.no_grad():
            for line in lines[:-1]:
                inputs.append(line.forward(inputs[-1]))
        relevance = grad_output[0]
        for line, x in zip(reversed(lines), reversed(inputs), strict=True):
            relevance = self._through(line, x, relevance)
        return (relevance,)

    def _through(self, module: torch.nn.Module, x: Tensor, relevance: Tensor) -> Tensor:
        inputs, outputs = [], []
        for input_modifier, param_modifier in self.parts:
            part = input_modifier(x).detach()
            with param_modifier(module), torch.enable_grad():
                if part.any() or not self.products:
                    part.requires_grad_()
                    outputs.append(module.forward(part))
                else:
                    outputs.append(_output_at_zero(module, part))
            inputs.append(part)
        plain = [part.detach() for part in inputs]
        upper = self.gradient_mapper(relevance, [output.detach() for output in outputs], plain)
        gradients = [torch.zeros_like(part) for part in plain]
        run = [place for place, part in enumerate(inputs) if part.requires_grad and upper[place] is not None]
        if run:
            found = torch.autograd.grad(
                [outputs[place] for place in run],
                [inputs[place] for place in run],
                [upper[place] for place in run],
            )
            for place, gradient in zip(run, found, strict=True):
                gradients[place] = gradient.detach()
        return self.reducer(plain, gradients)


def _output_at_zero(module: torch.nn.Module, x: Tensor) -> Tensor:
    """What a linear module makes of zeros, to be broadcast: its bias along axis 1, or zero."""
    for submodule in module.modules():
        bias = getattr(submodule, "bias", None)
        if bias is not None:
            return bias.detach().reshape(1, -1, *(1,) * (x.ndim - 2))
    return x.new_zeros((1,) * x.ndim)
