"""A torch module run by itself, in evaluation mode, and left as it was found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from harness.errors import InvalidInputError, ModelSourceError
from harness.graph import Axes, Graph
from ported_models.sources.steps import Reading
from ported_models.sources.torch_site import Order, as_it_is, channels_first
from ported_models.twins.layout import to_internal


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


def run(module: nn.Module, x: torch.Tensor, origin: str) -> torch.Tensor:
    """The module's output on ``x``, in evaluation mode. Raises ModelSourceError where it fails or is no tensor."""
    try:
        with evaluation(module), torch.no_grad():
            output = module(x.clone())
    except (Exception, SystemExit) as error:  # the module is the user's own code and raises whatever it likes
        lines = str(error).strip().splitlines() or [""]
        raise ModelSourceError(
            f"{origin}: fails on an input of shape {tuple(x.shape)} ({type(error).__name__}: {lines[0][:200]}); "
            "pass an example= that it can be run on"
        ) from None
    if not isinstance(output, torch.Tensor):
        raise ModelSourceError(
            f"{origin}: returns a {type(output).__name__}, expected one tensor; "
            "wrap the module in one that returns the logits only"
        )
    return output


#: What the axis that stands last in the graph may be called.
FEATURES = ("channel", "feature")


def input_order(rank: int, axes: Axes | None) -> Order:
    """Which axis of the graph's input each axis of the module's is: channels first, or as ``axes`` says."""
    if axes is None:
        return channels_first(rank) if rank > 2 else as_it_is(rank)
    return tuple(graph_axes(axes).index(axis) for axis in axes)


def graph_axes(axes: Axes) -> Axes:
    """The module's axes in the order of the graph: the batch first, channels or features last."""
    return tuple(sorted(axes, key=lambda axis: (axis != "batch", axis in FEATURES)))


def checked_axes(axes: Sequence[str], rank: int, origin: str) -> Axes:
    """``axes`` as names of the axes of an input. Raises InvalidInputError where they are not."""
    names = tuple(str(axis) for axis in axes)
    last = sum(axis in FEATURES for axis in names)
    if len(names) != rank or len(set(names)) != rank or "batch" not in names or last != (rank > 2):
        raise InvalidInputError(
            f"{origin}: axes={names} for an example of {rank} axes; expected as many different names, one of them "
            '"batch", one of three or more "channel" or "feature", e.g. ("batch", "time", "feature")'
        )
    return names


def example_tensor(module: nn.Module, example: Any, axes: Axes | None = None) -> torch.Tensor:
    """``example`` as the module takes it: torch's layout (batch, channel, ...), its floating type and device.

    Whole numbers stay what they are where the module has an embedding to read rows with.

    ``example``: a torch tensor in torch's layout, or an array (batch, ..., channel); with ``axes`` both have
    the module's own order.
    """
    if not isinstance(example, torch.Tensor):
        array = np.asarray(example)
        example = torch.from_numpy(np.ascontiguousarray(to_internal(array) if axes is None else array))
    if example.is_meta:
        example = torch.zeros(example.shape)
    first = next((tensor for tensor in module.parameters() if tensor.is_floating_point()), None)
    if not example.is_floating_point() and any(isinstance(child, nn.Embedding) for child in module.modules()):
        return example.detach().to(first.device if first is not None else "cpu")
    if first is None:
        return example if example.is_floating_point() else example.float()
    return example.detach().to(first.device, first.dtype)


@dataclass(frozen=True)
class TorchSource:
    """A module as `ported_models.proof.Source`. ``reading``: what was read from it on ``example``."""

    module: nn.Module
    example: torch.Tensor
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
        if self.example.is_floating_point():
            return self.example.dtype
        return next(tensor.dtype for tensor in self.module.parameters() if tensor.is_floating_point())

    @property
    def takes(self) -> str:
        return self.dtype

    @property
    def batch(self) -> int:
        order = self.reading.input_order or as_it_is(self.example.ndim)
        return int(self.example.shape[order.index(0)])

    @property
    def examples(self) -> tuple[np.ndarray, ...]:
        return (self._canonical(self.example.to(getattr(torch, self.dtype)), self.reading.input_order),)

    def run(self, x: np.ndarray) -> np.ndarray:
        return self._canonical(run(self.module, self._tensor(x), self.what), self.reading.output_order)

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
            run(self.module, self._tensor(x), self.what)
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

    def _tensor(self, x: np.ndarray) -> torch.Tensor:
        order = self.reading.input_order or as_it_is(x.ndim)
        tensor = torch.from_numpy(np.ascontiguousarray(x.transpose(order)))
        return tensor.to(self.example.device, self.example.dtype)

    @staticmethod
    def _canonical(tensor: torch.Tensor, order: Sequence[int] | None) -> np.ndarray:
        """Axis i of ``tensor`` is axis ``order[i]`` of the layer; of another number of axes, as it is."""
        wide = tensor.detach().cpu()
        array = (wide.float() if wide.dtype in (torch.float16, torch.bfloat16) else wide).numpy()
        return array.transpose(np.argsort(order)) if order and len(order) == array.ndim else array
