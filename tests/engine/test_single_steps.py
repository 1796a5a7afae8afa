"""What rounding does to single steps decides as the whole float64 run would, and no wrong rule passes by it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pytest

import harness
from harness.backends import backend_named
from harness.case import Case
from harness.engine import compare, engine
from harness.engine.single_steps import SHARE, ground_of_steps
from harness.graph import Graph, Layer
from harness.methods import method
from harness.runner import chosen_input
from harness.trace import LayerTrace, Trace

AXES = ("batch", "feature")
X, KERNEL, BIAS = (np.array(values, np.float32) for values in ([[0.1, 1.0]], [3.0, 1.0], [-0.2999, 1.0]))
#: What ``3 * x`` is beside its float32 number 0.3: 0.1 is 13421773 / 2^27 there, three times that lies 2^-27 below.
ROUNDED = 2.0**-27
EPSILON = 1e-6


@dataclass(eq=False)
class Model:
    """x (2) -> relu (2), which changes nothing -> kernel * x + bias (2), the first of which nearly cancels."""

    graph: Graph = field(
        default_factory=lambda: Graph(
            "cancel",
            (
                Layer("x", "input", (), (), (2,), AXES),
                Layer("relu", "relu", ("x",), ((2,),), (2,), AXES),
                Layer("scale", "scale", ("relu",), ((2,),), (2,), AXES, {}, {"kernel": KERNEL, "bias": BIAS}),
            ),
            "scale",
        )
    )
    name: str = "cancel"


@dataclass(frozen=True)
class Steps:
    """Shares of kernel * (x - low), as z^B has them, stabilised as epsilon is; ``sign``: of the stabilizer.

    The denominator is written otherwise where ``divided``.
    """

    dtype: str = "float32"
    divided: bool = False
    sign: float = 1.0
    low: float = 0.0

    def step(self, layer, inputs, relevance, _method):
        if layer.name == "relu":
            return (relevance,)
        x, kernel, bias = (values.astype(self.dtype) for values in (inputs[0], KERNEL, BIAS))
        epsilon, sign, low = (np.asarray(each, self.dtype) for each in (EPSILON, self.sign, self.low))
        x = x - low
        z = kernel * (x + bias / kernel) if self.divided else kernel * x + bias
        return (kernel * x / (z + sign * np.copysign(epsilon, z)) * relevance.astype(self.dtype),)

    def run(self, x, wanted, target, layers):
        raise AssertionError("single steps are enough")


class Reference:
    name = "reference"

    def version(self):
        return {}

    def prepare(self, model, dtype, device="cpu"):
        return Steps(dtype)


def traced(side: Steps) -> Trace:
    graph, asked = Model().graph, method("lrp.epsilon")
    logits = KERNEL * X + BIAS
    start = np.array([[logits[0, 0], 0]], np.float32)
    (received,) = side.step(graph["scale"], (X,), start, asked)
    layers = {
        "x": LayerTrace("x", "input", AXES, X, received),
        "relu": LayerTrace("relu", "relu", AXES, X, received),
        "scale": LayerTrace("scale", "scale", AXES, logits, start),
    }
    return Trace("cancel", asked, "steps", "float32", np.zeros(1, np.int64), logits, received, layers)


def sides(candidate: Steps) -> tuple[Trace, Trace]:
    reference = traced(Steps())
    reference.case = Case(Model(), X, reference.method, reference.target, "float32")
    reference.executed_by = Reference()
    return reference, traced(candidate)


def test_what_a_step_moves_by_is_the_rounding_of_its_denominator() -> None:
    """By hand: float32 has 3 x - 0.2999 too large by 2^-27, relative to a denominator of about 1e-4."""
    reference, candidate = sides(Steps(divided=True))
    grounds = ground_of_steps(engine(), candidate, reference, {"relu"})
    denominator = float(X[0, 0]) * 3 + float(BIAS[0]) + EPSILON
    assert grounds["relu"].floor == pytest.approx(SHARE * ROUNDED / denominator, rel=0.01)
    assert grounds["relu"].by == "single steps"


def test_a_candidate_that_rounds_elsewhere_passes_without_another_run() -> None:
    reference, candidate = sides(Steps(divided=True))
    comparison = compare(reference, candidate)
    assert comparison.passed
    assert comparison.attribution.rel_l2 > 10 * comparison.floor.of_attribution()
    assert {row.layer: row.decided_by for row in comparison.rows} == {
        "scale": "bound",
        "relu": "single steps",
        "x": "single steps",
    }


def test_where_its_own_step_is_exact_a_step_above_counts() -> None:
    reference, candidate = sides(Steps(divided=True))
    (only,) = ground_of_steps(engine(), candidate, reference, {"x"}).values()
    assert only.within
    assert only.floor == ground_of_steps(engine(), candidate, reference, {"relu"})["relu"].floor


@pytest.mark.parametrize("wrong", [Steps(sign=-1.0), Steps(low=1e-6)])
def test_a_wrong_stabilizer_or_bound_is_beyond_what_its_step_moves_by(wrong: Steps) -> None:
    reference, candidate = sides(wrong)
    assert ground_of_steps(engine(), candidate, reference, {"relu", "x"}) == {}


@pytest.mark.tensorflow
@pytest.mark.torch
def test_another_rule_for_the_input_is_found_where_its_denominators_nearly_cancel() -> None:
    """z^B as signxai has it, times no input: nothing is left of it but rounding, of which two sides share none."""
    model = harness.load_model("digits-cnn")
    x, _ = chosen_input(model, None)
    tensorflow, torch = (backend_named(side) for side in ("tensorflow", "torch"))
    asked = method("zblrp_epsilon_1:low=0,high=1")
    reference = engine().run(Case(model, x, asked, None, "float64"), tensorflow)
    comparison = compare(reference, engine().run(reference.case, torch))
    assert comparison.passed
    assert comparison.attribution.rel_l2 > 0.1
    assert comparison.floor.how.startswith("derived")
    assert comparison.attribution.decided_by == "single steps"
    other = engine().run(replace(reference.case, method=method("flatlrp_epsilon_1")), torch)
    comparison = compare(reference, replace(other, method=asked, case=reference.case))
    assert comparison.verdict == "divergent"
    assert comparison.first_different_relevance == "input"
