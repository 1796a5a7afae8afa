"""A layer whose rounding would hide what it does is named where others of its kind show it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import harness
from harness.diagnosis.findings import Finding
from ported_impls.torchvision_shim import zennit
from ported_models.build import Builder
from ported_models.model import PortedModel

pytestmark = [pytest.mark.tensorflow, pytest.mark.torch]

EPSILON = 1e-9


@pytest.fixture(scope="module")
def model() -> Any:
    """Two poolings, of windows of 2 by 2: pictures of 8 by 8 by 1, positive throughout."""
    rng = np.random.default_rng(0)
    b = Builder("two-pools", (8, 8, 1))
    b.add("conv2d", "conv1", weights={"kernel": rng.uniform(0.5, 1, (1, 1, 1, 3)), "bias": np.full(3, 0.1)})
    b.add("max_pool2d", "pool1", attributes={"pool_size": (2, 2), "strides": (2, 2)})
    b.add("conv2d", "conv2", weights={"kernel": rng.uniform(0.5, 1, (3, 3, 3, 3)), "bias": np.full(3, 0.1)})
    b.add("max_pool2d", "pool2", attributes={"pool_size": (2, 2), "strides": (2, 2)})
    b.add("flatten", "flat")
    b.add("dense", "logits", weights={"kernel": rng.normal(size=(3, 4)), "bias": rng.normal(size=4)})
    return PortedModel.from_graph(b.graph())


@pytest.fixture(scope="module")
def x() -> np.ndarray:
    """One window of the first pooling has equal entries, so that rounding chooses among them; none of the second."""
    picture = np.random.default_rng(1).uniform(0.5, 1, (1, 8, 8, 1))
    picture[:, 2:4, 2:4] = 0.75
    return picture


class Divided(zennit.core.Hook):
    """Multiplies the relevance of a maximum by z and divides it by z + `EPSILON`."""

    def forward(self, module: Any, inputs: Any, output: Any) -> Any:
        self.read = inputs[0].detach()

    def backward(self, module: Any, grad_input: Any, grad_output: Any) -> Any:
        return (grad_input[0] * self.read / (self.read + EPSILON),)

    def copy(self) -> Any:
        return Divided()


def findings(model: Any, x: np.ndarray, *layers: str) -> tuple[Finding, ...]:
    """What is found of a candidate that has `Divided` at these layers."""

    def composite(twin: Any, method: Any) -> Any:
        return zennit.core.Composite(
            module_map=lambda context, name, module: Divided() if name in layers else None
        )

    candidate = harness.backend_from_composite("mine", composite, head="one")
    found = harness.diagnose(model, x, "gradient", candidate=candidate, target=0, dtype="float64")
    assert found.complete
    return found.findings


def test_the_pool_with_equal_entries_does_as_the_other(model: Any, x: np.ndarray) -> None:
    (finding,) = findings(model, x, "pool1", "pool2")
    assert (finding.cause, finding.layer, finding.also) == ("pooling", "pool2", ("pool1",))


def test_it_is_not_named_where_it_does_as_the_reference(model: Any, x: np.ndarray) -> None:
    (finding,) = findings(model, x, "pool2")
    assert (finding.cause, finding.layer, finding.also) == ("pooling", "pool2", ())
