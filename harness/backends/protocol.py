"""What a backend is. Every array that crosses this boundary is NumPy, batch first, channels last.

Arrays are handed over, and taken, as copies (`harness.backends.handing`): a backend may do with them what it likes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
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


@dataclass(frozen=True, eq=False)
class StepProgram:
    """One step as a program of its own: what a candidate computed, without the candidate.

    ``code`` is Python that needs NumPy and ``framework`` alone. It defines
    ``candidate(inputs, relevance, constants)``, which returns a list of arrays; all arrays are in canonical
    layout, but for the ``constants``, which ``code`` reads by name. ``found``: what the step gave when it was
    recorded; the code reproduces it bit for bit.
    """

    framework: str
    code: str
    constants: Mapping[str, np.ndarray]
    found: tuple[np.ndarray, ...]


@runtime_checkable
class Programs(Protocol):
    """Optional: steps as programs that others can run.

    ``kept``: indices on the last axis of the layer's output that are left. Weights are cut down accordingly;
    for a layer with a kernel the inputs are whole, for one that treats each channel on its own they
    are cut by the caller like the output. ``layer``, ``inputs`` and ``relevance`` are those of the layer cut down.
    Raises HarnessError where a step has no such program.
    """

    def step_program(
        self,
        layer: Layer,
        inputs: tuple[np.ndarray, ...],
        relevance: np.ndarray,
        method: Method,
        kept: np.ndarray | None = None,
    ) -> StepProgram:
        """What `Steps.propagate` computes."""
        ...

    def forward_program(
        self, layer: Layer, inputs: tuple[np.ndarray, ...], method: Method, kept: np.ndarray | None = None
    ) -> StepProgram:
        """The layer's output, as it is computed while ``method`` runs; ``relevance`` is None for its code."""
        ...


class Backend(Protocol):
    """A way to run methods."""

    name: str

    def version(self) -> dict[str, str]:
        """Names and versions of what computes, and a digest of the implementing source."""
        ...

    def supports(self, method: Method) -> bool: ...

    def prepare(self, model: Model, dtype: str) -> Prepared: ...
