"""What a verdict is, and that only rounding buys "equivalent"."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import harness
from harness.comparison import (
    MULTIPLE,
    NoiseFloor,
    compare_arrays,
    layers_around,
    verdict_line,
    verdict_of,
)
from harness.engine import compare
from harness.errors import InvalidInputError
from harness.methods import method
from harness.runner.outcome import Outcome
from harness.runner.run import row_of
from tests.harness.linear_network import GradientBackend, network
from tests.prepared import ready

X = np.array([[0.5, -1.0, 2.0]])


def trace(fault=None, dtype: str = "float64", name: str = "gradient"):
    return ready(GradientBackend(fault=fault), network(), dtype).explain(X, method(name))


def flat_floor(value: float, dtype: str = "float64") -> NoiseFloor:
    names = ("x", "first", "second")
    return NoiseFloor(dtype, "given", value, dict.fromkeys(names, value), dict.fromkeys(names, value))


def scaled(factor: float, layer: str = "x"):
    return lambda name, relevance: relevance * (factor if name == layer else 1.0)


def test_the_same_run_twice_is_identical() -> None:
    comparison = compare(trace(), trace(), floor=flat_floor(1e-15))
    assert comparison.verdict == "identical"
    assert comparison.passed
    assert comparison.first_divergent is None


@pytest.mark.parametrize(
    ("factor", "verdict"),
    [
        (1 + 0.9 * MULTIPLE * 1e-9, "equivalent"),
        (1 + 1.1 * MULTIPLE * 1e-9, "close"),
        (1.1, "divergent"),
        (np.nan, "error"),
        (np.inf, "error"),
    ],
)
def test_the_verdict_follows_the_distance_in_floors(factor: float, verdict: str) -> None:
    comparison = compare(trace(), trace(scaled(factor)), floor=flat_floor(1e-9))
    assert comparison.verdict == verdict
    assert comparison.passed == (verdict == "equivalent")
    assert comparison.first_divergent == (None if verdict == "equivalent" else "first")


def overflowing(place: int):
    def fault(name: str, relevance: np.ndarray) -> np.ndarray:
        entry = np.arange(relevance.shape[-1]) == place
        return np.where(entry & (name == "x"), np.inf, relevance)

    return fault


@pytest.mark.parametrize(("dtype", "said"), [("float32", True), ("float64", False)])
def test_a_method_that_leaves_the_range_of_float32_on_both_sides_is_told_so(dtype: str, said: bool) -> None:
    """Rounding decides which entry is the first that overflows: infinite at other places, and nobody's fault."""
    reference, candidate = (trace(overflowing(place), dtype) for place in (0, 1))
    found = compare(reference, candidate, floor=flat_floor(1e-7, dtype))
    assert found.verdict == "error"
    assert any("leaves the range of float32" in note for note in found.notes) == said
    row = row_of(Outcome(method("gradient"), dtype, found, reference, candidate))
    assert ("leaves the range of float32" in row["message"]) == said


def test_a_candidate_alone_that_is_not_finite_gets_no_such_excuse() -> None:
    found = compare(
        trace(None, "float32"), trace(overflowing(0), "float32"), floor=flat_floor(1e-7, "float32")
    )
    assert found.verdict == "error"
    assert not any("leaves the range" in note for note in found.notes)


def test_a_perfect_correlation_does_not_excuse_a_wrong_scale() -> None:
    comparison = compare(trace(), trace(scaled(20.0)), floor=flat_floor(1e-15))
    row = comparison.table.set_index("layer").loc["x"]
    assert row["pearson_r"] == pytest.approx(1.0)
    assert row["best_scale"] == pytest.approx(1 / 20)
    assert comparison.verdict == "divergent"


def test_the_first_relevance_that_differs_is_the_one_nearest_the_output() -> None:
    comparison = compare(trace(), trace(scaled(2.0, "first")), floor=flat_floor(1e-15))
    assert comparison.first_different_relevance == "first"
    assert list(comparison.table["layer"]) == ["second", "first", "x"]
    assert list(comparison.table["verdict"]) == ["identical", "divergent", "divergent"]


def verdict_between(reference: list[float], candidate: list[float]) -> str:
    ours, theirs = np.array([reference]), np.array([candidate])
    return verdict_of(compare_arrays(ours, theirs)[0], 1e-16)


