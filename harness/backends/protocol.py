"""What a backend is. Every array that crosses this boundary is NumPy, batch first, channels last.

Arrays are handed over, and taken, as copies (`harness.backends.handing`): a backend may do with them what it likes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from harness.graph import Graph, Layer
from harness.methods import Method


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


@dataclass(frozen=True, eq=False)
class Arrays:
    """What one run gives: numbers, and nothing about where they are from.

    ``logits``: (batch, classes). ``attribution``: the shape of the input. ``activations`` and ``relevances``: by
    canonical layer name, a layer's output and the relevance that reached it, (batch, *layer shape); layers that the
    backend does not have are absent. ``on_input``: the network is known to have run once, on this very input, so
    that the capability "activations" shows what this run computed. ``facts``: JSON-able, for the provenance of the
    trace ("layers": why layers that were asked for are not shown; "activations": where those shown are from, if
    not from the run).
    """

    logits: np.ndarray
    attribution: np.ndarray
    activations: Mapping[str, np.ndarray] = field(default_factory=dict)
    relevances: Mapping[str, np.ndarray] = field(default_factory=dict)
    on_input: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)


class Prepared(Protocol):
    """A backend that has been given a model, a dtype and a device.

    One that runs another graph than the model's (the torch side of a pair) has it in an attribute ``graph``. One
    with an attribute ``shares`` that is true gives what several runs have in common as one array, which nobody can
    write to and which it never changes.
    """

    def run(self, x: np.ndarray, method: Method, target: np.ndarray, layers: bool) -> Arrays:
        """Run ``method`` on ``x`` (batch, *input shape), in this dtype, checked, canonical layout.

        ``target``: (batch,) int64, the class to explain for each sample. ``layers``: whether those are asked for.
        """
        ...


# What else a prepared backend may offer; asked for by name (`harness.backends.contract.capability`). Two have one call:
# "logits", ``logits(x) -> (batch, classes)``, so that the harness can resolve a target without a run, and
# "activations", ``activations(x)``: by layer, what the network computes on ``x``.


class Steps(Protocol):
    """Capability "steps": one layer's own step."""

    def step(
        self, layer: Layer, inputs: tuple[np.ndarray, ...], relevance: np.ndarray, method: Method
    ) -> tuple[np.ndarray | None, ...]:
        """Relevance of each input of ``layer``, from its inputs and the relevance of its output.

        None for an input for which the layer's code returned nothing at all.
        """
        ...


class PairSteps(Protocol):
    """Capability "pairs": one layer's own step where it takes two relevances, in DLBacktrace's contrast mode."""

    def step_pair(
        self,
        layer: Layer,
        inputs: tuple[np.ndarray, ...],
        relevances: tuple[np.ndarray, np.ndarray],
        method: Method,
    ) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
        """For each input of ``layer`` what speaks for the target and what against it, from those of its output.

        Whichever of the two ``method`` shows makes no difference.
        """
        ...


class Expects(Protocol):
    """Capability "expects": what is asked together can be computed together."""

    def expect(self, methods: Sequence[Method]) -> None:
        """``methods`` will be asked for, as far as is known; nothing may come out otherwise for it."""
        ...


class Forgets(Protocol):
    """Capability "forgets": what is kept of runs for those that may follow can go."""

    def forget(self) -> None:
        """Let go of what is kept of runs: the memory is needed. Nothing comes out otherwise for it."""
        ...


class Alone(Protocol):
    """Capability "alone", of a backend that ``shares``: what it computes where it shares nothing."""

    def run_alone(self, x: np.ndarray, method: Method, target: np.ndarray, layers: bool) -> Arrays:
        """`Prepared.run`, from the input to the result, with nothing that another run has computed.

        It gives the same, bit for bit.
        """
        ...


class Queries(Protocol):
    """Capability "queries": many targets of one input, on activations that are computed once."""

    def run_queries(self, x: np.ndarray, method: Method, targets: np.ndarray, chunk: int) -> Iterator[Arrays]:
        """For ``chunk`` of the ``targets`` at a time, in their order: what `Prepared.run` gives for each, no layers.

        ``x``: (1, *input shape). ``method``: one of one pass backwards (`harness.methods.Backward`). ``targets``:
        (query,) int64. Each `Arrays` has logits (1, classes) and an attribution (query, *input shape).
        """
        ...

    def query_bytes(self, method: Method, chunk: int) -> int:
        """The bytes that :meth:`run_queries` takes at most for ``chunk`` at a time, by shapes alone.

        The model's own and the attributions that it has given are not counted.
        """
        ...


class Walks(Protocol):
    """Capability "walks": the steps of all layers, one after the other, faster than one at a time."""

    def walk_back(
        self, activations: Mapping[str, np.ndarray], relevance: np.ndarray, method: Method
    ) -> Mapping[str, np.ndarray]:
        """By layer, from the output back to the input, the relevance that reaches it.

        ``activations``: of all layers, the input among them. ``relevance``: that of the output. It is bit for bit what
        `Steps.step` and `harness.graph.walk_back` give; layers that no relevance reaches are left out.
        """
        ...


@dataclass(frozen=True, eq=False)
class OneRun:
    """One of the runs of a method that joins many.

    ``activations``: of all layers, the input among them, (batch, *layer shape); they may change once the next run is
    asked for. ``walk_back``: of other activations of the same layers, what `Walks.walk_back` gives from the start that
    the method has on them, a layer at a time; None where the backend runs no single steps.

    A run of DeepLIFT is that on the input and that on one baseline: the batch of the second follows that of the first,
    (2 * batch, *layer shape), and what is walked back is the multipliers of the first.
    """

    activations: Mapping[str, np.ndarray]
    walk_back: Callable[[Mapping[str, np.ndarray]], Iterable[tuple[str, np.ndarray]]] | None = None


class Runs(Protocol):
    """Capability "runs": those of a method that joins many, one at a time, so that two sides are compared at each."""

    def runs(self, x: np.ndarray, method: Method, target: np.ndarray, layers: bool) -> Iterator[OneRun]:
        """The runs, in order; the arguments are those of `Prepared.run`.

        Once all were taken, the next `Prepared.run` with these arguments gives what they come to, and makes none anew.
        """
        ...


@dataclass(frozen=True, eq=False)
class StepProgram:
    """One step as a program of its own: what a candidate computed, without the candidate.

    ``code`` is Python that needs NumPy and ``framework`` alone. It defines
    ``candidate(inputs, relevance, constants)``, which returns a list of arrays; all arrays are in canonical
    layout, but for the ``constants``, which ``code`` reads by name. ``results``: what the step gave when it was
    recorded; the code reproduces it bit for bit.
    """

    framework: str
    code: str
    constants: Mapping[str, np.ndarray]
    results: tuple[np.ndarray, ...]


class Programs(Protocol):
    """Capability "programs": steps as programs that others can run.

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
        """What `Steps.step` computes."""
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

    def supports(self, method: Method, graph: Graph) -> str:
        """Why ``method`` cannot be run on ``graph``, as a sentence; empty where it can."""
        ...

    def prepare(self, model: Model, dtype: str, device: str = "cpu") -> Prepared:
        """Raises InvalidInputError for a dtype or device that it does not compute in or on."""
        ...
