"""The list of known differences: what a library is known to do, read in its source, with file and line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from harness.graph import Graph
from harness.methods import Bounded, Method, Smoothed


@dataclass(frozen=True)
class KnownDifference:
    """One behaviour of ``library``. ``applies(method, graph, place)``: whether it shows there.

    ``place`` is a layer's name, "forward pass" or "attribution". ``where``: file and line. ``covers``: which
    difference is no fault of the reference. None, where the reference repeats the behaviour; any, where it does not;
    or only one at a place where nothing but rounding is left of the reference's values.
    """

    library: str
    applies: Callable[[Method, Graph, str], bool]
    text: str
    where: str
    covers: Literal["none", "rounding", "any"]

    def __str__(self) -> str:
        return f"{self.text} ({self.library}, {self.where})"


def _bounded_without_inputs(method: Method, graph: Graph, place: str) -> bool:
    """At the input, behind a kernel under the bounded rule without its factors x, low and high."""
    rules = (assignment.rule for assignment in method.composite.assignments)
    behind = place in ("attribution", graph.input.name) or any(
        graph.reads_input(reader, through_padding=True) for reader in graph.consumers(place)
    )
    return behind and any(isinstance(rule, Bounded) and not rule.times_inputs for rule in rules)


def _variance_of_equal_gradients(method: Method, graph: Graph, place: str) -> bool:
    """A variance over noisy inputs on a network without any nonlinear layer."""
    procedure = method.procedure
    varies = isinstance(procedure, Smoothed) and procedure.statistic == "variance"
    return varies and all(layer.traits.linear == "jointly" for layer in graph)


KNOWN_DIFFERENCES: tuple[KnownDifference, ...] = (
    KnownDifference(
        "signxai",
        _bounded_without_inputs,
        "the bounded rule leaves out the factors x, low and high, and the three gradients that are left cancel: "
        "the result is zero but for rounding, and on one of the two sides exactly zero",
        "methods/innvestigate/analyzer/relevance_based/relevance_rule_base.py:871-874",
        covers="rounding",
    ),
    KnownDifference(
        "signxai",
        _variance_of_equal_gradients,
        "the gradient of a linear network is the same at every sample and its variance zero, which is what the "
        "reference gives; what the library gives is the square of the rounding of its mean",
        "methods/innvestigate/analyzer/wrapper.py:236-239",
        covers="any",
    ),
)


def known_difference(library: str, method: Method, graph: Graph, place: str) -> KnownDifference | None:
    """The first of :data:`KNOWN_DIFFERENCES` that applies."""
    return next(
        (
            reason
            for reason in KNOWN_DIFFERENCES
            if reason.library == library and reason.applies(method, graph, place)
        ),
        None,
    )
