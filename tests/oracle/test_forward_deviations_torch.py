"""What torch does with a faulty setting is found: the deviant outputs are torch's own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from harness.graph import Layer
from harness.steps import ForwardStep
from reference_impls.deviations.forward import carry_forward, forward_deviations
from tests.oracle.layers import dense, graph, layer

#: Half a unit of float32 for each of a hundred operations.
SINGLE = 100 * 2.0**-24


def drawn(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def explained(one: Layer, x: np.ndarray, observed: np.ndarray, cause: str, *words: str) -> None:
    tail = dense(np.eye(2), name="tail", inputs=("nowhere",))
    step = ForwardStep(one, (x,), graph(one, tail, input_shape=one.input_shapes[0]))
    first = forward_deviations(step, observed)[0]
    assert first.cause == cause, first.words
    assert all(word in first.words for word in words), first.words
    error = np.linalg.norm(carry_forward(first.alter(step)) - observed) / np.linalg.norm(observed)
    assert error <= SINGLE, first.words


def first(x: np.ndarray) -> torch.Tensor:
    """Channels first."""
    return torch.from_numpy(np.moveaxis(x, -1, 1).copy())


def last(y: torch.Tensor) -> np.ndarray:
    return np.moveaxis(y.detach().float().numpy(), 1, -1)


def conv(**more: object) -> Layer:
    attributes = {"strides": (1, 1), "dilations": (1, 1), "groups": 1, "padding": ((1, 1), (1, 1))} | more
    return layer("conv2d", (8, 8, 16), (8, 8, 4), attributes, kernel=drawn(0, 3, 3, 16, 4), bias=drawn(1, 4))


def kernel_of(one: Layer) -> tuple[torch.Tensor, torch.Tensor]:
    kernel = np.moveaxis(one.weights["kernel"], (-1, -2), (0, 1)).astype(np.float32)
    return torch.from_numpy(kernel.copy()), torch.from_numpy(one.weights["bias"].astype(np.float32))


@pytest.mark.parametrize("mode", ["circular", "reflect", "replicate"])
def test_a_padding_mode(mode: str) -> None:
    one, x = conv(), drawn(2, 2, 8, 8, 16)
    padded = functional.pad(first(x), (1, 1, 1, 1), mode=mode)
    explained(one, x, last(functional.conv2d(padded, *kernel_of(one))), "forward-padding")


@pytest.mark.parametrize(("dtype", "name"), [(torch.bfloat16, "bfloat16"), (torch.float16, "float16")])
def test_a_convolution_in_half_precision(dtype: torch.dtype, name: str) -> None:
    one, x = conv(), drawn(2, 2, 8, 8, 16)
    kernel, bias = kernel_of(one)
    y = functional.conv2d(first(x).to(dtype), kernel.to(dtype), bias.to(dtype), padding=1)
    explained(one, x, last(y), "precision", f"computes in {name}")


def test_a_batch_norm_in_training_mode() -> None:
    weights = {"gamma": drawn(0, 4), "beta": drawn(1, 4), "mean": drawn(2, 4), "variance": drawn(3, 4) ** 2}
    one = layer("batch_norm", (6, 6, 4), (6, 6, 4), {"epsilon": 1e-5}, **weights)
    x = drawn(4, 3, 6, 6, 4)
    module = torch.nn.BatchNorm2d(4)
    with torch.no_grad():
        module.weight.copy_(torch.from_numpy(weights["gamma"]))
        module.bias.copy_(torch.from_numpy(weights["beta"]))
    explained(one, x, last(module.train()(first(x))), "batch-coupling", "training mode")


def test_the_epsilon_of_keras_in_a_layer_norm_of_torch() -> None:
    one = layer(
        "layer_norm", (5, 8), (5, 8), {"epsilon": 1e-3, "axes_count": 1}, gamma=np.ones(8), beta=np.zeros(8)
    )
    x = 0.1 * drawn(0, 2, 5, 8)
    observed = functional.layer_norm(torch.from_numpy(x), (8,)).numpy()
    explained(one, x, observed, "forward-epsilon", "epsilon is 1e-05 instead of 1e-03")


def test_a_gelu_in_its_tanh_form() -> None:
    x = drawn(0, 4, 50)
    observed = functional.gelu(torch.from_numpy(x), approximate="tanh").numpy()
    one = layer("gelu", (50,), (50,), {"approximate": "none"})
    explained(one, x, observed, "forward-activation", "gelu in its tanh form instead of gelu with erf")


def test_dropout_in_training_mode() -> None:
    torch.manual_seed(0)
    x = drawn(0, 8, 200)
    observed = functional.dropout(torch.from_numpy(x), p=0.3).numpy()
    explained(layer("dropout", (200,), (200,), {"rate": 0.3}), x, observed, "forward-activation", "(p=0.3)")


def test_an_average_pooling_that_counts_its_padding() -> None:
    attributes = {
        "pool_size": (3, 3),
        "strides": (2, 2),
        "padding": ((1, 1), (1, 1)),
        "count_include_pad": False,
    }
    one, x = layer("average_pool2d", (7, 7, 2), (4, 4, 2), attributes), drawn(0, 2, 7, 7, 2)
    observed = last(functional.avg_pool2d(first(x), 3, stride=2, padding=1))
    explained(one, x, observed, "pooling", "counts the padding")


def test_a_flatten_of_channels_first_data() -> None:
    one, x = layer("flatten", (2, 3, 4), (24,), {"order": "channels_last"}), drawn(0, 2, 2, 3, 4)
    observed = torch.flatten(first(x), 1).numpy()
    explained(one, x, observed, "flatten-order", "channels first instead of channels last")


def test_a_transposed_convolution_cropped_on_the_other_side() -> None:
    """torch crops (1, 1) and adds one at the end by output padding; TensorFlow's 'same' crops (0, 1)."""
    kernel = drawn(0, 3, 3, 2, 4)
    attributes = {
        "strides": (2, 2),
        "dilations": (1, 1),
        "groups": 1,
        "padding": ((0, 1), (0, 1)),
        "output_padding": (0, 0),
    }
    one = layer("conv_transpose2d", (4, 4, 2), (8, 8, 4), attributes, kernel=kernel)
    x = drawn(1, 2, 4, 4, 2)
    weight = torch.from_numpy(np.moveaxis(kernel, (-2, -1), (0, 1)).copy())
    observed = last(functional.conv_transpose2d(first(x), weight, stride=2, padding=1, output_padding=1))
    explained(one, x, observed, "forward-padding", "crops 1 before and 0 after")
