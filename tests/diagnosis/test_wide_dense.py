"""A dense layer whose search would take long is searched on some of its outputs, and on all where these do not tell."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import harness
from harness.diagnosis.excerpt import LARGE_DENSE, UNITS, excerpts
from harness.methods import Method, method
from harness.steps import Step
from ported_impls.torchvision_shim import zennit
from ported_models import PortedModel
from ported_models.build import Builder

WIDTH = 720
EPSILON = 0.25


def wide() -> PortedModel:
    random = np.random.default_rng(3)
    builder = Builder("wide", (WIDTH,))

    def weights(outputs: int) -> dict[str, np.ndarray]:
        kernel = random.standard_normal((WIDTH, outputs)) / np.sqrt(WIDTH)
        return {"kernel": kernel.astype(np.float32), "bias": random.random(outputs).astype(np.float32)}

    builder.add("dense", "hidden", weights=weights(WIDTH))
    builder.add("relu", "hidden_relu")
    builder.add("dense", "logits", weights=weights(3))
    return PortedModel.from_graph(builder.graph())


class Faulty(zennit.core.BasicHook):
    """Epsilon as specified, with ``change`` made to the relevance of the outputs."""

    def __init__(self, change: Any) -> None:
        self.change = change
        super().__init__(
            gradient_mapper=lambda relevance, outputs: [
                change(relevance) / torch_signed(outputs[0], EPSILON),
            ],
            reducer=lambda inputs, gradients: inputs[0] * gradients[0],
        )

    def copy(self) -> Any:
        return Faulty(self.change)


def torch_signed(z: Any, epsilon: float) -> Any:
    return z + epsilon * ((z >= 0).to(z.dtype) * 2 - 1)


def test_a_wide_layer_has_an_excerpt_and_a_narrow_one_has_none() -> None:
    graph = wide().graph
    assert WIDTH**2 >= LARGE_DENSE
    resolved = method(f"lrp.epsilon:epsilon={EPSILON}")
    for name, count in (("hidden", WIDTH // UNITS), ("logits", 0)):
        layer = graph[name]
        rule = resolved.composite.rule_for(layer, graph)
        step = Step(layer, rule, (np.ones((1, WIDTH)),), np.ones((1, *layer.shape)), graph, resolved)
        parts = list(excerpts(step, lambda masked: (np.zeros((1, WIDTH)),)))
        assert len(parts) == count
        assert all(part.step.layer.shape == (UNITS,) for part in parts)


@pytest.mark.parametrize(
    ("change", "cause", "words"),
    [
        (lambda relevance: relevance.flip(-1), "layout", "reverse"),
        (lambda relevance: 1.5 * relevance, "scale", "1.5"),
    ],
    ids=["outputs in reverse order", "a factor"],
)
def test_what_is_done_at_it_is_named(change: Any, cause: str, words: str) -> None:
    def composite(twin: Any, asked: Method) -> Any:
        return zennit.core.Composite(
            module_map=lambda context, name, module: {
                "hidden": lambda: Faulty(change),
                "logits": lambda: zennit.rules.Epsilon(epsilon=EPSILON),
            }.get(name, lambda: None)()
        )

    candidate = harness.backend_from_composite("mine", composite)
    x = np.random.default_rng(5).standard_normal((2, WIDTH)).astype(np.float32)
    diagnosis = harness.diagnose(wide(), x, f"lrp.epsilon:epsilon={EPSILON}", candidate=candidate)
    assert [(each.layer, each.cause) for each in diagnosis.findings] == [("hidden", cause)]
    assert words in diagnosis.findings[0].words
    assert diagnosis.complete
