"""All operations of a torch module that cannot be read, found in one go."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import torch
from torch import fx, nn

from harness.errors import UnsupportedLayerError
from ported_models.build import Builder
from ported_models.sources.torch_given import Given
from ported_models.sources.torch_site import Value, channels_first


class Unknown:
    """What an operation gives that cannot be read, and of which not even the size is known."""


class Refusals:
    """What could not be read so far; a layer stands in for each such operation, of the size that torch says.

    ``part``: the module or tensor that a node of the trace names. ``given``: what the module is given.
    """

    def __init__(self, builder: Builder, part: Callable[[fx.Node], Any], given: Sequence[Given]) -> None:
        self._builder, self._part, self._given = builder, part, given
        self._unread: list[tuple[fx.Node, str]] = []
        self._stand_ins: set[str] = set()
        self._shapes: Mapping[str, torch.Size] | None = None

    def add(self, node: fx.Node, error: UnsupportedLayerError) -> Any:
        """``node`` cannot be read, as ``error`` says; returns what stands in for what it gives."""
        self._unread.append((node, str(error)))
        if self._shapes is None:
            self._shapes = self._run(node.graph)
        shape = self._shapes.get(node.name)
        if shape is None or len(shape) < 2 or 0 in shape:
            return Unknown()
        rank = len(shape)
        orders = (each.order for each in self._given if len(each.order) == rank)
        order = next(orders, channels_first(rank))
        sides = tuple(int(shape[order.index(axis)]) for axis in range(rank))
        name = f"unread {len(self._stand_ins)}"
        self._stand_ins.add(name)
        return Value(self._builder.stand_in(name, sides[1:]), order, sides)

    def check(self, aside: Collection[fx.Node]) -> None:
        """Raise UnsupportedLayerError where a node could not be read that is not one of those ``aside``."""
        unread = [sentence for node, sentence in self._unread if node not in aside]
        if unread:
            read = [layer for layer in self._builder.layers if layer.name not in self._stand_ins]
            raise UnsupportedLayerError.of_all(unread, read)

    def _run(self, graph: fx.Graph) -> dict[str, torch.Size]:
        """By operation, the shape of the tensor that it gives, where it gives one; empty where it cannot be run."""
        shapes: dict[str, torch.Size] = {}

        class Watching(fx.Interpreter):
            def run_node(self, n: fx.Node) -> Any:
                given = super().run_node(n)
                if isinstance(given, torch.Tensor):
                    shapes[n.name] = given.shape
                return given

        named = [node for node in graph.nodes if node.op in ("call_module", "get_attr")]
        root = {str(node.target): self._part(node) for node in named}
        dtype = next((tensor.dtype for tensor in _tensors(root)), torch.float32)
        zeros = [
            torch.zeros(each.example.shape, dtype=dtype if not each.name else each.example.dtype)
            for each in self._given
        ]
        try:
            with torch.no_grad():
                Watching(fx.GraphModule(root, graph)).run(*zeros)
        except Exception:  # the module is the user's: where it fails here, what is known so far is enough
            pass
        return shapes


def _tensors(root: Mapping[str, Any]) -> list[torch.Tensor]:
    modules = [part for part in root.values() if isinstance(part, nn.Module)]
    return [tensor for module in modules for tensor in module.parameters() if tensor.is_floating_point()]
