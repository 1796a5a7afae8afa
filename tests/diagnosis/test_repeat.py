"""A candidate that differs from itself, on methods whose runs a backend keeps for whoever asks next."""

from __future__ import annotations

from dataclasses import replace

import keras
import numpy as np
import pytest
import torch
from keras import layers as kl
from torch import nn
from torch.nn import functional

import harness
from harness.methods import DeepLift, method
from harness.runner import chosen_input
from ported_models.pair import load_pair

pytestmark = [pytest.mark.tensorflow, pytest.mark.torch]


@pytest.fixture(scope="module")
def pair():
    """Two layers; in torch a hook, added after loading, drops half of the values between them."""
    chain = [kl.Dense(40, activation="relu"), kl.Dense(3)]
    model = keras.Sequential([keras.Input((6,)), *chain])
    port = nn.Sequential(nn.Linear(6, 40), nn.ReLU(), nn.Linear(40, 3))
    with torch.no_grad():
        for dense, linear in zip(chain, (port[0], port[2]), strict=True):
            linear.weight.copy_(torch.from_numpy(dense.get_weights()[0].T.copy()))
            linear.bias.zero_()
    loaded = load_pair(model, port)
    for dtype in ("float32", "float64"):
        (relu,) = (each for each in loaded.torch(dtype).modules() if isinstance(each, nn.ReLU))
        relu.register_forward_hook(lambda module, given, output: functional.dropout(output, 0.5))
    return loaded


@pytest.mark.parametrize("name", ["gradient", "integrated_gradients", "smoothgrad", "vargrad", "deep_lift"])
def test_a_dropout_that_is_on_is_named_by_every_method(pair, name: str) -> None:
    wanted = method(name)
    if not isinstance(wanted.procedure, DeepLift) and name != "gradient":
        changed = {"steps": 4} if "integrated" in name else {"samples": 4}
        wanted = replace(wanted, name=f"{name}-of-four-runs", procedure=replace(wanted.procedure, **changed))
    x = np.random.default_rng(0).standard_normal((1, 6)).astype(np.float32)
    diagnosis = harness.diagnose(pair, x, wanted, dtype="float32")
    assert [finding.cause for finding in diagnosis.findings] == ["nondeterminism"]


@pytest.mark.parametrize(
    ("runs", "cause"),
    [
        ("ABBBBB", "state"),
        ("ABABAB", "state"),
        ("ABBABB", "nondeterminism"),
        ("ABAABA", "nondeterminism"),
        ("ABBCBB", "nondeterminism"),
    ],
)
def test_state_comes_back_in_an_order_and_chance_in_none(runs: str, cause: str) -> None:
    """A function whose runs give, one after the other, what the letters stand for."""
    model = harness.load_model("digits-cnn")
    x = chosen_input(model, None)[0]
    right = harness.explain(model, x, "gradient", dtype="float32").attribution
    made = iter(runs + 20 * runs[-1])

    def of_next_letter(module: nn.Module, x: torch.Tensor, target: object, method: object) -> np.ndarray:
        return np.moveaxis(right, -1, 1) * (1 + "ABC".index(next(made)))

    candidate = harness.backend_from_function("mine", of_next_letter, "torch")
    diagnosis = harness.diagnose(model, x, "gradient", candidate=candidate, dtype="float32")
    assert [finding.cause for finding in diagnosis.findings] == [cause]
