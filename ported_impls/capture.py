"""What a run of a twin shows from outside: each layer's output, and the gradient that reaches it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch

from harness.graph import Layer
from ported_impls.layout import to_canonical

#: (layer name, relevance of its output in canonical layout)
Tap = Callable[[str, np.ndarray], None]


@dataclass
class Captured:
    """By canonical layer name, in canonical layout: the last output and the last gradient of the output.

    Copies: what a composite's own hooks do in place afterwards does not show in them.
    """

    activations: dict[str, np.ndarray] = field(default_factory=dict)
    relevances: dict[str, np.ndarray] = field(default_factory=dict)


@contextmanager
def capture_layers(twin: torch.nn.Module, layers: Iterable[Layer]) -> Iterator[Captured]:
    """Record those of ``layers`` that run inside the context.

    With hooks of a composite on the same modules, enter this context last: the gradient is then that of
    the tensor which the layer's consumers read, in total over all of them.
    """
    captured = Captured()
    with _forward_hooks(twin, layers, partial(_record, captured)):
        yield captured


@contextmanager
def tap_relevance(twin: torch.nn.Module, layers: Iterable[Layer], tap: Tap) -> Iterator[None]:
    """Hand each gradient of an output of ``layers`` to ``tap`` as it comes; nothing is kept.

    For many runs, which would not fit into memory side by side. To be entered last, as `capture_layers`.
    """
    with _forward_hooks(twin, layers, partial(_tapped, tap)):
        yield


@contextmanager
def show_outputs(
    twin: torch.nn.Module, layers: Iterable[Layer], shown: dict[str, np.ndarray]
) -> Iterator[None]:
    """Put the output of each of ``layers`` that runs into ``shown``: no copy, gone with the run's own tensors."""

    def show(name: str, module: torch.nn.Module, args: tuple[Any, ...], output: torch.Tensor) -> torch.Tensor:
        shown[name] = to_canonical(output)
        return output

    with _forward_hooks(twin, layers, show):
        yield


@contextmanager
def tap_input(twin: torch.nn.Module, tap: Callable[[np.ndarray], None]) -> Iterator[None]:
    """Hand each gradient of what the twin is called with to ``tap`` as it comes."""

    def seen(module: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        (x,) = args
        seen = x.view_as(x)
        if seen.requires_grad:
            seen.register_hook(lambda gradient: tap(to_canonical(gradient)))
        return (seen,)

    handle = twin.register_forward_pre_hook(seen)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def _forward_hooks(
    twin: torch.nn.Module, layers: Iterable[Layer], hook: Callable[..., torch.Tensor]
) -> Iterator[None]:
    """``hook`` (layer name, module, inputs, output) at the modules of ``layers``; what it returns is passed on."""
    modules = dict(twin.named_modules())
    handles = [
        modules[layer.name].register_forward_hook(partial(hook, layer.name))
        for layer in layers
        if layer.name in modules
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _tapped(
    tap: Tap, name: str, module: torch.nn.Module, args: tuple[Any, ...], output: torch.Tensor
) -> torch.Tensor:
    seen = output.view_as(output)
    if seen.requires_grad:
        seen.register_hook(lambda gradient: None if gradient is None else tap(name, to_canonical(gradient)))
    return seen


def _record(
    captured: Captured, name: str, module: torch.nn.Module, args: tuple[Any, ...], output: torch.Tensor
) -> torch.Tensor:
    """A forward hook; returns a view, because a module may return its input, which others read as well."""
    captured.activations[name] = to_canonical(output).copy("K")
    seen = output.view_as(output)
    if seen.requires_grad:
        seen.register_hook(partial(_keep_gradient, captured, name))
    return seen


def _keep_gradient(captured: Captured, name: str, gradient: torch.Tensor | None) -> None:
    if gradient is not None:  # a rule behind it returned nothing
        captured.relevances[name] = to_canonical(gradient).copy("K")
