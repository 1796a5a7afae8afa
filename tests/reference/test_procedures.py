"""Procedures: which inputs are run, how the runs are joined, and what the trace then says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from numpy.testing import assert_allclose, assert_array_equal

from harness.methods import (
    GRADIENT,
    InputItself,
    InputPlusNoise,
    IntegratedGradients,
    Method,
    Procedure,
    Smoothed,
    UniformNoise,
    gaussian_noise,
    method,
    uniform_noise,
)
from harness.trace import Trace
from ported_models.build import Builder
from ported_models.model import PortedModel
from reference_impls.tensorflow import TensorFlowBackend
from reference_impls.tensorflow.statistics import Variance
from tests.prepared import ready
from tests.reference.one_layer import assert_equal

EPS = np.finfo(np.float64).eps


def explain(model: PortedModel, x: Any, asked: Method, dtype: str = "float64", **options: Any) -> Trace:
    return ready(TensorFlowBackend(), model, dtype).explain(np.asarray(x, dtype), asked, **options)


def gradients(procedure: Procedure, **parts: Any) -> Method:
    return Method("test", GRADIENT, head="one", procedure=procedure, **parts)


def hinge(slope: float = 1) -> PortedModel:
    """``relu(x0 - 1) + slope * relu(x1 - 1)``: a gradient of one, and the slope, above 1, and none up to there."""
    builder = Builder("hinge", (2,))
    builder.add("dense", "shift", weights={"kernel": np.eye(2), "bias": -np.ones(2)})
    builder.add("relu", "bend")
    builder.add("dense", "logit", weights={"kernel": np.array([[1.0], [slope]])})
    return PortedModel.from_graph(builder.graph())


def scores() -> PortedModel:
    """Three classes: ``x0``, ``x1`` and ``x0 + 2 x1``."""
    builder = Builder("scores", (2,))
    builder.add("dense", "logits", weights={"kernel": np.array([[1.0, 0, 1], [0, 1, 2]])})
    return PortedModel.from_graph(builder.graph())


def test_the_path_without_its_end_stops_a_step_short_of_the_input() -> None:
    # x0: 0, 0.5, 1, 1.5, one of four above 1, times 2. x1: 0, 1, 2, 3, two of four, times 4.
    trace = explain(hinge(), [[2, 4]], gradients(IntegratedGradients(4, endpoint=False)))
    assert_equal(trace.attribution, [[0.5, 2]])


def test_the_path_with_its_end_reaches_the_input() -> None:
    # x0: 0, 0.5, 1, 1.5, 2, two of five above 1, times 2. x1: 0, 1, 2, 3, 4, three of five, times 4.
    trace = explain(hinge(), [[2, 4]], gradients(IntegratedGradients(5, endpoint=True)))
    assert_equal(trace.attribution, [[0.8, 2.4]])


def test_the_path_starts_at_the_baseline() -> None:
    # x0: 1, 1.25, 1.5, 1.75, three of four above 1, times 2 - 1. x1: 1, 1.75, 2.5, 3.25, times 4 - 1.
    trace = explain(hinge(), [[2, 4]], gradients(IntegratedGradients(4, endpoint=False, baseline=1)))
    assert_equal(trace.attribution, [[0.75, 2.25]])


def test_layers_of_a_path_hold_the_mean_relevance_and_the_activations_of_the_input_itself() -> None:
    trace = explain(hinge(-2), [[2, 4]], gradients(IntegratedGradients(4, endpoint=False)))
    assert_equal(trace.layers["input"].relevance, [[0.25, -1]])
    assert_equal(trace.layers["shift"].relevance, [[0.25, -1]])
    assert_equal(trace.layers["bend"].relevance, [[1, -2]])
    assert_equal(trace.layers["logit"].relevance, [[1]])
    assert_equal(trace.layers["bend"].activation, [[1, 3]])
    assert_equal(trace.logits, [[-5]])


@pytest.mark.parametrize(("each", "at_x1"), [("none", -4), ("abs", 4), ("square", 8)])
def test_each_run_of_a_path_is_rectified_before_the_mean_and_the_layers_are_not(
    each: Any, at_x1: float
) -> None:
    # Half of the runs have a gradient of -2 at x1 = 4: mean -1, 1 or 2.
    asked = gradients(IntegratedGradients(4, endpoint=False, each=each))
    trace = explain(hinge(-2), [[2, 4]], asked)
    assert_equal(trace.attribution, [[0.5, at_x1]])
    assert_equal(trace.layers["input"].relevance, [[0.25, -1]])


def test_every_run_explains_the_target_of_the_input_itself() -> None:
    # At the baseline all logits are 0, so the first class would be the largest; that of x is the third.
    asked = gradients(IntegratedGradients(4, endpoint=False))
    assert_equal(explain(scores(), [[1, 2]], asked).attribution, [[1, 4]])
    assert_equal(explain(scores(), [[1, 2]], asked, target=np.array([1])).attribution, [[0, 2]])


def test_a_head_of_the_logit_is_that_of_each_run() -> None:
    # Logits 0, 1, 2, 3 along x1 = 0, 1, 2, 3: gradient times mean logit 1.5, times 4.
    asked = replace(gradients(IntegratedGradients(4, endpoint=False)), head="logit")
    assert_equal(explain(scores(), [[0, 4]], asked, target=np.array([1])).attribution, [[0, 6]])


SMOOTHED = Smoothed(8, scale=1.0, seed=3)


def above_one(x: list[float], procedure: Smoothed) -> np.ndarray:
    """For each value of ``x``, the share of noisy copies whose gradient is one."""
    noisy = np.array([x]) + np.array(list(gaussian_noise(procedure, (1, 2))))
    share = (noisy > 1).mean(axis=0)
    assert np.all((share > 0) & (share < 1))
    return share


def test_smoothgrad_is_the_mean_of_the_runs_on_noisy_copies() -> None:
    found = explain(hinge(), [[1, 1.5]], gradients(SMOOTHED))
    assert_equal(found.attribution, above_one([1, 1.5], SMOOTHED))
    assert_equal(found.layers["shift"].relevance, above_one([1, 1.5], SMOOTHED))


def test_vargrad_is_the_population_variance() -> None:
    # Of ones and zeros with share p: p (1 - p). Eight steps of the recurrence, four roundings each.
    variance = replace(SMOOTHED, statistic="variance")
    found = explain(hinge(), [[1, 1.5]], gradients(variance))
    share = above_one([1, 1.5], variance)
    for array in (found.attribution, found.layers["shift"].relevance):
        assert_allclose(array, share * (1 - share), rtol=4 * 8 * EPS)
    assert_array_equal(found.layers["logit"].relevance, [[0]])


def test_smoothgrad_takes_each_run_by_its_size_where_asked() -> None:
    asked = gradients(replace(SMOOTHED, each="square"))
    found = explain(hinge(-3), [[1, 1.5]], asked)
    assert_equal(found.attribution, above_one([1, 1.5], SMOOTHED) * [1, 9])
    assert_equal(found.layers["input"].relevance, above_one([1, 1.5], SMOOTHED) * [1, -3])


def test_a_variance_far_below_the_square_of_the_mean_keeps_its_digits() -> None:
    # 0.25 beside 1e16, where doubles are 2 apart. Each value and mean is rounded to 2**-26 at most.
    variance = Variance()
    for value in (1e8, 1e8 + 1, 1e8, 1e8 + 1):
        variance.add(tf.constant(value, "float64"))
    assert abs(float(variance.result()) - 0.25) <= 4 * 2**-26


def test_noise_is_rounded_to_the_dtype_before_it_is_added() -> None:
    procedure = InputPlusNoise(scale=0.5, seed=7)
    x = np.array([[1, 2]], np.float32)
    (noise,) = gaussian_noise(procedure, (1, 2))
    trace = explain(scores(), x, gradients(procedure), "float32")
    assert_array_equal(trace.attribution, x + noise.astype(np.float32))
    assert_array_equal(explain(scores(), x, gradients(procedure)).attribution, np.array([[1, 2]]) + noise)


def test_the_input_is_an_attribution_too_with_a_target_and_without_layers() -> None:
    trace = explain(scores(), [[1, 2]], gradients(InputItself()))
    assert_array_equal(trace.attribution, [[1, 2]])
    assert (trace.target.tolist(), trace.logits.tolist(), trace.layers) == ([2], [[1, 2, 5]], {})


def test_uniform_noise_is_the_shared_one() -> None:
    builder = Builder("image", (3, 2, 2))
    builder.add("flatten", "flat")
    builder.add("dense", "logit", weights={"kernel": np.ones((12, 1))})
    model = PortedModel.from_graph(builder.graph())
    asked = gradients(UniformNoise())
    expected = uniform_noise(UniformNoise(), (2, 3, 2, 2))
    assert_array_equal(explain(model, np.zeros((2, 3, 2, 2)), asked).attribution, expected)


def test_the_postprocess_comes_after_the_procedure() -> None:
    # Mean gradients 0.25 and -1 times x - baseline, times x.
    path = IntegratedGradients(4, endpoint=False)
    asked = gradients(path, postprocess="times_input")
    assert_equal(explain(hinge(-2), [[2, 4]], asked).attribution, [[1, -16]])


def test_names_that_share_their_samples_share_one_sampling() -> None:
    prepared = TensorFlowBackend().prepare(hinge(), "float64")
    x = np.array([[1, 1.5]])
    names = ("smoothgrad:dialect=signxai,augment_by_n=4", "smoothgrad_x_input:augment_by_n=4")
    plain, times = (prepared.run(x, method(name), np.array([0]), True) for name in names)
    assert np.shares_memory(plain.relevances["bend"], times.relevances["bend"])
    assert_array_equal(times.attribution, plain.attribution * x)


def test_a_sampling_is_not_taken_for_another() -> None:
    prepared = ready(TensorFlowBackend(), scores(), "float64")
    x, asked = np.array([[1.0, 2.0]]), gradients(IntegratedGradients(4, endpoint=False))
    assert_equal(prepared.explain(x, asked).attribution, [[1, 4]])
    assert_equal(prepared.explain(x, asked, np.array([1])).attribution, [[0, 2]])
    assert_equal(prepared.explain(2 * x, asked).attribution, [[2, 8]])
    other = gradients(IntegratedGradients(4, endpoint=False, baseline=1))
    assert_equal(prepared.explain(x, other).attribution, [[0, 2]])
    assert_equal(prepared.explain(x, replace(asked, head="logit")).attribution, [[1 * 1.875, 4 * 1.875]])


def test_layers_are_there_when_asked_for_after_a_sampling_without_them() -> None:
    prepared = ready(TensorFlowBackend(), hinge(), "float64")
    x, asked = np.array([[2.0, 4.0]]), gradients(IntegratedGradients(4, endpoint=False))
    assert prepared.explain(x, asked, layers=False).layers == {}
    assert_equal(prepared.explain(x, asked).layers["bend"].relevance, [[1, 1]])
    bare = prepared.explain(x, asked, layers=False)
    assert bare.layers == {}
    assert_equal(bare.attribution, [[0.5, 2]])
