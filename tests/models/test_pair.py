"""A pair ported by hand: aligned whatever the layers are called, and an error of the port stays where it is."""

from __future__ import annotations

import warnings
from typing import Any

import keras
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from keras import layers as kl
from torch import Tensor, nn

from harness.errors import InvalidInputError, ModelSourceError, UnknownNameError
from ported_models.pair import PortedPair, load_pair
from ported_models.twins.forward import LAYER_BOUND, relative_difference, torch_logits
from ported_models.twins.layout import to_internal


@pytest.fixture(scope="module")
def keras_model() -> keras.Model:
    """Padding as a layer, TensorFlow's asymmetric `same`, a separable convolution, a residual add, dropouts."""
    source = keras.Input((9, 9, 3), name="image")
    x = kl.Rescaling(1 / 3, name="rescaling")(source)
    x = kl.ZeroPadding2D(1, name="padding")(x)
    x = kl.Conv2D(8, 3, strides=2, use_bias=False, name="conv1")(x)
    x = skip = kl.ReLU(name="relu1")(kl.BatchNormalization(name="bn1")(x))
    x = kl.Conv2D(8, 3, padding="same", activation="relu", name="conv2")(x)
    x = kl.Dropout(0.2, name="drop1")(x)
    x = kl.SeparableConv2D(8, 3, padding="same", activation="relu", name="separable")(x)
    x = kl.Add(name="add")([x, skip])
    x = kl.Conv2D(8, 4, strides=2, padding="same", activation="relu", name="conv3")(x)
    x = kl.MaxPooling2D(2, 1, name="pool")(x)
    x = kl.Dropout(0.5, name="drop2")(kl.Flatten(name="flatten")(x))
    x = kl.Dense(6, activation="relu", name="fc1")(x)
    model = keras.Model(source, kl.Dense(6, activation="softmax", name="fc2")(x), name="tiny")
    rng = np.random.default_rng(0)
    for variable in model.weights:
        if "seed" not in variable.name:
            values = rng.normal(scale=0.5, size=variable.shape)
            variable.assign(np.abs(values) + 0.5 if "variance" in variable.name else values)
    return model


class Port(nn.Module):
    """The port, with other names; ``error`` is what its author got wrong."""

    def __init__(self, error: str | None = None) -> None:
        super().__init__()
        self.error = error
        self.first = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8, eps=1e-5 if error == "epsilon" else 1e-3)
        self.second = nn.Conv2d(8, 8, 3, padding=1)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False)
        self.pointwise = nn.Conv2d(8, 8, 1)
        self.third = nn.Conv2d(8, 8, 4, stride=2, padding=2 if error == "padding" else 0)
        self.hidden, self.head = nn.Linear(32, 6), nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        skip = F.relu(self.norm(self.first(x / 3)))
        x = F.relu(self.second(skip))
        x = self.pointwise(self.depthwise(x))
        x = F.relu6(x) if self.error == "relu6" else x if self.error == "no relu" else F.relu(x)
        x = x + skip
        # 5 values, kernel 4, stride 2, `same`: (3 - 1) * 2 + 4 - 5 = 3 zeros, one before and two after.
        x = F.relu(self.third(x if self.error == "padding" else F.pad(x, (1, 2, 1, 2))))
        x = F.avg_pool2d(x, 2, 1) if self.error == "pooling" else F.max_pool2d(x, 2, 1)
        return self.head(F.relu(self.hidden(torch.flatten(x, 1))))


#: What the 3x3 map before the pool leaves: a 2x2 map of 8 channels.
ROWS = np.moveaxis(np.arange(32).reshape(2, 2, 8), -1, 0).reshape(-1)


