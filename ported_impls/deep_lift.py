"""DeepLIFT as hooks, after Captum 0.9.0 (`_core/deep_lift.py`): input and baseline are one batch, one behind another.

A rule is a hook on the tensor that its module reads: it replaces the gradient there, by way of that of the module's
output as autograd handed it there. Everything else is autograd's. Formulas: `harness.methods.DeepLift`. Tensors are in
the twin's layout: batch first, channels on axis 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from harness.graph import Graph, Layer
from harness.methods import MAX_POOLING_KINDS, RESCALED_KINDS, DeepLift, baselines
from ported_impls.capture import Captured
from ported_impls.heads import initial_relevance
from ported_impls.layout import to_canonical, to_twin
from ported_impls.network import Findings, Network
from ported_impls.statistics import Statistic


def deep_lift(
    network: Network, x: np.ndarray, procedure: DeepLift, target: np.ndarray, recorded: Sequence[Layer]
) -> Findings:
    """The mean over the baselines; layers show the mean of their multipliers."""
    lifted = Lifted(network, x, procedure, recorded)
    for baseline in baselines(procedure, x.shape):
        lifted.run(baseline, target)
    return lifted.findings()


class Lifted:
    """What the runs on ``x`` and on one baseline of ``procedure`` after the other come to."""

    def __init__(
        self, network: Network, x: np.ndarray, procedure: DeepLift, recorded: Sequence[Layer]
    ) -> None:
        self._network = network
        self._x = x
        self._procedure = procedure
        self._recorded = recorded
        self._source = network.graph.input.name
        self._inside, self._attributions = Statistic("mean"), Statistic("mean")
        self._last: tuple[np.ndarray, Captured] | None = None

    def run(self, baseline: np.ndarray, target: np.ndarray) -> Mapping[str, np.ndarray]:
        """Count in the run on ``baseline``; the activations of ``recorded`` layers, of both runs as one batch."""
        x, source = self._x, self._source
        beside = baseline.astype(x.dtype)
        both = np.concatenate([x, beside])
        logits, captured = _both_runs(self._network, both, target, self._recorded, self._procedure.eps)
        multiplier = captured.relevances[source]
        difference = x - beside
        self._attributions.add(
            source, difference * multiplier if self._procedure.times_difference else multiplier
        )
        for name, relevance in captured.relevances.items():
            self._inside.add(name, relevance)
        self._last = logits, captured
        return captured.activations

    def findings(self) -> Findings:
        """After the last run."""
        assert self._last is not None
        logits, captured = self._last
        activations = {name: _first_half(array) for name, array in captured.activations.items()}
        inside = self._inside.result()
        attribution = self._attributions.result()[self._source]
        return Findings(logits, attribution, inside[self._source], Captured(activations, inside))


def _both_runs(
    network: Network, both: np.ndarray, target: np.ndarray, recorded: Sequence[Layer], eps: float
) -> tuple[np.ndarray, Captured]:
    """Of the first half of the batch the logits and what reaches ``recorded`` layers and the input; all activations."""
    source = network.graph.input.name
    captured = Captured()
    seen = to_twin(both).requires_grad_()
    with rules_on(network.twin, network.graph, eps), _outputs(network.twin, recorded) as outputs:
        output = network.twin(seen)
        logits = to_canonical(output)
        for name, tensor in outputs.items():
            captured.activations[name] = to_canonical(tensor).copy("K")
            if tensor.requires_grad and name != source:
                # The last hook of the tensor: it sees what all rules have left there.
                tensor.register_hook(partial(_keep, captured.relevances, name))
        start = initial_relevance(logits, np.concatenate([target, target]), network.head)
        gradient = None
        if output.requires_grad:
            (gradient,) = torch.autograd.grad(output, seen, to_twin(start), allow_unused=True)
    zeros = np.zeros_like(both[: len(both) // 2])
    captured.relevances[source] = zeros if gradient is None else _first_half(to_canonical(gradient))
    return _first_half(logits), captured


def _keep(kept: dict[str, np.ndarray], name: str, gradient: Tensor) -> None:
    kept[name] = _first_half(to_canonical(gradient))


@contextmanager
def _outputs(twin: torch.nn.Module, layers: Sequence[Layer]) -> Iterator[dict[str, Tensor]]:
    """By name, what the modules of ``layers`` hand on while this is open: the tensors themselves."""
    outputs: dict[str, Tensor] = {}

    def keep(name: str, module: torch.nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        outputs[name] = output

    handles = [
        twin.get_submodule(layer.name).register_forward_hook(partial(keep, layer.name)) for layer in layers
    ]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


def _first_half(array: np.ndarray) -> np.ndarray:
    return array[: len(array) // 2].copy("K")


@contextmanager
def rules_on(twin: torch.nn.Module, graph: Graph, eps: float) -> Iterator[None]:
    """While open, the twin's activations and max poolings have their rules."""
    handles = []
    for layer in graph:
        rule = _RULES.get(layer.kind)
        if rule is not None:
            module = twin.get_submodule(layer.name)
            hooks = _Hooks(partial(rule, eps, module))
            handles += [
                module.register_forward_pre_hook(hooks.before),
                module.register_forward_hook(hooks.after),
            ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@dataclass(eq=False)
class _Hooks:
    """Those of one module: ``handed`` is the gradient of its output before the hooks of whoever reads that."""

    rule: Callable[[Tensor, Tensor, Tensor], Tensor]
    handed: Tensor | None = None

    def before(self, module: torch.nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        (read,) = args
        seen = read.detach()

        def replace_gradient(gradient: Tensor) -> Tensor:
            return gradient if self.handed is None else self.rule(seen, gradient, self.handed)

        if read.requires_grad:
            read.register_hook(replace_gradient)
        return (read.clone(),)

    def after(self, module: torch.nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        def keep(gradient: Tensor) -> None:
            self.handed = gradient

        if output.requires_grad:
            output.register_hook(keep)


def _rescaled(eps: float, module: torch.nn.Module, inputs: Tensor, there: Tensor, handed: Tensor) -> Tensor:
    """``handed * delta_out / delta_in``; what was there where ``delta_in`` is nothing."""
    delta_in, delta_out = _difference(inputs), _difference(module.forward(inputs))
    return torch.where(delta_in.abs() < eps, there, handed * delta_out / delta_in)


def _max_pooled(eps: float, module: Any, inputs: Tensor, there: Tensor, handed: Tensor) -> Tensor:
    y, y_ref = module.forward(inputs).chunk(2)
    cross_maximum = torch.maximum(y, y_ref)
    delta_out = torch.cat([cross_maximum - y_ref, y - cross_maximum])
    of_input, of_baseline = _unpool(module, inputs, handed * delta_out).chunk(2)
    both = torch.cat([of_input + of_baseline] * 2)
    delta_in = _difference(inputs)
    of_first = torch.cat([there.chunk(2)[0]] * 2)
    return torch.where(delta_in.abs() < eps, of_first, both / delta_in)


_RULES: dict[str, Callable[..., Tensor]] = {
    **dict.fromkeys(RESCALED_KINDS, _rescaled),
    **dict.fromkeys(MAX_POOLING_KINDS, _max_pooled),
}


def _difference(both: Tensor) -> Tensor:
    """Input minus baseline, twice, in the shape of ``both``."""
    first, second = both.chunk(2)
    return torch.cat([first - second] * 2)


def _unpool(module: Any, inputs: Tensor, values: Tensor) -> Tensor:
    """``values`` at the largest entry of each window; the last of several windows wins, as in `max_unpool`."""
    rank = inputs.ndim - 2
    margin = getattr(module, "explicit_padding", None)
    if margin is None:
        even = module.padding if isinstance(module.padding, tuple) else (module.padding,) * rank
        margin = tuple(width for width in reversed(even) for _ in range(2))
    padded = functional.pad(inputs, margin, value=-torch.inf)
    pool = (functional.max_pool1d, functional.max_pool2d, functional.max_pool3d)[rank - 1]
    _, places = pool(padded, module.kernel_size, module.stride, return_indices=True)
    spread = torch.zeros_like(padded).flatten(2)
    spread.scatter_(2, places.flatten(2), values.flatten(2))
    return functional.pad(spread.reshape(padded.shape), [-width for width in margin])
