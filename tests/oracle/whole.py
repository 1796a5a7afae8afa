"""Whole explanations by the oracle, as the harness runs it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.graph import Graph
from harness.methods import Method
from harness.trace import Trace
from reference_impls.oracle import OracleBackend, PreparedOracle, procedures
from tests.prepared import ready


@dataclass(frozen=True)
class SmallModel:
    """What a backend needs of a model."""

    graph: Graph
    name: str = "small"
    digest: str = "sha256:0"


class With(OracleBackend):
    """The oracle, with ``outcome`` as what computes the procedures."""

    def __init__(self, outcome: Callable[..., Any]) -> None:
        self._outcome = outcome

    def prepare(self, model: Any, dtype: str, device: str = "cpu") -> PreparedOracle:
        return PreparedOracle(model.graph, self._outcome)


def explain(
    network: Graph,
    x: np.ndarray,
    asked: Method,
    target: Any = None,
    layers: bool = True,
    outcome: Callable[..., Any] = procedures.outcome,
) -> Trace:
    return ready(With(outcome), SmallModel(network)).explain(x, asked, target, layers)