def port_of(model: keras.Model, error: str | None = None) -> Port:
    """The port with the weights of ``model``, moved to torch's axes."""
    port = Port(error).eval()

    def conv(kernel: np.ndarray) -> np.ndarray:
        return kernel.transpose(3, 2, 0, 1)

    def of(layer: str) -> list[np.ndarray]:
        return [np.asarray(variable) for variable in model.get_layer(layer).weights]

    bn, separable = of("bn1"), of("separable")
    state = {
        "first.weight": conv(of("conv1")[0]),
        **dict(zip(("norm.weight", "norm.bias", "norm.running_mean", "norm.running_var"), bn, strict=True)),
        "second.weight": conv(of("conv2")[0]),
        "second.bias": of("conv2")[1],
        "depthwise.weight": separable[0].transpose(2, 3, 0, 1),
        "pointwise.weight": conv(separable[1]),
        "pointwise.bias": separable[2],
        "third.weight": conv(of("conv3")[0]),
        "third.bias": of("conv3")[1],
        "hidden.weight": of("fc1")[0].T if error == "flatten order" else of("fc1")[0][ROWS].T,
        "hidden.bias": of("fc1")[1],
        "head.weight": of("fc2")[0] if error == "not transposed" else of("fc2")[0].T,
        "head.bias": of("fc2")[1],
    }
    if error == "weights":
        state["second.weight"] = state["second.weight"] * 1.5
    port.load_state_dict({key: torch.tensor(value.copy()) for key, value in state.items()}, strict=False)
    return port


