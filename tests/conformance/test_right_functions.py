"""A right implementation as a function is never called wrong, nor blamed for what it does not do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import harness
from harness.backends import Backend
from harness.runner import chosen_input
from tests.conformance.right_functions import RIGHT, Right

pytestmark = [pytest.mark.tensorflow, pytest.mark.torch, pytest.mark.thinned(0.2)]


class Residual(nn.Module):
    """Two convolutions beside a third, added before a ReLU, pooled."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.first, self.second = nn.Conv2d(6, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.short = nn.Conv2d(6, 8, 1)
        self.pool, self.head = nn.AvgPool2d(2), nn.Linear(8 * 3 * 3, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.stem(x)))
        x = torch.relu(self.second(torch.relu(self.first(x))) + self.short(x))
        return self.head(torch.flatten(self.pool(x), 1))


@pytest.fixture(scope="module")
def models() -> dict[str, Any]:
    torch.manual_seed(0)
    network = Residual().eval()
    network.norm.running_mean.normal_()
    network.norm.running_var.uniform_(0.5, 2)
    example = np.random.default_rng(0).random((2, 6, 6, 3))
    return {
        "digits-cnn": harness.load_model("digits-cnn"),
        "ecg-cnn1d": harness.load_model("ecg-cnn1d"),
        "residual": harness.load_model(network, name="residual", example=example),
    }


def case(models: dict[str, Any], network: str, right: Right) -> tuple[Any, np.ndarray, str, Backend]:
    model = models[network]
    x = np.random.default_rng(3).random((2, *model.input_shape))
    if network != "residual":
        x[0] = chosen_input(model, None)[0][0]
    method = "grad_cam_timeseries" if (right.method, network) == ("grad_cam", "ecg-cnn1d") else right.method
    return model, x, method, harness.backend_from_function(str(right), right.function, right.framework)


NETWORKS = ("digits-cnn", "ecg-cnn1d", "residual")


@pytest.mark.thinned(0.06)
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("right", RIGHT, ids=str)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_right_function_is_equivalent_and_nothing_is_named(
    models: dict[str, Any], network: str, right: Right, dtype: str
) -> None:
    model, x, method, candidate = case(models, network, right)
    diagnosis = harness.diagnose(model, x, method, candidate=candidate, dtype=dtype)
    named = [(each.stage, each.layer, each.cause) for each in diagnosis.findings]
    assert named == ([("head", None, "output-seed")] if right.seed_only else []), diagnosis
    reference, floor = diagnosis.case.reference_run, diagnosis.comparison.floor
    for layers in (True, False):
        trace = harness.explain(
            model, x, method, candidate, target=reference.target, dtype=reference.dtype, layers=layers
        )
        if right.seed_only:
            start = reference.logits[[0, 1], reference.target].reshape(-1, *(1,) * (x.ndim - 1))
            trace.attribution = trace.attribution * start
        comparison = harness.compare(reference, trace, floor=floor)
        assert comparison.verdict in ("identical", "equivalent"), comparison
        assert comparison.first_divergent is None
