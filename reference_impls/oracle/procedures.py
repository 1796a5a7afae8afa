"""What is made of one run or many: a function for each procedure of `harness.methods.procedures`.

Every function has the signature ``(graph, activations, target, method, procedure) -> Outcome``: ``activations``
are those of the input that is explained, ``target`` is (batch,), ``procedure`` is the method's. All float64. Those of
:data:`MANY_RUNS` are generators: they yield the activations of each run, and return the outcome.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.graph import Graph
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
    gaussian_noise,
    uniform_noise,
)
from reference_impls.oracle import deep_lift, forward, grad_cam, quadrature, rollout
from reference_impls.oracle.backward import Activations, Relevances, backward, initial
from reference_impls.oracle.statistics import Mean, Statistic, Sum, Variance


@dataclass(frozen=True, eq=False)
class Outcome:
    """``attribution``: before post-processing, of the input's shape. ``relevances``: by layer; empty without runs."""

    attribution: np.ndarray
    relevances: Relevances


#: Of a method of many runs: the activations of each, and in the end what they come to.
Passes = Generator[Activations, None, Outcome]


def outcome(graph: Graph, activations: Activations, target: np.ndarray, method: Method) -> Outcome:
    """What the method's procedure makes of the input."""
    procedure = method.procedure
    if type(procedure) in MANY_RUNS:
        return _last(MANY_RUNS[type(procedure)](graph, activations, target, method, procedure))
    return ONE_RUN[type(procedure)](graph, activations, target, method, procedure)


def _last(passes: Passes) -> Outcome:
    """What ``passes`` return."""
    while True:
        try:
            next(passes)
        except StopIteration as end:
            made: Outcome = end.value
            return made


def one_run(graph: Graph, activations: Activations, target: np.ndarray, method: Method) -> Relevances:
    """By layer, the relevance of one walk back through ``activations``."""
    start = initial(activations[graph.output], target, method.head, method.selection)
    return backward(graph, activations, method.composite, start)


def _backward(
    graph: Graph,
    activations: Activations,
    target: np.ndarray,
    method: Method,
    procedure: Backward,
) -> Outcome:
    """One run on the input itself."""
    relevances = one_run(graph, activations, target, method)
    return Outcome(relevances[graph.input.name], relevances)


EACH: dict[str, Callable[[np.ndarray], np.ndarray]] = {"none": np.asarray, "abs": np.abs, "square": np.square}
STATISTICS: dict[str, Callable[[], Statistic]] = {"mean": Mean, "variance": Variance, "sum": Sum}


def _joined(
    graph: Graph,
    points: Iterable[tuple[np.ndarray, float]],
    target: np.ndarray,
    method: Method,
    statistic: str,
    each: str,
) -> Passes:
    """The statistic of the runs on ``points``: of every layer's relevance, and of ``each`` of the input's.

    Every point comes with what its run is multiplied by.
    """
    of_layers = {layer.name: STATISTICS[statistic]() for layer in graph}
    of_attribution = STATISTICS[statistic]()
    for point, weight in points:
        activations = forward.activations(graph, point)
        relevances = one_run(graph, activations, target, method)
        for name, relevance in relevances.items():
            of_layers[name].add(weight * relevance)
        of_attribution.add(weight * EACH[each](relevances[graph.input.name]))
        yield activations
    return Outcome(of_attribution.value(), {name: one.value() for name, one in of_layers.items()})


def _integrated_gradients(
    graph: Graph,
    activations: Activations,
    target: np.ndarray,
    method: Method,
    procedure: IntegratedGradients,
) -> Passes:
    """``(x - baseline) * mean over k of each(g(x_k))``, ``x_k = baseline + t_k * (x - baseline)``.

    ``t_k = k / steps``, with the endpoint ``k / (steps - 1)``, k = 0..steps-1. Sundararajan et al. 2017,
    eq. 3. Another quadrature is a sum with weights (:mod:`reference_impls.oracle.quadrature`). The relevances are the
    means, or sums, of the runs, without the factor.
    """
    x = activations[graph.input.name]
    difference = x - procedure.baseline
    if procedure.quadrature == "mean":
        intervals = procedure.steps - 1 if procedure.endpoint else procedure.steps
        places = [(k / intervals, 1.0) for k in range(procedure.steps)]
        statistic = "mean"
    else:
        places = quadrature.places(procedure.quadrature, procedure.steps, procedure.float32_weights)
        statistic = "sum"
    points = ((procedure.baseline + place * difference, weight) for place, weight in places)
    joined = yield from _joined(graph, points, target, method, statistic, procedure.each)
    factor = difference if procedure.times_difference else np.ones(())
    return Outcome(factor * joined.attribution, joined.relevances)


def _smoothed(
    graph: Graph,
    activations: Activations,
    target: np.ndarray,
    method: Method,
    procedure: Smoothed,
) -> Passes:
    """Mean or population variance of the runs on ``x + noise_k``.

    Smilkov et al. 2017 (mean), Adebayo et al. 2018 (variance).
    """
    x = activations[graph.input.name]
    points = ((x + noise, 1.0) for noise in gaussian_noise(procedure, x.shape))
    return (yield from _joined(graph, points, target, method, procedure.statistic, procedure.each))


def _deep_lift(
    graph: Graph,
    activations: Activations,
    target: np.ndarray,
    method: Method,
    procedure: DeepLift,
) -> Passes:
    """See :mod:`reference_impls.oracle.deep_lift`."""
    return Outcome(*(yield from deep_lift.deep_lift(graph, activations, target, method, procedure)))


def _grad_cam(
    graph: Graph,
    activations: Activations,
    target: np.ndarray,
    method: Method,
    procedure: GradCam,
) -> Outcome:
    """See :mod:`reference_impls.oracle.grad_cam`."""
    return Outcome(*grad_cam.grad_cam(graph, activations, target, method, procedure))


def _rollout(
    graph: Graph,
    activations: Activations,
    target: np.ndarray,
    method: Method,
    procedure: Rollout,
) -> Outcome:
    """See :mod:`reference_impls.oracle.rollout`."""
    return Outcome(*rollout.rollout(graph, activations, target, method, procedure))


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


MANY_RUNS: dict[type, Callable[[Graph, Activations, np.ndarray, Method, Any], Passes]] = {
    IntegratedGradients: _integrated_gradients,
    Smoothed: _smoothed,
    DeepLift: _deep_lift,
}
ONE_RUN: dict[type, Callable[[Graph, Activations, np.ndarray, Method, Any], Outcome]] = {
    Backward: _backward,
    GradCam: _grad_cam,
    Rollout: _rollout,
    InputItself: _input_itself,
    InputPlusNoise: _input_plus_noise,
    UniformNoise: _uniform_noise,
}
#: All that the oracle has.
PROCEDURES = MANY_RUNS.keys() | ONE_RUN.keys()
