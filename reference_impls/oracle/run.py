"""A whole explanation: forward, the method's procedure, post-processing, and the trace of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from harness.errors import InvalidInputError
from harness.graph import Graph
from harness.methods import Method, Postprocess, TimesSign
from harness.trace.trace import LayerTrace, Trace
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
    target: np.ndarray | None = None,
    layers: bool = True,
    provenance: dict[str, Any] | None = None,
    outcome: Callable[[Graph, Activations, np.ndarray, Method], Outcome] = procedures.outcome,
) -> Trace:
    """Run ``method`` on ``x`` (batch, *input shape) in float64.

    ``target``: (batch,) class indices, or None for the largest logit of each sample (the first of equal
    ones). ``layers=False`` leaves the layers out of the trace. ``outcome``: what computes the procedure.

    Raises what `Method.check` raises; InvalidInputError for an ``x`` or ``target`` that does not fit the
    network, or an output that is not (batch, classes); UnsupportedMethodError for a rule that cannot be
    applied where it is assigned.
    """
    method.check(graph)
    if x.shape[1:] != graph.input.shape:
        raise InvalidInputError(
            f"{graph.name}: found an input of shape {x.shape}, expected (batch, "
            f"{', '.join(map(str, graph.input.shape))}), batch first and channels last"
        )
    activations = forward.activations(graph, x)
    logits = activations[graph.output]
    target = _resolved_target(graph, logits, target)
    result = outcome(graph, activations, target, method)
    return Trace(
        model=graph.name,
        method=method,
        backend="oracle",
        dtype="float64",
        target=target,
        logits=logits,
        attribution=postprocessed(result.attribution, activations[graph.input.name], method.postprocess),
        layers={
            layer.name: LayerTrace(
                layer.name, layer.kind, layer.axes, activations[layer.name], result.relevances[layer.name]
            )
            for layer in graph
            if layers and layer.name in result.relevances
        },
        provenance=dict(provenance or {}),
    )


def postprocessed(attribution: np.ndarray, x: np.ndarray, postprocess: Postprocess) -> np.ndarray:
    """The attribution as it is, times ``x``, absolute, squared, or times the sign of ``x``."""
    if isinstance(postprocess, TimesSign):
        return attribution * sign_of(x, postprocess.threshold)
    return POSTPROCESSES[postprocess](attribution, x)


def _resolved_target(graph: Graph, logits: np.ndarray, target: np.ndarray | None) -> np.ndarray:
    if logits.ndim != 2:
        raise InvalidInputError(
            f"{graph.name}: the output {graph.output!r} has shape {logits.shape}, expected (batch, classes); "
            "end the network in a flatten or a global pooling"
        )
    if target is None:
        return logits.argmax(axis=1).astype(np.int64)
    samples, classes = logits.shape
    target = np.asarray(target)
    if target.shape != (samples,) or target.min() < 0 or target.max() >= classes:
        raise InvalidInputError(
            f"{graph.name}: found target {target.tolist()}, expected one index in 0..{classes - 1} "
            f"for each of {samples} samples"
        )
    return target.astype(np.int64)
