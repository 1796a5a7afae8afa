"""What one run leaves behind: activations, relevances and the attribution, in canonical layout."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.graph import Graph, Input, joined, parted
from harness.methods import Method

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(eq=False, repr=False)
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

    def __repr__(self) -> str:
        has = {"activation": self.activation, "relevance": self.relevance}
        arrays = "".join(f", {what} {array.shape}" for what, array in has.items() if array is not None)
        return f"LayerTrace({self.name!r}, {self.kind}{arrays})"


@dataclass(eq=False, repr=False)
class Trace:
    """One run of one method by one backend.

    ``target``: (batch,) int64, the explained class of each sample. ``logits``: (batch, classes).
    ``attribution_array``: the shape of the input; of a model of several inputs all of them side by side,
    (batch, number), and ``inputs`` says what lies where (`harness.graph.inputs`); that is empty for a model of one
    input. ``layers``: by canonical name, in forward order, the input
    layer included (its relevance is the attribution before post-processing); empty where the run kept
    no layers. ``provenance``: JSON-able facts (model hash, input hash, versions; "layers":
    why layers that were asked for are not shown; "activations": where those shown are from, if not from the run).
    """

    model: str
    method: Method
    backend: str
    dtype: str
    target: np.ndarray
    logits: np.ndarray
    attribution_array: np.ndarray
    layers: dict[str, LayerTrace]
    provenance: dict[str, Any] = field(default_factory=dict)
    #: By layer, the activations that the attribution was computed on, for a run that shows no layers but is known to
    #: have run its network once, on this very input; None where they are not known. Lost when the trace is stored.
    activations: Callable[[], Mapping[str, np.ndarray]] | None = field(default=None, repr=False)
    #: The `harness.case.Case` that was computed, its target resolved, and the backend that did; None for a stored run.
    case: Any = field(default=None, repr=False)
    executed_by: Any = field(default=None, repr=False)
    #: The noise floor that was measured for this run (`harness.comparison.NoiseFloor`).
    floor: Any = field(default=None, repr=False)
    inputs: tuple[Input, ...] = ()

    @property
    def attribution(self) -> Any:
        """What the run found: an array of the shape of the input, (batch, *input_shape), channels last.

        Of a model of several inputs a dict of them by name, each the shape of its input.
        """
        if not self.inputs:
            return self.attribution_array
        return parted(self.inputs, self.attribution_array)

    @attribution.setter
    def attribution(self, value: Any) -> None:
        self.attribution_array = joined(self.inputs, value) if self.inputs else value

    def name_inputs(self, graph: Graph) -> None:
        """Say of every layer which others it reads, as ``graph`` has it."""
        for layer in graph:
            if layer.name in self.layers:
                self.layers[layer.name].inputs = layer.inputs

    def __repr__(self) -> str:
        shapes = {each.name: (len(self.target), *each.shape) for each in self.inputs}
        of = f"inputs {shapes}" if shapes else f"input {self.attribution_array.shape}"
        return (
            f"Trace({self.method.name} of {self.model} by {self.backend}, {self.dtype}, "
            f"{of}, target {self.target.tolist()}, {len(self.layers)} layers)"
        )

    def _repr_html_(self) -> str:
        from harness.notebook import shown

        rows = [
            (layer.name, layer.kind, *_figures(layer.activation), *_figures(layer.relevance))
            for layer in self.layers.values()
        ]
        columns = [
            f"{what} {of}" for of in ("of activation", "of relevance") for what in ("shape", "least", "most")
        ]
        return shown(repr(self), ("layer", "kind", *columns), rows)

    def plot(self, sample: int = 0) -> Figure:
        """The attribution of one sample as a Matplotlib figure, which a notebook shows."""
        from harness.trace.picture import attribution_figure

        return attribution_figure(self, sample)

    def save(self, path: Any) -> None:
        """Write ``path`` (safetensors) and, beside it, the same name ending in ``.json``; both atomically."""
        from harness.trace.files import save_trace

        save_trace(self, path)


def _figures(array: np.ndarray | None) -> tuple[Any, Any, Any]:
    """Shape, least and largest value; empty where there is no array."""
    return (
        ("", "", "")
        if array is None or not array.size
        else (array.shape, float(array.min()), float(array.max()))
    )
