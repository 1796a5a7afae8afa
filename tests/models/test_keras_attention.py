"""Transformers of Keras: read as products, softmax and norms, and what Keras computes itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

from harness import load_model
from harness.errors import UnsupportedLayerError
from harness.graph import Graph
from harness.methods.composite import Assignment
from harness.methods.rules import Pass
from ported_models.sources.keras_source import read_file, read_model
from ported_models.twins import torch_twin
from ported_models.twins.forward import relative_difference, torch_logits

L, E = 5, 6


def check(function: Callable[[Any], Any], shape: tuple[int, ...] = (L, E)) -> Graph:
    """The graph of a model, after checking that the torch twin computes what Keras does in float64.

    1e-6: Keras has the constants of some functions in single precision.
    """
    keras.utils.set_random_seed(0)
    with_policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float64")
    try:
        x = keras.Input(shape)
        model = keras.Model(x, function(x))
    finally:
        keras.config.set_dtype_policy(with_policy)
    rng = np.random.default_rng(0)
    model.set_weights([rng.standard_normal(array.shape) for array in model.get_weights()])
    graph = read_model(model, constants="float64").graph
    sample = rng.standard_normal((2, *shape))
    found = torch_logits(torch_twin.build(graph, "float64"), sample)
    expected = np.asarray(model(sample))
    assert found.shape == expected.shape
    assert relative_difference(found, expected) <= 1e-6
    return graph


def kinds(graph: Graph, *wanted: str) -> list[str]:
    return [layer.kind for layer in graph if layer.kind in wanted]


def held(graph: Graph) -> list[str]:
    """The products of which the first factor is found to be attention weights."""
    at = Assignment(Pass(), kinds=("matmul",), softmaxed=0)
    return [layer.name for layer in graph if at.applies(layer, graph)]


def _heads(**options: Any) -> layers.Layer:
    return layers.MultiHeadAttention(3, 2, **options)


def _cross(x: Any) -> Any:
    memory = layers.Dense(4, activation="tanh")(layers.Cropping1D((1, 0))(x))
    return _heads(value_dim=5, output_shape=7)(x, memory)


ATTENTION: dict[str, Callable[[Any], Any]] = {
    "self": lambda x: _heads()(x, x),
    "without bias": lambda x: _heads(use_bias=False)(x, x),
    "with dropout": lambda x: _heads(dropout=0.5)(x, x),
    "cross": _cross,
    "another key": lambda x: _heads()(x, x, key=layers.ReLU()(x)),
    "causal": lambda x: _heads()(x, x, use_causal_mask=True),
    "mask": lambda x: _heads()(x, x, attention_mask=np.eye(L, k=1)[None] + np.eye(L)[None] > 0),
    "mask and causal": lambda x: _heads(dropout=0.1)(
        x, x, attention_mask=(np.arange(L) < 3)[None, None], use_causal_mask=True
    ),
    "Attention": lambda x: layers.Attention()([x, layers.ReLU()(x)]),
    "Attention with a scale": lambda x: layers.Attention(use_scale=True)([x, x, layers.ReLU()(x)]),
    "Attention, causal": lambda x: layers.Attention()([x, x], use_causal_mask=True),
    "Dot": lambda x: layers.Dot((2, 1))([layers.Softmax()(layers.Dot(2)([x, x])), x]),
    "matmul": lambda x: ops.matmul(ops.softmax(ops.matmul(x, ops.swapaxes(x, 1, 2)) / 3.0), x),
    "einsum": lambda x: ops.einsum("bts,bsd->btd", ops.softmax(ops.einsum("btd,bsd->bts", x, x) * 0.3), x),
    "heads by einsum": lambda x: ops.einsum(
        "bhqk,bkhd->bqhd",
        ops.softmax(ops.einsum("bqhd,bkhd->bhqk", *[ops.reshape(x, (-1, L, 3, 2))] * 2)),
        ops.reshape(x, (-1, L, 3, 2)),
    ),
}


@pytest.mark.parametrize("name", ATTENTION)
def test_attention_is_products_around_a_softmax(name: str) -> None:
    graph = check(ATTENTION[name])
    assert kinds(graph, "matmul", "softmax") == ["matmul", "softmax", "matmul"]
    assert len(held(graph)) == 1


def test_a_classifier_of_pictures_with_attention() -> None:
    def classify(x: Any) -> Any:
        x = layers.Reshape((16, E))(layers.Conv2D(E, 2, strides=2)(x))
        x = layers.Add()([x, _heads()(layers.LayerNormalization()(x), layers.LayerNormalization()(x))])
        x = layers.Add()(
            [x, layers.Dense(E)(layers.Dense(12, activation="gelu")(layers.RMSNormalization()(x)))]
        )
        return layers.Dense(4)(layers.GlobalAveragePooling1D()(x))

    graph = check(classify, (8, 8, 1))
    assert kinds(graph, "matmul", "layer_norm", "rms_norm", "add") == [
        *["layer_norm", "layer_norm", "matmul", "matmul", "add", "rms_norm", "add"]
    ]


@pytest.mark.parametrize(
    ("equation", "output", "bias"),
    [("abc,cd->abd", (None, 7), "d"), ("abc,cde->adbe", (3, None, 2), "de"), ("...c,cd->...d", (7,), None)],
)
def test_dense_layers_by_equation(equation: str, output: tuple[int, ...], bias: str | None) -> None:
    if equation == "abc,cde->adbe":
        output, bias = (3, L, 2), "e"
    graph = check(lambda x: layers.EinsumDense(equation, output, bias_axes=bias, activation="relu")(x))
    assert kinds(graph, "dense") == ["dense"]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: layers.LayerNormalization(rms_scaling=True)(x), "RMSNormalization"),
        (lambda x: _heads()(x, x, attention_mask=ops.matmul(x, ops.swapaxes(x, 1, 2))), "a constant one"),
        (lambda x: layers.Attention(score_mode="concat")([x, x]), "'dot'"),
        (lambda x: ops.einsum("abc,abc->a", x, x), "no matrix product|batch"),
    ],
)
def test_what_is_not_read_says_so_in_one_line(function: Callable[[Any], Any], message: str) -> None:
    with pytest.raises(UnsupportedLayerError, match=message) as caught:
        check(function)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_attention_in_a_file_has_the_weights_of_the_model(tmp_path: Path, suffix: str) -> None:
    """Its four parts have variables of the same names."""
    x = keras.Input((L, E))
    model = keras.Model(x, layers.Dense(2)(layers.Flatten()(_heads()(x, x, use_causal_mask=True))))
    path = tmp_path / f"model{suffix}"
    model.save(path)
    load_model(path)  # proves itself
    for layer, other in zip(read_model(model).graph, read_file(path).graph, strict=True):
        assert layer.kind == other.kind
        for key, array in layer.weights.items():
            assert np.array_equal(array, other.weights[key])
