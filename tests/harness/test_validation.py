"""`xai-harness validate`: what layers hand on by themselves, and factors that are numbers of the network."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from harness.backends import Arrays
from harness.cli import app
from harness.counts import counts_of, named_factor
from harness.errors import InvalidInputError
from harness.graph import Graph, Layer
from harness.validation import validate
from ported_models.model import PortedModel

from .linear_network import GradientBackend, network

X = np.array([[0.5, -1.0, 2.0]])
MODEL = PortedModel.from_graph(network().graph)


def sampling_graph() -> Graph:
    """Three levels, each sampled at 4 points by 5 queries in 8 heads; no weights, as nothing is computed."""
    axes = ("batch", "head", "height", "width", "feature")
    shapes = ((8, 2, 2, 6), (8, 5, 4, 2))
    source = Layer("x", "input", (), (), shapes[0], axes)
    places = Layer("places", "input", (), (), shapes[1], axes)
    levels = [
        Layer(f"level{n}", "grid_sample", ("x", "places"), shapes, (8, 5, 4, 6), axes) for n in range(3)
    ]
    joined = Layer(
        "joined",
        "concat",
        tuple(level.name for level in levels),
        ((8, 5, 4, 6),) * 3,
        (8, 5, 12, 6),
        axes,
        {"axis": -2},
    )
    return Graph("sampling", (source, places, *levels, joined), "joined")


def test_a_factor_is_named_by_what_the_network_has_that_many_of() -> None:
    counts = counts_of(sampling_graph())
    assert counts == {
        "the number of heads": 8,
        "the number of levels": 3,
        "the number of points": 4,
        "levels x points": 12,
        "heads x levels x points": 96,
    }
    assert named_factor(8.0, counts) == "times the number of heads (8)"
    assert named_factor(1 / 96, counts) == "divided by heads x levels x points (96)"
    assert named_factor(7.9, counts) == named_factor(1.0, counts) == named_factor(0.0, counts) == ""
    assert named_factor(3.0, {"the number of heads": 3, "the number of levels": 3}) == (
        "times the number of heads or the number of levels (3)"
    )


class Validated(GradientBackend):
    """The gradient of the linear network; what ``factors`` names passes on that many times too much."""

    def __init__(self, factors: dict[str, float]) -> None:
        super().__init__("validated", lambda layer, relevance: relevance * factors.get(layer, 1.0))


@pytest.mark.tensorflow
def test_a_layer_that_passes_on_what_its_rule_does_is_right_and_one_that_does_not_is_named() -> None:
    """second: R = (1, 0) or (0, 1); its kernel's row of the target in sum. Without steps, relevances show it."""
    right = validate(MODEL, X, "gradient", Validated({}), target=0)
    assert right.passed and right.sentences == ()
    by_layer = {each.layer: each for each in right.layers}
    # Column 0 of the kernel of second is (2, -1): 1 is received, 1 is passed on.
    assert (by_layer["second"].received, by_layer["second"].passed) == (1.0, 1.0)
    # (2, -1) through first: rows (1, -2), (0.5, 3), (-1, 0.25) give 4, -2, -2.25.
    assert by_layer["first"].passed == by_layer["first"].by_rule == pytest.approx(-0.25)
    wrong = validate(MODEL, X, "gradient", Validated({"x": 8.0}), target=0)
    assert not wrong.passed
    assert [(each.layer, each.off) for each in wrong.layers if not each.right] == [
        ("first", pytest.approx(8.0))
    ]
    assert wrong.sentences == ("first (dense) passes on -2, by its rule -0.25, 8 times as much",)


class NotFinite(Validated):
    def prepare(self, model: Any, dtype: str, device: str = "cpu") -> Any:
        prepared = super().prepare(model, dtype, device)
        run = prepared.run

        def spoiled(*arguments: Any) -> Arrays:
            arrays: Arrays = run(*arguments)
            relevance = arrays.relevances["x"].copy()
            relevance[0, :2] = np.nan, np.inf
            return replace(arrays, relevances={**arrays.relevances, "x": relevance})

        prepared.run = spoiled
        return prepared


@pytest.mark.tensorflow
def test_nan_and_infinity_are_counted_where_they_are() -> None:
    found = validate(MODEL, X, "gradient", NotFinite({}), target=0)
    assert not found.passed
    assert "x: 1 NaN and 1 infinite values; 1 of 3 layers have some" in found.sentences


def test_a_method_of_many_runs_has_no_balance() -> None:
    with pytest.raises(InvalidInputError, match="no single run"):
        validate(MODEL, X, "integrated_gradients", "oracle", target=0)


@pytest.mark.tensorflow
@pytest.mark.torch
def test_the_command_says_what_each_layer_passes_on() -> None:
    done = CliRunner().invoke(app, ["validate", "digits-cnn", "lrp.z", "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.output)
    assert found["passed"] and found["layers"][0]["received"] == pytest.approx(found["start"])


def test_the_table_is_whole_in_a_pipe() -> None:
    """A terminal of 80 columns, or none, takes no digit from a number and no letter from a layer."""
    ended = CliRunner(env={"COLUMNS": "80"}).invoke(app, ["validate", "digits-cnn", "lrp.z"])
    assert ended.exit_code == 0, ended.output
    assert "\u2026" not in ended.output
    header = next(line for line in ended.output.splitlines() if line.startswith("layer"))
    assert "by the rule" in header and "std" in header
    assert any(line.split()[0] == "dense1_relu" for line in ended.output.splitlines())
