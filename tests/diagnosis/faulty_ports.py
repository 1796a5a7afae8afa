"""Ports with a fault at chosen layers, and what both sides give there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import harness
from harness.backends import backend_named
from harness.diagnosis.findings import Finding
from harness.diagnosis.measure import apart
from harness.diagnosis.reproducer import Evidence, write
from harness.methods import Method
from harness.methods import method as method_named
from ported_impls.torchvision_shim import zennit
from tests.prepared import ready

FLOOR = 1e-15


def candidate(model: Any, hooks: dict[str, Callable[[], Any]], dtype: str = "float64") -> Any:
    """A port made of one Zennit hook a layer, prepared."""

    def composite(twin: Any, method: Method) -> Any:
        return zennit.core.Composite(
            module_map=lambda context, name, module: hooks[name]() if name in hooks else None
        )

    return ready(harness.backend_from_composite("mine", composite), model, dtype)


def oracle(model: Any) -> Any:
    return ready(backend_named("oracle"), model)


def evidence_of(
    model: Any,
    name: str,
    method: str | Method,
    port: Any,
    seed: int = 0,
    dtype: str = "float64",
    batch: int = 2,
) -> Evidence:
    """Both sides' step at a layer, on the reference's data for a random input."""
    method, layer, exact = method_named(method), model.graph[name], oracle(model)
    x = np.random.default_rng(seed).standard_normal((batch, *model.input_shape))
    run = exact.explain(x, method)
    inputs = tuple(run.layers[source].activation.astype(dtype) for source in layer.inputs)
    relevance = run.layers[name].relevance.astype(dtype)
    found = port.step(layer, inputs, relevance, method)
    expected = exact.step(layer, inputs, relevance, method)
    return Evidence(method, dtype, inputs, found, expected, layer, relevance)


def finding_of(evidence: Evidence, stage: str = "rule", floor: float = FLOOR) -> Finding:
    error = apart(evidence.expected, evidence.observed)
    layer = evidence.layer.name if evidence.layer else None
    return Finding(stage, layer, "unknown", "something is done differently", error, floor)  # type: ignore[arg-type]


def written(folder: Path, evidence: Evidence, model: Any, port: Any, stage: str = "rule") -> Path:
    found = write(folder, finding_of(evidence, stage), evidence, model.graph, port, oracle(model))
    assert found == folder
    return folder / "reproduce.py"


class SharesBias(zennit.core.BasicHook):
    """Epsilon as specified, but without the bias in the denominator."""

    def __init__(self) -> None:
        super().__init__(
            param_modifiers=[zennit.core.ParamMod(lambda parameter, name: parameter, zero_params="bias")],
            gradient_mapper=lambda relevance, outputs: [
                relevance / torch.where(outputs[0] >= 0, outputs[0] + 1e-7, outputs[0] - 1e-7)
            ],
            reducer=lambda inputs, gradients: inputs[0] * gradients[0],
        )

    def copy(self) -> Any:
        return SharesBias()


def other_epsilon() -> Any:
    return zennit.rules.Epsilon(epsilon=0.0625)
