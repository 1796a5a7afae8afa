"""The measure of the certification, and what is compared in one run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from evidence.certification.reference_runs import ReferenceRun
from harness.comparison.floor import MULTIPLE
from harness.comparison.rerun import walk_back
from harness.errors import InvalidInputError
from harness.graph import Graph
from harness.methods import Backward
from harness.trace import Trace

#: The largest difference, relative to the largest value, that needs no further explanation.
BOUND = 1e-5
LOGITS, ATTRIBUTION = "forward pass", "attribution"


@dataclass(frozen=True)
class Place:
    """One tensor of a case: how far the reference is from the library, and from itself in float64.

    ``name`` is a layer's (its relevance), :data:`LOGITS` or :data:`ATTRIBUTION`. ``double``: how far the
    reference in float64 is from the library. ``size``: the library's largest value over the reference's.
    """

    name: str
    error: float
    floor: float
    double: float = 0.0
    size: float = 1.0

    @property
    def exceeds(self) -> bool:
        """Whether the error needs an explanation."""
        return not self.error <= BOUND

    @property
    def allowed(self) -> bool:
        """Whether the bound, or the floor, allows the error.

        Where the floor is 1 or more, nothing but rounding is left of the values, and no error says anything
        but that both sides round by the same amount: that is asked for instead.
        """
        if self.only_rounding:
            return 1 / MULTIPLE <= self.size <= MULTIPLE
        return self.error <= max(BOUND, MULTIPLE * self.floor)

    @property
    def only_rounding(self) -> bool:
        """Whether the reference in float32 has nothing in common with the reference in float64."""
        return self.exceeds and self.floor >= 1


def largest_error(values: np.ndarray, standard: np.ndarray) -> float:
    """``max |values - standard| / max |standard|``; 0 where both are equal, NaN at the same places included.

    Infinite where one side alone is not finite, or where ``standard`` is zero everywhere and ``values`` is not.
    Raises InvalidInputError for different shapes.
    """
    if values.shape != standard.shape:
        raise InvalidInputError(
            f"two arrays of different shapes cannot be compared: {values.shape} and {standard.shape}"
        )
    values, standard = np.asarray(values, np.float64), np.asarray(standard, np.float64)
    same = (values == standard) | (np.isnan(values) & np.isnan(standard))
    if same.all():
        return 0.0
    if not (np.isfinite(values) & np.isfinite(standard))[~same].all():
        return float("inf")
    largest = float(np.abs(standard[np.isfinite(standard)]).max())
    difference = float(np.abs(values[~same] - standard[~same]).max())
    return difference / largest if largest > 0 else float("inf")


def places(recorded: Trace, reference: Trace, others: Sequence[Trace], graph: Graph) -> list[Place]:
    """Every tensor that all runs keep: the logits, relevance from the output backwards, the attribution.

    ``recorded`` is the library's run, ``reference`` the reference's in float32, ``others`` the reference's that
    differ from it by rounding, the one in float64 first; the floor is the distance of the furthest.
    """
    runs = (recorded, reference, *others)
    at = [place_of(LOGITS, *(run.logits for run in runs))]
    for layer in reversed(graph.layers):
        kept = [run.layers[layer.name].relevance for run in runs if layer.name in run.layers]
        present = [relevance for relevance in kept if relevance is not None]
        if len(present) == len(runs):
            at.append(place_of(layer.name, *present))
    return [*at, place_of(ATTRIBUTION, *(run.attribution for run in runs))]


def places_on_recorded_activations(
    recorded: Trace, reference: ReferenceRun, others: Sequence[ReferenceRun], graph: Graph
) -> list[Place]:
    """The same where the reference's rules run backwards through the activations of the library.

    A pre-activation within rounding of zero, or two equal values under a maximum, may fall on one side in one
    forward pass and on the other in another; on the library's own activations that difference is gone. What a
    layer passes down is no more certain than what it received, so the floor never falls on the way down.
    Empty where the library keeps no activations, or the method is more than one backward pass.
    """
    if not isinstance(recorded.method.procedure, Backward) or any(
        layer.name not in recorded.layers or recorded.layers[layer.name].activation is None for layer in graph
    ):
        return []
    runs = (reference, *others)
    steps = [each for run in runs if (each := run.steps) is not None]
    if len(steps) < len(runs):
        return []
    walks = (walk_back(each, graph, run.ground(recorded)) for each, run in zip(steps, runs, strict=True))
    return list(_walked(recorded, walks, graph))


def _walked(
    recorded: Trace, walks: Iterable[Iterator[tuple[str, np.ndarray]]], graph: Graph
) -> Iterator[Place]:
    floor = 0.0
    for at_layer in zip(*walks, strict=True):
        name, (reference, *others) = at_layer[0][0], [relevance for _, relevance in at_layer]
        compared = {name: recorded.layers[name].relevance}
        if name == graph.input.name and recorded.method.postprocess == "none":
            compared[ATTRIBUTION] = recorded.attribution
        floor = max(floor, *(largest_error(reference, other) for other in others))
        for place, relevance in compared.items():
            if relevance is not None:
                yield replace(place_of(place, relevance, reference, *others), floor=floor)


def first_above(at: Iterable[Place]) -> Place | None:
    """The first place, from the output backwards, whose error exceeds the bound."""
    return next((place for place in at if place.exceeds), None)


def place_of(name: str, library: np.ndarray, reference: np.ndarray, *others: np.ndarray) -> Place:
    """The tensor ``name`` of the library, of the reference, and of its runs that round otherwise, float64 first."""
    return Place(
        name,
        largest_error(reference, library),
        max(largest_error(reference, other) for other in others),
        largest_error(others[0], library),
        _size(library, reference),
    )


def _size(library: np.ndarray, reference: np.ndarray) -> float:
    """``max |library| / max |reference|``; 1 where both are zero, NaN where either has no finite maximum."""
    sizes = [float(np.abs(np.asarray(each, np.float64)).max()) for each in (library, reference)]
    if sizes[1] == 0:
        return 1.0 if sizes[0] == 0 else float("inf")
    return sizes[0] / sizes[1]
