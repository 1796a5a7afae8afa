"""What a pair is: the Keras side's graph and twin, the torch side's own, and how far apart they are."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from harness.graph import Graph
from harness.state import Part
from ported_models.model import PortedModel
from ported_models.twins.forward import LAYER_BOUND, LOGITS_BOUND


@dataclass(frozen=True)
class ForwardRow:
    """The two sides at one layer of the Keras graph, in float64.

    ``torch_layer``: the layer of :attr:`PortedPair.torch_graph` that stands in its place. ``relative``:
    ``|torch - keras| / |keras|`` (L2 over the batch), infinite where the shapes differ; ``ok``: it is within
    rounding. ``structure``: what the two layers differ in by themselves (kind, attribute, weights, place), which
    an example need not show; None where nothing; "folded" for a batch norm that one side has folded.
    ``structural``: the layer is missing in torch, only in torch, or stands elsewhere there; one that only torch
    has is compared with what it reads, and called what the module calls it. ``reaches``: the first layers of both
    sides that such a difference changes, in forward order; empty where it is the output.
    """

    name: str
    kind: str
    torch_layer: str
    relative: float
    ok: bool
    structure: str | None = None
    structural: bool = False
    reaches: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class PortedPair(PortedModel):
    """A model whose torch side is another person's port of its Keras side.

    ``graph`` is the Keras model's; :meth:`keras` is its twin. ``torch_graph`` is the torch module's, with the
    canonical names where layers correspond and the module's own attributes and weights everywhere;
    :meth:`torch` is its twin, so that an error of the port stays in it. ``torch_paths``: by canonical
    name, the module path (or traced name) of the layer in the user's module. ``torch_order``: for layers
    whose features stand in another order on the torch side (a channels-first flatten, and what follows up
    to the next kernel), the indices that bring the torch side's last axis into canonical order.
    ``forward_report``: a row for every layer, in forward order. ``outputs_apart``: how far the two final outputs
    are apart, as `ForwardRow.relative`. ``folded``: by batch norm that one side has folded, the layer that took it
    in; both graphs have it folded, and ``norms`` has the graph that it stands in. ``sources_apart``: how far the
    outputs of the two sides as they were read are apart, batch norms and all; their weights may differ by float32
    rounding, of which both graphs have one.
    """

    torch_graph: Graph
    torch_paths: Mapping[str, str]
    torch_order: Mapping[str, np.ndarray]
    forward_report: tuple[ForwardRow, ...] = ()
    outputs_apart: float = float("inf")
    folded: Mapping[str, str] = field(default_factory=dict)
    norms: Mapping[str, Graph] = field(default_factory=dict)
    sources_apart: float = 0.0
    _torch_side: PortedModel = field(init=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "_torch_side", PortedModel.from_graph(self.torch_graph))

    @property
    def verified(self) -> bool:
        """Whether both sides computed the same outputs on the example, and the same at every layer."""
        return self.unverified is None

    @property
    def unverified(self) -> str | None:
        """Why the pair is not verified, as a sentence; None where it is."""
        first = self.first_difference
        if first is not None:
            why = f": {first.structure}" if first.structure else ""
            return (
                f"the torch port is another network than the Keras model, from layer {first.name!r} on{why}"
            )
        if not (self.outputs_apart <= LAYER_BOUND and self.sources_apart <= LOGITS_BOUND):
            relative = max(self.outputs_apart, self.sources_apart)
            return f"the outputs of the torch port and the Keras model are {relative:.3g} (relative) apart"
        return None

    @property
    def first_difference(self) -> ForwardRow | None:
        """The first layer, in forward order, at which the sides differ."""
        return next((row for row in self.forward_report if not row.ok), None)

    @cached_property
    def digest(self) -> str:
        """sha256 (hex) of both graphs: another port of the same Keras model is another pair."""
        both = super().digest + self._torch_side.digest
        return hashlib.sha256(both.encode()).hexdigest()

    def parts(self) -> Iterator[Part]:
        """What code that is given this pair may change, on both sides."""
        yield from super().parts()
        yield from self._torch_side.parts()

    @property
    def torch_side(self) -> PortedModel:
        """The user's module as a model of its own: both of its twins are made from :attr:`torch_graph`."""
        return self._torch_side

    def torch(self, dtype: str = "float32") -> Any:
        """The user's module as a twin, layers under canonical names. Raises `MissingFrameworkError`."""
        return self._torch_side.torch(dtype)
