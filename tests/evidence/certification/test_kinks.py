"""A unit that the two forward passes round to different sides of zero is not held against either."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from evidence.certification.cases import ModelCases
from evidence.certification.comparison import results_of
from evidence.certification.recordings import Recordings
from evidence.certification.results import Result, Status
from harness.backends import Arrays, Backend
from harness.engine import Store
from harness.methods import Method
from ported_models.build import Builder
from ported_models.model import PortedModel
from reference_impls.oracle import OracleBackend


def network(second: float) -> PortedModel:
    """(1) -> two ReLU units with pre-activations x and ``second`` * x -> their sum, and 0."""
    builder = Builder("kink", (1,))
    builder.add("dense", "units", weights={"kernel": np.array([[1.0, second]], np.float32)})
    builder.add("relu", "relu")
    builder.add("dense", "logits", weights={"kernel": np.array([[1.0, 0.0], [1.0, 0.0]], np.float32)})
    return PortedModel.from_graph(builder.graph())


class InDouble(OracleBackend):
    """The oracle, in float64 whatever is asked for: its own two runs never differ."""

    def prepare(self, model: Any, dtype: str, device: str = "cpu") -> Any:
        return super().prepare(model, "float64")


class Library:
    """Explains another network than it is given, and adds ``extra`` to the relevance of the input."""

    name = "library"

    def __init__(self, model: PortedModel, extra: float = 0.0) -> None:
        self._model, self._extra = model, extra

    def version(self) -> dict[str, str]:
        return {"source": "a"}

    def supports(self, method: Method, graph: Any) -> str:
        return ""

    def prepare(self, model: PortedModel, dtype: str, device: str = "cpu") -> Library:
        return self

    def run(self, x: np.ndarray, method: Method, target: np.ndarray, layers: bool) -> Arrays:
        found = OracleBackend().prepare(self._model, "float64").run(x, method, target, layers)
        attribution = found.attribution + self._extra
        return replace(found, attribution=attribution, relevances={**found.relevances, "input": attribution})


#: Each of its runs is one of `gradient:dialect=signxai`.
MANY_RUNS = "integrated_gradients:dialect=signxai,steps=4"


def result_of(library: Backend, folder: Path, name: str = "gradient", of: str = "library") -> Result:
    cases = ModelCases(of, "digits-cnn", network(2.0**-30), np.ones((1, 1), np.float32), (name,))
    recordings = Recordings(folder, library, limit_s=60.0)
    ((result, _),) = results_of(cases, recordings, InDouble(), {}, Store())
    return result


def test_a_unit_within_rounding_of_zero_may_be_on_in_one_run_and_off_in_the_other(tmp_path: Path) -> None:
    # the reference's unit is on (gradient 1 + 2^-30), the library's off; on its activations both gradients are 1
    result = result_of(Library(network(-(2.0**-30))), tmp_path)
    assert result.status == Status.ILL_CONDITIONED
    assert "different sides of a kink" in result.reason
    # first seen where the two units differ
    assert result.begins == "units"


def test_a_difference_that_the_librarys_own_activations_do_not_explain_stays_one(tmp_path: Path) -> None:
    result = result_of(Library(network(-(2.0**-30)), extra=0.5), tmp_path)
    assert result.status == Status.UNEXPLAINED


def test_a_unit_may_be_on_in_some_of_many_runs_and_off_in_the_other_library(tmp_path: Path) -> None:
    result = result_of(Library(network(-(2.0**-30))), tmp_path, MANY_RUNS, "signxai")
    assert result.status == Status.ILL_CONDITIONED
    assert "in every run the reference is within 0.0e+00 of it" in result.reason


def test_a_difference_that_its_activations_in_every_run_do_not_explain_stays_one(tmp_path: Path) -> None:
    """Half of the gradient is added to each run, and to their mean."""
    result = result_of(Library(network(-(2.0**-30)), extra=0.5), tmp_path, MANY_RUNS, "signxai")
    assert result.status == Status.UNEXPLAINED


def test_activations_that_are_of_another_network_are_no_ground(tmp_path: Path) -> None:
    result = result_of(Library(network(-(2.0**-3))), tmp_path, MANY_RUNS, "signxai")
    assert result.status == Status.UNEXPLAINED
