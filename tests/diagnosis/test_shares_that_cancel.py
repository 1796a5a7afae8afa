"""A port that shows its layers but no single steps: what its shares add up to is judged by all that is added."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

import harness
from harness.backends import Arrays, backend_named
from ported_models import PortedModel
from ported_models.build import Builder


def two_readers() -> PortedModel:
    """r = relu(x), logit = (0.1 r + 0.2 r - 0.3 r) + 2 - r, which is 1 for x = 1.

    The first share is 0, but 5.6e-17 in float64 in the order in which it is written; the second is cut to 0.
    """
    b = Builder("two readers", (1,))
    b.add("relu", "r")
    b.add("concat", "joined", ["r", "r", "r"])
    b.add("dense", "first", weights={"kernel": np.array([[0.1], [0.2], [-0.3]])})
    b.add("dense", "second", "r", weights={"kernel": np.array([[-1.0]]), "bias": np.array([2.0])})
    b.add("add", "logit", ["first", "second"])
    return PortedModel.from_graph(b.graph())


@dataclass(frozen=True)
class Port:
    """The oracle's run, but for the relevance of r, which is ``at_r``; a one is added to the attribution."""

    at_r: float
    name: str = "port"

    def version(self) -> dict[str, str]:
        return {}

    def supports(self, asked: Any, graph: Any) -> str:
        return ""

    def prepare(self, model: Any, dtype: str, device: str = "cpu") -> Any:
        return _Run(self.at_r, backend_named("oracle").prepare(model, dtype))


@dataclass(frozen=True)
class _Run:
    at_r: float
    oracle: Any

    def run(self, *arguments: Any) -> Arrays:
        found = self.oracle.run(*arguments)
        relevances = {**found.relevances, **dict.fromkeys(("r", "input"), np.array([[self.at_r]]))}
        return replace(found, attribution=np.array([[self.at_r + 1]]), relevances=relevances)


@pytest.mark.parametrize(("at_r", "stages"), [(0.0, {"postprocess"}), (1e-10, {"rule", "postprocess"})])
def test_only_what_is_more_than_their_rounding_is_a_finding(at_r: float, stages: set[str]) -> None:
    rounded = harness.explain(two_readers(), np.ones((1, 1)), "gradient", "oracle", dtype="float64")
    assert rounded.layers["joined"].relevance is not None
    assert 0 < rounded.layers["joined"].relevance.sum() < 1e-16
    diagnosis = harness.diagnose(
        two_readers(), np.ones((1, 1)), "deconvnet:dialect=signxai", "oracle", Port(at_r), dtype="float64"
    )
    assert {finding.stage for finding in diagnosis.findings} == stages
