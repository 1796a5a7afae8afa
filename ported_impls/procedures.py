"""The procedures: from where and how often a method is run, and what is made of the runs.

Their formulas are those of `harness.methods.procedures`. ``recorded`` are the layers to be looked at, in
forward order, none for the attribution alone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace

import numpy as np

from harness.graph import Layer
from harness.methods import (
    Backward,
    DeepLift,
    GradCam,
    InputItself,
    InputPlusNoise,
    IntegratedGradients,
    Method,
    Rollout,
    Smoothed,
    UniformNoise,
    cam_layer,
    gaussian_noise,
    uniform_noise,
)
from ported_impls import cam
from ported_impls.capture import Captured
from ported_impls.deep_lift import deep_lift
from ported_impls.network import Findings, Network, explain_once, gradient_of_sum, look, relevance_of
from ported_impls.postprocess import of_each_run
from ported_impls.quadrature import path
from ported_impls.rollout import rollout
from ported_impls.statistics import Kind, Statistic
from ported_impls.torchvision_shim import zennit

#: How a method's procedure is carried out.
Find = Callable[[Network, np.ndarray, Method, np.ndarray, Sequence[Layer]], Findings]
#: Procedures of many runs.
SAMPLED = IntegratedGradients | Smoothed


def find(
    network: Network,
    x: np.ndarray,
    method: Method,
    target: np.ndarray,
    recorded: Sequence[Layer],
) -> Findings:
    """What ``method`` finds on ``x`` (batch, ..., channel), before post-processing."""
    procedure = method.procedure
    if isinstance(procedure, Backward):
        return explain_once(network, x, target, recorded)
    if isinstance(procedure, SAMPLED):
        return sampled(network, x, procedure, target, recorded)
    if isinstance(procedure, DeepLift):
        return deep_lift(network, x, procedure, target, recorded)
    if isinstance(procedure, GradCam):
        return grad_cam(network, x, procedure, target, recorded)
    if isinstance(procedure, Rollout):
        return rollout(network, x, procedure, target, recorded)
    logits, _ = look(network, x, ())
    attribution = without_run(procedure, x)
    return Findings(logits, attribution, attribution, None)


def sampled(
    network: Network,
    x: np.ndarray,
    procedure: IntegratedGradients | Smoothed,
    target: np.ndarray,
    recorded: Sequence[Layer],
) -> Findings:
    """One run after the other, joined on the way."""
    kind = statistic_of(procedure)
    return statistics(network, x, procedure, target, recorded, (kind,))[kind]


def statistic_of(procedure: IntegratedGradients | Smoothed) -> Kind:
    """How the runs are joined."""
    if isinstance(procedure, Smoothed):
        return procedure.statistic
    return "mean" if procedure.quadrature == "mean" else "sum"


def statistics(
    network: Network,
    x: np.ndarray,
    procedure: IntegratedGradients | Smoothed,
    target: np.ndarray,
    recorded: Sequence[Layer],
    kinds: Collection[Kind],
) -> dict[Kind, Findings]:
    """By kind, what :func:`sampled` finds; the runs are made once."""
    joined = Joined(network, x, procedure, recorded, kinds)
    for point, weight in points(procedure, x):
        joined.run(point, weight, target)
    return joined.findings()


class Joined:
    """The runs of ``procedure`` for ``x``, joined by each of ``kinds``; see :func:`sampled`."""

    def __init__(
        self,
        network: Network,
        x: np.ndarray,
        procedure: IntegratedGradients | Smoothed,
        recorded: Sequence[Layer],
        kinds: Collection[Kind],
    ) -> None:
        self._network = network
        self._x = x
        self._procedure = procedure
        self._recorded = recorded
        self._source = network.graph.input.name
        self._relevances = {kind: Statistic(kind) for kind in kinds}
        self._attributions = {kind: Statistic(kind) for kind in kinds}

    def run(
        self,
        point: np.ndarray,
        weight: float | None,
        target: np.ndarray,
        shown: dict[str, np.ndarray] | None = None,
    ) -> None:
        """Make the run from ``point`` and count it in; its activations go into ``shown``."""

        def add(name: str, relevance: np.ndarray) -> None:
            for each in self._relevances.values():
                each.add(name, _weighed(relevance, weight))

        inside = [layer for layer in self._recorded if layer.name != self._source]
        relevance = relevance_of(self._network, point, target, inside, add, shown)
        add(self._source, relevance)
        of_each = _weighed(of_each_run(relevance, self._procedure.each), weight)
        for joined in self._attributions.values():
            joined.add(self._source, of_each)

    def findings(self) -> dict[Kind, Findings]:
        """By kind, after the last run."""
        logits, captured = look(self._network, self._x, self._recorded)
        procedure, by_kind = self._procedure, {}
        for kind in list(self._relevances):
            inner = self._relevances.pop(kind).result()
            attribution = self._attributions[kind].result()[self._source]
            if isinstance(procedure, IntegratedGradients) and procedure.times_difference:
                attribution = (self._x - procedure.baseline) * attribution
            shown = Captured(captured.activations, inner)
            by_kind[kind] = Findings(logits, attribution, inner[self._source], shown)
        return by_kind


def _weighed(relevance: np.ndarray, weight: float | None) -> np.ndarray:
    return relevance if weight is None else weight * relevance


def points(
    procedure: IntegratedGradients | Smoothed, x: np.ndarray
) -> Iterator[tuple[np.ndarray, float | None]]:
    """The inputs of the runs, in the dtype of ``x``, and what each run counts where they do not count alike."""
    if isinstance(procedure, Smoothed):
        for noise in gaussian_noise(procedure, x.shape):
            yield x + noise.astype(x.dtype), None
    elif procedure.quadrature != "mean":
        for place, weight in path(procedure):
            yield procedure.baseline + place * (x - procedure.baseline), weight
    else:
        last = procedure.steps - 1 if procedure.endpoint else procedure.steps
        for step in range(procedure.steps):
            yield procedure.baseline + step / last * (x - procedure.baseline), None


def grad_cam(
    network: Network,
    x: np.ndarray,
    procedure: GradCam,
    target: np.ndarray,
    recorded: Sequence[Layer],
) -> Findings:
    """The map of the CAM layer at the size of the input; relevance is kept down to that layer.

    The first pass is the plain gradient, the guided factor has the hooks of the network.
    """
    graph = network.graph
    layer = cam_layer(graph, procedure.layer)
    plain = replace(network, composite=zennit.core.Composite(), edges={})
    findings = explain_once(plain, x, target, recorded or (layer,))
    captured = findings.captured
    assert captured is not None
    relevance = captured.relevances.get(layer.name)
    activation = captured.activations[layer.name]
    maps = cam.heat_map(activation, np.zeros_like(activation) if relevance is None else relevance)
    attribution = cam.resized(maps, x.shape, procedure.resize)
    if procedure.guided:
        attribution = attribution * gradient_of_sum(network, x, layer)
    above = {each.name for each in graph if graph.index(each) >= graph.index(layer)}
    captured.relevances = {name: kept for name, kept in captured.relevances.items() if name in above}
    return replace(findings, attribution=attribution, relevance=np.zeros_like(x))


def without_run(procedure: InputItself | InputPlusNoise | UniformNoise, x: np.ndarray) -> np.ndarray:
    """Attributions that no run is needed for, in the dtype of ``x``."""
    if isinstance(procedure, InputItself):
        return x.copy()
    if isinstance(procedure, InputPlusNoise):
        (noise,) = gaussian_noise(procedure, x.shape)
        return x + noise.astype(x.dtype)
    return uniform_noise(procedure, x.shape).astype(x.dtype)
