"""What is made of one run or many: a function for each procedure of `harness.methods.procedures`.

Every function has the signature ``(graph, activations, target, method, procedure) -> Outcome``: ``activations``
are those of the input that is explained, ``target`` is (batch,), ``procedure`` is the method's. All float64.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.graph import Graph
from harness.methods import (
    Backward,
    GradCam,
    InputItself,
    InputPlusNoise,
    IntegratedGradients,
    Method,
    Smoothed,
    UniformNoise,
    gaussian_noise,
    uniform_noise,
)
from reference_impls.oracle import forward, grad_cam
from reference_impls.oracle.backward import Activations, Relevances, backward, initial
from reference_impls.oracle.statistics import Mean, Statistic, Variance


@dataclass(frozen=True, eq=False)
class Outcome:
    """``attribution``: before post-processing, of the input's shape. ``relevances``: by layer; empty without runs."""

    attribution: np.ndarray
    relevances: Relevances


def outcome(graph: Graph, activations: Activations, target: np.ndarray, method: Method) -> Outcome:
    """What the method's procedure makes of the input."""
    return PROCEDURES[type(method.procedure)](graph, activations, target, method, method.procedure)


def _one_run(graph: Graph, activations: Activations, target: np.ndarray, method: Method) -> Relevances:
    start = initial(activations[graph.output], target, method.head)
    return backward(graph, activations, method.composite, start)


def _backward(
    graph: Graph,
    activations: Activations,
    target: np.ndarray,
    method: Method,
    procedure: Backward,
) -> Outcome:
    """One run on the input itself."""
    relevances = _one_run(graph, activations, target, method)
    return Outcome(relevances[graph.input.name], relevances)


EACH: dict[str, Callable[[np.ndarray], np.ndarray]] = {"none": np.asarray, "abs": np.abs, "square": np.square}
STATISTICS: dict[str, Callable[[], Statistic]] = {"mean": Mean, "variance": Variance}


def _joined(
    graph: Graph,
    points: Iterable[np.ndarray],
    target: np.ndarray,
    method: Method,
    statistic: str,
    each: str,
) -> Outcome:
    """The statistic of the runs on ``points``: of every layer's relevance, and of ``each`` of the input's."""
    of_layers = {layer.name: STATISTICS[statistic]() for layer in graph}
    of_attribution = STATISTICS[statistic]()
    for point in points:
        relevances = _one_run(graph, forward.activations(graph, point), target, method)
        for name, relevance in relevances.items():
            of_layers[name].add(relevance)
        of_attribution.add(EACH[each](relevances[graph.input.name]))
    return Outcome(of_attribution.value(), {name: one.value() for name, one in of_layers.items()})


def _integrated_gradients(
    graph: Graph,
    activations: Activations,
    target: np.ndarray,
    method: Method,
    procedure: IntegratedGradients,
) -> Outcome:
    """``(x - baseline) * mean over k of each(g(x_k))``, ``x_k = baseline + t_k * (x - baseline)``.

    ``t_k = k / steps``, with the endpoint ``k / (steps - 1)``, k = 0..steps-1. Sundararajan et al. 2017,
    eq. 3. The relevances are the means of the runs, without the factor.
    """
    x = activations[graph.input.name]
    intervals = procedure.steps - 1 if procedure.endpoint else procedure.steps
    points = (procedure.baseline + k / intervals * (x - procedure.baseline) for k in range(procedure.steps))
    joined = _joined(graph, points, target, method, "mean", procedure.each)
    return Outcome((x - procedure.baseline) * joined.attribution, joined.relevances)


def _smoothed(
    graph: Graph,
    activations: Activations,
    target: np.ndarray,
    method: Method,
    procedure: Smoothed,
) -> Outcome:
    """Mean or population variance of the runs on ``x + noise_k``.

    Smilkov et al. 2017 (mean), Adebayo et al. 2018 (variance).
    """
    x = activations[graph.input.name]
    points = (x + noise for noise in gaussian_noise(procedure, x.shape))
    return _joined(graph, points, target, method, procedure.statistic, procedure.each)


def _grad_cam(
    graph: Graph,
    activations: Activations,
    target: np.ndarray,
    method: Method,
    procedure: GradCam,
) -> Outcome:
    """See :mod:`reference_impls.oracle.grad_cam`."""
    return Outcome(*grad_cam.grad_cam(graph, activations, target, method, procedure))


def _input_itself(
    graph: Graph,
    activations: Activations,
    target: np.ndarray,
    method: Method,
    procedure: InputItself,
) -> Outcome:
    """``x``"""
    return Outcome(activations[graph.input.name], {})


def _input_plus_noise(
    graph: Graph,
    activations: Activations,
    target: np.ndarray,
    method: Method,
    procedure: InputPlusNoise,
) -> Outcome:
    """``x + noise``"""
    x = activations[graph.input.name]
    (noise,) = gaussian_noise(procedure, x.shape)
    return Outcome(x + noise, {})


def _uniform_noise(
    graph: Graph,
    activations: Activations,
    target: np.ndarray,
    method: Method,
    procedure: UniformNoise,
) -> Outcome:
    """Noise, whatever the input."""
    return Outcome(uniform_noise(procedure, activations[graph.input.name].shape), {})


PROCEDURES: dict[type, Callable[[Graph, Activations, np.ndarray, Method, Any], Outcome]] = {
    Backward: _backward,
    IntegratedGradients: _integrated_gradients,
    Smoothed: _smoothed,
    GradCam: _grad_cam,
    InputItself: _input_itself,
    InputPlusNoise: _input_plus_noise,
    UniformNoise: _uniform_noise,
}
