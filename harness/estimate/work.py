"""What a case consists of: multiply-adds, tensors and layers, counted on the graph."""

from __future__ import annotations

import math
from dataclasses import dataclass

from harness.graph import Graph, Layer
from harness.methods import (
    AlphaBeta,
    AlphaBetaOfMaxima,
    AlphaBetaX,
    Backward,
    BatchNormReverse,
    Bounded,
    Deconvolution,
    DeepLift,
    FusedBatchNorm,
    Gamma,
    GradCam,
    Gradient,
    GuidedReLU,
    HeldNorm,
    IntegratedGradients,
    Linearized,
    Method,
    Pass,
    Rollout,
    Rule,
    SignSplit,
    Smoothed,
    SoftmaxTaylor,
)


@dataclass(frozen=True)
class Work:
    """Of one side on one batch.

    ``runs``: how often the network is run forwards and backwards. ``multiply_adds`` and ``tensors``: of all runs;
    the numbers in a tensor count, whatever their size. ``layers``: of one run. ``weights``: numbers in the model.
    """

    layers: int
    weights: int
    runs: int
    multiply_adds: float
    tensors: float
    #: Multiply-adds of one pass forwards.
    forward: float
    #: Numbers in the activations and relevances that a trace holds, and in its largest tensor.
    trace: float
    largest: float


def work_of(graph: Graph, method: Method, batch: int = 1) -> Work:
    """The work of ``method`` on ``batch`` samples.

    Forwards each kernel is one product a place; backwards a rule takes as many as :func:`products` says.
    """
    runs = runs_of(method)
    composite = method.composite
    rules = {} if runs == 0 or composite is None else composite.assign(graph)
    forward = sum(map(multiply_adds, graph))
    backward = sum(
        multiply_adds(layer) * products(rules[layer.name]) for layer in graph if layer.name in rules
    )
    numbers = [math.prod(layer.shape) for layer in graph]
    return Work(
        layers=len(graph),
        weights=sum(array.size for layer in graph for array in layer.weights.values()),
        runs=max(1, runs),
        multiply_adds=batch * (forward + backward) * max(1, runs),
        tensors=batch * 2.0 * sum(numbers) * max(1, runs),
        forward=float(batch * forward),
        trace=batch * 2.0 * sum(numbers),
        largest=batch * float(max(numbers)),
    )


def multiply_adds(layer: Layer) -> float:
    """Those of one sample forwards: every number of a kernel once at every place that it is moved to."""
    if layer.traits.family == "contraction":
        return float(math.prod(layer.shape) * layer.input_shapes[0][-1])
    if layer.traits.family == "sampling":
        return 4.0 * math.prod(layer.shape)
    if not layer.traits.kernel:
        return 0.0
    moved_over = layer.input_shapes[0] if layer.traits.transposed else layer.shape
    numbers = sum(array.size for name, array in layer.weights.items() if name != "bias")
    return float(numbers * math.prod(moved_over[:-1]))


def runs_of(method: Method) -> int:
    """How often a procedure runs the network; 0 where it does not (noise, the input itself)."""
    procedure = method.procedure
    if isinstance(procedure, IntegratedGradients):
        return procedure.steps
    if isinstance(procedure, Smoothed):
        return procedure.samples
    if isinstance(procedure, DeepLift):
        return 2 * procedure.count
    if isinstance(procedure, GradCam):
        return 2 if procedure.guided else 1
    return 1 if isinstance(procedure, Backward | Rollout) else 0


def products(rule: Rule) -> int:
    """Products with a kernel that a rule takes: ``f`` and ``f^T`` in its formula (`harness.methods.rules`)."""
    if isinstance(rule, Pass | Deconvolution | BatchNormReverse | SoftmaxTaylor | HeldNorm | SignSplit):
        return 0
    if isinstance(rule, Gradient | GuidedReLU | Linearized):
        return 1
    if isinstance(rule, FusedBatchNorm):
        return products(rule.rule) * (2 if rule.mode == "two_linear" else 1)
    if isinstance(rule, AlphaBeta | AlphaBetaOfMaxima):
        return 8 if rule.beta else 4
    if isinstance(rule, AlphaBetaX):
        return 2 * sum(bool(factor) for factor in (*rule.alpha, *rule.beta))
    if isinstance(rule, Gamma):
        return 8 if rule.signed else 2
    if isinstance(rule, Bounded):
        return 6
    return 2
