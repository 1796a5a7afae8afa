"""A pair ported by hand on its way to the process of a candidate, and there."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.backends.candidate import wire
from harness.backends.protocol import Model
from harness.graph import Graph
from harness.state import Part

#: What the names of the arrays of each side begin with.
_KERAS, _TORCH, _ORDER = "keras/", "torch/", "order/"


@dataclass(frozen=True, eq=False)
class Pair:
    """The models of both sides as one: the Keras side's, with the twin of the torch side.

    ``torch_order``: as of `PortedPair`, by layer the indices that bring the torch side's last axis into canonical
    order.
    """

    keras_side: Any
    torch_side: Any
    torch_order: Mapping[str, np.ndarray]

    @property
    def torch_graph(self) -> Graph:
        graph: Graph = self.torch_side.graph
        return graph

    @property
    def digest(self) -> str:
        return hashlib.sha256((self.keras_side.digest + self.torch_side.digest).encode()).hexdigest()

    def torch(self, dtype: str = "float32") -> Any:
        return self.torch_side.torch(dtype)

    def parts(self) -> Iterator[Part]:
        yield from self.keras_side.parts()
        yield from self.torch_side.parts()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.keras_side, name)


def model_to_wire(model: Model) -> tuple[dict[str, Any], wire.Arrays]:
    """A model's graph as JSON, and its weights; of a pair, those of both sides."""
    facts, arrays = wire.graph_to_wire(model.graph)
    torch_graph = getattr(model, "torch_graph", None)
    if torch_graph is None:
        return {"graph": facts}, arrays
    torch_facts, torch_arrays = wire.graph_to_wire(torch_graph)
    orders: Mapping[str, np.ndarray] = getattr(model, "torch_order", {})
    return {"graph": facts, "torch_graph": torch_facts, "torch_order": list(orders)}, {
        **{_KERAS + key: array for key, array in arrays.items()},
        **{_TORCH + key: array for key, array in torch_arrays.items()},
        **{f"{_ORDER}{place}": np.asarray(order) for place, order in enumerate(orders.values())},
    }


def graphs_from_wire(
    facts: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
) -> tuple[Graph, Graph | None, dict[str, np.ndarray]]:
    """The inverse of :func:`model_to_wire`: the graph, that of the torch side of a pair, and its orders."""
    if "torch_graph" not in facts:
        return wire.graph_from_wire(facts["graph"], arrays), None, {}
    keras, torch = (
        {key.removeprefix(side): array for key, array in arrays.items() if key.startswith(side)}
        for side in (_KERAS, _TORCH)
    )
    orders = {name: arrays[f"{_ORDER}{place}"] for place, name in enumerate(facts["torch_order"])}
    return (
        wire.graph_from_wire(facts["graph"], keras),
        wire.graph_from_wire(facts["torch_graph"], torch),
        orders,
    )
