"""A function on the torch twin."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from harness.backends.protocol import Arrays, Model
from harness.graph import Graph, Input
from harness.graph import parted as by_input
from harness.methods import Method
from ported_impls.capture import capture_layers
from ported_impls.layout import feature_orders, in_canonical_order, to_canonical, to_twin
from ported_impls.postprocess import postprocessed
from ported_impls.returned import TWINS_OWN, checked_attribution, checked_layers, parted, show_changes
from ported_impls.watch import Watched, watched

#: In unit roundoffs, relative L2: what a copy in another layout, a product or a sign may round.
ROUNDED = 10


@dataclass(frozen=True)
class TorchFunction:
    """Satisfies `Prepared`: the function's attribution, and layers where it returns them.

    Or where ``layers`` ("gradient", "gradient*activation" or None) says what autograd shows at them.
    """

    backend: str
    model: Model
    function: Callable[..., Any]
    twin: torch.nn.Module
    layers: str | None = None

    @property
    def graph(self) -> Graph:
        """That of the twin: of a hand-made port its own."""
        graph: Graph = self.twin.graph
        return graph

    def run(self, x: np.ndarray, method: Method, target: np.ndarray, layers: bool) -> Arrays:
        """Raises InvalidInputError for a result that is not what was asked for.

        What the function changes in the tensors that it is given is changed in ``x`` and ``target``.
        """
        # Before the function runs: what it may leave changed is none of these.
        shown = self.activations(x) if layers else {}
        logits = shown[self.graph.output] if layers else self.logits(x)
        recorded = self.graph if layers and self.layers is not None else ()
        with watched(self.twin, to_twin(x), recorded) as seen:
            given_input, given_target = self._given(x), torch.from_numpy(target.copy())
            handed = dict(given_input) if isinstance(given_input, dict) else given_input
            result = self.function(self.twin, handed, given_target, method)
        value, given = parted(self.backend, result)
        attribution = checked_attribution(self.backend, value, x, _from_twin, self.graph.inputs)
        relevances: dict[str, np.ndarray] = {}
        facts: dict[str, str] = {}
        if given is not None:
            relevances = checked_layers(self.backend, given, _as_array)
            if not seen.on_the_batch:
                facts["activations"] = TWINS_OWN
        elif layers and self.layers is not None:
            relevances = self._relevances(seen)
            objection = seen.objection or self._unaccounted(relevances, x, method, attribution)
            if objection:
                relevances, facts["layers"] = {}, f"layers={self.layers!r} not used: {objection}"
        if not relevances and given is None:
            shown = {}
        # The tensors stood for these: what the function wrote into them shows.
        if isinstance(given_input, dict):
            show_changes(x, _after(self.graph.inputs, given_input))
        else:
            show_changes(x, to_canonical(given_input))
        show_changes(target, given_target.numpy())
        return Arrays(logits, attribution, shown, relevances, seen.on_the_batch, facts)

    def _given(self, x: np.ndarray) -> torch.Tensor | dict[str, torch.Tensor]:
        """``x`` as the function gets it: a tensor in the twin's layout, or of several inputs one for each, by name."""
        if not self.graph.inputs:
            return to_twin(x)
        return by_input(self.graph.inputs, x, to_twin)

    def logits(self, x: np.ndarray) -> np.ndarray:
        """(batch, classes)."""
        with torch.no_grad():
            return to_canonical(self.twin(to_twin(x)))

    def activations(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """By layer, in canonical layout and order, what the twin computes on ``x``."""
        with torch.no_grad(), capture_layers(self.twin, self.graph) as captured:
            self.twin(to_twin(x))
        return {**self._ordered(captured.activations), self.graph.input.name: x}

    def _relevances(self, seen: Watched) -> dict[str, np.ndarray]:
        """By layer, what ``layers`` makes of the gradients that came."""
        relevances = {
            name: gradient * seen.activations[name] if self.layers == "gradient*activation" else gradient
            for name, gradient in seen.gradients.items()
        }
        return self._ordered(relevances)

    def _ordered(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        orders = feature_orders(self.model)
        return {name: in_canonical_order(array, orders.get(name)) for name, array in arrays.items()}

    def _unaccounted(
        self, relevances: Mapping[str, np.ndarray], x: np.ndarray, method: Method, attribution: np.ndarray
    ) -> str:
        """Why the relevance of the layers does not lead to the attribution; empty where it does.

        It does where the attribution is what the method makes of the relevance of the input, to within rounding:
        a function that divides or multiplies its gradients by something afterwards shows the layers of another
        function.
        """
        source = relevances.get(self.graph.input.name)
        if source is None:
            return "no gradient reached the input"
        expected = postprocessed(source, x, method.postprocess)
        unit = float(np.finfo(x.dtype).eps) / 2
        if np.linalg.norm(expected - attribution) <= ROUNDED * unit * np.linalg.norm(expected):
            return ""
        return "the attribution is not what the method makes of them at the input"


def _after(inputs: Sequence[Input], tensors: Mapping[str, torch.Tensor]) -> np.ndarray:
    """The inputs side by side again; of another shape where a function has changed that of one."""
    return np.concatenate(
        [to_canonical(tensors[each.name]).reshape(-1, each.size) for each in inputs], axis=1
    )


def _from_twin(value: Any) -> np.ndarray:
    """An attribution in the twin's layout, tensor or array, in canonical layout."""
    array = _as_array(value)
    return np.moveaxis(array, 1, -1) if array.ndim >= 3 else array


def _as_array(value: Any) -> np.ndarray:
    return value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
