"""A whole explanation: forward, the method's procedure, post-processing."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from harness.backends.protocol import Arrays
from harness.graph import Graph
from harness.methods import Method, Postprocess, TimesSign
from reference_impls.oracle import forward, procedures
from reference_impls.oracle.backward import Activations
from reference_impls.oracle.parts import sign_of
from reference_impls.oracle.procedures import Outcome

#: What is done to the attribution, from it and the input; `TimesSign` has a parameter and is not in here.
POSTPROCESSES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "none": lambda attribution, x: attribution,
    "times_input": lambda attribution, x: attribution * x,
    "abs": lambda attribution, x: np.abs(attribution),
    "square": lambda attribution, x: attribution**2,
}


def explain(
    graph: Graph,
    x: np.ndarray,
    method: Method,
    target: np.ndarray,
    layers: bool = True,
    outcome: Callable[[Graph, Activations, np.ndarray, Method], Outcome] = procedures.outcome,
) -> Arrays:
    """Run ``method`` on ``x`` (batch, *input shape) in float64.

    ``target``: (batch,) class indices. ``layers=False`` leaves the layers out. ``outcome``: what computes the
    procedure. Raises UnsupportedMethodError for a rule that cannot be applied where it is assigned.
    """
    activations = forward.activations(graph, x)
    result = outcome(graph, activations, target, method)
    relevances = result.relevances if layers else {}
    return Arrays(
        logits=activations[graph.output],
        attribution=postprocessed(result.attribution, activations[graph.input.name], method.postprocess),
        activations={name: activations[name] for name in relevances},
        relevances=relevances,
    )


def postprocessed(attribution: np.ndarray, x: np.ndarray, postprocess: Postprocess) -> np.ndarray:
    """The attribution as it is, times ``x``, absolute, squared, or times the sign of ``x``."""
    if isinstance(postprocess, TimesSign):
        return attribution * sign_of(x, postprocess.threshold)
    return POSTPROCESSES[postprocess](attribution, x)
