"""Rounding that puts a unit on the other side of a kink is told apart from a different rule."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.backends import Arrays
from harness.case import Case
from harness.comparison import NoiseFloor
from harness.engine import compare
from harness.graph import Graph, Layer
from harness.methods import method
from harness.trace import LayerTrace, Trace

AXES = ("batch", "feature")
#: x (2) -> relu (2) -> sum (1), the first unit within rounding of the kink.
KINKED = np.array([[1e-20, 2.0]])


@dataclass(eq=False)
class KinkModel:
    name: str = "kink"

    @property
    def graph(self) -> Graph:
        ones = np.ones((2, 1))
        return Graph(
            "kink",
            (
                Layer("x", "input", (), (), (2,), AXES),
                Layer("relu", "relu", ("x",), ((2,),), (2,), AXES),
                Layer("sum", "dense", ("relu",), ((2,),), (1,), AXES, {}, {"kernel": ones}),
            ),
            "sum",
        )

    def with_weights(self, _move: object) -> KinkModel:
        return self  # ones, whose rounding moves nothing here


class KinkSteps:
    """The gradient of the network, one step at a time; ``shift`` is this side's rounding of the input."""

    def __init__(self, shift: float, factor: float = 1.0) -> None:
        self._shift = shift
        self._factor = factor

    def step(self, layer, inputs, relevance, _method):
        if layer.name == "sum":
            return (np.repeat(relevance, 2, axis=1) * self._factor,)
        return (relevance * (inputs[0] > 0),)

    def run(self, x, wanted, target, layers) -> Arrays:
        graph = KinkModel().graph
        x = x + np.array([[self._shift, 0.0]])
        relu = np.maximum(x, 0)
        activation = {"x": x, "relu": relu, "sum": relu.sum(axis=1, keepdims=True)}
        relevance = {"sum": np.ones((1, 1))}
        (relevance["relu"],) = self.step(graph["sum"], (relu,), relevance["sum"], wanted)
        (relevance["x"],) = self.step(graph["relu"], (x,), relevance["relu"], wanted)
        return Arrays(activation["sum"], relevance["x"], activation, relevance)


def traced(side: KinkSteps) -> Trace:
    target, asked = np.zeros(1, np.int64), method("gradient")
    found = side.run(KINKED, asked, target, True)
    layers = {
        layer.name: LayerTrace(
            layer.name, layer.kind, AXES, found.activations[layer.name], found.relevances[layer.name]
        )
        for layer in KinkModel().graph
    }
    return Trace("kink", asked, "steps", "float64", target, found.logits, found.attribution, layers)


class Alone:
    """A backend that has prepared one thing, in every dtype."""

    name = "alone"

    def __init__(self, prepared: KinkSteps) -> None:
        self._prepared = prepared

    def version(self):
        return {}

    def prepare(self, model, dtype, device="cpu"):
        return self._prepared


def compared(
    candidate: KinkSteps,
    dtype: str = "float64",
    height: float = 1e-16,
    times: float = 1.0,
    alone: bool = False,
    known: bool = True,
):
    """``times``: what the candidate multiplies its result by, after the relevance of the input is recorded.

    ``alone``: it shows its attribution and no layer; ``known``: the activations behind it are known all the same.
    """
    reference = KinkSteps(0.0)
    ours, theirs = (traced(side) for side in (reference, candidate))
    theirs.attribution = theirs.attribution * times
    if alone:
        shown = {name: layer.activation for name, layer in theirs.layers.items()}
        theirs.layers, theirs.activations = {}, (lambda: shown) if known else None
    ours.dtype = theirs.dtype = dtype
    ours.case = Case(KinkModel(), KINKED, ours.method, ours.target, dtype)
    ours.executed_by = Alone(reference)
    figures = dict.fromkeys(ours.layers, height)
    return compare(
        ours, theirs, floor=NoiseFloor(dtype, "given", height, figures, dict.fromkeys(figures, 1e-16))
    )


def test_a_unit_that_rounding_moved_over_the_kink_is_no_difference_of_the_rule() -> None:
    comparison = compared(KinkSteps(-2e-20))
    row = comparison.table.set_index("layer").loc["x"]
    assert row["rel_l2"] == np.sqrt(0.5)
    assert row["verdict"] == "equivalent"
    assert row["floor"] == np.sqrt(0.5)
    assert comparison.passed
    assert "other side of a kink" in comparison.notes[0]


def test_a_wrong_rule_is_not_excused_by_a_unit_over_the_kink() -> None:
    comparison = compared(KinkSteps(-2e-20, factor=1.001))
    assert comparison.verdict == "divergent"
    assert comparison.first_divergent == "relu"


def test_a_result_that_does_not_follow_from_the_relevance_of_the_input_is_not_excused_by_it() -> None:
    comparison = compared(KinkSteps(-2e-20), times=-1.0)
    assert comparison.table.set_index("layer").loc["x", "verdict"] == "equivalent"
    assert comparison.attribution.verdict == "divergent"
    assert not comparison.passed


def test_activations_that_differ_by_more_than_rounding_excuse_nothing() -> None:
    comparison = compared(KinkSteps(-0.5))
    assert comparison.first_divergent_forward == "x"
    assert not comparison.passed
    assert comparison.table.set_index("layer").loc["x", "verdict"] == "divergent"


def test_a_wrong_rule_does_not_hide_under_a_high_floor_in_float32() -> None:
    comparison = compared(KinkSteps(0.0, factor=1.01), "float32", height=0.1)
    assert comparison.verdict == "divergent"
    assert comparison.first_divergent == "relu"
    assert "does not agree with the candidate" in comparison.notes[0]


def test_rounding_under_a_high_floor_still_passes() -> None:
    comparison = compared(KinkSteps(0.0, factor=1 + 1e-7), "float32", height=0.1)
    assert comparison.verdict == "equivalent"
    assert comparison.notes == ()


def test_an_attribution_alone_is_excused_where_the_activations_behind_it_are_known() -> None:
    """A function that ran its twin once, on the very input, and shows no layer."""
    comparison = compared(KinkSteps(-2e-20), alone=True)
    assert (comparison.verdict, comparison.first_divergent) == ("equivalent", None)
    assert comparison.attribution.rel_l2 == np.sqrt(0.5)
    assert compared(KinkSteps(-2e-20), alone=True, known=False).verdict == "divergent"


def test_a_wrong_attribution_alone_is_not_excused_nor_hidden_by_a_high_floor() -> None:
    assert compared(KinkSteps(-2e-20, factor=1.001), alone=True).verdict == "divergent"
    assert compared(KinkSteps(-2e-20), times=-1.0, alone=True).verdict == "divergent"
    assert compared(KinkSteps(-0.5), alone=True).verdict == "divergent"
    high = compared(KinkSteps(0.0, factor=1.01), "float32", height=0.1, alone=True)
    assert high.verdict == "divergent"
    assert "does not agree with the candidate" in high.notes[-1]
