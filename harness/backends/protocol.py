"""What a backend is. Every array that crosses this boundary is NumPy, batch first, channels last."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import numpy as np

from harness.graph import Graph, Layer
from harness.methods import Method
from harness.trace.trace import Trace


class Model(Protocol):
    """What a backend gets to see of a `ported_models.PortedModel`."""

    @property
    def name(self) -> str: ...
    @property
    def graph(self) -> Graph: ...
    @property
    def input_shape(self) -> tuple[int, ...]: ...
    @property
    def digest(self) -> str: ...
    def keras(self, dtype: str = "float32") -> Any: ...
    def torch(self, dtype: str = "float32") -> Any: ...
    def with_weights(self, function: Callable[[Layer, str, np.ndarray], np.ndarray]) -> Model: ...


@runtime_checkable
class Prepared(Protocol):
    """A backend that has been given a model and a dtype."""

    def explain(
        self, x: np.ndarray, method: Method, target: np.ndarray | None = None, layers: bool = True
    ) -> Trace:
        """Run ``method`` on ``x`` (already of this dtype, checked, canonical layout).

        ``target``: (batch,) class indices, or None for the largest logit of each sample.
        """
        ...


@runtime_checkable
class Steps(Protocol):
    """The optional fourth call: one layer's own step."""

    def propagate(
        self, layer: Layer, inputs: tuple[np.ndarray, ...], relevance: np.ndarray, method: Method
    ) -> tuple[np.ndarray, ...]:
        """Relevance of each input of ``layer``, from its inputs and the relevance of its output."""
        ...


class Backend(Protocol):
    """A way to run methods."""

    name: str

    def version(self) -> dict[str, str]:
        """Names and versions of what computes, and a digest of the implementing source."""
        ...

    def supports(self, method: Method) -> bool: ...

    def prepare(self, model: Model, dtype: str) -> Prepared: ...
