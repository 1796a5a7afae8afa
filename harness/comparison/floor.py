"""The noise floor: how far the reference is from itself when only rounding changes. Measured, never assumed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from harness.comparison.metrics import difference_of
from harness.comparison.summation import longest_forward_sums, longest_sum
from harness.graph import Graph
from harness.trace import Trace

#: A candidate within this many floors of the reference computes the same function (two
#: independent correct implementations were measured at most 2.4 floors apart).
MULTIPLE = 10.0
#: How often the float64 reference is run again with everything moved by one unit in the last place.
RUNS = 3
#: Numbers that are moved at once.
_PIECE = 2**20


@dataclass(frozen=True, repr=False)
class NoiseFloor:
    """Relative L2 movement of the reference, by layer, under rounding alone.

    ``relevance`` and ``activation`` hold a figure per layer name, ``attribution`` the one of the result; of several
    inputs ``inputs`` that of each, by name.
    ``how`` says in words what was measured. No floor is below what the order of summation alone may
    change, the square root of the number of terms in unit roundoffs (harness.comparison.summation):
    ``terms`` is the longest sum of the network, ``activation_terms`` the longest on the way to a layer.
    """

    dtype: str
    how: str
    attribution: float
    relevance: Mapping[str, float] = field(default_factory=dict)
    activation: Mapping[str, float] = field(default_factory=dict)
    terms: int = 1
    activation_terms: Mapping[str, int] = field(default_factory=dict)
    inputs: Mapping[str, float] = field(default_factory=dict)

    def __repr__(self) -> str:
        return (
            f"NoiseFloor({self.dtype}, attribution {self.of_attribution():.2e}, "
            f"{len(self.relevance)} layers: {self.how})"
        )

    def of_relevance(self, layer: str) -> float:
        """The floor of a layer's relevance."""
        return max(self.relevance.get(layer, 0.0), self._summation(self.terms))

    def of_activation(self, layer: str) -> float:
        """The floor of a layer's activation."""
        return max(self.activation.get(layer, 0.0), self._summation(self.activation_terms.get(layer, 1)))

    def of_attribution(self, of_input: str | None = None) -> float:
        """The floor of the attribution, or of that of one of several inputs."""
        known = self.attribution if of_input is None else self.inputs.get(of_input, self.attribution)
        return max(known, self._summation(self.terms))

    def _summation(self, terms: int) -> float:
        return unit_roundoff(self.dtype) * float(np.sqrt(terms))

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> NoiseFloor:
        return cls(**document)


def unit_roundoff(dtype: str) -> float:
    """Half the distance from 1 to the next number of ``dtype``."""
    return float(np.finfo(dtype).eps) / 2


def of_float32(values: np.ndarray) -> bool:
    """Whether every one of ``values``, float64, is a number of float32."""
    with np.errstate(over="ignore"):
        return np.array_equal(values.astype(np.float32).astype(np.float64), values, equal_nan=True)


def derived(dtype: str, graph: Graph) -> NoiseFloor:
    """What every measured floor of a run is at least: the order of summation alone, and no run for it.

    What is within :data:`MULTIPLE` of it is within as many measured floors.
    """
    return NoiseFloor(
        dtype,
        "derived: sqrt(n) unit roundoffs, n the longest sum; no floor is lower",
        0.0,
        terms=longest_sum(graph),
        activation_terms=longest_forward_sums(graph),
    )


def unmeasured(dtype: str) -> NoiseFloor:
    """A floor of one unit roundoff everywhere, for traces whose reference cannot be run again."""
    return NoiseFloor(dtype, "not measured: one unit roundoff at every layer", 0.0)


def moved_by_units(array: np.ndarray, generator: np.random.Generator, units: int = 1) -> np.ndarray:
    """``array`` with every non-zero value moved by ``units`` in the last place, up or down at random."""
    moved = np.array(array, order="C")
    values = moved.reshape(-1)
    for first in range(0, values.size, _PIECE):  # a large array is not there several times
        piece = values[first : first + _PIECE]
        direction = np.where(generator.random(piece.size) < 0.5, -np.inf, np.inf).astype(array.dtype)
        if units == 1:
            piece[...] = np.where(piece == 0, piece, np.nextafter(piece, direction))
        else:
            piece[...] += np.sign(direction) * units * np.where(piece == 0, 0, np.spacing(np.abs(piece)))
    return moved


def movement(
    base: Trace,
    runs: Sequence[Trace],
    graph: Graph,
    how: str,
    activation: Mapping[str, float] | None = None,
) -> NoiseFloor:
    """The largest relative L2 distance of any of ``runs`` from ``base``, tensor by tensor, where both are finite.

    ``how``: what the runs differ in, in words. ``activation``: that of the activations, where it is known.
    """
    if activation is None:
        activation = {
            name: max(_apart(layer.activation, run.layers[name].activation) for run in runs)
            for name, layer in base.layers.items()
        }
    return NoiseFloor(
        runs[0].dtype,
        how,
        attribution=max(_apart(base.attribution_array, run.attribution_array) for run in runs),
        relevance={
            name: max(_apart(layer.relevance, run.layers[name].relevance) for run in runs)
            for name, layer in base.layers.items()
        },
        activation=activation,
        terms=longest_sum(graph),
        activation_terms=longest_forward_sums(graph),
        inputs={
            each.name: max(
                _apart(base.attribution_array[:, each.places], run.attribution_array[:, each.places])
                for run in runs
            )
            for each in base.inputs
        },
    )


def _apart(base: np.ndarray | None, run: np.ndarray | None) -> float:
    """As a verdict has it: where single precision overflows, on both sides alike, the rest has a floor all the same."""
    return 0.0 if base is None or run is None else difference_of(base, run).rel_l2
