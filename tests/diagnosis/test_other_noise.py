"""SmoothGrad with noise of its own, or without: there is no name for it, and the diagnosis says in words what it is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from unittest import mock

import numpy as np
import pytest

import harness
from harness.methods import gaussian_noise, method

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


@pytest.mark.parametrize(("place", "ordinal"), [(0, "first"), (-1, "last")])
def test_smoothgrad_with_one_sample_without_noise_is_described(model: Any, place: int, ordinal: str) -> None:
    """Zennit's `SmoothGrad` takes the input itself for its last sample."""

    def samples(procedure: Any, shape: Any) -> Iterator[np.ndarray]:
        for number, noise in enumerate(gaussian_noise(procedure, shape)):
            yield np.zeros_like(noise) if number == place % SAMPLES else noise

    x = np.random.default_rng(0).random((1, 8, 8, 1))
    with mock.patch("ported_impls.procedures.gaussian_noise", samples):
        found = harness.diagnose(model, x, METHOD, dtype="float64")
    assert [each.words for each in found.findings] == [
        f"the {ordinal} of the {SAMPLES} samples is the input without noise"
    ]
    assert found.complete
