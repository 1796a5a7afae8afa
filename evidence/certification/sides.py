"""Our side of a trial: the reference in float32, in float64, and in float32 with everything moved by one unit."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from evidence.certification.docket import Trial
from harness.backends import Backend, Prepared
from harness.comparison.floor import RUNS, moved_one_ulp
from harness.graph import Layer
from harness.methods import Method, method
from harness.trace import Trace


@dataclass(frozen=True, eq=False)
class Side:
    """The reference, ready to run. ``seed``: everything is moved by one unit in the last place, at random."""

    prepared: Prepared
    x: np.ndarray
    seed: int | None = None

    def run(self, wanted: Method, target: np.ndarray) -> Trace:
        """``wanted`` on this side's input."""
        return self.prepared.explain(self.x, wanted, target)

    def ground(self, theirs: Trace) -> Trace:
        """The library's run with its activations as this side takes them."""
        if self.seed is None:
            return theirs
        generator = np.random.default_rng(self.seed)
        layers = {
            name: replace(layer, activation=moved_one_ulp(layer.activation, generator))
            for name, layer in theirs.layers.items()
            if layer.activation is not None
        }
        return replace(theirs, layers=layers)


class Sides:
    """Prepared when they are first needed, then kept for all names."""

    def __init__(self, trial: Trial, reference: Backend) -> None:
        self._trial = trial
        self._reference = reference

    @cached_property
    def single(self) -> Side:
        """In float32."""
        return self._plain("float32")

    @cached_property
    def double(self) -> Side:
        """In float64."""
        return self._plain("float64")

    @cached_property
    def moved(self) -> tuple[Side, ...]:
        """RUNS times in float32, weights, input and ground each moved by one unit in the last place."""
        sides = []
        for seed in range(RUNS):
            generator = np.random.default_rng(seed)

            def move(
                layer: Layer, name: str, array: np.ndarray, generator: np.random.Generator = generator
            ) -> np.ndarray:
                return moved_one_ulp(array.astype(np.float32), generator)

            model = self._trial.model.with_weights(move)
            x = moved_one_ulp(self._trial.x.astype(np.float32), generator)
            sides.append(Side(self._reference.prepare(model, "float32"), x, seed))
        return tuple(sides)

    @cached_property
    def target(self) -> np.ndarray:
        """The class with the largest logit of our float32 run, for each sample; both sides explain it."""
        side = self.single
        return side.prepared.explain(side.x, method("gradient"), None, layers=False).target

    def _plain(self, dtype: str) -> Side:
        return Side(self._reference.prepare(self._trial.model, dtype), self._trial.x.astype(dtype))
