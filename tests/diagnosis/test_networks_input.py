"""A standard deviation that is taken over what the network is given, and not over each layer's own input."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import harness
from benchmarks.diagnosis_time import reassigned
from harness.methods import Assignment, Epsilon
from harness.runner import chosen_input
from ported_models import PortedModel
from tests.diagnosis.test_readers import Port, three_readers

KERNELS = ("conv2d", "dense")
LATER = ("logits", "dense1", "conv3", "conv2")


@pytest.fixture(scope="module")
def digits() -> Any:
    return harness.load_model("digits-cnn")


@pytest.mark.parametrize(
    ("factor", "ddof", "over", "words"),
    [
        (
            0.25,
            1,
            "batch",
            "epsilon is 0.25 times the standard deviation of the network's input over the whole batch",
        ),
        (
            0.5,
            0,
            "batch",
            "epsilon is 0.5 times the standard deviation of the network's input over the whole batch",
        ),
        (0.25, 1, "one", "epsilon is 0.25 times the standard deviation of the network's input (ddof 1)"),
    ],
)
def test_it_is_named_at_all_layers_at_once(
    digits: Any, factor: float, ddof: int, over: str, words: str
) -> None:
    x = chosen_input(digits, None)[0].astype(np.float64)[: 1 if over == "one" else None]
    epsilon = factor * float(x.std(ddof=ddof))
    candidate = reassigned(Assignment(Epsilon(epsilon), kinds=KERNELS))
    found = harness.diagnose(digits, x, "lrp_epsilon_0_25_std_x", candidate=candidate, dtype="float64")
    (first, *_) = found.findings
    assert set(LATER) <= {str(first.layer), *first.also}
    assert first.cause == "stabilizer-form"
    assert words in first.words
    assert found.complete


def test_each_sample_has_its_own(three: PortedModel) -> None:
    """A function without steps: samples of other size have another epsilon each."""
    x = np.random.default_rng(5).normal(size=(2, 6)) * [[1.0], [3.0]]
    spread = x.std(axis=1, keepdims=True)
    kernel, bias = (np.asarray(three.graph["top"].weights[name], np.float64) for name in ("kernel", "bias"))

    def shares(inputs: tuple[np.ndarray, ...], relevance: np.ndarray) -> tuple[np.ndarray, ...]:
        z = inputs[0] @ kernel + bias
        return (inputs[0] * ((relevance / (z + np.where(z >= 0, 0.25, -0.25) * spread)) @ kernel.T),)

    port = Port({"top": shares})
    method = "lrp_epsilon_0_25_std_x"
    found = harness.diagnose(three, x, method, "oracle", port, target=1, dtype="float64")
    (finding,) = found.findings
    assert finding.layer == "top"
    assert "0.25 times the standard deviation of the network's input instead of" in finding.words
    assert found.complete


@pytest.fixture(scope="module")
def three() -> PortedModel:
    return three_readers({})
