"""How a rule becomes a hook on Zennit's core; the mechanism is written once, the rules are in `hooks`.

A rule is a list of parts ``(input modifier, kernel modifier)``, a gradient mapper that turns the relevance ``R``,
the parts' outputs, the parts' inputs and the module's own output into what is sent back through each part, and a
reducer that joins the parts' inputs and gradients to the relevance of the input.

Four mechanisms. :class:`OwnStep` serves rules that leave input and weights as they are: the module's own
output is the denominator and its own backward pass the transpose, so nothing is computed twice.
:class:`ModifiedStep` serves those that do not: the module is run again with each part's input and weights, and
its own backward pass is left out. :class:`FormulaStep` serves what is a formula without a transpose, and
:class:`OutputStep` such a one that takes the module's output, or several inputs.

Zennit's `BasicHook` would copy the input, run the module again for every part, copy its weights for each of them,
and run the module's own backward pass beside all that; only its way of putting hooks on modules is used.

Tensors are in the twin's layout: batch first, channels on axis 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ported_impls.kernels import KernelMod, Kernels, output_at_zero, with_weights
from ported_impls.mappers import InputModifier, Parts, negative, positive
from ported_impls.torchvision_shim import zennit

#: (relevance, outputs of the parts, inputs of the parts, the module's output) -> what is sent back through each part.
#: An output of None is zero.
GradientMapper = Callable[[Tensor, Parts, Parts, Tensor], Sequence[Tensor]]
#: (inputs of the parts, gradients at them) -> relevance of the input. What is None adds nothing.
Reducer = Callable[[Parts, Parts], Tensor]
#: A rule is applied to the module itself, or to what this makes of it: modules that follow one another.
ReadAs = Callable[[torch.nn.Module], Sequence[torch.nn.Module]] | None
#: (module, its input, relevance of its output) -> relevance of its input.
Formula = Callable[[torch.nn.Module, Tensor, Tensor], Tensor]
#: (module, its inputs, its output, relevance of its output) -> relevance of each input.
OutputFormula = Callable[[torch.nn.Module, Sequence[Tensor], Tensor, Tensor], Sequence[Tensor]]
Part = tuple[InputModifier, KernelMod]
#: From the relevance of a module's output to that of each of its inputs.
WayBack = Callable[[Tensor], tuple[Tensor, ...]]


class _Ruled(torch.autograd.Function):
    """``output`` unchanged; on the way back the relevance that ``hook`` gives to each of ``inputs``."""

    @staticmethod
    def forward(ctx: Any, hook: RuleHook, module: torch.nn.Module, output: Tensor, *inputs: Tensor) -> Tensor:
        ctx.hook, ctx.module = hook, module
        return output.view_as(output)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, relevance: Tensor) -> tuple[Tensor | None, ...]:
        return (None, None, None, *ctx.hook.backward(ctx.module, (), (relevance,)))


class RuleHook(zennit.core.Hook):
    """A rule in the place of a module's backward pass, which is not run: for modules that are called once.

    What the rules are handed is kept in ``stored_tensors``: "input", a tuple, and "output".
    """

    def way_back(self, module: torch.nn.Module) -> WayBack:
        """The rule at what is stored. What runs the module does so here; the result only divides, multiplies and asks
        for gradients, so that `torch.func.vmap` can map it over many relevances."""
        raise NotImplementedError

    def backward(
        self, module: torch.nn.Module, grad_input: tuple[Tensor, ...], grad_output: tuple[Tensor, ...]
    ) -> tuple[Tensor, ...]:
        return self.way_back(module)(grad_output[0])

    def pre_forward(self, module: torch.nn.Module, input: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The module runs on tensors of its own, which the gradients of the network do not go through."""
        self.stored_tensors["taken"] = input
        return tuple(x.detach() for x in input)

    def post_forward(self, module: torch.nn.Module, input: tuple[Tensor, ...], output: Tensor) -> Tensor:
        taken = self.stored_tensors.pop("taken")
        self.stored_tensors.update(input=input, output=output)
        return _Ruled.apply(self, module, output.detach(), *taken)


