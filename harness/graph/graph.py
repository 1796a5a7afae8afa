"""The neutral description of a network: what a layer is, in NumPy and plain data.

Everything here is channels-last and batch-first. A :class:`Graph` is what an ONNX file says once its
nodes have been read as layers; both twins are built from it, and every table is ordered by it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from harness.graph.inputs import INPUTS, Input, from_attribute
from harness.graph.kinds import KINDS, Kind


@dataclass(frozen=True, eq=False, repr=False)
class Layer:
    """One layer, its place in the graph and its weights.

    ``inputs`` are the names of the layers whose outputs it reads. ``input_shapes`` and ``shape`` leave
    the batch axis out; ``axes`` names all axes of the output, ``"batch"`` first. What ``attributes``
    and ``weights`` hold depends on ``kind`` and is said in `harness.graph.kinds`.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    input_shapes: tuple[tuple[int, ...], ...]
    shape: tuple[int, ...]
    axes: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    weights: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __repr__(self) -> str:
        reads = f", reads {', '.join(self.inputs)}" if self.inputs else ""
        return f"Layer({self.name!r}, {self.kind}, {self.shape}{reads})"

    @property
    def traits(self) -> Kind:
        """What the layer's kind is."""
        return KINDS[self.kind]


@dataclass(frozen=True, eq=False, repr=False)
class Graph:
    """Layers in forward order; the first is the only input, ``output`` names the layer with the logits.

    A network of several inputs has them side by side in that one (`harness.graph.inputs`).
    """

    name: str
    layers: tuple[Layer, ...]
    output: str

    def __repr__(self) -> str:
        return f"Graph({self.name!r}, input {self.input.shape}, {len(self.layers)} layers, output {self.output!r})"

    @cached_property
    def _by_name(self) -> dict[str, Layer]:
        return {layer.name: layer for layer in self.layers}

    def __getitem__(self, name: str) -> Layer:
        return self._by_name[name]

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    @property
    def input(self) -> Layer:
        """The input layer."""
        return self.layers[0]

    def consumers(self, name: str) -> tuple[Layer, ...]:
        """The layers that read the output of ``name``, in forward order."""
        return tuple(layer for layer in self.layers if name in layer.inputs)

    def backward(self) -> Iterator[Layer]:
        """The layers that the output depends on, the output first, the input last."""
        reached = {self.output}
        for layer in reversed(self.layers):
            if layer.name in reached:
                reached.update(layer.inputs)
                yield layer

    def index(self, layer: Layer) -> int:
        """The place of ``layer`` in forward order, the input being 0."""
        return next(place for place, each in enumerate(self.layers) if each.name == layer.name)

    @cached_property
    def inputs(self) -> tuple[Input, ...]:
        """The inputs of a network of several, in their order; empty for a network of one."""
        return from_attribute(self.input.attributes.get(INPUTS, ()))

    @property
    def sources(self) -> tuple[Layer, ...]:
        """The layers whose outputs are what the user gives: the input layer, or of several inputs the one of each.

        Of several those alone that the output depends on.
        """
        names = {each.layer for each in self.inputs}
        return tuple(layer for layer in self.layers if layer.name in names) or (self.input,)

    @property
    def rows_of_input(self) -> int | None:
        """How many rows there are of those that the input's numbers name; None where they are no numbers of rows.

        Of several inputs :attr:`rows_at_input` speaks.
        """
        return self._rows_read(self.input.name)

    @cached_property
    def rows_at_input(self) -> np.ndarray | None:
        """Of each number of the input, how many rows there are of those that it names: 0 where it names none.

        (*input shape) int64; None where no number of the input names a row.
        """
        rows = np.zeros(self.input.shape, np.int64)
        if not self.inputs:
            rows[...] = self.rows_of_input or 0
        for each in self.inputs:
            rows[each.places] = self._rows_read(each.layer) or 0
        return rows if rows.any() else None

    def _rows_read(self, name: str) -> int | None:
        counts = [
            len(layer.weights["kernel"]) for layer in self.consumers(name) if layer.traits.family == "lookup"
        ]
        return min(counts, default=None)

    def reads_input(self, layer: Layer, through_padding: bool = False) -> bool:
        """Whether ``layer`` sees only the network's input, at most reshaped (iNNvestigate's `is_input_layer`).

        With ``through_padding`` zero padding in between does not count either (signxai's `is_input_layer`).
        """
        producers = [self[name] for name in layer.inputs]
        return bool(producers) and all(
            producer.traits.family == "input"
            or (
                (producer.traits.family == "shape" or (through_padding and producer.kind == "zero_pad"))
                and self.reads_input(producer, through_padding)
            )
            for producer in producers
        )
