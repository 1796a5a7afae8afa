"""Random layers and networks: both twins compute the same function, and so do their gradients."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.graph import CONVOLUTION_KINDS, RECURRENT_KINDS, Graph
from ported_models.twins import keras_twin, torch_twin
from ported_models.twins.forward import (
    LAYER_BOUND,
    keras_activations,
    keras_logits,
    relative_difference,
    torch_activations,
    torch_logits,
)
from ported_models.twins.layout import to_canonical, to_internal
from tests.models.graphs import LAYER_KINDS, layers, networks, random_input, single_layer_graph
from tests.models.rounding import absolute, rounding_bound

POOLS = tuple(f"{kind}_pool{space}d" for kind in ("max", "average") for space in (1, 2, 3))
WINDOW_KINDS = (*CONVOLUTION_KINDS, *POOLS)
seeds = st.integers(0, 2**32 - 1)


def assert_twins_agree(graph: Graph, seed: int) -> None:
    x = random_input(graph, np.random.default_rng(seed))
    reference = keras_logits(keras_twin.build(graph, "float64"), x)
    candidate = torch_logits(torch_twin.build(graph, "float64"), x)
    assert reference.dtype == candidate.dtype == np.float64
    excess = np.abs(candidate - reference) - rounding_bound(graph, x, reference)
    assert excess.max() <= 0, (
        f"{graph.layers[-1].kind} {dict(graph.layers[-1].attributes)}: beyond rounding by {excess.max():.3g}"
    )


@pytest.mark.parametrize("kind", WINDOW_KINDS)
def test_any_window_layer_agrees_to_rounding(kind: str) -> None:
    @settings(max_examples=20, deadline=None)
    @given(graph=layers((kind,)), seed=seeds)
    def check(graph: Graph, seed: int) -> None:
        assert_twins_agree(graph, seed)

    check()


@pytest.mark.filterwarnings("ignore:You are using a softmax over axis")
@pytest.mark.parametrize(
    "kind", [kind for kind in LAYER_KINDS if kind not in (*WINDOW_KINDS, *RECURRENT_KINDS)]
)
def test_any_other_layer_agrees_to_rounding(kind: str) -> None:
    @settings(max_examples=6, deadline=None)
    @given(graph=layers((kind,)), seed=seeds)
    def check(graph: Graph, seed: int) -> None:
        assert_twins_agree(graph, seed)

    check()


@settings(max_examples=20, deadline=None)
@given(graph=layers(RECURRENT_KINDS), seed=seeds)
def test_any_recurrent_layer_agrees(graph: Graph, seed: int) -> None:
    x = random_input(graph, np.random.default_rng(seed))
    reference = keras_logits(keras_twin.build(graph, "float64"), x)
    candidate = torch_logits(torch_twin.build(graph, "float64"), x)
    assert relative_difference(candidate, reference) <= LAYER_BOUND, graph["layer"]


@settings(max_examples=12, deadline=None)
@given(graph=networks(), seed=seeds)
def test_every_layer_of_a_branching_network_agrees(graph: Graph, seed: int) -> None:
    x = random_input(graph, np.random.default_rng(seed))
    reference = keras_activations(keras_twin.build(graph, "float64"), graph, x)
    candidate = torch_activations(torch_twin.build(graph, "float64"), graph, x)
    for layer in graph:
        assert relative_difference(candidate[layer.name], reference[layer.name]) <= LAYER_BOUND, layer.name


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", CONVOLUTION_KINDS)
def test_gradients_of_any_convolution_exist_and_agree(kind: str, dtype: str) -> None:
    """TensorFlow lacks CPU gradients for dilations and for groups in float64; see `spread` and `convolve`."""
    for seed in range(5):
        rng = np.random.default_rng(seed)
        graph = single_layer_graph(kind, rng)
        x = random_input(graph, rng).astype(dtype)
        pull = rng.standard_normal((len(x), *graph.layers[-1].shape)).astype(dtype)

        source = tf.constant(x)
        with tf.GradientTape() as tape:
            tape.watch(source)
            y = keras_twin.build(graph, dtype)(source)
        reference = tape.gradient(y, source, output_gradients=tf.constant(pull)).numpy()

        found = torch_gradient(graph, x, pull)
        # A sum of products with every weight at most, as the forward pass is; see tests.models.rounding.
        terms = sum(array.size for array in graph.layers[-1].weights.values())
        magnitude = torch_gradient(absolute(graph), np.abs(x), np.abs(pull))
        assert reference.dtype == found.dtype == dtype
        assert np.all(np.abs(found - reference) <= terms * np.finfo(dtype).eps * magnitude)


def torch_gradient(graph: Graph, x: np.ndarray, pull: np.ndarray) -> np.ndarray:
    leaf = torch.tensor(to_internal(x), requires_grad=True)
    y = torch_twin.build(graph, str(x.dtype))(leaf)
    return to_canonical(torch.autograd.grad(y, leaf, torch.tensor(to_internal(pull)))[0].numpy())
