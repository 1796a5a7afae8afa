"""A large convolution of a candidate that shows its layers but no single steps: searched on a box of its outputs."""

from __future__ import annotations

import numpy as np
import pytest

import harness
from harness.diagnosis import explain_step
from harness.diagnosis.excerpt import LARGE, Excerpt, multiplications
from ported_models import PortedModel
from ported_models.build import Builder
from reference_impls.oracle import linear
from tests.diagnosis.test_readers import Change, Port

METHOD = "lrp.epsilon:epsilon=0.1"
SIDE = 100


@pytest.fixture(scope="module")
def model() -> PortedModel:
    """x, a convolution at 10,000 places, rectified; the mean of each channel, and a dense layer."""
    random = np.random.default_rng(4)

    def weights(*shape: int) -> dict[str, np.ndarray]:
        size = np.sqrt(np.prod(shape[:-1]))
        return {"kernel": random.normal(size=shape) / size, "bias": random.normal(size=shape[-1:])}

    b = Builder("large", (SIDE, SIDE, 4))
    b.add("conv2d", "conv", attributes={"padding": "same"}, weights=weights(3, 3, 4, 64))
    b.add("relu", "conv_relu")
    b.add("global_average_pool", "pool")
    b.add("dense", "logits", weights=weights(64, 3))
    return PortedModel.from_graph(b.graph())


def findings(model: PortedModel, change: Change, method: str = METHOD) -> set[tuple[str, str]]:
    """Layer and cause of each finding; the proof must close the gap."""
    assert multiplications(model.graph["conv"], 1) > LARGE
    x = np.random.default_rng(5).normal(size=(1, SIDE, SIDE, 4))
    port = Port({"conv": change})
    found = harness.diagnose(model, x, method, "oracle", port, target=1, dtype="float64")
    assert found.complete
    return {(str(each.layer), each.cause) for each in found.findings}


@pytest.fixture
def boxes(monkeypatch: pytest.MonkeyPatch) -> list[Excerpt]:
    """The boxes that are cut."""
    made: list[Excerpt] = []

    def cut(*given):
        part = box_in_run(*given)
        made.extend([] if part is None else [part])
        return part

    box_in_run = explain_step.box_in_run
    monkeypatch.setattr(explain_step, "box_in_run", cut)
    return made


def test_one_thing_is_named(model: PortedModel, boxes: list[Excerpt]) -> None:
    assert findings(model, "lrp.epsilon:epsilon=0.25") == {("conv", "epsilon-value")}
    assert boxes


def test_two_things_at_once_are_named(model: PortedModel, boxes: list[Excerpt]) -> None:
    """Pairs are not tried on the whole of so large a layer."""
    layer = model.graph["conv"]
    bare = {"kernel": np.asarray(layer.weights["kernel"], np.float64)}

    def shares(inputs: tuple[np.ndarray, ...], relevance: np.ndarray) -> tuple[np.ndarray, ...]:
        z = linear.apply(layer, inputs, bare)
        s = relevance / (z + np.where(z >= 0, 0.25, -0.25))
        (passed,) = linear.transpose(layer, s, bare)
        return (inputs[0] * passed,)

    assert findings(model, shares) == {("conv", "bias-handling"), ("conv", "epsilon-value")}
    assert boxes


def test_what_concerns_all_of_the_result_is_named(model: PortedModel, boxes: list[Excerpt]) -> None:
    """A box does not show it: the whole is searched as well."""
    layer = model.graph["conv"]
    weights = {name: np.asarray(each, np.float64) for name, each in layer.weights.items()}

    def upside_down(inputs: tuple[np.ndarray, ...], relevance: np.ndarray) -> tuple[np.ndarray, ...]:
        z = linear.apply(layer, inputs, weights)
        (passed,) = linear.transpose(layer, relevance / (z + np.where(z >= 0, 0.1, -0.1)), weights)
        return ((inputs[0] * passed)[:, ::-1],)

    assert findings(model, upside_down) == {("conv", "layout")}
    assert boxes


def test_a_standard_deviation_has_a_rounding_of_its_own(model: PortedModel) -> None:
    """Over 40,000 values it is another number in another order; no factor is fitted to that."""
    layer = model.graph["conv"]
    weights = {name: np.asarray(each, np.float64) for name, each in layer.weights.items()}

    def shares(inputs: tuple[np.ndarray, ...], relevance: np.ndarray) -> tuple[np.ndarray, ...]:
        z = linear.apply(layer, inputs, weights)
        epsilon = 0.25 * inputs[0].std(ddof=1) * (1 + 5e-13)
        (passed,) = linear.transpose(layer, relevance / (z + np.where(z >= 0, epsilon, -epsilon)), weights)
        return (inputs[0] * passed,)

    assert findings(model, shares, "lrp_epsilon_0_25_std_x") == {("conv", "std-ddof")}
