"""What `harness.load_model` and `harness.load_pair` return, as their callers see it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from harness.backends.protocol import Model
from harness.graph import Graph, Input, Layer


class LoadedModel(Model, Protocol):
    """What `harness.load_model` returns: one network, and its Keras and torch twins."""

    @property
    def name(self) -> str:
        """The zoo's name, the file's without its ending, or what was given."""
        ...

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of one input, without the batch axis, channels last; several lie side by side: (number,)."""
        ...

    @property
    def inputs(self) -> tuple[Input, ...]:
        """Of a model of several inputs each: ``name``, ``layer``, ``shape`` and ``axes``; empty for a model of one."""
        ...

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers in forward order; each has a ``name``, a ``kind``, a ``shape`` and ``axes``."""
        ...

    @property
    def classes(self) -> int:
        """How many logits the network has."""
        ...

    @property
    def labels(self) -> tuple[str, ...] | None:
        """Class names in the order of the logits, where they are known."""
        ...

    @property
    def examples(self) -> Mapping[str, Callable[[], np.ndarray]]:
        """By name, functions that return one preprocessed input, (1, *input_shape) float32."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences about what was read otherwise than it stands in the source."""
        ...

    @property
    def graph(self) -> Graph:
        """The neutral graph that both twins are built from."""
        ...

    @property
    def digest(self) -> str:
        """sha256 (hex) of structure and weights."""
        ...

    @property
    def onnx(self) -> Any:
        """The graph as an ``onnx.ModelProto``: a node a layer, named after it."""
        ...

    def keras(self, dtype: str = "float32") -> Any:
        """The Keras twin; `get_layer` finds a layer under its name. Raises MissingFrameworkError."""
        ...

    def torch(self, dtype: str = "float32") -> Any:
        """The torch twin; `named_modules` holds a layer under its name. Raises MissingFrameworkError."""
        ...


class PairRow(Protocol):
    """What the two sides of a pair are at one layer."""

    @property
    def name(self) -> str:
        """The layer."""
        ...

    @property
    def structure(self) -> str | None:
        """What the layer is on one side and not on the other; None where only the numbers differ."""
        ...


class LoadedPair(LoadedModel, Protocol):
    """What `harness.load_pair` returns: a network that was ported by hand, both sides of it.

    It has all that a `LoadedModel` has: the Keras side's graph, and each framework's twin of its own side.
    """

    @property
    def verified(self) -> bool:
        """Whether both sides computed the same on the example; cases of a pair that is not verified never pass."""
        ...

    @property
    def unverified(self) -> str | None:
        """Why the pair is not verified, as a sentence; None where it is."""
        ...

    @property
    def forward_report(self) -> Sequence[PairRow]:
        """What was found at every layer, and at every layer that only one side has, in forward order."""
        ...

    @property
    def first_difference(self) -> PairRow | None:
        """The first layer, in forward order, at which the sides differ; None where none does."""
        ...
