"""Integrated gradients, SmoothGrad and VarGrad on a network whose gradient is known: logits (x0^2, 3)."""

from __future__ import annotations

import numpy as np
import pytest

from harness.methods import GRADIENT, IntegratedGradients, Method, Smoothed, TimesSign
from ported_impls.adapters import backend_from_composite
from ported_impls.backend import TorchBackend
from ported_impls.statistics import Statistic
from ported_impls.torchvision_shim import zennit
from ported_models.build import Builder
from ported_models.model import PortedModel
from tests.prepared import ready

EPS = 2.0**-52


def squares() -> PortedModel:
    """Two values, squared; the first is the first logit, the second logit is 3."""
    b = Builder("squares", (2,))
    b.add("multiply", "square", ["input", "input"])
    b.add("dense", "head", weights={"kernel": np.array([[1.0, 0], [0, 0]]), "bias": np.array([0.0, 3])})
    return PortedModel.from_graph(b.graph())


def explained(procedure, x, target=None, dtype="float64", **method):
    prepared = ready(TorchBackend(), squares(), dtype)
    chosen = Method("test", GRADIENT, procedure=procedure, **{"head": "one", **method})
    return prepared.explain(np.array([x], dtype), chosen, None if target is None else np.array([target]))


def noise(procedure: Smoothed) -> np.ndarray:
    """(samples, 2), as `harness.methods.samples` says it is drawn."""
    generator = np.random.default_rng(procedure.seed)
    return (
        procedure.scale
        * np.stack([generator.standard_normal((1, 2)) for _ in range(procedure.samples)])[:, 0]
    )


@pytest.mark.parametrize(
    ("procedure", "gradient", "expected"),
    [
        # 2x at 0 and 2, for x = 4.
        (IntegratedGradients(2, endpoint=False), (0 + 4) / 2, 8),
        # At 0 and 4.
        (IntegratedGradients(2, endpoint=True), 4, 16),
        # At 0, 1, 2 and 3.
        (IntegratedGradients(4, endpoint=False), 3, 12),
        # At 0, 2 and 4.
        (IntegratedGradients(3, endpoint=True), 4, 16),
        # At 2 and 3: (4 + 6) / 2, times 4 - 2.
        (IntegratedGradients(2, endpoint=False, baseline=2), 5, 10),
        # At -4 and 0: |-8| / 2; the plain mean is -4.
        (IntegratedGradients(2, endpoint=False, baseline=-4, each="abs"), -4, 8 * 4),
        (IntegratedGradients(2, endpoint=False, baseline=-4, each="square"), -4, 8 * 32),
    ],
)
def test_integrated_gradients(procedure, gradient, expected):
    trace = explained(procedure, [4, 1])
    assert trace.attribution.tolist() == [[expected, 0]]
    assert trace.layers["input"].relevance.tolist() == [[gradient, 0]]


def test_every_point_explains_the_class_that_the_input_itself_has():
    # At x = 2 the logits are (4, 3), at 0 and 1 the second is larger, and its gradient is zero.
    trace = explained(IntegratedGradients(2, endpoint=False), [2, 0])
    assert (trace.target.tolist(), trace.logits.tolist()) == ([0], [[4, 3]])
    assert trace.attribution.tolist() == [[1 * 2, 0]]


def test_activations_are_those_of_the_input_and_relevances_the_mean_over_the_runs():
    trace = explained(IntegratedGradients(2, endpoint=True), [4, 1], head="logit")
    # Logits at 0 and x: 0 and 16. Gradients: 0 * 0 and 16 * 8.
    assert trace.layers["square"].activation.tolist() == [[16, 1]]
    assert trace.layers["head"].relevance.tolist() == [[8, 0]]
    assert trace.layers["square"].relevance.tolist() == [[8, 0]]
    assert trace.layers["input"].relevance.tolist() == [[64, 0]]
    assert trace.attribution.tolist() == [[256, 0]]


def test_smoothgrad_is_the_mean_over_the_shared_samples():
    procedure = Smoothed(5, scale=0.5, seed=3)
    trace = explained(procedure, [4, 1])
    expected = 2 * (4 + noise(procedure)[:, 0]).mean()
    assert trace.attribution[0] == pytest.approx([expected, 0], rel=8 * EPS)
    assert trace.layers["head"].relevance.tolist() == [[1, 0]]
    np.testing.assert_array_equal(trace.layers["input"].relevance, trace.attribution)


@pytest.mark.parametrize(("each", "change"), [("abs", np.abs), ("square", np.square)])
def test_each_gradient_is_changed_before_the_mean(each, change):
    procedure = Smoothed(5, scale=3, each=each)
    trace = explained(procedure, [0.5, 1], target=0)
    gradients = 2 * (0.5 + noise(procedure)[:, 0])
    assert trace.attribution[0, 0] == pytest.approx(change(gradients).mean(), rel=8 * EPS)
    # The gradients have both signs: rounding is that of their sizes, not of the sum.
    assert trace.layers["input"].relevance[0, 0] == pytest.approx(
        gradients.mean(), abs=8 * EPS * np.abs(gradients).max()
    )


