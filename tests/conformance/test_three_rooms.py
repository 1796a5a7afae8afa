"""Oracle, reference and port were written apart; on random layers and networks they compute the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.backends import backend_named
from harness.case import Case
from harness.comparison import MULTIPLE, layers_around, verdict_line
from harness.comparison.floor import moved_by_units, unit_roundoff
from harness.comparison.summation import longest_sum
from harness.graph import KERNEL_KINDS, Graph
from harness.methods import SUITE_METHODS, method
from harness.runner import run_case
from ported_models import PortedModel
from tests.models.graphs import layers, networks, random_input

pytestmark = [pytest.mark.tensorflow, pytest.mark.torch]

#: One method for every rule there is.
RULES = (
    "gradient",
    "guided_backprop",
    "deconvnet",
    "lrp.z",
    "lrp.epsilon:epsilon=0.25",
    "lrp.alpha_2_beta_1",
    "lrp.alpha_1_beta_0_IB",
    "lrp.w_square",
    "lrp.flat",
    "lrp.z:input_layer_rule=bounded",
    "lrp.z:bn_layer_fuse_mode=two_linear",
    "lrp.z_plus_fast",
    "lrp.sequential_preset_b",
    "lrp_z",
    "lrp_epsilon_0_25_std_x",
    "lrpsign_epsilon_0_1_mu_0_3",
    "zblrp_z:low=-2,high=2",
    "lrp.gamma",
    "lrp.gamma:signed=false",
    "epsilon_alpha2_beta1",
)
#: Where one denominator is nearly nothing, a result hangs on the rounding of few numbers, and few draws miss the worst.
RUNS = 16
#: Of a method whose terms cancel, one that adds the same terms up without cancelling: its size is theirs.
TERMS = {"zblrp_z:low=-2,high=2": "lrp.z:input_layer_rule=bounded,low=-2,high=2"}
KINDS = (
    *KERNEL_KINDS,
    "batch_norm",
    "scale",
    "average_pool1d",
    "average_pool2d",
    "global_average_pool",
    "max_pool1d",
    "max_pool2d",
    "add",
    "multiply",
    "concat",
    "relu",
)


def size(array: np.ndarray) -> float:
    return float(np.linalg.norm(array.astype(np.float64)))


def apart(one: np.ndarray, other: np.ndarray) -> float:
    return size(one.astype(np.float64) - other)


def moved(model: PortedModel, generator: np.random.Generator) -> PortedModel:
    return model.with_weights(lambda layer, name, array: moved_by_units(array.astype(np.float64), generator))


LAYERS = given(graph=layers(kinds=KINDS), seed=st.integers(0, 2**32 - 1))
GRAPHS = given(graph=networks(), seed=st.integers(0, 2**32 - 1))


@settings(max_examples=10)
@LAYERS
def test_a_random_layer_passes_relevance_down_alike_in_all_three(graph: Graph, seed: int) -> None:
    assert_layer_alike(graph, seed)


@pytest.mark.nightly
@settings(max_examples=100)
@LAYERS
def test_many_random_layers_pass_relevance_down_alike_in_all_three(graph: Graph, seed: int) -> None:
    assert_layer_alike(graph, seed)


@settings(max_examples=4)
@GRAPHS
def test_a_random_network_is_explained_alike_in_all_three(graph: Graph, seed: int) -> None:
    assert_network_alike(graph, seed)


@pytest.mark.nightly
@settings(max_examples=30)
@GRAPHS
def test_many_random_networks_are_explained_alike_in_all_three(graph: Graph, seed: int) -> None:
    assert_network_alike(graph, seed)


def assert_layer_alike(graph: Graph, seed: int) -> None:
    generator = np.random.default_rng(seed)
    model = PortedModel.from_graph(graph)
    layer = graph[graph.output]
    inputs = tuple(generator.normal(size=(2, *shape)) for shape in layer.input_shapes)
    relevance = generator.normal(size=(2, *layer.shape))
    oracle, *others = (
        backend_named(name).prepare(model, "float64") for name in ("oracle", "tensorflow", "torch")
    )
    coarser = [backend_named(name).prepare(model, "float32") for name in ("tensorflow", "torch")]
    rounded = tuple(x.astype(np.float32) for x in inputs), relevance.astype(np.float32)
    moved_runs = [
        (
            backend_named("oracle").prepare(moved(model, generator), "float64"),
            tuple(moved_by_units(x, generator) for x in inputs),
        )
        for _ in range(RUNS)
    ]
    summation = unit_roundoff("float64") * np.sqrt(longest_sum(graph))
    for name in RULES:
        step: Any = (layer, inputs, relevance, method(name))
        expected = oracle.step(*step)
        terms = oracle.step(*step[:3], method(TERMS.get(name, name)))
        again = [prepared.step(layer, x, relevance, method(name)) for prepared, x in moved_runs]
        double = [side.step(*step) for side in others]
        coarse = [side.step(layer, *rounded, step[-1]) for side in coarser]
        for place, right in enumerate(expected):
            # Moving the operands does not show where an algorithm cancels and the result does not depend on
            # it (z^B with one term); the distance between two precisions, scaled by their ratio, does, of either
            # side, as one may be close by chance.
            ratio = unit_roundoff("float64") / unit_roundoff("float32")
            floor = max(
                *(
                    ratio * apart(*(each[place] for each in pair))
                    for pair in zip(double, coarse, strict=True)
                ),
                *(apart(right, run[place]) for run in again),
                summation * max(size(right), size(terms[place])),
            )
            for side, other in zip(("tensorflow", "torch"), double, strict=True):
                distance = apart(right, other[place])
                assert distance <= MULTIPLE * floor, (
                    f"{name} at {layer}: {side} is {distance / floor:.1f} floors off"
                )


def assert_network_alike(graph: Graph, seed: int) -> None:
    model = PortedModel.from_graph(graph)
    x = random_input(graph, np.random.default_rng(seed))
    for side in ("tensorflow", "torch"):
        for name in SUITE_METHODS:
            case = Case(model, x, method(name), None, "float64")
            outcome = run_case(case, backend_named("oracle"), backend_named(side))
            if not outcome.passed:
                comparison = outcome.comparison
                assert comparison is not None, outcome.message
                pytest.fail(
                    f"{side} {name} {verdict_line(comparison)}\n{layers_around(comparison)}", pytrace=False
                )
