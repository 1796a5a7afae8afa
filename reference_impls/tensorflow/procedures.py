"""From where and how often a method is run: :func:`explain_procedure` chooses, and holds what is one run or none."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import tensorflow as tf

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
from reference_impls.tensorflow.deep_lift import explain_deep_lift
from reference_impls.tensorflow.ends import initial_relevance
from reference_impls.tensorflow.grad_cam import explain_grad_cam
from reference_impls.tensorflow.layers import Tensor
from reference_impls.tensorflow.rollout import explain_rollout
from reference_impls.tensorflow.run import Explained, Forward, Network, run_backward
from reference_impls.tensorflow.sampling import Joined, Kind, runs_from
from reference_impls.tensorflow.shared import Shared


def statistic_of(procedure: IntegratedGradients | Smoothed) -> Kind:
    """What is made of the runs."""
    if isinstance(procedure, Smoothed):
        return procedure.statistic
    return "mean" if procedure.quadrature == "mean" else "sum"


def runs_of(
    network: Network,
    x: Tensor,
    method: Method,
    procedure: IntegratedGradients | Smoothed,
    target: np.ndarray,
    joined: Joined,
    shared: Callable[[], Shared | None] = lambda: None,
) -> Iterator[Forward]:
    """The runs from the points around ``x`` that ``method`` joins, by ``procedure``: see `runs_from`."""
    rules = method.composite.assign(network.graph)
    start = partial(initial_relevance, target=target, head=method.head, selection=method.selection)
    return runs_from(network, x, procedure, rules, start, joined, shared)


def explain_procedure(
    network: Network, forward: Forward, method: Method, target: np.ndarray, layers: bool
) -> Explained:
    """What the procedure of ``method`` finds, before the postprocess; formulas: `harness.methods.procedures`.

    ``forward``: the pass on the input itself. ``target``: (batch,), explained in every run. Without
    ``layers`` the relevance of layers need not be kept.
    """
    graph = network.graph
    x = forward.outputs[graph.input.name]
    rules = method.composite.assign(graph)

    def start(logits: Tensor) -> Tensor:
        return initial_relevance(logits, target, method.head, method.selection)

    match method.procedure:
        case Backward():
            initial = start(forward.outputs[graph.output])
            relevance = {
                name: reached
                for name, reached in run_backward(network, forward, rules, graph.output, initial)
                if layers or name == graph.input.name
            }
            return Explained(relevance[graph.input.name], relevance)
        case IntegratedGradients() | Smoothed() as procedure:
            kind = statistic_of(procedure)
            joined = Joined(procedure, layers, (kind,))
            deque(runs_of(network, x, method, procedure, target, joined), maxlen=0)
            return joined.result(kind, x)
        case DeepLift() as procedure:
            return explain_deep_lift(network, forward, procedure, start)
        case GradCam() as procedure:
            initial = start(forward.outputs[graph.output])
            return explain_grad_cam(network, forward, procedure, rules, initial)
        case Rollout() as procedure:
            initial = start(forward.outputs[graph.output])
            return explain_rollout(network, forward, procedure, rules, initial)
        case InputItself():
            return Explained(x, {})
        case InputPlusNoise() as procedure:
            (noise,) = gaussian_noise(procedure, tuple(x.shape))
            return Explained(x + tf.constant(noise, x.dtype), {})
        case UniformNoise() as procedure:
            return Explained(tf.constant(uniform_noise(procedure, tuple(x.shape)), x.dtype), {})