def test_small_values_of_the_wrong_scale_are_not_close() -> None:
    """MAE is below 1e-4 whatever is done to values of 1e-6, and r does not see a factor."""
    small = np.array([1.0, -2.0, 3.0, 0.5]) * 1e-6
    assert verdict_between(small, small * (1 + 1e-3)) == "close"
    assert verdict_between(small, small * 2) == "divergent"
    assert verdict_between(small, small + 1e-5) == "divergent"


def test_the_bound_on_the_scale_is_that_of_lins_concordance() -> None:
    """Of [-1, 1] and f [-1, 1], ccc is 2 f / (1 + f^2): 0.9902 for f = 1.15, 0.9893 for f = 1.157."""
    pair = np.array([-1e-5, 1e-5])
    assert verdict_between(pair, 1.15 * pair) == "close"
    assert verdict_between(pair, 1.157 * pair) == "divergent"


@pytest.mark.parametrize(
    ("reference", "candidate", "verdict"),
    [
        pytest.param([0, 0], [0, 0], "identical", id="both zero"),
        pytest.param([0.0, 0], [-0.0, 0], "equivalent", id="both zero, one of another sign"),
        pytest.param([0, 0], [1e-9, -1e-9], "divergent", id="zero in the reference alone"),
        pytest.param([1e-9, -1e-9], [0, 0], "divergent", id="zero in the candidate alone"),
        pytest.param([1e-6, 1e-6], [1e-6, 1e-6], "identical", id="one constant"),
        pytest.param([1e-6, 1e-6], [2e-6, 2e-6], "divergent", id="two constants"),
        pytest.param([1.0, 1.0], [1 + 1e-6, 1 + 1e-6], "divergent", id="two constants near each other"),
        pytest.param([1.0], [1 + 1e-6], "divergent", id="one value each"),
        pytest.param([1.0], [1 + 2e-16], "equivalent", id="one value each, but for rounding"),
    ],
)
def test_where_r_is_not_defined_nothing_is_close(reference: list, candidate: list, verdict: str) -> None:
    assert verdict_between(reference, candidate) == verdict


def test_tolerance_changes_passed_and_no_verdict() -> None:
    reference, candidate = trace(), trace(scaled(1 + 1e-6))
    for tolerance, passed in ((None, False), ("close", True), (1e-5, True), (1e-7, False)):
        comparison = compare(reference, candidate, tolerance=tolerance, floor=flat_floor(1e-15))
        assert (comparison.verdict, comparison.passed) == ("close", passed)


def test_different_activations_are_no_pass_even_where_relevance_agrees() -> None:
    reference, candidate = trace(), trace()
    candidate.layers["first"].activation = candidate.layers["first"].activation + 1.0
    comparison = compare(reference, candidate, floor=flat_floor(1e-15))
    assert comparison.verdict == "divergent"
    assert comparison.first_divergent is None
    assert comparison.first_divergent_forward == "first"
    assert "activations part first at first" in verdict_line(comparison)


def test_the_attribution_counts_after_post_processing() -> None:
    reference = trace(name="input_t_gradient")
    candidate = trace(name="input_t_gradient")
    candidate.attribution = candidate.attribution * 2
    assert compare(reference, candidate, floor=flat_floor(1e-15)).verdict == "divergent"


def test_the_floor_is_never_below_one_rounding() -> None:
    candidate = trace()
    for layer in candidate.layers.values():
        layer.relevance = np.nextafter(layer.relevance, np.inf)
    candidate.attribution = candidate.layers["x"].relevance
    assert compare(trace(), candidate, floor=flat_floor(0.0)).verdict == "equivalent"


def test_left_out_the_floor_is_measured_by_running_the_reference_again() -> None:
    backend = GradientBackend()
    reference = harness.explain(network(), X, "gradient", backend=backend, dtype="float64")
    candidate = harness.explain(network(), X, "gradient", backend=GradientBackend(), dtype="float64")
    assert backend.runs == 1
    for layer in candidate.layers.values():
        # The longest sum has three terms: 1e-14 is beyond ten times sqrt(3) * 2 ** -53, which is 1.9e-15.
        layer.relevance = layer.relevance * (1 + 1e-14)
    comparison = compare(reference, candidate)
    assert backend.runs == 4
    assert comparison.verdict == "close"
    assert 0 < comparison.floor.relevance["x"] < 1e-15
    assert set(comparison.table["decided_by"]) == {"floor"}
    compare(reference, candidate)
    assert backend.runs == 4


