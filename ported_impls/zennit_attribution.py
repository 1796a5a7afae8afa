"""The procedures by Zennit's own attributors, with the noise that all sides share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

from harness.errors import UnsupportedMethodError
from harness.graph import Layer
from harness.methods import Backward, Head, IntegratedGradients, Method, Smoothed, gaussian_noise
from ported_impls.capture import tap_input, tap_relevance
from ported_impls.heads import initial_relevance
from ported_impls.layout import to_canonical, to_twin
from ported_impls.network import Findings, Network, explain_once, look
from ported_impls.statistics import Statistic
from ported_impls.torchvision_shim import zennit


def find(
    network: Network,
    x: np.ndarray,
    method: Method,
    target: np.ndarray,
    recorded: Sequence[Layer],
) -> Findings:
    """What Zennit makes of ``method`` on ``x`` (batch, ..., channel), before post-processing.

    One run is what `zennit.attribution.Gradient` does. The attributors of many runs join them themselves;
    what their runs leave at each layer is averaged here.
    """
    procedure = method.procedure
    if isinstance(procedure, Backward):
        return explain_once(network, x, target, recorded)
    logits, captured = look(network, x, recorded)
    seed = partial(_initial_relevance, target, network.head)
    source = network.graph.input.name
    inside = [layer for layer in recorded if layer.name != source]
    seen, relevances = to_twin(x), Statistic("mean")
    with (
        network.hooks(),
        tap_relevance(network.twin, inside, relevances.add),
        tap_input(network.twin, partial(relevances.add, source)),
    ):
        if isinstance(procedure, IntegratedGradients):
            attribution = _integrated_gradients(network.twin, seen, seed, procedure)
        elif isinstance(procedure, Smoothed):
            attribution = _smoothgrad(network.twin, seen, seed, procedure)
        else:
            raise UnsupportedMethodError(
                f"zennit has no attributor for {type(procedure).__name__}; choose another backend"
            )
    captured.relevances = relevances.result()
    return Findings(logits, to_canonical(attribution), captured.relevances[source], captured)


def _initial_relevance(target: np.ndarray, head: Head, output: torch.Tensor) -> torch.Tensor:
    return to_twin(initial_relevance(to_canonical(output), target, head))


Seed = Callable[[torch.Tensor], torch.Tensor]


def _integrated_gradients(
    twin: torch.nn.Module, x: torch.Tensor, seed: Seed, procedure: IntegratedGradients
) -> torch.Tensor:
    """`zennit.attribution.IntegratedGradients`: ``(x - baseline) * mean of the gradients at t = 1/n, ..., 1``.

    The steps ``t`` are float32, whatever the dtype of the run.
    """
    baseline = partial(torch.full_like, fill_value=procedure.baseline)
    attributor = zennit.attribution.IntegratedGradients(twin, baseline_fn=baseline, n_iter=procedure.steps)
    _, attribution = attributor(x, seed)
    return attribution


def _smoothgrad(twin: torch.nn.Module, x: torch.Tensor, seed: Seed, procedure: Smoothed) -> torch.Tensor:
    """`zennit.attribution.SmoothGrad`: mean of the gradients at n - 1 noisy inputs and at ``x``.

    Its noise level is relative to the range of each sample, so the level handed over is the method's scale
    by that range (0 for a constant sample, which Zennit gives no noise at any level).
    """
    axes = tuple(range(1, x.ndim))
    extent = x.amax(axes, keepdim=True) - x.amin(axes, keepdim=True)
    level = torch.where(extent > 0, procedure.scale / extent, 0)
    attributor = zennit.attribution.SmoothGrad(twin, noise_level=level, n_iter=procedure.samples)
    shape = to_canonical(x).shape
    normal = (
        to_twin((noise / procedure.scale).astype(to_canonical(x).dtype))
        for noise in gaussian_noise(procedure, shape)
    )
    with _NormalSamples(normal):
        _, attribution = attributor(x, seed)
    return attribution


class _NormalSamples(TorchFunctionMode):
    """While open, `torch.randn_like` returns these samples one after the other: randomness is handed in."""

    def __init__(self, samples: Iterator[torch.Tensor]) -> None:
        super().__init__()
        self.samples = samples

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return next(self.samples) if func is torch.randn_like else func(*args, **(kwargs or {}))
