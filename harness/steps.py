"""One layer's own step as plain data: as specified, and as it would be with something done differently.

A :class:`Deviation` is one thing that implementers do differently, with the name of its cause. Whoever
knows the arithmetic (the oracle) makes them and carries them out; the search for the one that a candidate
has (`harness.diagnosis`) only puts them together and measures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from harness.graph import Graph, Layer
from harness.methods import Method, Rule

Arrays = tuple[np.ndarray, ...]


@dataclass(frozen=True, eq=False)
class Step:
    """From the relevance of a layer's output to that of its inputs.

    ``inputs``: (batch, *input shape) each; ``relevance``: (batch, *shape); float64, channels last. ``rule``:
    the one that the method assigns. ``graph`` and ``method`` say where the layer stands. Where a step of ``method``
    takes two relevances, the batch is there twice (`harness.backends.pairs`).

    ``whole``: the step that this one is an excerpt of, where it is one. An excerpt of a convolution is a dense
    layer whose rows are patches: what is taken over the whole input or output (a standard deviation, a mean
    square) is then taken from ``whole``, ``rows`` has the sample that each row comes from, and ``units`` the
    output channels of ``whole`` that the excerpt keeps.

    ``network_input``: what the network is given, (batch, *its shape), where it is known: some implementations take a
    standard deviation of it instead of that of the layer's own input.

    ``after``: what is done to the result, in this order: by deviations, and before them where only the positive part
    of a reader's share can be seen.

    The rest is for deviations, and theirs alone to read. ``denominator``: turns ``z`` into what is divided by
    instead of ``S(z)``; ``formula``: replaces the rule's formula altogether; ``notes``: whatever else a deviation
    leaves for the one after it.
    """

    layer: Layer
    rule: Rule
    inputs: Arrays
    relevance: np.ndarray
    graph: Graph
    method: Method
    whole: Step | None = None
    rows: np.ndarray | None = None
    units: np.ndarray | None = None
    network_input: np.ndarray | None = None
    denominator: Callable[[Step, np.ndarray], np.ndarray] | None = None
    formula: Callable[[Step], Arrays] | None = None
    after: tuple[Callable[[Step, Arrays], Arrays], ...] = ()
    notes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class ForwardStep:
    """From a layer's inputs to its output. ``after``: what deviations do to the result, in this order."""

    layer: Layer
    inputs: Arrays
    graph: Graph
    after: tuple[Callable[[ForwardStep, np.ndarray], np.ndarray], ...] = ()


@dataclass(frozen=True, eq=False)
class Deviation:
    """One thing done differently.

    ``cause``: one of `harness.diagnosis.causes.CAUSES`. ``words``: what is different, as the end of the sentence
    "block3_conv1: ...", with the values of both sides where there are any ("epsilon is 1e-06 instead of
    1e-07"). ``alter`` makes the step that has it, from a step that may have others already.
    ``parameters``: the values by name, for programs.
    ``generic``: it describes what is seen and not what was done (a factor, a permutation of axes); one
    that is not generic and fits as well comes before it.
    """

    cause: str
    words: str
    alter: Callable[[Any], Any]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    generic: bool = False


@dataclass(frozen=True)
class Formula:
    """A rule at a layer, as NumPy for a reader to check; it stands for itself and shares nothing with a backend.

    ``body``: of ``expected(inputs, R)``, which returns a list with the relevance of each input. ``functions``: what it
    calls. It may use ``x`` (the one input), the layer's ``W`` and ``b``, ``f(x, W, b)`` and its transpose ``fT(s, W)``.
    """

    body: str
    functions: str = ""


class Deviating(Protocol):
    """Capability "deviations": to compute what others do otherwise as well, in float64."""

    def carry_out(self, step: Step) -> Arrays:
        """The relevance of each input."""
        ...

    def deviations(self, step: Step, observed: Arrays) -> Iterable[Deviation]:
        """What might be done differently at this layer under this rule.

        ``observed`` is the candidate's result for this step: values that a deviation has (an epsilon, a factor)
        are found from it. Each must then still reproduce ``observed``; nothing is fitted to make it so.
        """
        ...

    def deviations_of_places(self, step: Step, observed: Arrays) -> Iterable[Deviation]:
        """Those of `deviations` that an excerpt without all of the layer's input may not have.

        They exchange places or channels, or concern the edge; all others show on such an excerpt as well.
        """
        ...

    def carry_forward(self, step: ForwardStep) -> np.ndarray:
        """The output of the layer."""
        ...

    def forward_deviations(self, step: ForwardStep, observed: np.ndarray) -> Iterable[Deviation]:
        """The same for the forward pass; ``alter`` takes and returns a :class:`ForwardStep`."""
        ...

    def input_deviations(self, step: ForwardStep) -> Iterable[Deviation]:
        """What may be done to the network's input before the layer of ``step``, which reads it, gets it."""
        ...

    def formula(self, layer: Layer, rule: Rule) -> Formula | None:
        """What ``rule`` computes at ``layer``, as text; None where there is no short formula."""
        ...
