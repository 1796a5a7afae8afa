"""The noise floor: how far the reference is from itself when only rounding changes. Measured, never assumed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from harness.backends.handing import run_on_copies
from harness.backends.protocol import Backend, Model, Prepared
from harness.comparison.metrics import relative_l2
from harness.comparison.summation import longest_forward_sums, longest_sum
from harness.graph import Layer
from harness.trace import Trace

#: A candidate within this many floors of the reference computes the same function: two independent
#: correct implementations were measured at most 2.4 floors apart.
MULTIPLE = 10.0
#: How often the float64 reference is run again with everything moved by one unit in the last place.
RUNS = 3


@dataclass(frozen=True)
class NoiseFloor:
    """Relative L2 movement of the reference, by layer, under rounding alone.

    ``relevance`` and ``activation`` hold a figure per layer name, ``attribution`` the one of the result.
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

    def of_relevance(self, layer: str) -> float:
        """The floor of a layer's relevance."""
        return max(self.relevance.get(layer, 0.0), self._summation(self.terms))

    def of_activation(self, layer: str) -> float:
        """The floor of a layer's activation."""
        return max(self.activation.get(layer, 0.0), self._summation(self.activation_terms.get(layer, 1)))

    def of_attribution(self) -> float:
        """The floor of the attribution."""
        return max(self.attribution, self._summation(self.terms))

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


def unmeasured(dtype: str) -> NoiseFloor:
    """A floor of one unit roundoff everywhere, for traces whose reference cannot be run again."""
    return NoiseFloor(dtype, "not measured: one unit roundoff at every layer", 0.0)


def moved_one_ulp(array: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """``array`` with every non-zero value moved to its next neighbour, up or down at random."""
    direction = np.where(generator.random(array.shape) < 0.5, -np.inf, np.inf).astype(array.dtype)
    return np.where(array == 0, array, np.nextafter(array, direction))


def _mover(generator: np.random.Generator) -> Callable[[Layer, str, np.ndarray], np.ndarray]:
    def move(layer: Layer, name: str, array: np.ndarray) -> np.ndarray:
        return moved_one_ulp(array.astype(np.float64), generator)

    return move


class FloorMeter:
    """Measures floors of one reference backend on one model and input, for any number of methods.

    The moved models are prepared once and kept, so that the next method on the same input is cheap.
    """

    def __init__(
        self,
        model: Model,
        x: np.ndarray,
        reference: Backend,
        dtype: str,
        in_dtype: Callable[[str], Prepared] | None = None,
    ) -> None:
        self._model = model
        self._x = x
        self._reference = reference
        self._dtype = dtype
        self._moved: list[tuple[Model, Prepared, np.ndarray]] | None = None
        self._in_dtype = in_dtype or (lambda name: reference.prepare(model, name))
        self._activation: dict[str, float] | None = None

    def measure(self, trace: Trace, exact: Trace | None = None) -> NoiseFloor:
        """The floor of ``trace``, a run of the reference on this model and input.

        In float64 the reference runs RUNS times with weights and input moved by one unit in the last
        place; the floor is the largest movement. In float32 it is the distance from the float64 run,
        ``exact`` if it is at hand.
        """
        if self._dtype == "float32":
            if exact is None:
                exact = self._run(self._in_dtype("float64"), self._x.astype(np.float64), trace)
            return self._movement(exact, [trace], "distance of the float32 reference from its float64 run")
        runs = [self._run(prepared, x, trace) for _, prepared, x in self.moved_models()]
        return self._movement(
            trace, runs, f"largest of {RUNS} runs with weights and input moved by one unit in the last place"
        )

    @staticmethod
    def _run(prepared: Prepared, x: np.ndarray, trace: Trace) -> Trace:
        """The run of ``trace`` again, on ``x``."""
        return run_on_copies(prepared, x, trace.method, trace.target, layers=bool(trace.layers))

    def _movement(self, base: Trace, runs: list[Trace], how: str) -> NoiseFloor:
        """The largest relative L2 distance of any run from ``base``, per tensor."""
        if self._activation is None and base.layers:
            # Activations do not depend on the method: measured with the first, good for all.
            self._activation = {
                name: max(_moved(layer.activation, run.layers[name].activation) for run in runs)
                for name, layer in base.layers.items()
            }
        graph = self._model.graph
        return NoiseFloor(
            self._dtype,
            how,
            attribution=max(relative_l2(base.attribution, run.attribution) for run in runs),
            relevance={
                name: max(_moved(layer.relevance, run.layers[name].relevance) for run in runs)
                for name, layer in base.layers.items()
            },
            activation=self._activation or {},
            terms=longest_sum(graph),
            activation_terms=longest_forward_sums(graph),
        )

    def moved_models(self) -> list[tuple[Model, Prepared, np.ndarray]]:
        """RUNS times: the model with every weight moved by one unit in the last place, prepared; the input, moved."""
        if self._moved is None:
            self._moved = []
            for seed in range(RUNS):
                generator = np.random.default_rng(seed)
                moved = self._model.with_weights(_mover(generator))
                x = moved_one_ulp(self._x.astype(np.float64), generator)
                self._moved.append((moved, self._reference.prepare(moved, "float64"), x))
        return self._moved


def _moved(base: np.ndarray | None, run: np.ndarray | None) -> float:
    return 0.0 if base is None or run is None else relative_l2(base, run)