def loaded(*arguments: Any, **options: Any) -> tuple[PortedPair, list[str]]:
    """The pair and the warnings that loading it gave."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pair = load_pair(*arguments, **options)
    return pair, [str(entry.message) for entry in caught if "layer" in str(entry.message)]


@pytest.fixture(scope="module")
def right(keras_model: keras.Model) -> PortedPair:
    pair, warned = loaded(keras_model, port_of(keras_model))
    assert warned == []
    return pair


def test_a_right_port_is_verified_at_every_layer(right: PortedPair) -> None:
    assert right.verified
    assert [row.name for row in right.forward_report] == [layer.name for layer in right.graph]
    assert max(row.relative for row in right.forward_report) <= LAYER_BOUND


def test_layers_are_aligned_whatever_they_are_called(right: PortedPair) -> None:
    assert right.torch_paths == {
        "image": "x",
        "rescaling": "truediv",
        "conv1": "first",
        "bn1": "norm",
        "relu1": "relu",
        "conv2": "second",
        "conv2_relu": "relu_1",
        "separable": "pointwise",
        "separable_relu": "relu_2",
        "add": "add",
        "conv3": "third",
        "conv3_relu": "relu_3",
        "pool": "max_pool2d",
        "flatten": "flatten",
        "fc1": "hidden",
        "fc1_relu": "relu_4",
        "fc2": "head",
    }


def test_both_sides_have_the_same_layers_where_they_say_the_same_thing(right: PortedPair) -> None:
    """Padding, separable kernels and dropouts stand in the port's graph as in Keras' graph."""
    described = [[(layer.name, layer.kind) for layer in graph] for graph in (right.graph, right.torch_graph)]
    assert described[0] == described[1]
    twin = right.torch("float32")
    assert set(right.graph._by_name) <= set(dict(twin.named_modules()))


@pytest.mark.parametrize(
    ("error", "layer", "reason"),
    [
        ("epsilon", "bn1", "epsilon is 1e-05 in torch, 0.001 in Keras"),
        ("weights", "conv2", "576 of 576 values of kernel differ"),
        ("no relu", "separable_relu", "missing in torch"),
        ("padding", "conv3", "padding is ((2, 2), (2, 2)) in torch, ((1, 2), (1, 2)) in Keras"),
        ("pooling", "pool", "average_pool2d in torch, max_pool2d in Keras"),
        ("flatten order", "fc1", "kernel rows are in channels-last order"),
        ("not transposed", "fc2", "of 36 values of kernel differ"),
    ],
)
def test_an_error_of_the_port_is_found_at_its_layer(
    keras_model: keras.Model, error: str, layer: str, reason: str
) -> None:
    pair, (warning,) = loaded(keras_model, port_of(keras_model, error))
    assert not pair.verified
    assert pair.first_difference is not None
    assert pair.first_difference.name == layer
    assert reason in str(pair.first_difference.structure)
    assert f"differs from the Keras model at layer {layer!r}" in warning


def test_the_torch_side_computes_what_the_users_module_computes(keras_model: keras.Model) -> None:
    port = port_of(keras_model, "padding")
    pair, _ = loaded(keras_model, port)
    x = np.random.default_rng(3).normal(size=(2, 9, 9, 3))
    with torch.no_grad():
        expected = port.double()(torch.from_numpy(to_internal(x).copy())).numpy()
    assert relative_difference(torch_logits(pair.torch("float64"), x), expected) <= LAYER_BOUND


def test_the_users_module_stays_as_it_was(keras_model: keras.Model) -> None:
    port = port_of(keras_model).train()
    loaded(keras_model, port)
    assert port.training and port.norm.training
    assert {parameter.dtype for parameter in port.parameters()} == {torch.float32}


def test_a_difference_that_the_example_does_not_show_is_told(keras_model: keras.Model) -> None:
    """ReLU6 is ReLU as long as nothing is above 6; an input 100 times as large shows it."""
    port = port_of(keras_model, "relu6")
    small = np.random.default_rng(0).normal(scale=0.1, size=(1, 9, 9, 3))
    pair, (warning,) = loaded(keras_model, port, example=small)
    assert pair.verified and "relu6 in torch, relu in Keras" in warning
    shown, _ = loaded(keras_model, port, example=100 * small)
    assert shown.first_difference is not None and shown.first_difference.name == "separable_relu"


def test_the_order_of_flattened_features_is_kept_and_known(right: PortedPair) -> None:
    """torch flattens channels first; features stay so up to the next kernel."""
    assert right.torch_graph["flatten"].attributes["order"] == "channels_first"
    assert set(right.torch_order) == {"flatten", "drop2"}
    assert right.torch_order["flatten"].tolist() == np.argsort(ROWS).tolist()


def test_a_torch_tensor_as_example_is_channels_first(keras_model: keras.Model) -> None:
    assert loaded(keras_model, port_of(keras_model), example=torch.ones(1, 3, 9, 9))[0].verified
    with pytest.raises(InvalidInputError, match=r"example has shape \(1, 3, 9, 9\).*channels last"):
        load_pair(keras_model, port_of(keras_model), example=np.ones((1, 3, 9, 9)))


def test_another_port_is_another_model(keras_model: keras.Model, right: PortedPair) -> None:
    assert right.digest != loaded(keras_model, port_of(keras_model, "padding"))[0].digest
    assert right.digest == loaded(keras_model, port_of(keras_model))[0].digest


def small_keras() -> keras.Model:
    layers = [kl.Dense(4, name=name, kernel_initializer="ones") for name in ("a", "b", "c")]
    return keras.Sequential([keras.Input((4,)), *layers])


def small_torch(values: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> nn.Module:
    module = nn.Sequential(*(nn.Linear(4, 4) for _ in values))
    with torch.no_grad():
        for layer, value in zip(module, values, strict=True):
            layer.weight.fill_(value)
            layer.bias.fill_(0.0)
    return module.eval()


def test_identical_weights_are_aligned_in_graph_order() -> None:
    pair, _ = loaded(small_keras(), small_torch())
    assert [pair.torch_paths[name] for name in "abc"] == ["0", "1", "2"]


def test_a_layer_with_other_weights_is_aligned_by_its_place() -> None:
    pair, _ = loaded(small_keras(), small_torch((1.0, 2.0, 1.0)))
    assert [pair.torch_paths[name] for name in "abc"] == ["0", "1", "2"]
    assert pair.first_difference is not None and pair.first_difference.name == "b"


def test_an_explicit_map_wins_over_the_weights() -> None:
    pair, _ = loaded(small_keras(), small_torch((1.0, 1.0, 3.0)), layer_map={"a": "2"})
    assert [pair.torch_paths[name] for name in "abc"] == ["2", "0", "1"]


def test_float32_rounding_does_not_hinder_the_alignment() -> None:
    rng = np.random.default_rng(0)
    kernels = {name: rng.normal(size=(4, 4)) for name in "abc"}
    original, module = small_keras(), small_torch().double()
    for name, layer in zip("abc", module, strict=True):
        original.get_layer(name).kernel.assign(kernels[name])
        layer.weight.data = torch.from_numpy(kernels[name].T.copy())
    pair, _ = loaded(original, module)
    assert all(not (row.structure or "") for row in pair.forward_report)


def test_layers_that_cannot_be_aligned_are_named_with_what_to_do() -> None:
    module = nn.Sequential(nn.Linear(4, 7), nn.Linear(7, 4)).eval()
    with pytest.raises(ModelSourceError, match=r"'a' \(dense\).*'0' \(dense\).*pass layer_map"):
        load_pair(small_keras(), module)


def test_an_unknown_name_in_the_map_is_an_error_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="module of the torch model in layer_map '3'"):
        load_pair(small_keras(), small_torch(), layer_map={"a": "3"})


def test_what_is_no_torch_module_is_an_error() -> None:
    with pytest.raises(ModelSourceError, match=r"expected a torch\.nn\.Module"):
        load_pair(small_keras(), small_keras())
