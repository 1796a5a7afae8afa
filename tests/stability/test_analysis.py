"""The analysis as a whole: tables, the input's extremes, errors in one line, the command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

import harness
from harness.comparison.summation import longest_sum
from harness.errors import HarnessError, InvalidInputError, UnknownNameError
from harness.graph import KERNEL_KINDS
from harness.methods import (
    Assignment,
    Composite,
    Gradient,
    IntegratedGradients,
    Method,
    Unprotected,
    Z,
    to_json,
)
from harness.stability import analyse
from harness.stability.command import stability_command
from tests.oracle.layers import dense
from tests.stability.networks import analysed, chain, one_rule, two_layers

SUITE = ("lrp.z", "lrp.epsilon", "lrp.alpha_2_beta_1", "lrp.w_square", "lrp.flat", "gradient", "lrp.z_plus")


def test_extremes_are_named_with_input_gradient_and_relevance() -> None:
    """x = (1, -2, 3), W = (5, 1, -2): gradient W, relevance x W times z/z = (5, -2, -6), z = -3."""
    model = chain(dense([[5.0], [1.0], [-2.0]], name="out", inputs=("x",)), inputs=3)
    extremes = analysed(model, [[1.0, -2.0, 3.0]], one_rule(Z())).input.extremes
    found = {(e.of, e.end): (e.place["axis_0"], e.input, e.gradient, e.relevance) for e in extremes}
    assert found == {
        ("relevance", "min"): (2, 3, -2, -6),
        ("relevance", "max"): (0, 1, 5, 5),
        ("gradient", "min"): (2, 3, -2, -6),
        ("gradient", "max"): (0, 1, 5, 5),
    }


def test_extremes_are_of_finite_values_and_nan_is_counted() -> None:
    model = chain(
        dense([[1.0, 0.0], [0.0, 0.0]], name="a", inputs=("x",)),
        dense([[1.0], [1.0]], name="out", inputs=("a",)),
        inputs=2,
    )
    found = analysed(model, [[1.0, 1.0]], one_rule(Z(stabilizer=Unprotected())))
    assert found.input.counts.nan == 2
    assert [e.of for e in found.input.extremes] == ["gradient", "gradient"]


def test_tables_have_a_row_a_layer_in_backward_order() -> None:
    found = analysed(*two_layers(), one_rule(Z()))
    assert found.table["layer"].tolist() == ["out", "relu", "a"]
    assert found.table["bias"].tolist() == pytest.approx([2, 0, 1], rel=1e-14)
    assert found.ledger_table["layer"].tolist() == ["out", "relu", "a", "x", "TOTAL"]
    assert found.forms_table["layer"].tolist() == ["out"] * 3 + ["a"] * 3


@pytest.mark.torch
@pytest.mark.parametrize("name", SUITE)
def test_in_float64_nothing_is_unexplained(name: str) -> None:
    """The port's own steps against the oracle's divisions; both round, each at most as the condition says."""
    model = harness.load_model("digits-cnn")
    x = np.concatenate([np.asarray(example()) for example in model.examples.values()][:2])
    found = analyse(model, x, name, backend="torch", dtype="float64", stabilizers=False)
    rows = {row.layer: row for row in found.layers}
    for entry in found.ledger:
        row = rows.get(entry.layer)
        if row is None or np.isnan(row.condition):
            continue
        # What a unit in the last place of its operands does to the step, once for each term of its longest sum,
        # on the scale of all that it handles.
        scale = row.magnitude * max(1.0, row.growth) * longest_sum(model.graph)
        assert abs(entry.unexplained) <= max(row.condition, 1.0) * np.finfo(np.float64).eps * scale


@pytest.mark.torch
def test_a_float32_run_is_analysed_in_its_own_digits() -> None:
    """Conditions are of the step and not of the dtype: the worst layer is the same, within what chance does."""
    model = harness.load_model("digits-cnn")
    x = np.asarray(next(iter(model.examples.values()))())
    single, double = (
        analyse(model, x, "lrp.epsilon", backend="torch", dtype=dtype, stabilizers=False)
        for dtype in ("float32", "float64")
    )
    for in_single, in_double in zip(single.layers, double.layers, strict=True):
        if not np.isnan(in_single.condition):
            assert in_single.condition == pytest.approx(in_double.condition, rel=9), in_single.layer


def test_json_holds_everything_without_nan() -> None:
    document = json.loads(json.dumps(analysed(*two_layers(), one_rule(Z())).to_json(), allow_nan=False))
    assert document["totals"][0]["bias"] == pytest.approx(3)
    assert document["method"]["definition"]["is"] == "Method"
    assert [each["form"] for each in document["forms"]["results"]] == ["signed", "rms", "plain"]


class Stepless:
    """A backend that gives runs and no steps."""

    name = "stepless"

    def version(self) -> dict[str, str]:
        return {}

    def supports(self, method: Method, graph: Any) -> str:
        return ""

    def prepare(self, model: Any, dtype: str, device: str = "cpu") -> Any:
        return self

    def run(self, x: Any, method: Method, target: Any, layers: bool) -> Any: ...


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"x": [[np.nan, 1.0]]}, InvalidInputError, "the input has 1 NaN or infinite values"),
        ({"method": "lrp.epsilom"}, UnknownNameError, "did you mean"),
        ({"method": "integrated_gradients"}, InvalidInputError, "is no single backward run"),
        ({"backend": "orakle"}, UnknownNameError, "did you mean 'oracle'"),
        ({"backend": Stepless()}, InvalidInputError, "'stepless' does not offer 'steps'"),
        ({"epsilon": 0.0}, InvalidInputError, "epsilon must be above 0"),
        ({"dtype": "float16"}, InvalidInputError, "dtype must be one of float32, float64"),
        ({"target": 7}, InvalidInputError, "target 7 is outside the model's classes 0..1"),
    ],
)
def test_what_cannot_be_analysed_is_refused_in_one_line(
    change: dict[str, Any], error: type[HarnessError], words: str
) -> None:
    model, x = two_layers()
    options: dict[str, Any] = {"x": x, "method": one_rule(Z()), "backend": "oracle", "dtype": "float64"}
    with pytest.raises(error, match=words) as raised:
        analyse(model, **{**options, **change})
    assert "\n" not in str(raised.value)


def test_a_method_of_several_runs_is_refused_with_the_reason() -> None:
    model, x = two_layers()
    method = Method("many", one_rule(Z()).composite, procedure=IntegratedGradients(8, False))
    with pytest.raises(InvalidInputError, match=r"many is no single backward run \(IntegratedGradients\)"):
        analyse(model, x, method, "oracle", dtype="float64")


def invoke(*arguments: str) -> Any:
    app = typer.Typer()
    app.command()(stability_command)
    return CliRunner().invoke(app, arguments)


def on_digits(*more: str) -> Any:
    return invoke("digits-cnn", "lrp.z", "--backend", "oracle", "--dtype", "float64", *more)


def test_the_command_prints_the_sentence_first(tmp_path: Path) -> None:
    shown = on_digits("--out", str(tmp_path))
    assert shown.exit_code == 0, shown.output
    assert shown.stdout.splitlines()[1].startswith("Nothing extreme: every value is finite")
    assert "Conservation" in shown.stdout
    assert "Stabilizer forms" in shown.stdout
    assert {each.name for each in tmp_path.iterdir()} == {
        "layers.csv",
        "ledger.csv",
        "forms.csv",
        "stability.json",
        "report.html",
    }


def test_the_command_prints_json() -> None:
    document = json.loads(on_digits("--json", "--no-stabilizers").stdout)
    assert document["model"] == "digits-cnn"
    assert document["forms"] is None


def test_a_run_with_nan_ends_with_status_1(tmp_path: Path) -> None:
    """Over the zero background of a digit z is zero; the bias of the batch norm behind it gives it relevance."""
    path = tmp_path / "method.json"
    rules = (Assignment(Z(bias=False, stabilizer=Unprotected()), kinds=KERNEL_KINDS), Assignment(Gradient()))
    path.write_text(json.dumps(to_json(Method("bare", Composite(rules)))))
    shown = invoke("digits-cnn", str(path), "--backend", "oracle", "--dtype", "float64", "--no-stabilizers")
    assert shown.exit_code == 1
    assert "NaN or infinity first comes from conv1: R/0" in shown.stdout


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "does not exist"),
        ("{", "is no readable method"),
        ('{"is": "Flat"}', "holds Flat, expected a Method"),
    ],
)
def test_a_method_file_that_is_none_is_refused(tmp_path: Path, content: str | None, words: str) -> None:
    path = tmp_path / "method.json"
    if content is not None:
        path.write_text(content)
    raised = invoke("digits-cnn", str(path)).exception
    assert isinstance(raised, InvalidInputError)
    assert words in str(raised)
