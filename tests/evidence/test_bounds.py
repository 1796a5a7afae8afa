"""A bound that is above the measured floor is seen where it lets a wrong port through."""

from __future__ import annotations

import importlib
from dataclasses import replace

import pytest

from evidence.bounds import Case, compared_twice, figures_of, main, page, with_runs
from evidence.planted_bugs.collection import collect
from evidence.planted_bugs.command import BUGS
from harness.comparison.floor import derived
from harness.methods import method

pytestmark = [pytest.mark.tensorflow, pytest.mark.torch]

WRONG = Case("digits-cnn", "lrp.alpha_1_beta_0", "float64", "z-among-alpha-beta")


@pytest.fixture(scope="module")
def collection():
    return collect(BUGS)


@pytest.fixture
def much_too_high(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound that `harness.compare` asks for, as high as the relevance itself."""
    module = importlib.import_module("harness.engine.compare")

    def raised(dtype, graph):
        bound = derived(dtype, graph)
        return replace(bound, attribution=1.0, relevance=dict.fromkeys((layer.name for layer in graph), 1.0))

    monkeypatch.setattr(module, "derived", raised)


def test_a_bound_as_it_is_decides_as_the_measured_floor_does(collection) -> None:
    row = compared_twice(WRONG, collection)
    assert row["bounded"] > 0
    assert (row["verdict"], row["parted"]) == ("divergent", [])


def test_a_bound_above_the_measured_floor_is_reported(much_too_high, collection) -> None:
    row = compared_twice(WRONG, collection)
    assert row["verdict"] == "equivalent"
    assert "attribution" in row["parted"]
    written = page(figures_of({WRONG: row}, {"digits-cnn": 7}, "abc"))
    assert "- digits-cnn / lrp.alpha_1_beta_0 / float64 / z-among-alpha-beta: " in written
    parted = len(row["parted"])
    assert (
        f"| digits-cnn, planted bugs | float64 | 1 | 1 | {row['bounded']} | {row['stepped']} | {parted} | 0 | abc |"
        in written
    )
    assert "in place of their own number" not in written
    shortened = figures_of({replace(WRONG, bug="", runs=2): row}, {"digits-cnn": 7}, "abc")
    assert "join more runs made 2 in place of their own number" in page(shortened)
    assert f"| {parted} | 7 | abc |" in page(shortened)


@pytest.mark.parametrize(
    "case",
    [
        Case("digits-cnn", "lrp_alpha_1_beta_0:neuron_selection=max_activation", "float32"),
        Case("digits-cnn", "backtrace.default", "float64", "backtrace-positive-alone"),
        with_runs(Case("digits-cnn", "smoothgrad", "float64"), 2),
        with_runs(Case("digits-cnn", "integrated_gradients", "float32"), 2),
    ],
    ids=lambda case: case.label,
)
def test_methods_with_a_target_a_reference_or_runs_of_their_own_are_compared_too(case, collection) -> None:
    assert case.asked.name == method(case.method).name
    assert compared_twice(case, collection)["parted"] == []


@pytest.mark.parametrize("some", [["--method", "lrp.*"], ["--share", "0.1"], ["--no-sampled"]])
def test_some_of_the_methods_do_not_take_the_place_of_all(
    some: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["bounds", "--model", "digits-cnn", "--kept-only", *some])
    with pytest.raises(SystemExit):
        main()
    assert "name another file with --out" in capsys.readouterr().err
