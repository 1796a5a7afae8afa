"""The measure of the certification, and what is compared in one run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from evidence.certification.sides import Side
from harness.backends.protocol import Steps
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
    """One tensor of a run: how far ours is from theirs, and how far ours is from itself in float64.

    ``name`` is a layer's (its relevance), :data:`LOGITS` or :data:`ATTRIBUTION`. ``double``: how far our
    float64 run is from theirs. ``size``: the largest value of theirs over the largest of ours.
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
        """Whether our float32 run has nothing in common with our float64 run."""
        return self.exceeds and self.floor >= 1


def largest_error(found: np.ndarray, expected: np.ndarray) -> float:
    """``max |found - expected| / max |expected|``; 0 where both are equal, NaN at the same places included.

    Infinite where one side alone is not finite, or where ``expected`` is zero everywhere and ``found`` is not.
    Raises InvalidInputError for different shapes.
    """
    if found.shape != expected.shape:
        raise InvalidInputError(
            f"two arrays of different shapes cannot be compared: {found.shape} and {expected.shape}"
        )
    ours, theirs = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    same = (ours == theirs) | (np.isnan(ours) & np.isnan(theirs))
    if same.all():
        return 0.0
    if not (np.isfinite(ours) & np.isfinite(theirs))[~same].all():
        return float("inf")
    largest = float(np.abs(theirs[np.isfinite(theirs)]).max())
    difference = float(np.abs(ours[~same] - theirs[~same]).max())
    return difference / largest if largest > 0 else float("inf")


def places(theirs: Trace, ours: Trace, others: Sequence[Trace], graph: Graph) -> list[Place]:
    """Every tensor that all runs keep: the logits, relevance from the output backwards, the attribution.

    ``ours`` is our float32 run, ``others`` our runs that differ from it by rounding, the one in float64 first;
    the floor is the distance of the furthest.
    """
    runs = (theirs, ours, *others)
    found = [_place(LOGITS, *(run.logits for run in runs))]
    for layer in reversed(graph.layers):
        kept = [run.layers[layer.name].relevance for run in runs if layer.name in run.layers]
        present = [relevance for relevance in kept if relevance is not None]
        if len(present) == len(runs):
            found.append(_place(layer.name, *present))
    return [*found, _place(ATTRIBUTION, *(run.attribution for run in runs))]


def places_on_their_activations(
    theirs: Trace, ours: Side, others: Sequence[Side], graph: Graph
) -> list[Place]:
    """The same where our rules run backwards through the activations of the library.

    A pre-activation within rounding of zero, or two equal values under a maximum, may fall on one side in one
    forward pass and on the other in another; on the library's own activations that difference is gone. What a
    layer passes down is no more certain than what it received, so the floor never falls on the way down.
    Empty where the library keeps no activations, or the method is more than one backward pass.
    """
    if not isinstance(theirs.method.procedure, Backward) or any(
        layer.name not in theirs.layers or theirs.layers[layer.name].activation is None for layer in graph
    ):
        return []
    steps = [side.prepared for side in (ours, *others) if isinstance(side.prepared, Steps)]
    if len(steps) <= len(others):
        return []
    walks = (
        walk_back(each, graph, side.ground(theirs)) for each, side in zip(steps, (ours, *others), strict=True)
    )
    return list(_walked(theirs, walks, graph))


def _walked(
    theirs: Trace, walks: Iterable[Iterator[tuple[str, np.ndarray]]], graph: Graph
) -> Iterator[Place]:
    floor = 0.0
    for at_layer in zip(*walks, strict=True):
        name, (ours, *others) = at_layer[0][0], [relevance for _, relevance in at_layer]
        expected = {name: theirs.layers[name].relevance}
        if name == graph.input.name and theirs.method.postprocess == "none":
            expected[ATTRIBUTION] = theirs.attribution
        floor = max(floor, *(largest_error(ours, other) for other in others))
        for place, relevance in expected.items():
            if relevance is not None:
                yield replace(_place(place, relevance, ours, *others), floor=floor)


def first_above(found: Iterable[Place]) -> Place | None:
    """The first place, from the output backwards, whose error exceeds the bound."""
    return next((place for place in found if place.exceeds), None)


def _place(name: str, theirs: np.ndarray, ours: np.ndarray, *others: np.ndarray) -> Place:
    return Place(
        name,
        largest_error(ours, theirs),
        max(largest_error(ours, other) for other in others),
        largest_error(others[0], theirs),
        _size(theirs, ours),
    )


def _size(theirs: np.ndarray, ours: np.ndarray) -> float:
    """``max |theirs| / max |ours|``; 1 where both are zero, NaN where either has no finite maximum."""
    sizes = [float(np.abs(np.asarray(each, np.float64)).max()) for each in (theirs, ours)]
    if sizes[1] == 0:
        return 1.0 if sizes[0] == 0 else float("inf")
    return sizes[0] / sizes[1]
