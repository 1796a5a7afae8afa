"""Kinds that no library has an LRP rule for: the gradient in all three, and any other rule refused by name.

iNNvestigate sends relevance through the gradient of every layer that it has no rule for, and through activations
unchanged (`LRP._default_reverse_mapping`); that is the reading of these kinds as well.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from harness.backends import backend_named
from harness.errors import UnsupportedMethodError
from harness.methods import Assignment, Composite, Epsilon, Gradient, Method, method
from ported_models import PortedModel
from tests.models.graphs import in_domain, single_layer_graph

pytestmark = [pytest.mark.tensorflow, pytest.mark.torch]

SIDES = ("oracle", "tensorflow", "torch")
ACTIVATIONS = ("mish", "hard_swish", "hard_sigmoid", "clip", "sqrt", "prelu")
OTHERS = ("group_norm", "lrn", "affine", "pad", "take", "resample", "max_pool3d")


def step_of(kind: str, seed: int) -> tuple[PortedModel, Any, tuple[np.ndarray, ...], np.ndarray]:
    rng = np.random.default_rng(seed)
    graph = single_layer_graph(kind, rng)
    layer = graph[graph.output]
    x = tuple(in_domain(kind, rng.standard_normal((2, *shape))) for shape in layer.input_shapes)
    return PortedModel.from_graph(graph), layer, x, rng.standard_normal((2, *layer.shape))


@pytest.mark.thinned(0.3)
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "name", ["gradient", "lrp.epsilon:epsilon=0.25", "lrp.alpha_1_beta_0", "epsilon_plus"]
)
@pytest.mark.parametrize("kind", [*ACTIVATIONS, *OTHERS, "average_pool3d"])
def test_relevance_is_passed_down_alike_in_all_three(kind: str, name: str, seed: int) -> None:
    model, layer, x, relevance = step_of(kind, seed)
    oracle, *others = (
        backend_named(side).prepare(model, "float64").step(layer, x, relevance, method(name))[0]
        for side in SIDES
    )
    for side, other in zip(SIDES[1:], others, strict=True):
        assert np.linalg.norm(oracle - other) <= 1e-10 * np.linalg.norm(oracle), side


@pytest.mark.parametrize("kind", OTHERS)
def test_lrp_of_a_kind_without_a_rule_is_its_gradient(kind: str) -> None:
    model, layer, x, relevance = step_of(kind, 0)
    prepared = backend_named("oracle").prepare(model, "float64")
    ways = [prepared.step(layer, x, relevance, method(name))[0] for name in ("gradient", "lrp.epsilon")]
    assert np.array_equal(*ways)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("kind", [*ACTIVATIONS, *OTHERS])
def test_a_rule_for_kernels_is_refused_there_by_name(kind: str, side: str) -> None:
    model, layer, x, relevance = step_of(kind, 0)
    chosen = Method("chosen", Composite((Assignment(Epsilon(0.25), kinds=(kind,)), Assignment(Gradient()))))
    with pytest.raises(UnsupportedMethodError, match=rf"layer 'layer' \({kind}") as caught:
        backend_named(side).prepare(model, "float64").step(layer, x, relevance, chosen)
    assert "\n" not in str(caught.value)
