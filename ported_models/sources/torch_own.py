"""A torch module run by itself, in evaluation mode, and left as it was found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from harness.errors import ModelSourceError
from harness.graph import Graph, joined, parted
from ported_models.outputs import picked
from ported_models.sources.steps import Reading
from ported_models.sources.torch_given import Given, Tensors


@contextmanager
def evaluation(module: nn.Module) -> Iterator[None]:
    """Evaluation mode inside; afterwards every submodule's own mode, and every buffer as it was."""
    modes = {child: child.training for child in module.modules()}
    buffers = {buffer: buffer.detach().clone() for buffer in module.buffers()}
    module.eval()
    try:
        yield
    finally:
        for child, training in modes.items():
            child.training = training
        with torch.no_grad():
            for buffer, value in buffers.items():
                if not torch.equal(buffer, value):
                    buffer.copy_(value)


def run(module: nn.Module, x: Tensors, origin: str, chosen: str | int | None = None) -> torch.Tensor:
    """The module's output on ``x``, in evaluation mode; of several inputs a dict by the names of forward.

    ``chosen``: which of several outputs. Raises ModelSourceError where it fails or the output is no tensor.
    """
    try:
        with evaluation(module), torch.no_grad():
            output = module(x.clone()) if isinstance(x, torch.Tensor) else module(**_copies(x))
    except (Exception, SystemExit) as error:  # the module is the user's own code and raises whatever it likes
        lines = str(error).strip().splitlines() or [""]
        raise ModelSourceError(
            f"{origin}: fails on {_shapes(x)} ({type(error).__name__}: {lines[0][:200]}); "
            "pass an example= that it can be run on"
        ) from None
    tensor: torch.Tensor = picked(output, chosen, torch.Tensor, origin)
    return tensor


def _copies(x: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in x.items()}


def _shapes(x: Tensors) -> str:
    if isinstance(x, torch.Tensor):
        return f"an input of shape {tuple(x.shape)}"
    return f"inputs of the shapes {', '.join(f'{name} {tuple(tensor.shape)}' for name, tensor in x.items())}"


@dataclass(frozen=True)
class TorchSource:
    """A module as `ported_models.proof.Source`. ``reading``: what was read from it on the examples of ``given``."""

    module: nn.Module
    given: tuple[Given, ...]
    reading: Reading
    what: str

    @property
    def graph(self) -> Graph:
        return self.reading.graph

    @property
    def removed(self) -> str | None:
        return self.reading.removed

    @property
    def dtype(self) -> str:
        return "float64" if self._computes_in == torch.float64 else "float32"

    @property
    def eps(self) -> float:
        return float(torch.finfo(self._computes_in).eps)

    @property
    def _computes_in(self) -> torch.dtype:
        """The type of its input, or of its first parameter where that is whole numbers."""
        for each in self.given:
            if each.example.is_floating_point():
                return each.example.dtype
        return next(tensor.dtype for tensor in self.module.parameters() if tensor.is_floating_point())

    @property
    def takes(self) -> tuple[str, ...]:
        return (self.dtype,) * len(self.given)

    @property
    def batch(self) -> int:
        return self.given[0].sides[0]

    @property
    def examples(self) -> tuple[np.ndarray, ...]:
        dtype = getattr(torch, self.dtype)
        arrays = {each.name: self._canonical(each.example.to(dtype), each.order) for each in self.given}
        return (joined(self.graph.inputs, arrays) if self.graph.inputs else arrays[""],)

    def run(self, x: np.ndarray) -> np.ndarray:
        output = run(self.module, self._tensors(x), self.what, self.reading.chosen)
        return self._canonical(output, self.reading.output_order)

    def layers(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """What every module of torch's that became a layer returns: the last layer that it became."""
        uses: dict[str, list[tuple[str, tuple[int, ...]]]] = {}
        for use in self.reading.uses:
            uses.setdefault(use.path, []).append((use.layer, use.order))
        values: dict[str, np.ndarray] = {}
        handles = []
        for path, layers in uses.items():
            waiting = list(layers)

            def keep(module: Any, args: Any, output: Any, waiting: list[Any] = waiting) -> None:
                if waiting:
                    layer, order = waiting.pop(0)
                    # A copy: what reads it may work in place.
                    values[layer] = self._canonical(output.detach().clone(), order)

            handles.append(self.module.get_submodule(path).register_forward_hook(keep))
        try:
            run(self.module, self._tensors(x), self.what, self.reading.chosen)
        finally:
            for handle in handles:
                handle.remove()
        return values

    def remark(self, layer: str | None) -> str:
        paths = [use.path for use in self.reading.uses if use.layer == layer] if layer is not None else [""]
        for path in paths:
            module = self.module.get_submodule(path)
            where = f"module {path!r}" if path else "the module itself"
            if module._forward_hooks or module._forward_pre_hooks:
                return f"{where} has forward hooks, which are not read; remove them, or do in a layer what they do"
            if "forward" in vars(module):
                return (
                    f"the forward of {where} was replaced, and that is not read; make it a class of its own"
                )
        return ""

    def _tensors(self, x: np.ndarray) -> Tensors:
        if not self.graph.inputs:
            return self.given[0].tensor(x)
        arrays = parted(self.graph.inputs, x)
        return {each.name: each.tensor(arrays[each.name]) for each in self.given}

    @staticmethod
    def _canonical(tensor: torch.Tensor, order: Sequence[int] | None) -> np.ndarray:
        """Axis i of ``tensor`` is axis ``order[i]`` of the layer; of another number of axes, as it is."""
        wide = tensor.detach().cpu()
        array = (wide.float() if wide.dtype in (torch.float16, torch.bfloat16) else wide).numpy()
        return array.transpose(np.argsort(order)) if order and len(order) == array.ndim else array
