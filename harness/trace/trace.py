"""What one run leaves behind: activations, relevances and the attribution, in canonical layout."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from harness.graph import Graph
from harness.methods import Method


@dataclass(eq=False)
class LayerTrace:
    """What happened at one layer. Arrays are batch-first, channels-last; ``axes`` names them.

    ``activation`` is the layer's output, ``relevance`` the relevance that reached that output (the
    sum over everything that reads it). Either is None where the backend does not give it. ``inputs``: the layers whose
    outputs it reads, None where that is not known.
    """

    name: str
    kind: str
    axes: tuple[str, ...]
    activation: np.ndarray | None = None
    relevance: np.ndarray | None = None
    inputs: tuple[str, ...] | None = None


@dataclass(eq=False)
class Trace:
    """One run of one method by one backend.

    ``target``: (batch,) int64, the explained class of each sample. ``logits``: (batch, classes).
    ``attribution``: the shape of the input. ``layers``: by canonical name, in forward order, the input
    layer included (its relevance is the attribution before post-processing); empty where the run kept
    no layers. ``provenance``: JSON-able facts (model hash, input hash, versions).
    """

    model: str
    method: Method
    backend: str
    dtype: str
    target: np.ndarray
    logits: np.ndarray
    attribution: np.ndarray
    layers: dict[str, LayerTrace]
    provenance: dict[str, Any] = field(default_factory=dict)
    #: Runs the reference again (`harness.comparison.Rerun`); set by `explain`, lost when the trace is stored.
    rerun: Any = field(default=None, repr=False)

    def name_inputs(self, graph: Graph) -> None:
        """Say of every layer which others it reads, as ``graph`` has it."""
        for layer in graph:
            if layer.name in self.layers:
                self.layers[layer.name].inputs = layer.inputs

    def save(self, path: Any) -> None:
        """Write ``path`` (safetensors) and, beside it, the same name ending in ``.json``; both atomically."""
        from harness.trace.files import save_trace

        save_trace(self, path)


def plain_trace(trace: Trace) -> Trace:
    """``trace`` with NumPy's own arrays, every one of them computed by now.

    Raises TypeError for what is no trace, and whatever a property of it raises that is computed when read.
    """
    if not isinstance(trace, Trace):
        raise TypeError(f"explain returned {type(trace).__name__}, expected harness.trace.Trace")
    layers = {
        name: LayerTrace(
            layer.name,
            layer.kind,
            tuple(layer.axes),
            None if layer.activation is None else np.asarray(layer.activation),
            None if layer.relevance is None else np.asarray(layer.relevance),
        )
        for name, layer in trace.layers.items()
    }
    return Trace(
        model=trace.model,
        method=trace.method,
        backend=trace.backend,
        dtype=trace.dtype,
        target=np.asarray(trace.target),
        logits=np.asarray(trace.logits),
        attribution=np.asarray(trace.attribution),
        layers=layers,
        provenance=dict(trace.provenance),
    )