def test_what_is_within_the_bound_that_no_floor_is_below_passes_without_a_further_run() -> None:
    backend = GradientBackend()
    reference = harness.explain(network(), X, "gradient", backend=backend, dtype="float64")
    candidate = harness.explain(network(), X, "gradient", backend=GradientBackend(), dtype="float64")
    for layer in candidate.layers.values():
        layer.relevance = layer.relevance * (1 + 1e-15)
    comparison = compare(reference, candidate)
    assert backend.runs == 1
    assert comparison.verdict == "equivalent"
    first = comparison.table.iloc[-1]
    bound = np.sqrt(3) * 2.0**-53
    assert (first["decided_by"], first["floor"]) == ("bound", bound)
    assert first["floors"] == first["rel_l2"] / bound


def test_a_stored_trace_without_floor_is_compared_strictly_and_says_so(tmp_path) -> None:
    reference = trace()
    reference.save(tmp_path / "t.safetensors")
    comparison = compare(harness.load_trace(tmp_path / "t.safetensors"), trace(scaled(1 + 1e-9)))
    assert comparison.verdict == "close"
    assert "not measured" in comparison.notes[0]


def test_a_candidate_without_layers_is_judged_by_its_attribution() -> None:
    candidate = trace(scaled(3.0))
    candidate.layers = {}
    comparison = compare(trace(), candidate, floor=flat_floor(1e-15))
    assert comparison.verdict == "divergent"
    assert list(comparison.table["layer"]) == ["attribution"]
    assert "no layers" in comparison.notes[0]


def test_traces_of_different_cases_are_refused() -> None:
    other = trace()
    other.target = 1 - other.target
    with pytest.raises(InvalidInputError, match="differ in target"):
        compare(trace(), other, floor=flat_floor(1e-15))
    with pytest.raises(InvalidInputError, match="differ in dtype"):
        compare(trace(), trace(dtype="float32"), floor=flat_floor(1e-15))


def test_a_transposed_layer_is_a_sentence_not_a_number() -> None:
    candidate = trace()
    candidate.layers["first"].relevance = candidate.layers["first"].relevance.T
    with pytest.raises(InvalidInputError, match="first: the reference has shape"):
        compare(trace(), candidate, floor=flat_floor(1e-15))


def test_the_failure_text_shows_the_layers_around_the_divergence() -> None:
    comparison = compare(trace(), trace(scaled(2.0, "first")), floor=flat_floor(1e-15))
    lines = layers_around(comparison).splitlines()
    assert len(lines) == 4
    marked = [line for line in lines if line.endswith("<-")]
    assert len(marked) == 1
    # The relevance of the output of "first" differs: the step of its reader made it.
    assert marked[0].startswith("second")


def test_columns_are_those_of_the_design() -> None:
    columns = list(compare(trace(), trace(), floor=flat_floor(1e-15)).table.columns)
    distance = [
        "mae",
        "max_abs",
        "rel_l2",
        "pearson_r",
        "ccc",
        "cosine",
        "best_scale",
        "rel_l2_after_scale",
        "sign_agreement",
    ]
    side = [
        "min",
        "max",
        "mean",
        "std",
        "sum",
        "negative",
        "zero",
        "positive",
        "nan",
        "inf",
        "argmin",
        "argmax",
    ]
    assert columns == [
        *("layer", "kind", "shape"),
        *distance,
        *(f"ref_{name}" for name in side),
        *(f"cand_{name}" for name in side),
        *("introduced", "inherited"),
        *("floor", "floors", "decided_by", "verdict"),
    ]


def test_every_column_is_described_and_none_that_does_not_exist() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs/verdicts.md").read_text(encoding="utf-8")
    (table,) = re.findall(r"^## The columns$(.*?)^## ", page, re.DOTALL | re.MULTILINE)
    described = {
        name
        for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
        for name in re.findall(r"`(\w+)`", row)
    }
    columns = compare(trace(), trace(), floor=flat_floor(1e-15)).table.columns
    assert described - {"ref_", "cand_"} == {re.sub("^(ref|cand)_", "", column) for column in columns}


def test_extremes_are_found_by_named_axes() -> None:
    table = compare(trace(), trace(), floor=flat_floor(1e-15)).table.set_index("layer")
    relevance = trace().layers["x"].relevance
    assert table.loc["x", "ref_argmax"] == {"batch": 0, "feature": int(relevance[0].argmax())}
