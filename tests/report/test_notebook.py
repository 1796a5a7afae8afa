"""What a notebook and a prompt show of comparisons, diagnoses, traces and models."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest

import harness
from harness.comparison import NoiseFloor
from harness.errors import InvalidInputError
from harness.graph import Graph, Layer
from harness.notebook import MOST_ROWS, shown
from harness.trace import LayerTrace
from tests.harness.linear_network import GradientBackend, network

X = np.array([[0.5, -1.0, 2.0]])


class _Table(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attributes: object) -> None:
        self.tags.add(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data


def table_of(html: str) -> _Table:
    parsed = _Table()
    parsed.feed(html.partition("</table>")[0])
    return parsed


def pair(fault=None):
    sides = GradientBackend("reference"), GradientBackend("candidate", fault)
    return [harness.explain(network(), X, "gradient", side, dtype="float64") for side in sides]


def turned(layer: str, relevance: np.ndarray) -> np.ndarray:
    return -relevance if layer == "first" else relevance


def test_each_is_one_short_line_at_a_prompt() -> None:
    reference, candidate = pair(turned)
    found = harness.diagnose(
        network(),
        X,
        "gradient",
        GradientBackend("reference"),
        GradientBackend("candidate", turned),
        dtype="float64",
    )
    for each in (reference, harness.compare(reference, candidate), found):
        assert len(repr(each)) < 400
        assert "\n" not in repr(each)
    assert repr(reference) == (
        "Trace(gradient of linear by reference, float64, input (1, 3), target [0], 3 layers)"
    )


def test_what_they_hold_is_one_short_line_too() -> None:
    """No array is printed, and no weight."""
    reference, _ = pair()
    graph = network().graph
    assert repr(reference.layers["first"]) == (
        "LayerTrace('first', dense, activation (1, 2), relevance (1, 2))"
    )
    assert repr(graph["first"]) == "Layer('first', dense, (2,), reads x)"
    assert repr(graph) == "Graph('linear', input (3,), 3 layers, output 'second')"
    floor = NoiseFloor("float64", "measured", 1e-9, {"first": 1e-9})
    assert repr(floor) == "NoiseFloor(float64, attribution 1.00e-09, 1 layers: measured)"


@pytest.mark.torch
def test_many_targets_are_one_short_line() -> None:
    x = harness.load_model("digits-cnn").examples["zero"]()
    found = harness.explain_many("digits-cnn", x, "gradient", [0, 3], backend="torch")
    line = "Queries(gradient of digits-cnn by torch, float32, 2 targets, attributions (2, 8, 8, 1), "
    assert repr(found).startswith(line)
    assert len(repr(found)) < 120


@pytest.mark.parametrize("name", ["digits-cnn", "vgg16-mri"])
def test_a_model_is_one_short_line(name: str) -> None:
    model = harness.load_model(name)
    assert repr(model).startswith(f"PortedModel('{name}', input ")
    assert len(repr(model)) < 120
    assert len(table_of(model._repr_html_()).rows) == min(len(model.layers), MOST_ROWS) + 1


def test_a_comparison_shows_floors_where_it_shows_verdicts_and_what_was_introduced() -> None:
    reference, candidate = pair(turned)
    table = table_of(harness.compare(reference, candidate)._repr_html_())
    assert table.rows[0] == [
        "layer",
        "kind",
        "shape",
        "rel_l2",
        "introduced",
        "inherited",
        "floor",
        "floors",
        "verdict",
    ]
    by_layer = {row[0]: row for row in table.rows[1:]}
    # The sign is turned: the difference is twice the reference.
    assert (by_layer["first"][3], by_layer["first"][8]) == ("2", "divergent")
    assert by_layer["first"][4] == ""


def test_the_comparison_of_a_diagnosis_has_what_each_step_introduces() -> None:
    found = harness.diagnose(
        network(),
        X,
        "gradient",
        GradientBackend("reference"),
        GradientBackend("candidate", turned),
        dtype="float64",
    )
    table = found.comparison.table.set_index("layer")
    expected = found.introduced.set_index("layer")
    assert len(expected)
    for layer in expected.index:
        assert table.loc[layer, "introduced"] == expected.loc[layer, "introduced"]
    assert "second" in found._repr_html_()


def test_names_are_text_in_a_notebook() -> None:
    html = shown("<b>x</b>", ("<i>",), [("<script>alert(1)</script>", 0.12345)], ("<u>",))
    assert table_of(html).tags <= {"div", "p", "table", "thead", "tbody", "tr", "th", "td"}
    assert "0.123" in html


def test_a_long_table_says_how_much_more_there_is() -> None:
    html = shown("x", ("n",), [(place,) for place in range(MOST_ROWS + 5)])
    assert "5 more rows" in html


def test_a_comparison_and_a_trace_have_pictures() -> None:
    reference, candidate = pair(turned)
    comparison = harness.compare(reference, candidate)
    (axes,) = comparison.plot().axes
    assert axes.get_yscale() == "log"
    assert [text.get_text() for text in axes.get_xticklabels()] == [row.layer for row in comparison.rows]
    line = axes.lines[0].get_ydata()
    # At "first" and behind it the difference is twice the reference.
    assert line[[row.layer for row in comparison.rows].index("first")] == pytest.approx(2.0)
    (axes,) = reference.plot().axes
    heights = [patch.get_height() for patch in axes.patches]
    assert heights == pytest.approx(reference.attribution[0].tolist())
    with pytest.raises(InvalidInputError, match="sample 1 is outside the batch of 1"):
        reference.plot(1)


def test_what_is_not_finite_has_a_picture_too() -> None:
    reference, candidate = pair(turned)
    blown = replace(candidate, attribution_array=candidate.attribution * np.nan)
    assert blown.plot().axes
    assert harness.compare(reference, blown).plot().axes


def test_the_plot_of_a_text_names_its_tokens_and_begins_no_formula() -> None:
    axes = ("batch", "token")
    tokens = LayerTrace("x", "input", axes, np.array([[7.0, 12.0]]), np.array([[0.5, -1.0]]))
    stored = replace(
        harness.explain(network(), X, "gradient", GradientBackend("reference")),
        attribution_array=np.array([[0.5, -1.0]]),
        layers={"x": tokens},
        case=None,
    )
    (place,) = stored.plot().axes
    assert [label.get_text() for label in place.get_xticklabels()] == ["7", "12"]
    graph = Graph("text", (Layer("x", "input", (), (), (2,), axes),), "x")
    model = SimpleNamespace(name="text", graph=graph, token_texts=lambda x: [("$a$", "<b>")])
    named = replace(stored, case=SimpleNamespace(model=model, x=np.array([[7.0, 12.0]])))
    figure = named.plot()
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["$a$", "<b>"]
    assert not figure.axes[0].get_xticklabels()[0].get_parse_math()
    figure.canvas.draw()
