"""What a function does with a torch twin: how often it runs it, on what, and what autograd shows meanwhile."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch

from harness.graph import Layer
from ported_impls.layout import to_canonical


@dataclass
class Watched:
    """Runs of the twin. ``same``: for each that has a way back, whether it was on the very batch, bit for bit.

    ``without``: the same of those under `torch.no_grad`, which are all there are where the way back is the function's
    own. By layer name, in canonical layout:
    ``activations`` and ``gradients``, the last of each; ``runs`` and ``arrivals`` count them.
    """

    same: list[bool] = field(default_factory=list)
    without: list[bool] = field(default_factory=list)
    activations: dict[str, np.ndarray] = field(default_factory=dict)
    gradients: dict[str, np.ndarray] = field(default_factory=dict)
    runs: Counter[str] = field(default_factory=Counter)
    arrivals: Counter[str] = field(default_factory=Counter)

    @property
    def on_the_batch(self) -> bool:
        """Whether what was explained is what the twin computes on the very batch, and nothing else."""
        return self.same == [True] if self.same else self.without != [] and all(self.without)

    @property
    def objection(self) -> str:
        """Why the gradients are not those of one run on the very batch, forward and back; empty where they are."""
        if not self.same:
            return "the function did not run the network with gradients"
        if len(self.same) > 1:
            return f"the function ran the network {len(self.same)} times with gradients"
        if self.same != [True]:
            return "the function ran the network on another batch than the input"
        for counts, did in ((self.runs, "ran"), (self.arrivals, "went back through")):
            name, count = next(iter(counts.most_common(1)), ("", 0))
            if count > 1:
                return f"the function {did} layer {name!r} {count} times"
        return "" if self.arrivals else "the function did not go back through the network"


@contextmanager
def watched(twin: torch.nn.Module, x: torch.Tensor, layers: Iterable[Layer]) -> Iterator[Watched]:
    """Watch ``twin`` while the context is open; ``x`` is the batch, which nobody else may hold.

    ``layers``: those whose output and gradient are recorded.
    """
    seen = Watched()
    modules = dict(twin.named_modules())
    handles = [
        twin.register_forward_hook(partial(_run, seen, x)),
        *(
            modules[layer.name].register_forward_hook(partial(_layer, seen, layer.name))
            for layer in layers
            if layer.name in modules
        ),
    ]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _run(
    seen: Watched, x: torch.Tensor, module: torch.nn.Module, args: tuple[Any, ...], output: torch.Tensor
) -> None:
    given = args[0] if len(args) == 1 else None
    runs = seen.same if output.requires_grad else seen.without
    runs.append(isinstance(given, torch.Tensor) and _equal(given.detach(), x))


def _equal(given: torch.Tensor, x: torch.Tensor) -> bool:
    """Whether two tensors are equal bit for bit; those of `torch.func.vmap` stand for one sample and have no values."""
    try:
        return given.dtype == x.dtype and torch.equal(given, x)
    except RuntimeError:
        return False


def _layer(
    seen: Watched, name: str, module: torch.nn.Module, args: tuple[Any, ...], output: torch.Tensor
) -> torch.Tensor:
    """Returns a view, because a module may return its input, which others read as well."""
    shown = output.view_as(output)
    if shown.requires_grad:
        seen.runs[name] += 1
        try:
            seen.activations[name] = to_canonical(output).copy("K")
        except RuntimeError:  # as in `_equal`; such a run is not on the batch
            return shown
        shown.register_hook(partial(_gradient, seen, name))
    return shown


def _gradient(seen: Watched, name: str, gradient: torch.Tensor) -> None:
    seen.arrivals[name] += 1
    seen.gradients[name] = to_canonical(gradient).copy("K")
