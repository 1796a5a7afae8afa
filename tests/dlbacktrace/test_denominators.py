"""What default mode divides by, taken apart: by hand, and for every kind the same step put together again."""

from __future__ import annotations

import numpy as np
import pytest

from harness.divisions import passed_down
from harness.errors import InvalidInputError
from harness.graph import Layer
from harness.methods import AttentionShare, Backtrace, MagnitudeShare, Rule, Saturation
from harness.stability import analyse
from ported_models.build import Builder
from ported_models.model import PortedModel
from reference_impls.dlbacktrace.denominators import divisions
from reference_impls.dlbacktrace.rules import propagate
from tests.models.graphs import random_input, single_layer_graph

#: Saturations that leave sides out, and none.
SATURATIONS = (Saturation(), Saturation("mono", low=-0.5, high=0.5), Saturation("mono", low=0.5))
KINDS = ("dense", "conv1d", "conv2d", "separable_conv2d", "conv_transpose2d")


def stages_and_step(layer: Layer, inputs: tuple[np.ndarray, ...], rule: Rule) -> None:
    """That the divisions of ``rule`` make its step, and that their parts are what they say."""
    rng = np.random.default_rng(2)
    relevance = rng.standard_normal((len(inputs[0]), *layer.shape))
    stages, received = divisions(layer, inputs, rule), relevance
    assert stages
    shares: tuple[np.ndarray, ...] = ()
    for stage in stages:
        for division in stage:
            other = 0 if division.other is None else division.other
            whole = division.contributions + division.bias + other
            np.testing.assert_allclose(whole, division.denominator, atol=1e-12)
            s = rng.standard_normal(division.denominator.shape)
            handed = sum(float(part.sum()) for part in division.back(s))
            np.testing.assert_allclose(handed, float((s * division.contributions).sum()), rtol=1e-9)
        shares = passed_down(stage, tuple(received / each.stabilized for each in stage))
        received = shares[0]
    for share, expected in zip(shares, propagate(layer, inputs, relevance, rule), strict=True):
        np.testing.assert_allclose(share, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("saturation", SATURATIONS, ids=["none", "both", "low"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_divisions_of_a_layer_with_a_kernel_make_its_step(kind: str, saturation: Saturation) -> None:
    rng = np.random.default_rng(9)
    graph = single_layer_graph(kind, rng)
    for reading in ("linear", "convolution"):
        rule = Backtrace(reading, saturation)  # type: ignore[arg-type]
        stages_and_step(graph["layer"], (random_input(graph, rng),), rule)


@pytest.mark.parametrize("kind", ["average_pool2d", "global_average_pool", "add"])
def test_the_divisions_by_sizes_make_their_step(kind: str) -> None:
    rng = np.random.default_rng(10)
    graph = single_layer_graph(kind, rng)
    layer = graph["layer"]
    inputs = tuple(rng.standard_normal((2, *shape)) for shape in layer.input_shapes)
    stages_and_step(layer, inputs, MagnitudeShare())


@pytest.mark.parametrize("anew", ["none", "second", "both"])
def test_the_divisions_of_a_product_make_its_step(anew: str) -> None:
    rng = np.random.default_rng(11)
    layer = Layer(
        "layer", "matmul", ("a", "b"), ((2, 3, 4), (2, 5, 4)), (2, 3, 5), ("batch",), {"transposed": True}
    )
    inputs = tuple(rng.standard_normal((2, *shape)) for shape in layer.input_shapes)
    stages_and_step(layer, inputs, AttentionShare(anew))  # type: ignore[arg-type]


def network() -> PortedModel:
    """``y = 3 x1 - 1 x2 + 2``, and a second output that nothing else is said of."""
    builder = Builder("small", (2,))
    kernel = np.asarray([[3.0, 1.0], [-1.0, 1.0]])
    builder.add("dense", "logits", weights={"kernel": kernel, "bias": np.asarray([2.0, 0.0])})
    return PortedModel.from_graph(builder.graph())


def test_what_the_bias_keeps_and_what_an_empty_side_keeps_by_hand() -> None:
    # x = (1, 1): D = 3 + 1 + 2 = 6; of 100 the bias keeps 2 / 6.
    found = analyse(network(), np.ones((1, 2)), "backtrace.default", target=0, dtype="float64")
    assert found.backend == "backtrace-numpy"
    (entry,) = [each for each in found.ledger if each.layer == "logits"]
    assert (entry.received, entry.passed, entry.bias) == pytest.approx((100, 400 / 6, 200 / 6))
    # x = (1, 0): N is empty and counts as 1: D = 3 + 1 + 2, of which 3 are passed down.
    found = analyse(
        network(), np.asarray([[1.0, 0.0]]), "backtrace.default", target=0, dtype="float64", stabilizers=False
    )
    (entry,) = [each for each in found.ledger if each.layer == "logits"]
    assert (entry.passed, entry.bias, entry.rule) == pytest.approx((300 / 6, 200 / 6, 100 / 6))


def test_a_ledger_of_contrast_mode_is_refused_in_one_sentence() -> None:
    with pytest.raises(InvalidInputError, match="carries two relevances"):
        analyse(network(), np.ones((1, 2)), "backtrace.contrast")
