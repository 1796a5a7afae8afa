"""The bench: what it times, what it compares, and what it leaves."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest

import harness
from harness.backends import Arrays
from harness.bench import bench
from harness.bench.page import write_bench
from harness.bench.timing import medians, peak_bytes
from harness.errors import InvalidInputError
from ported_models.build import Builder
from ported_models.model import PortedModel

pytestmark = pytest.mark.thinned(0.4)


def small() -> PortedModel:
    builder = Builder("small", (3,))
    builder.add("dense", "logits", weights={"kernel": np.eye(3, 2), "bias": np.zeros(2)})
    return PortedModel.from_graph(builder.graph())


class Slow:
    """Its run takes ``seconds``, its step as long again, and its relevance is off by ``error``."""

    def __init__(self, name: str, seconds: float, error: float = 0.0) -> None:
        self.name, self.seconds, self.error = name, seconds, error

    def version(self) -> dict[str, str]:
        return {}

    def supports(self, method: Any, graph: Any) -> str:
        return ""

    def prepare(self, model: Any, dtype: str, device: str = "cpu") -> Any:
        return self

    def run(self, x: Any, method: Any, target: Any, layers: bool) -> Arrays:
        time.sleep(self.seconds)
        logits = x @ np.eye(3, 2, dtype=x.dtype)
        start = np.zeros_like(logits)
        start[np.arange(len(x)), target] = 100
        share = x * self.error + start @ np.eye(2, 3, dtype=x.dtype)
        return Arrays(logits, share, {"input": x, "logits": logits}, {"input": share, "logits": start})

    def step(self, layer: Any, inputs: Any, relevance: Any, method: Any) -> tuple[Any, ...]:
        time.sleep(self.seconds)
        return (relevance @ np.eye(2, 3),)


X = np.array([[3.0, 1.0, 2.0]])


def test_calls_are_timed_in_turn() -> None:
    order: list[str] = []
    medians([lambda: order.append("a"), lambda: order.append("b")], 2)
    assert order == ["a", "b", "a", "b"]


def test_the_peak_is_what_a_call_holds_for_a_while() -> None:
    peak = peak_bytes(lambda: np.ones(2**24).sum())  # 128 MiB
    assert np.isnan(peak) or 100e6 < peak < 300e6


def test_both_sides_are_timed_and_compared() -> None:
    found = bench(
        small(),
        X,
        "backtrace.default",
        Slow("slow", 0.04),
        Slow("fast", 0.01, 1.0),
        dtype="float64",
        repeat=2,
    )
    assert 2 < found.total.speed_up < 6
    (layer,) = [row for row in found.rows if row.layer == "logits"]
    assert 2 < layer.speed_up < 6
    # The input gets x more on one side: 3, 1, 2.
    assert (found.total.max_abs, found.total.mae) == (3, 2)
    assert (found.total.difference.min, found.total.difference.max) == (1, 3)
    assert (found.total.reference.max, found.total.candidate.max) == (100, 103)
    assert found.total.difference.std == pytest.approx(np.std([3, 1, 2]))
    assert not found.comparison.passed


def test_a_side_without_single_steps_is_timed_as_a_whole() -> None:
    def gradient(twin: Any, x: np.ndarray, target: np.ndarray, method: Any) -> np.ndarray:
        return np.tile(np.eye(3, 2)[:, 0], (len(x), 1))

    candidate = harness.backend_from_function("mine", gradient, "torch")
    found = bench(
        small(), X, "gradient", "oracle", candidate, dtype="float64", repeat=1, target=np.zeros(len(X), int)
    )
    assert found.total.ref_seconds > 0 and all(np.isnan(row.ref_seconds) for row in found.rows[:-1])
    assert any("no single steps" in note for note in found.notes)


@pytest.mark.parametrize("part", ["for", "against"])
def test_a_step_of_two_relevances_is_timed_on_both(part: str) -> None:
    found = bench(small(), X, f"backtrace.contrast:part={part}", dtype="float64", repeat=1)
    assert found.comparison.passed and found.notes == ()
    assert found.rows[0].layer == "logits" and found.rows[0].ref_seconds > 0


def test_any_pair_of_backends_and_any_method_can_be_measured() -> None:
    found = bench(small(), X, "lrp.epsilon", "oracle", "torch", dtype="float64", repeat=1)
    assert found.comparison.passed and found.total.cand_seconds > 0


def test_the_page_and_the_table_hold_every_row(tmp_path: Path) -> None:
    found = bench(small(), X, "backtrace.default", dtype="float64", repeat=1)
    write_bench(found, tmp_path)
    table = pandas.read_parquet(tmp_path / "bench.parquet")
    assert list(table["layer"]) == ["logits", "input", "(whole run)"]
    assert {"ref_seconds", "cand_peak_bytes", "diff_std", "speed_up", "verdict"} <= set(table.columns)
    page = (tmp_path / "bench.html").read_text()
    assert "(whole run)" in page and "Comparison, from the output back" in page
    assert f"median of 1: {found.comparison.verdict}" in page
    assert json.dumps(found.to_json(), allow_nan=False)


def test_a_repeat_below_one_is_an_error() -> None:
    with pytest.raises(InvalidInputError, match="repeat must be 1 or more, found 0"):
        bench(small(), X, "backtrace.default", repeat=0)


def test_the_default_sides_are_those_of_the_family() -> None:
    found = bench(small(), X, "backtrace.default", dtype="float64", repeat=1)
    assert (found.reference, found.candidate) == ("backtrace-numpy", "backtrace-torch")
    assert harness.explain(small(), X, "backtrace.default", dtype="float64").backend == "backtrace-numpy"
