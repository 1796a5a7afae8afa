"""A black-box function on the torch twin."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from harness.backends.protocol import Model
from harness.methods import Method
from harness.trace.trace import LayerTrace, Trace
from ported_impls.array_function import checked_attribution
from ported_impls.capture import Captured, capture_layers, layer_traces
from ported_impls.heads import resolve_target
from ported_impls.layout import to_canonical, to_twin
from ported_impls.provenance import provenance


@dataclass(frozen=True)
class TorchFunction:
    """Satisfies `Prepared`: the function's attribution, and what autograd shows at each layer while it runs."""

    backend: str
    versions: Mapping[str, str]
    model: Model
    dtype: str
    function: Callable[..., Any]
    twin: torch.nn.Module

    def explain(
        self, x: np.ndarray, method: Method, target: np.ndarray | None = None, layers: bool = True
    ) -> Trace:
        """Raises InvalidInputError for a target outside the classes and for an attribution of another shape."""
        graph = self.model.graph
        with torch.no_grad(), capture_layers(self.twin, graph) if layers else nullcontext(Captured()) as plain:
            logits = to_canonical(self.twin(to_twin(x)))
        target = resolve_target(self.model.name, logits, target)
        with capture_layers(self.twin, graph) if layers else nullcontext(Captured()) as seen:
            found = self.function(self.twin, to_twin(x), torch.from_numpy(target), method)
        found = to_canonical(found) if isinstance(found, torch.Tensor) else _moved(np.asarray(found))
        attribution = checked_attribution(self.backend, found, x)
        traces: dict[str, LayerTrace] = {}
        if layers:
            plain.relevances = seen.relevances
            traces = {
                name: trace if _shown(seen, name) else replace(trace, relevance=None)
                for name, trace in layer_traces(graph, plain, x, attribution).items()
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


def _shown(seen: Captured, name: str) -> bool:
    """Whether the layer ran once and a gradient reached it, so that what was recorded is its relevance."""
    return seen.calls[name] == 1 and name in seen.relevances


def _moved(array: np.ndarray) -> np.ndarray:
    """An array in the twin's layout, in canonical layout."""
    return np.moveaxis(array, 1, -1) if array.ndim >= 3 else array
