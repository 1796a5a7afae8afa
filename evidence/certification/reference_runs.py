"""The reference's runs: in float32, in float64, and in float32 with everything moved by one unit."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from evidence.certification.cases import ModelCases
from harness.backends import Backend, Prepared
from harness.comparison.floor import RUNS, moved_one_ulp
from harness.graph import Layer
from harness.methods import Method, method
from harness.trace import Trace


@dataclass(frozen=True, eq=False)
class ReferenceRun:
    """The reference, ready to run. ``seed``: everything is moved by one unit in the last place, at random."""

    prepared: Prepared
    x: np.ndarray
    seed: int | None = None

    def run(self, wanted: Method, target: np.ndarray) -> Trace:
        """``wanted`` on this run's input."""
        return self.prepared.explain(self.x, wanted, target)

    def ground(self, recorded: Trace) -> Trace:
        """The library's recording with its activations as this run takes them."""
        if self.seed is None:
            return recorded
        generator = np.random.default_rng(self.seed)
        layers = {
            name: replace(layer, activation=moved_one_ulp(layer.activation, generator))
            for name, layer in recorded.layers.items()
            if layer.activation is not None
        }
        return replace(recorded, layers=layers)


class ReferenceRuns:
    """Prepared when they are first needed, then kept for all names."""

    def __init__(self, cases: ModelCases, reference: Backend) -> None:
        self._cases = cases
        self._reference = reference

    @cached_property
    def single(self) -> ReferenceRun:
        """In float32."""
        return self._plain("float32")

    @cached_property
    def double(self) -> ReferenceRun:
        """In float64."""
        return self._plain("float64")

    @cached_property
    def moved(self) -> tuple[ReferenceRun, ...]:
        """RUNS times in float32, weights, input and ground each moved by one unit in the last place."""
        runs = []
        for seed in range(RUNS):
            generator = np.random.default_rng(seed)

            def move(
                layer: Layer, name: str, array: np.ndarray, generator: np.random.Generator = generator
            ) -> np.ndarray:
                return moved_one_ulp(array.astype(np.float32), generator)

            model = self._cases.model.with_weights(move)
            x = moved_one_ulp(self._cases.x.astype(np.float32), generator)
            runs.append(ReferenceRun(self._reference.prepare(model, "float32"), x, seed))
        return tuple(runs)

    @cached_property
    def target(self) -> np.ndarray:
        """The class with the largest logit of the float32 run, for each sample; both sides explain it."""
        single = self.single
        return single.prepared.explain(single.x, method("gradient"), None, layers=False).target

    def _plain(self, dtype: str) -> ReferenceRun:
        return ReferenceRun(self._reference.prepare(self._cases.model, dtype), self._cases.x.astype(dtype))
