"""A port whose every step is right, and which does something to the result: it is named for every kind of method."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

import harness
from harness.backends import backend_named
from harness.methods import method

Change = Callable[[np.ndarray], np.ndarray]
pytestmark = pytest.mark.thinned(0.5)


@dataclass(frozen=True)
class Ending:
    """The port, whose attribution by one procedure is ``change``d."""

    procedure: Any
    change: Change
    name: str = "ending"

    def version(self) -> dict[str, str]:
        return {}

    def supports(self, asked: Any, graph: Any) -> str:
        return backend_named("torch").supports(asked, graph)

    def prepare(self, model: Any, dtype: str, device: str = "cpu") -> Any:
        return _Ending(backend_named("torch").prepare(model, dtype, device), self)


class _Ending:
    def __init__(self, port: Any, ending: Ending) -> None:
        self.port, self.ending = port, ending

    def __getattr__(self, name: str) -> Any:
        if name == "port":
            raise AttributeError(name)
        return getattr(self.port, name)

    def run(self, x: np.ndarray, asked: Any, target: np.ndarray, layers: bool) -> Any:
        arrays = self.port.run(x, asked, target, layers)
        if asked.procedure != self.ending.procedure:
            return arrays
        return replace(arrays, attribution=self.ending.change(arrays.attribution))


@pytest.mark.parametrize(
    ("change", "cause", "words"),
    [
        (lambda r: 1.5 * r, "scale", "1.5"),
        (lambda r: np.ascontiguousarray(r[:, ::-1]), "layout", "the height axis is reversed"),
    ],
    ids=["scaled", "upside down"],
)
@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("digits-cnn", "grad_cam"),
        ("digits-cnn", "deep_lift"),
        ("digits-cnn", "integrated_gradients:steps=4"),
        ("digits-cnn", "smoothgrad:augment_by_n=4"),
        ("digits-cnn", "smoothgrad_x_input:augment_by_n=4"),
        ("digits-cnn", "vargrad:augment_by_n=4"),
        ("digits-cnn", "random_uniform"),
        ("digits-cnn", "lrp.epsilon"),
        ("vit-digits", "attention_rollout"),
        ("vit-digits", "gradient_rollout"),
    ],
)
def test_what_is_done_to_the_result_is_named_once(
    name: str, asked: str, change: Change, cause: str, words: str
) -> None:
    model = harness.load_model(name)
    x = np.random.default_rng(0).random((2, *model.input_shape)).astype(np.float32)
    candidate = Ending(method(asked).procedure, change)
    diagnosis = harness.diagnose(model, x, asked, candidate=candidate)
    assert [each.cause for each in diagnosis.findings] == [cause]
    assert words in diagnosis.findings[0].words
    assert diagnosis.complete
