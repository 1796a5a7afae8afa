"""Backends that answer what a test says: a library and a reference without a framework."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from evidence.certification.cases import ModelCases
from harness.backends import Arrays
from harness.errors import HarnessError
from harness.methods import Method
from ported_models.build import Builder
from ported_models.model import PortedModel


def two_layers() -> PortedModel:
    """(2) -> dense "hidden" (2) -> dense "logits" (2), all kernels the identity."""
    builder = Builder("two", (2,))
    builder.add("dense", "hidden", weights={"kernel": np.eye(2)})
    builder.add("dense", "logits", weights={"kernel": np.eye(2)})
    return PortedModel.from_graph(builder.graph())


def two_layer_cases(*names: str) -> ModelCases:
    """``names`` on :func:`two_layers`, x = (1, 2)."""
    return ModelCases("library", "digits-cnn", two_layers(), np.array([[1.0, 2.0]], np.float32), names)


@dataclass
class Scripted:
    """Answers every method with the same relevance of "hidden" and "input", by dtype; counts the questions.

    The relevance of "logits" is (0, 1), the logits are (0, 2). ``raises`` is raised instead, if
    given, the first ``fails`` times.
    """

    name: str = "library"
    hidden: Mapping[str, Any] = field(default_factory=dict)
    input: Mapping[str, Any] = field(default_factory=dict)
    raises: HarnessError | None = None
    fails: float = float("inf")
    versions: Mapping[str, str] = field(default_factory=lambda: {"library": "1", "source": "a"})
    asked: list[str] = field(default_factory=list)

    def version(self) -> dict[str, str]:
        return dict(self.versions)

    def supports(self, method: Method, graph: Any) -> str:
        return ""

    def prepare(self, model: PortedModel, dtype: str, device: str = "cpu") -> ScriptedModel:
        return ScriptedModel(self, model, dtype)


@dataclass
class ScriptedModel:
    backend: Scripted
    model: PortedModel
    dtype: str

    def run(self, x: np.ndarray, method: Method, target: np.ndarray, layers: bool) -> Arrays:
        self.backend.asked.append(method.name)
        if self.backend.raises and len(self.backend.asked) <= self.backend.fails:
            raise self.backend.raises
        arrays = {
            "logits": [0.0, 1.0],
            "hidden": self.backend.hidden.get(self.dtype, [0.0, 1.0]),
            "input": self.backend.input.get(self.dtype, [0.0, 1.0]),
        }
        relevance = {name: np.array([values], self.dtype) for name, values in arrays.items()}
        return Arrays(self.logits(x), relevance["input"], relevances=relevance)

    def logits(self, x: np.ndarray) -> np.ndarray:
        return np.array([[0.0, 2.0]], self.dtype)