class OwnStep(RuleHook):
    """A rule that leaves input and weights as they are, for any number of inputs.

    ``R_i = reducer(x_i, (the module's own backward pass)(gradient_mapper(R, z, x))_i)``, ``z`` the output.
    ``places``: the inputs that get relevance, all where it is None; the others get zeros.
    """

    def __init__(
        self, gradient_mapper: GradientMapper, reducer: Reducer, places: tuple[int, ...] | None = None
    ) -> None:
        super().__init__()
        self.gradient_mapper = gradient_mapper
        self.reducer = reducer
        self.places = places

    def copy(self) -> OwnStep:
        return OwnStep(self.gradient_mapper, self.reducer, self.places)

    def pre_forward(self, module: torch.nn.Module, input: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(x.requires_grad_() for x in super().pre_forward(module, input))

    def way_back(self, module: torch.nn.Module) -> WayBack:
        inputs, output = self.stored_tensors["input"], self.stored_tensors["output"]
        plain, z = [x.detach() for x in inputs], output.detach()
        places = range(len(inputs)) if self.places is None else self.places
        asked = [inputs[place] for place in places]

        def back(relevance: Tensor) -> tuple[Tensor, ...]:
            (upper,) = self.gradient_mapper(relevance, (z,), plain, z)
            gradients = dict(
                zip(places, torch.autograd.grad(output, asked, upper, retain_graph=True), strict=True)
            )
            return tuple(
                self.reducer((x,), (gradients[place],)) if place in gradients else torch.zeros_like(x)
                for place, x in enumerate(plain)
            )

        return back


class FormulaStep(RuleHook):
    """``R_x = formula(module, x, R)`` for a module with one input."""

    def __init__(self, formula: Formula) -> None:
        super().__init__()
        self.formula = formula

    def copy(self) -> FormulaStep:
        return FormulaStep(self.formula)

    def way_back(self, module: torch.nn.Module) -> WayBack:
        x = self.stored_tensors["input"][0].detach()
        return lambda relevance: (self.formula(module, x, relevance),)


class OutputStep(RuleHook):
    """``R_i = formula(module, inputs, z, R)_i`` for each input, ``z`` the output of the forward pass."""

    def __init__(self, formula: OutputFormula) -> None:
        super().__init__()
        self.formula = formula

    def copy(self) -> OutputStep:
        return OutputStep(self.formula)

    def way_back(self, module: torch.nn.Module) -> WayBack:
        inputs = [x.detach() for x in self.stored_tensors["input"]]
        z = self.stored_tensors["output"].detach()
        return lambda relevance: tuple(self.formula(module, inputs, z, relevance))


class ModifiedStep(RuleHook):
    """A rule that runs the module with modified inputs and weights, one part after the other.

    Each modified input and each modified weight is made once, whatever the number of parts that have it.
    ``skips_zero``: the negative part of an input without negative values (what comes from a ReLU) is not run: its
    output is its bias, what it contributes is zero, and both are exact. That holds where the reducer multiplies each
    part's gradient by its input, and the gradient is finite: zero times infinity is NaN. ``read_as`` replaces the
    module by those that the rule is applied to, the last one first (a batch norm by its fused line, or by two).
    """

    def __init__(
        self,
        parts: Sequence[Part],
        gradient_mapper: GradientMapper,
        reducer: Reducer,
        read_as: ReadAs = None,
        skips_zero: bool = False,
    ) -> None:
        super().__init__()
        self.parts = parts
        self.gradient_mapper = gradient_mapper
        self.reducer = reducer
        self.read_as = read_as
        self.skips_zero = skips_zero

    def copy(self) -> ModifiedStep:
        return ModifiedStep(self.parts, self.gradient_mapper, self.reducer, self.read_as, self.skips_zero)

    def way_back(self, module: torch.nn.Module) -> WayBack:
        x = self.stored_tensors["input"][0].detach()
        if self.read_as is None:
            through = [self._through(module, x, self.stored_tensors["output"].detach())]
        else:
            lines = list(self.read_as(module))
            values = [x]
            for line in lines:
                values.append(line.forward(values[-1]))
            through = [self._through(*each) for each in zip(lines, values[:-1], values[1:], strict=True)]

        def back(relevance: Tensor) -> tuple[Tensor, ...]:
            for each in reversed(through):
                relevance = each(relevance)
            return (relevance,)

        return back

    def _through(self, module: torch.nn.Module, x: Tensor, z: Tensor) -> Callable[[Tensor], Tensor]:
        nonnegative = self.skips_zero and bool(x.min() >= 0)
        modified: dict[InputModifier, Tensor] = {positive: x} if nonnegative else {}
        kernels = Kernels(module)
        inputs: list[Tensor | None] = []
        outputs: list[Tensor | None] = []
        for input_modifier, kernel_mod in self.parts:
            if nonnegative and input_modifier is negative:
                inputs.append(None)
                bias = output_at_zero(kernels.weights(kernel_mod), x) if kernel_mod.bias else None
                outputs.append(bias)
                continue
            if input_modifier not in modified:
                modified[input_modifier] = input_modifier(x)
            part = modified[input_modifier].detach().requires_grad_()
            with with_weights(module, kernels.weights(kernel_mod)), torch.enable_grad():
                outputs.append(module.forward(part))
            inputs.append(part)
        run = [place for place, part in enumerate(inputs) if part is not None]
        if not run:
            return lambda relevance: torch.zeros_like(x)
        plain = [None if part is None else part.detach() for part in inputs]
        sums = [None if output is None else output.detach() for output in outputs]

        def back(relevance: Tensor) -> Tensor:
            upper = self.gradient_mapper(relevance, sums, plain, z)
            shares = torch.autograd.grad(
                [outputs[place] for place in run],
                [inputs[place] for place in run],
                [upper[place] for place in run],
            )
            gradients: list[Tensor | None] = [None] * len(inputs)
            for place, gradient in zip(run, shares, strict=True):
                gradients[place] = gradient
            return self.reducer(plain, gradients)

        return back
