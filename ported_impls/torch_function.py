"""A black-box function on the torch twin."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from harness.backends.protocol import Model
from harness.graph import Graph
from harness.methods import Method
from harness.trace.trace import LayerTrace, Trace
from ported_impls.array_function import checked_attribution
from ported_impls.capture import capture_layers, layer_traces
from ported_impls.heads import resolve_target
from ported_impls.layout import feature_orders, to_canonical, to_twin
from ported_impls.provenance import provenance


@dataclass(frozen=True)
class TorchFunction:
    """Satisfies `Prepared`: the function's attribution, and what autograd shows at each layer meanwhile."""

    backend: str
    versions: Mapping[str, str]
    model: Model
    dtype: str
    function: Callable[..., Any]
    twin: torch.nn.Module

    def explain(
        self, x: np.ndarray, method: Method, target: np.ndarray | None = None, layers: bool = True
    ) -> Trace:
        """Raises InvalidInputError for a target outside the classes or an attribution of another shape.

        MethodDoesNotApplyError for a method that is not meant for such a network.
        """
        method.check(self.model.graph)
        graph: Graph = self.twin.graph
        recorded = graph if layers else ()
        with torch.no_grad(), capture_layers(self.twin, recorded) as plain:
            logits = to_canonical(self.twin(to_twin(x)))
        target = resolve_target(self.model.name, logits, target)
        with capture_layers(self.twin, recorded) as seen:
            found = self.function(self.twin, to_twin(x), torch.from_numpy(target), method)
        found = to_canonical(found) if isinstance(found, torch.Tensor) else _moved(np.asarray(found))
        attribution = checked_attribution(self.backend, found, x)
        traces: dict[str, LayerTrace] = {}
        if layers:
            plain.relevances = seen.relevances
            at_input = seen.relevances.get(graph.input.name, attribution)
            traces = {
                name: trace if trace.kind == "input" or seen.once(name) else replace(trace, relevance=None)
                for name, trace in layer_traces(graph, plain, x, at_input, feature_orders(self.model)).items()
            }
        return Trace(
            model=self.model.name,
            method=method,
            backend=self.backend,
            dtype=self.dtype,
            target=target,
            logits=logits,
            attribution=attribution,
            layers=traces,
            provenance=provenance(self.backend, self.versions, self.model, self.dtype, x),
        )


def _moved(array: np.ndarray) -> np.ndarray:
    """An array in the twin's layout, in canonical layout."""
    return np.moveaxis(array, 1, -1) if array.ndim >= 3 else array
