"""The reference's runs: in float32, in float64, and in float32 with everything moved by one unit."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from evidence.certification.cases import ModelCases
from harness.backends import Backend, Steps
from harness.case import Case
from harness.comparison.floor import RUNS, moved_by_units
from harness.engine import Engine
from harness.graph import Layer
from harness.methods import Method, method
from harness.trace import Trace


@dataclass(frozen=True, eq=False)
class ReferenceRun:
    """The reference, ready to run. ``seed``: everything is moved by one unit in the last place, at random.

    ``case``: its model, input and dtype.
    """

    engine: Engine
    backend: Backend
    case: Case
    seed: int | None = None

    def run(self, wanted: Method, target: np.ndarray) -> Trace:
        """``wanted`` on this run's input."""
        case = replace(self.case, method=wanted, target=target)
        return self.engine.run(case, self.backend, again=True, keep=False)

    @property
    def steps(self) -> Steps | None:
        """Its single steps; None where the reference has none."""
        steps: Steps | None = self.engine.offered(self.case, self.backend, "steps")
        return steps

    def ground(self, recorded: Trace) -> Trace:
        """The library's recording with its activations as this run takes them."""
        if self.seed is None:
            return recorded
        generator = np.random.default_rng(self.seed)
        layers = {
            name: replace(layer, activation=moved_by_units(layer.activation, generator))
            for name, layer in recorded.layers.items()
            if layer.activation is not None
        }
        return replace(recorded, layers=layers)


class ReferenceRuns:
    """Prepared when they are first needed, then kept for all names."""

    def __init__(self, cases: ModelCases, reference: Backend) -> None:
        self._cases = cases
        self._reference = reference
        self._engine = Engine()

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
                return moved_by_units(array.astype(np.float32), generator)

            model = self._cases.model.with_weights(move)
            x = moved_by_units(self._cases.x.astype(np.float32), generator)
            runs.append(self._of(model, x, "float32", seed))
        return tuple(runs)

    @cached_property
    def target(self) -> np.ndarray:
        """The class with the largest logit of the float32 run, for each sample; both sides explain it."""
        target = self._engine.resolved(self.single.case, self._reference).target
        assert target is not None
        return target

    def _plain(self, dtype: str) -> ReferenceRun:
        return self._of(self._cases.model, self._cases.x, dtype)

    def _of(self, model: Any, x: np.ndarray, dtype: str, seed: int | None = None) -> ReferenceRun:
        case = Case(model, x, method("gradient"), None, dtype)
        return ReferenceRun(self._engine, self._reference, case, seed)
