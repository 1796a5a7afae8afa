"""A function on the torch twin."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from harness.backends.protocol import Model
from harness.graph import Graph
from harness.methods import Method
from harness.trace.trace import LayerTrace, Trace
from ported_impls.capture import capture_layers
from ported_impls.heads import resolve_target
from ported_impls.layout import feature_orders, in_canonical_order, to_canonical, to_twin
from ported_impls.postprocess import postprocessed
from ported_impls.provenance import provenance
from ported_impls.returned import TWINS_OWN, checked_attribution, checked_layers, given_layers, parted
from ported_impls.watch import Watched, watched

#: In unit roundoffs, relative L2: what a copy in another layout, a product or a sign may round.
ROUNDED = 10


@dataclass(frozen=True)
class TorchFunction:
    """Satisfies `Prepared`: the function's attribution, and layers where it returns them.

    Or where ``layers`` ("gradient", "gradient*activation" or None) says what autograd shows at them.
    """

    backend: str
    versions: Mapping[str, str]
    model: Model
    dtype: str
    function: Callable[..., Any]
    twin: torch.nn.Module
    layers: str | None = None

    def explain(
        self, x: np.ndarray, method: Method, target: np.ndarray | None = None, layers: bool = True
    ) -> Trace:
        """Raises InvalidInputError for a target outside the classes or a result that is not what was asked for.

        MethodDoesNotApplyError for a method that is not meant for such a network.
        """
        method.check(self.model.graph)
        graph: Graph = self.twin.graph
        with torch.no_grad():
            logits = to_canonical(self.twin(to_twin(x)))
        target = resolve_target(self.model.name, logits, target)
        recorded = graph if layers and self.layers is not None else ()
        with watched(self.twin, to_twin(x), recorded) as seen:
            result = self.function(self.twin, to_twin(x), torch.from_numpy(target.copy()), method)
        value, given = parted(self.backend, result)
        attribution = checked_attribution(self.backend, value, x, _from_twin)
        facts = provenance(self.backend, self.versions, self.model, self.dtype, x)
        traces: dict[str, LayerTrace] = {}
        activations = partial(self._activations, x.copy())
        if given is not None:
            relevances = checked_layers(self.backend, graph, given, len(x), _as_array)
            traces = given_layers(graph, activations(), relevances) if layers else {}
            if not seen.on_the_batch:
                facts["activations"] = TWINS_OWN
        elif layers and self.layers is not None:
            relevances = self._relevances(graph, seen)
            objection = seen.objection or self._unaccounted(graph, relevances, x, method, attribution)
            if objection:
                facts["layers"] = f"layers={self.layers!r} not used: {objection}"
            else:
                traces = given_layers(graph, activations(), relevances)
        return Trace(
            model=self.model.name,
            method=method,
            backend=self.backend,
            dtype=self.dtype,
            target=target,
            logits=logits,
            attribution=attribution,
            layers=traces,
            provenance=facts,
            activations=activations if seen.on_the_batch and not traces else None,
        )

    def _activations(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """By layer, in canonical layout and order, what the twin computes on ``x``."""
        graph: Graph = self.twin.graph
        with torch.no_grad(), capture_layers(self.twin, graph) as captured:
            self.twin(to_twin(x))
        return {**self._ordered(captured.activations), graph.input.name: x}

    def _relevances(self, graph: Graph, seen: Watched) -> dict[str, np.ndarray]:
        """By layer, what ``layers`` makes of the gradients that came."""
        found = {
            name: gradient * seen.activations[name] if self.layers == "gradient*activation" else gradient
            for name, gradient in seen.gradients.items()
        }
        return self._ordered(found)

    def _ordered(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        orders = feature_orders(self.model)
        return {name: in_canonical_order(array, orders.get(name)) for name, array in arrays.items()}

    def _unaccounted(
        self,
        graph: Graph,
        relevances: Mapping[str, np.ndarray],
        x: np.ndarray,
        method: Method,
        attribution: np.ndarray,
    ) -> str:
        """Why the relevance of the layers does not lead to the attribution; empty where it does.

        It does where the attribution is what the method makes of the relevance of the input, to within rounding:
        a function that divides or multiplies its gradients by something afterwards shows the layers of another
        function.
        """
        source = relevances.get(graph.input.name)
        if source is None:
            return "no gradient reached the input"
        expected = postprocessed(source, x, method.postprocess)
        unit = float(np.finfo(self.dtype).eps) / 2
        if np.linalg.norm(expected - attribution) <= ROUNDED * unit * np.linalg.norm(expected):
            return ""
        return "the attribution is not what the method makes of them at the input"


def _from_twin(value: Any) -> np.ndarray:
    """An attribution in the twin's layout, tensor or array, in canonical layout."""
    array = _as_array(value)
    return np.moveaxis(array, 1, -1) if array.ndim >= 3 else array


def _as_array(value: Any) -> np.ndarray:
    return value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
