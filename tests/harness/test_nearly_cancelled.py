"""A denominator that nearly cancels: what rounding explains of it is not left to one lucky run of the reference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from harness.backends import backend_named
from harness.case import Case
from harness.comparison import Comparison, NoiseFloor
from harness.comparison.summation import units_of
from harness.engine import compare
from harness.engine.cases import Engine
from harness.graph import Graph, Layer
from harness.methods import method
from harness.trace import LayerTrace, Trace

AXES = ("batch", "feature")
#: Eighteen bits of a third: three times it is exact in float32, and three times it minus one is 2^-18.
THIRD = np.array([[np.float32(round(2**18 / 3)) / np.float32(2**18)]], np.float32)


def network(kernel: np.ndarray, bias: np.ndarray) -> Graph:
    """x (1) -> kernel * x + bias (1)."""
    return Graph(
        "cancel",
        (
            Layer("x", "input", (), (), (1,), AXES),
            Layer("scale", "scale", ("x",), ((1,),), (1,), AXES, {}, {"kernel": kernel, "bias": bias}),
        ),
        "scale",
    )


@dataclass(eq=False)
class Model:
    graph: Graph = field(
        default_factory=lambda: network(np.array([3], np.float32), np.array([-1], np.float32))
    )
    name: str = "cancel"

    def with_weights(self, move: Callable[[Layer, str, np.ndarray], np.ndarray]) -> Model:
        layer = self.graph["scale"]
        return Model(network(*(move(layer, name, layer.weights[name]) for name in ("kernel", "bias"))))


@dataclass(frozen=True)
class Steps:
    """The share of kernel * x of the output; written otherwise where ``divided``, times ``factor``."""

    dtype: str = "float32"
    divided: bool = False
    factor: float = 1.0

    def step(self, layer, inputs, relevance, _method):
        x = inputs[0].astype(self.dtype)
        kernel, bias = (layer.weights[name].astype(self.dtype) for name in ("kernel", "bias"))
        share = x / (x + bias / kernel) if self.divided else kernel * x / (kernel * x + bias)
        return (share * relevance.astype(self.dtype) * np.asarray(self.factor, self.dtype),)

    def run(self, x, wanted, target, layers):
        raise AssertionError("the floor is given: single steps are enough")


class Reference:
    name = "reference"

    def version(self):
        return {}

    def prepare(self, model, dtype, device="cpu"):
        return Steps(dtype)


def traced(side: Steps) -> Trace:
    graph, asked = Model().graph, method("lrp.z")
    out = np.float32(3) * THIRD - np.float32(1)
    received = side.step(graph["scale"], (THIRD,), out, asked)[0]
    layers = {
        "x": LayerTrace("x", "input", AXES, THIRD, received),
        "scale": LayerTrace("scale", "scale", AXES, out, out),
    }
    return Trace("cancel", asked, "steps", "float32", np.zeros(1, np.int64), out, received, layers)


def compared(candidate: Steps) -> Comparison:
    reference, other = traced(Steps()), traced(candidate)
    reference.case = Case(Model(), THIRD, reference.method, reference.target, "float32")
    reference.executed_by = Reference()
    return compare(reference, other, floor=NoiseFloor("float32", "given", 1e-7))


def test_the_reference_is_exact_here_in_both_dtypes_and_the_candidate_is_not() -> None:
    graph, one = Model().graph, np.ones((1, 1), np.float32)
    exact, same, other = (
        side.step(graph["scale"], (THIRD,), one, None)[0].item()
        for side in (Steps(), Steps("float64"), Steps(divided=True))
    )
    assert exact == same == -(2**18) + 1
    assert abs(other / exact - 1) > 0.007


def test_a_candidate_that_rounds_elsewhere_is_right() -> None:
    comparison = compared(Steps(divided=True))
    assert comparison.passed
    assert comparison.attribution.rel_l2 > 0.007


def test_a_factor_beyond_what_moved_weights_explain_is_found() -> None:
    assert compared(Steps(factor=1.5)).verdict == "divergent"


def test_weights_move_in_the_dtype_of_the_case() -> None:
    case = Case(Model(), THIRD, method("lrp.z"), np.zeros(1, np.int64), "float32")
    for moved in Engine().moved(case, backend_named("oracle")):
        kernel = moved.model.graph["scale"].weights["kernel"]
        assert (moved.dtype, kernel.dtype) == ("float32", np.float32)
        assert abs(float(kernel[0]) - 3) == np.spacing(np.float32(3))


def test_kernels_move_as_another_order_of_their_sums() -> None:
    """A running sum of n terms is sqrt(n) roundoffs off, which one unit in the last place a term does not show."""
    case = Case(Model(), THIRD, method("lrp.z"), np.zeros(1, np.int64), "float32")
    graph = Model().graph
    for moved in Engine().moved(case, backend_named("oracle"), sums=True):
        for layer in graph:
            for name, before in layer.weights.items():
                after = moved.model.graph[layer.name].weights[name]
                units = np.abs(after - before.astype("f4")) / np.spacing(np.abs(before.astype("f4")))
                # Below a power of two the next number is half as far away.
                assert np.all((units >= units_of(layer, name) / 2) & (units <= units_of(layer, name)))
    wide = Layer(
        "d", "dense", ("x",), ((900,),), (2,), ("batch", "feature"), {}, {"kernel": np.ones((900, 2))}
    )
    assert (units_of(wide, "kernel"), units_of(wide, "bias")) == (30, 1)