def test_vargrad_is_the_population_variance():
    procedure = Smoothed(4, scale=0.5, statistic="variance")
    trace = explained(procedure, [4, 1], head="logit")
    points = 4 + noise(procedure)[:, 0]
    # With the logit as head a run's gradient is x^2 * 2x, its logit x^2.
    for name, values in (("input", 2 * points**3), ("head", points**2)):
        # Welford: a few roundings of the largest value for each of the runs.
        allowed = 8 * 4 * EPS * np.abs(values).max() ** 2
        assert trace.layers[name].relevance[0, 0] == pytest.approx(values.var(), abs=allowed)
    np.testing.assert_array_equal(trace.attribution, trace.layers["input"].relevance)


def test_noise_is_rounded_before_it_is_added():
    procedure = Smoothed(1, scale=1e-3)
    trace = explained(procedure, [4, 1], dtype="float32")
    expected = 2 * (np.float32(4) + noise(procedure).astype("float32")[0, 0])
    assert trace.attribution.dtype == np.float32
    assert trace.attribution[0, 0] == expected


def test_postprocessing_is_done_once_after_the_runs():
    procedure = Smoothed(3, scale=1)
    plain = explained(procedure, [-4, 1], target=0).attribution
    signed = explained(procedure, [-4, 1], target=0, postprocess=TimesSign())
    np.testing.assert_array_equal(signed.attribution, plain * [[-1, 1]])
    np.testing.assert_array_equal(signed.layers["input"].relevance, plain)


@pytest.mark.parametrize(("kind", "expected"), [("mean", 1e8), ("variance", 2 / 3)])
def test_statistics_keep_small_differences_between_large_values(kind, expected):
    # Squares of these are 1e16, whose last place is 2: a difference of means of squares would be lost.
    statistic = Statistic(kind)
    for value in (1e8 - 1, 1e8, 1e8 + 1):
        statistic.add("a", np.array([value]))
    assert statistic.result()["a"][0] == pytest.approx(expected, rel=4 * EPS)


class Counted:
    """How often a prepared backend has run its network."""

    def __init__(self, prepared) -> None:
        self.runs = 0
        prepared.twin.register_forward_hook(self._count)

    def _count(self, module, args, output) -> None:
        self.runs += 1


def smoothgrad(name="a", procedure=Smoothed(4, scale=1), **method) -> Method:  # noqa: B008 (a value)
    return Method(name, GRADIENT, head=method.pop("head", "one"), procedure=procedure, **method)


def test_methods_that_differ_at_the_input_only_share_their_runs():
    prepared = ready(TorchBackend(), squares(), "float64")
    counted = Counted(prepared)
    x = np.array([[4.0, 1]])
    target = np.array([0])
    first = prepared.explain(x, smoothgrad(), target)
    assert counted.runs == 1 + 4
    signed = prepared.explain(x, smoothgrad("b", postprocess="times_input"), target)
    shorter = prepared.explain(x, smoothgrad("c"), target, layers=False)
    assert counted.runs == 1 + 4
    np.testing.assert_array_equal(signed.attribution, first.attribution * x)
    assert shorter.layers == {}
    assert list(signed.layers) == ["input", "square", "head"]


@pytest.mark.parametrize(
    ("x", "method", "target"),
    [
        ([[5.0, 1]], smoothgrad(), None),
        ([[4.0, 1]], smoothgrad(head="logit"), None),
        ([[4.0, 1]], smoothgrad(procedure=Smoothed(4, scale=1, seed=1)), None),
        ([[4.0, 1]], smoothgrad(), np.array([1])),
    ],
    ids=["input", "head", "seed", "target"],
)
def test_runs_are_not_shared_where_anything_else_differs(x, method, target):
    prepared = ready(TorchBackend(), squares(), "float64")
    prepared.explain(np.array([[4.0, 1]]), smoothgrad())
    again = ready(TorchBackend(), squares(), "float64").explain(np.array(x), method, target)
    np.testing.assert_array_equal(
        prepared.explain(np.array(x), method, target).attribution, again.attribution
    )
    assert (
        again.attribution.tolist()
        != prepared.explain(np.array([[4.0, 1]]), smoothgrad()).attribution.tolist()
    )


def test_layers_that_were_not_recorded_are_recorded_when_asked_for():
    prepared = ready(TorchBackend(), squares(), "float64")
    prepared.explain(np.array([[4.0, 1]]), smoothgrad(), layers=False)
    trace = prepared.explain(np.array([[4.0, 1]]), smoothgrad())
    assert trace.layers["head"].relevance.tolist() == [[1, 0]]


def test_a_composite_that_goes_by_the_name_is_never_given_the_runs_of_another():
    def composite(twin, method):
        rule = zennit.rules.Flat() if method.name == "flat" else None
        return zennit.core.Composite(
            module_map=lambda context, name, module: rule if name == "head" else None
        )

    prepared = ready(backend_from_composite("mine", composite, head="one"), squares(), "float64")
    plain, flat = (prepared.explain(np.array([[4.0, 1]]), smoothgrad(name)) for name in ("plain", "flat"))
    assert plain.layers["square"].relevance.tolist() == [[1, 0]]
    # Half for each of the two squares, less Zennit's stabilizer.
    assert flat.layers["square"].relevance[0] == pytest.approx([1 / (2 + 1e-6)] * 2, rel=8 * EPS)
