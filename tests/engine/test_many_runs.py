"""Methods of many runs on equal ground: a unit over its kink in one run is no difference, whatever else differs is one.

The network is x (2) -> relu (2) -> sum (1), on NumPy; in one of the runs the first unit lies on its kink, where the
reference has no gradient. The candidate rounds it up, and has one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from harness.backends import Arrays, OneRun
from harness.case import Case
from harness.comparison import Comparison
from harness.comparison.floor import derived
from harness.comparison.joining import JoinedRuns, Joining
from harness.comparison.verdict import judge
from harness.engine import Engine
from harness.engine.many_runs import on_ground_of_runs
from harness.graph import Graph, Layer
from harness.methods import GRADIENT, IntegratedGradients, Method, Smoothed, gaussian_noise
from harness.trace import Trace

AXES = ("batch", "feature")
PATH = Method("path", GRADIENT, "one", procedure=IntegratedGradients(3, endpoint=True, baseline=-1.0))
MEAN = Method("mean", GRADIENT, "one", procedure=Smoothed(8, 0.5))
VARIANCE = replace(MEAN, name="variance", procedure=Smoothed(8, 0.5, "variance"))


@dataclass(eq=False)
class Kinked:
    name: str = "kinked"
    digest: str = "kinked"

    @property
    def graph(self) -> Graph:
        return Graph(
            "kinked",
            (
                Layer("x", "input", (), (), (2,), AXES),
                Layer("relu", "relu", ("x",), ((2,),), (2,), AXES),
                Layer("sum", "dense", ("relu",), ((2,),), (1,), AXES, {}, {"kernel": np.ones((2, 1))}),
            ),
            "sum",
        )


class Side:
    """The gradient at every point, joined. What is given differs from the method: that is what a wrong side does.

    ``up``: its rounding of the first unit; ``factor``: of its rule; ``ddof``: of its variance; ``seed``: of its noise;
    ``difference``: whether it takes the factor x - baseline; ``weights``: of its runs; ``forward``: of its activations
    behind the ReLU in all runs but that on the input itself; ``skipped``: how many runs it leaves out.
    """

    def __init__(
        self,
        up: float = 0.0,
        factor: float = 1.0,
        ddof: int = 0,
        seed: int = 0,
        difference: bool = True,
        weights: tuple[float, ...] | None = None,
        forward: float = 1.0,
        skipped: int = 0,
        kind: str | None = None,
    ) -> None:
        self.up, self.factor, self.ddof, self.seed, self.difference = up, factor, ddof, seed, difference
        self.weights, self.forward, self.skipped, self.kind = weights, forward, skipped, kind

    def points(self, x, procedure):
        if isinstance(procedure, Smoothed):
            made = [
                x + noise.astype("f4")
                for noise in gaussian_noise(replace(procedure, seed=self.seed), x.shape)
            ]
        else:
            made = [np.float32(-1 + k / 2 * (x + 1)) for k in range(3)]
        return made[self.skipped :]

    def at(self, point, forward=1.0):
        point = point + np.array([[self.up, 0]], np.float32)
        relu = np.maximum(point, 0) * np.float32(forward)
        return {"x": point, "relu": relu, "sum": relu.sum(axis=1, keepdims=True)}

    def back(self, activations):
        one = np.ones((1, 1), np.float32)
        relu = np.full((1, 2), self.factor, np.float32)
        return {"sum": one, "relu": relu, "x": relu * (activations["x"] > 0)}

    def runs(self, x, wanted, target, layers):
        for point in self.points(x, wanted.procedure):
            yield OneRun(self.at(point, self.forward), lambda activations: self.back(activations).items())

    def run(self, x, wanted, target, layers):
        procedure = wanted.procedure
        found = [self.back(self.at(point, self.forward)) for point in self.points(x, procedure)]
        stacked = {name: np.stack([each[name] for each in found]) for name in found[0]}
        kind = self.kind or getattr(procedure, "statistic", "mean")
        if kind == "variance":
            joined = {name: each.var(axis=0, ddof=self.ddof) for name, each in stacked.items()}
        else:
            weights = self.weights or (1 / len(found),) * len(found)
            joined = {name: np.tensordot(np.float32(weights), each, 1) for name, each in stacked.items()}
        attribution = joined["x"]
        if isinstance(procedure, IntegratedGradients) and self.difference:
            attribution = (x + 1) * attribution
        activations = self.at(x)
        return Arrays(activations["sum"], attribution, activations, joined)


class Backend:
    def __init__(self, name: str, side: Side) -> None:
        self.name, self._side = name, side

    def version(self):
        return {}

    def supports(self, wanted, graph):
        return ""

    def prepare(self, model, dtype, device="cpu"):
        return self._side


def on_kink(wanted: Method) -> np.ndarray:
    """An input of which the first unit is zero in one run: half-way along the path, or at the first sample."""
    if isinstance(wanted.procedure, IntegratedGradients):
        return np.array([[1.0, 2.0]], np.float32)
    noise = next(iter(gaussian_noise(wanted.procedure, (1, 2)))).astype(np.float32)
    return np.array([[-noise[0, 0], 2.0]], np.float32)


def judged(wanted: Method, candidate: Side, reference: Side | None = None) -> Comparison:
    """By the bound alone, and then on equal ground."""
    engine = Engine()
    case = Case(Kinked(), on_kink(wanted), wanted, np.zeros(1, np.int64), "float32")  # type: ignore[arg-type]
    sides = Backend("reference", reference or Side()), Backend("candidate", candidate)
    traces: list[Trace] = [engine.run(case, side) for side in sides]
    by_bound = judge(*traces, derived("float32", case.model.graph), ruling="bound")
    return on_ground_of_runs(engine, by_bound, *traces)


@pytest.mark.parametrize("wanted", [PATH, MEAN, VARIANCE], ids=lambda wanted: wanted.name)
def test_a_unit_over_its_kink_in_one_run_is_excused(wanted: Method) -> None:
    comparison = judged(wanted, Side(up=1e-20))
    row = comparison.rows[-1]
    assert (row.layer, row.decided_by, row.verdict) == ("x", "equal ground", "equivalent")
    assert row.rel_l2 > 0.1
    assert comparison.settled
    assert any("other side of a kink" in note for note in comparison.notes)


@pytest.mark.parametrize(
    ("wanted", "wrong"),
    [
        pytest.param(PATH, {"difference": False}, id="the factor x - baseline left out"),
        pytest.param(PATH, {"factor": 1.001}, id="a rule off by a thousandth"),
        pytest.param(PATH, {"weights": (0.25, 0.5, 0.25)}, id="a trapezoid for a mean"),
        pytest.param(PATH, {"forward": 1.001}, id="another forward pass in the runs"),
        pytest.param(PATH, {"skipped": 1}, id="a run left out"),
        pytest.param(MEAN, {"factor": 1.001}, id="a rule off by a thousandth"),
        pytest.param(MEAN, {"seed": 1}, id="other noise"),
        pytest.param(MEAN, {"kind": "variance"}, id="the variance for the mean"),
        pytest.param(MEAN, {"forward": 1.001}, id="another forward pass at the samples"),
        pytest.param(VARIANCE, {"ddof": 1}, id="the variance of a sample"),
        pytest.param(VARIANCE, {"kind": "mean"}, id="the mean for the variance"),
        pytest.param(VARIANCE, {"seed": 1}, id="other noise"),
    ],
)
def test_what_differs_beside_the_kink_is_not(wanted: Method, wrong: dict) -> None:
    comparison = judged(wanted, Side(up=1e-20, **wrong))
    assert not comparison.settled
    assert comparison.attribution.verdict == "divergent"


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"forward": 1.001}, "in run 1 of 8 the activations of 'relu' are 1.0e-03 apart"),
        ({"seed": 1}, "in run 1 of 8 the activations of 'x' are"),
        ({"skipped": 1}, "in run 1 of 8 the activations of 'x' are"),
    ],
)
def test_why_there_is_no_equal_ground_is_said(wrong: dict, why: str) -> None:
    (note,) = judged(MEAN, Side(up=1e-20, **wrong)).notes
    assert note.startswith(f"no equal ground: {why}")


def test_the_statistics_of_the_reference_are_under_test_as_well() -> None:
    """Both sides take the sample's variance: neither is the population's, which the harness has."""
    comparison = judged(VARIANCE, Side(up=1e-20, ddof=1), Side(ddof=1))
    assert not comparison.settled


def test_the_mean_and_the_variance_of_runs_one_after_the_other() -> None:
    both, mean = Joining(variance=True), Joining(variance=False)
    for value in (1.0, 2.0, 6.0):
        both.add(np.array([value, 10.0], np.float32), 1 / 3)
        mean.add(np.array([value, 10.0], np.float32), 1 / 3)
    # The mean of 1, 2 and 6 is 3; (4 + 1 + 9) / 3.
    np.testing.assert_allclose(both.result(False), [3, 10], rtol=1e-15)
    np.testing.assert_allclose(mean.result(False), [3, 10], rtol=1e-15)
    np.testing.assert_allclose(both.result(True), [14 / 3, 0], rtol=1e-15)


def test_what_is_done_to_each_run_and_to_the_result() -> None:
    path = IntegratedGradients(2, endpoint=False, baseline=-4, each="square")
    wanted = Method("path", GRADIENT, "one", "times_input", path)
    joined = JoinedRuns(wanted, np.array([[4.0]], np.float32), "x", {"sum"})
    for run, value in enumerate((-8.0, 0.0)):
        joined.add(run, "x", np.array([[value]], np.float32))
    # The mean of 64 and 0, times 4 + 4, times the input; the relevance of the layer is the plain mean.
    assert joined.attribution(wanted, "sum").tolist() == [[32 * 8 * 4]]
    assert joined.relevance("x", "sum").tolist() == [[-4]]
