"""SmoothGrad with noise of its own: the diagnosis has no name for it, and says that it is what other noise gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import harness
from harness.methods import method

SAMPLES, SCALE = 16, 0.02
METHOD = f"smoothgrad:dialect=signxai,augment_by_n={SAMPLES},noise_scale={SCALE}"


@pytest.fixture(scope="module")
def model() -> Any:
    return harness.load_model("digits-cnn")


def smoothed(model: Any, seed: int, scale: float, factor: float) -> Any:
    """SmoothGrad as somebody else writes it, around the gradients of the reference."""

    def explain(twin: Any, x: np.ndarray, target: np.ndarray, asked: Any) -> np.ndarray:
        random = np.random.default_rng(seed)
        runs = [
            harness.explain(
                model, x + scale * random.standard_normal(x.shape), "gradient", target=target, layers=False
            ).attribution
            for _ in range(SAMPLES)
        ]
        return factor * np.mean(runs, axis=0, dtype=x.dtype)

    return explain


@pytest.mark.parametrize(
    ("seed", "scale", "factor", "is_noise"),
    [
        pytest.param(123, SCALE, 1.0, True, id="other noise"),
        pytest.param(123, 400 * SCALE, 1.0, False, id="much more of it", marks=pytest.mark.nightly),
        pytest.param(123, SCALE, 30.0, False, id="another scale beside it"),
    ],
)
def test_other_noise_is_told_from_other_faults(
    model: Any, seed: int, scale: float, factor: float, is_noise: bool
) -> None:
    assert method(METHOD).procedure.samples == SAMPLES  # type: ignore[union-attr]
    x = np.random.default_rng(0).random((1, 8, 8, 1))
    candidate = harness.backend_from_function("mine", smoothed(model, seed, scale, factor), "numpy")
    (finding,) = harness.diagnose(model, x, METHOD, candidate=candidate, dtype="float64").findings
    assert finding.cause == "unknown"
    assert ("other_noise" in finding.parameters) == is_noise
    assert ("what other noise of the same size would give" in finding.words) == is_noise
