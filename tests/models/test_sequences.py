"""Networks of sequences that are easily read as another: each computes what its source does, or is refused by name."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import torch
from keras import layers as L
from torch import Tensor, nn

import harness
from harness.errors import HarnessError
from ported_models import load_model
from ported_models.build import Builder
from ported_models.model import PortedModel
from ported_models.sources.keras_source import from_model
from ported_models.twins.forward import keras_logits, torch_logits

STEPS, FEATURES = 5, 3
RIGHT = 1e-5


def seeded(model: keras.Model) -> keras.Model:
    """All weights drawn, biases too: Keras' own are zero, among which no order shows."""
    rng = np.random.default_rng(1)
    model.set_weights([rng.normal(size=array.shape) * 0.7 for array in model.get_weights()])
    return model


def stack(*layers: Any, shape: tuple[int, ...] = (STEPS, FEATURES)) -> keras.Model:
    return seeded(keras.Sequential([keras.Input(shape), *layers]))


def functional(function: Callable[[Any], Any], shape: tuple[int, ...] = (STEPS, FEATURES)) -> keras.Model:
    x = keras.Input(shape)
    return seeded(keras.Model(x, function(x)))


def both(layer: Any, mode: str = "concat", **options: Any) -> keras.Model:
    return stack(L.Bidirectional(layer, merge_mode=mode, **options), L.Flatten(), L.Dense(2))


def with_first_state(x: Any) -> Any:
    return L.GRU(4)(x, initial_state=L.Dense(4)(L.Flatten()(x)))


def masked_twice() -> keras.Model:
    return stack(L.Embedding(9, 4, mask_zero=True), L.LSTM(3), shape=(STEPS,))


def shared() -> keras.Model:
    """One layer on two tensors: two layers of the graph with the same weights."""
    layer = L.LSTM(FEATURES, return_sequences=True)
    return functional(lambda x: L.Flatten()(layer(layer(x))))


def stateful() -> keras.Model:
    x = keras.Input(batch_shape=(2, STEPS, FEATURES))
    return seeded(keras.Model(x, L.LSTM(4, stateful=True)(x)))


KERAS: dict[str, tuple[Callable[[], Any], str | None]] = {
    "an lstm": (lambda: stack(L.LSTM(4)), None),
    "an lstm that gives all states": (lambda: stack(L.LSTM(4, return_sequences=True), L.Flatten()), None),
    "an lstm without a bias": (lambda: stack(L.LSTM(4, use_bias=False)), None),
    "an lstm backwards": (lambda: stack(L.LSTM(4, go_backwards=True)), None),
    "an lstm backwards that gives all states": (
        lambda: stack(L.LSTM(4, go_backwards=True, return_sequences=True), L.Flatten(), L.Dense(2)),
        None,
    ),
    "an lstm that drops in training": (lambda: stack(L.LSTM(4, dropout=0.5, recurrent_dropout=0.5)), None),
    "an unrolled lstm": (lambda: stack(L.LSTM(4, unroll=True)), None),
    "a gru that resets after the product": (lambda: stack(L.GRU(4)), None),
    "a gru that resets before": (lambda: stack(L.GRU(4, reset_after=False)), None),
    "a gru without a bias": (lambda: stack(L.GRU(4, use_bias=False)), None),
    "a gru of one unit and two features": (lambda: stack(L.GRU(1), shape=(STEPS, 2)), None),
    "a simple network": (lambda: stack(L.SimpleRNN(4)), None),
    "a simple network of relu": (lambda: stack(L.SimpleRNN(4, activation="relu")), None),
    "both directions": (lambda: both(L.LSTM(4)), None),
    "both directions, all states": (lambda: both(L.LSTM(4, return_sequences=True)), None),
    "both directions summed": (lambda: both(L.GRU(4, return_sequences=True), "sum"), None),
    "both directions averaged": (lambda: both(L.GRU(4), "ave"), None),
    "both directions multiplied": (lambda: both(L.SimpleRNN(4, return_sequences=True), "mul"), None),
    "both directions, of two classes": (
        lambda: both(L.LSTM(4), backward_layer=L.GRU(4, go_backwards=True)),
        None,
    ),
    "both directions apart": (
        lambda: functional(lambda x: L.Add()(L.Bidirectional(L.LSTM(4), merge_mode=None)(x))),
        "merge_mode",
    ),
    "both directions of a layer that goes backwards": (
        lambda: both(L.LSTM(4, go_backwards=True), backward_layer=L.LSTM(4)),
        "go_backwards",
    ),
    "a first state": (lambda: functional(with_first_state), "as its first state"),
    "a state that is kept": (stateful, "stateful"),
    "states beside the output": (
        lambda: functional(lambda x: L.LSTM(4, return_state=True)(x)[0]),
        "return_state",
    ),
    "another activation": (lambda: stack(L.LSTM(4, activation="relu")), "activation 'relu'"),
    "another gate": (
        lambda: stack(L.GRU(4, recurrent_activation="hard_sigmoid")),
        "recurrent_activation 'hard_sigmoid'",
    ),
    "a cell by itself": (lambda: stack(L.RNN(L.LSTMCell(4))), r"\(RNN\) is not supported"),
    "a layer that is used twice": (shared, None),
    "masked steps": (lambda: stack(L.Masking(), L.LSTM(4)), r"\(Masking\) hides time steps"),
    "masked tokens": (masked_twice, "mask_zero True"),
    "tokens": (lambda: stack(L.Embedding(9, 4), L.LSTM(3), shape=(STEPS,)), None),
    "tokens that are summed up": (
        lambda: stack(L.Embedding(9, 4), L.GlobalAveragePooling1D(), L.Dense(2), shape=(STEPS,)),
        None,
    ),
    "a dense layer at each step": (
        lambda: stack(L.TimeDistributed(L.Dense(4, activation="relu")), L.GRU(2)),
        None,
    ),
    "a convolution at each step": (
        lambda: stack(
            L.TimeDistributed(L.Conv2D(3, 2, padding="same", activation="relu")),
            L.TimeDistributed(L.AveragePooling2D(2)),
            L.TimeDistributed(L.Flatten()),
            L.LSTM(3),
            shape=(4, 6, 6, 2),
        ),
        None,
    ),
    "a strided one-dimensional convolution at each step": (
        lambda: stack(
            L.TimeDistributed(L.Conv1D(3, 3, strides=2, dilation_rate=1)),
            L.TimeDistributed(L.Reshape((9,))),
            L.SimpleRNN(3),
            shape=(4, 7, 2),
        ),
        None,
    ),
    "a model at each step": (
        lambda: stack(
            L.TimeDistributed(keras.Sequential([keras.Input((3, 2)), L.Flatten(), L.Dense(4)])),
            L.GRU(2),
            shape=(4, 3, 2),
        ),
        None,
    ),
    "a recurrent layer at each step": (
        lambda: stack(L.TimeDistributed(L.LSTM(2)), L.Flatten(), shape=(4, 5, 2)),
        "the layer 'LSTM'",
    ),
    "a row at each step": (lambda: stack(L.RepeatVector(4), L.GRU(2), shape=(3,)), None),
}


def inputs_of(model: PortedModel, samples: int = 2) -> np.ndarray:
    rng = np.random.default_rng(7)
    shape = (samples, *model.input_shape)
    rows = model.graph.rows_of_input
    return rng.normal(size=shape).astype(np.float32) if rows is None else rng.integers(0, rows, shape)


def check(own: np.ndarray, model: PortedModel, x: np.ndarray) -> None:
    for logits in (keras_logits(model.keras(), x), torch_logits(model.torch(), x)):
        assert np.abs(logits - own).max() <= RIGHT * max(1.0, np.abs(own).max())


def refused(make: Callable[[], Any], said: str) -> None:
    with pytest.raises(HarnessError, match=said) as caught:
        make()
    assert "\n" not in str(caught.value)


@pytest.mark.thinned(0.4)
@pytest.mark.parametrize("name", KERAS)
def test_a_keras_network_is_read_as_itself_or_refused(name: str) -> None:
    make, refusal = KERAS[name]
    model = make()
    if refusal is not None:
        refused(lambda: load_model(model), refusal)
        return
    loaded = load_model(model)
    x = inputs_of(loaded)
    check(np.asarray(model(x, training=False)), loaded, x)


class Net(nn.Module):
    def __init__(self, function: Callable[..., Any], **members: Any) -> None:
        super().__init__()
        self.function = function
        for name, member in members.items():
            setattr(self, name, member)

    def forward(self, x: Tensor) -> Any:
        return self.function(self, x)


def last(rnn: nn.Module, function: Callable[..., Any] | None = None) -> nn.Module:
    return Net(function or (lambda net, x: net.rnn(x)[0][:, -1]), rnn=rnn)


def renormed() -> nn.Module:
    return Net(lambda net, x: net.table(x).mean(1), table=nn.Embedding(9, 4, max_norm=1.0))


FIRST = {"batch_first": True}
TORCH: dict[str, tuple[Callable[[], nn.Module], str | None]] = {
    "an lstm": (lambda: last(nn.LSTM(3, 4, **FIRST)), None),
    "an lstm without biases": (lambda: last(nn.LSTM(3, 4, bias=False, **FIRST)), None),
    "an lstm of three layers": (lambda: last(nn.LSTM(3, 4, 3, **FIRST)), None),
    "both directions": (lambda: last(nn.LSTM(3, 4, bidirectional=True, **FIRST)), None),
    "both directions of two layers": (lambda: last(nn.GRU(3, 4, 2, bidirectional=True, **FIRST)), None),
    "a gru": (lambda: last(nn.GRU(3, 4, **FIRST)), None),
    "a gru without biases": (lambda: last(nn.GRU(3, 4, bias=False, **FIRST)), None),
    "a simple network of relu": (lambda: last(nn.RNN(3, 4, nonlinearity="relu", **FIRST)), None),
    "a simple network": (lambda: last(nn.RNN(3, 4, **FIRST)), None),
    "a dropout between layers": (lambda: last(nn.LSTM(3, 4, 2, dropout=0.5, **FIRST)), None),
    "the last state of an lstm": (
        lambda: last(nn.LSTM(3, 4, **FIRST), lambda net, x: net.rnn(x)[1][0][-1]),
        None,
    ),
    "the last states of both directions": (
        lambda: last(
            nn.GRU(3, 4, bidirectional=True, **FIRST),
            lambda net, x: torch.cat([net.rnn(x)[1][-2], net.rnn(x)[1][-1]], 1),
        ),
        None,
    ),
    "the first state read for the last": (
        lambda: last(nn.GRU(3, 4, **FIRST), lambda net, x: net.rnn(x)[0][:, 0]),
        None,
    ),
    "the cell of an lstm": (
        lambda: last(nn.LSTM(3, 4, **FIRST), lambda net, x: net.rnn(x)[1][1][-1]),
        ".",
    ),
    "a first state": (
        lambda: last(nn.GRU(3, 4, **FIRST), lambda net, x: net.rnn(x, torch.ones(1, 2, 4))[0][:, -1]),
        "a first state, expected none",
    ),
    "time first": (lambda: last(nn.LSTM(3, 4)), "batch_first=False"),
    "a projection": (lambda: last(nn.LSTM(3, 4, proj_size=2, **FIRST)), "proj_size=2"),
    "a cell by itself": (lambda: last(nn.LSTMCell(3, 4), lambda net, x: net.rnn(x[:, 0])[0]), "LSTMCell"),
    "the whole output of a recurrent module": (
        lambda: last(nn.LSTM(3, 4, **FIRST), lambda net, x: net.rnn(x)),
        "returns 2 outputs",
    ),
    "convolutions before an lstm": (
        lambda: Net(
            lambda net, x: net.rnn(net.conv(x.transpose(1, 2)).transpose(1, 2))[0].mean(1),
            conv=nn.Conv1d(3, 4, 2),
            rnn=nn.LSTM(4, 5, batch_first=True),
        ),
        None,
    ),
}


def loaded_module(
    make: Callable[[], nn.Module], example: Tensor, **options: Any
) -> tuple[nn.Module, PortedModel]:
    torch.manual_seed(2)
    module = make().eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return module, load_model(module, example=example, **options)


@pytest.mark.parametrize("name", TORCH)
def test_a_torch_network_is_read_as_itself_or_refused(name: str) -> None:
    make, refusal = TORCH[name]
    example, axes = torch.randn(2, STEPS, FEATURES), ("batch", "time", "feature")
    if refusal is not None:
        refused(lambda: loaded_module(make, example, axes=axes), refusal)
        return
    module, loaded = loaded_module(make, example, axes=axes)
    x = np.random.default_rng(7).normal(size=(2, STEPS, FEATURES)).astype(np.float32)
    with torch.no_grad():
        check(module(torch.from_numpy(x)).numpy(), loaded, x)


TOKENS = torch.tensor([[1, 8, 0, 3, 3], [2, 2, 7, 5, 0]])


@pytest.mark.parametrize("padded", [None, 0])
def test_tokens_of_torch_are_rows_and_padding_is_a_row_like_the_others(padded: int | None) -> None:
    def make() -> nn.Module:
        table = nn.Embedding(9, 4, padding_idx=padded)
        with torch.no_grad():
            table.weight.normal_()
        return Net(
            lambda net, x: net.rnn(net.table(x))[0][:, -1], table=table, rnn=nn.GRU(4, 3, batch_first=True)
        )

    module, loaded = loaded_module(make, TOKENS)
    with torch.no_grad():
        check(module(TOKENS).numpy(), loaded, TOKENS.numpy())


def test_rows_that_are_changed_when_they_are_read_are_refused() -> None:
    refused(lambda: loaded_module(renormed, TOKENS), "max_norm=1.0")


def test_a_dropout_between_layers_in_training_mode_is_said() -> None:
    module = last(nn.LSTM(3, 4, 2, dropout=0.5, batch_first=True))
    with pytest.warns(UserWarning, match="'rnn' differs between training and evaluation"):
        load_model(module, example=torch.randn(2, 5, 3), axes=("batch", "time", "feature"))


# -- what goes in ---------------------------------------------------------------------------------------


def tokens() -> PortedModel:
    builder = Builder("tokens", (3,))
    builder.add("embedding", "table", weights={"kernel": np.arange(8.0).reshape(4, 2)})
    builder.add("global_average_pool", "mean")
    return PortedModel.from_graph(builder.graph())


@pytest.mark.parametrize("token", [4, -1, 1.5])
def test_what_is_no_row_is_no_input(token: float) -> None:
    with pytest.raises(HarnessError, match="whole and from 0 to 3, found") as caught:
        harness.explain(tokens(), np.array([[0.0, token, 1.0]]), "gradient")
    assert "index (0, 1)" in str(caught.value)


@pytest.mark.parametrize("method", ["integrated_gradients", "smoothgrad"])
def test_a_method_that_moves_the_input_is_refused_where_it_is_numbers_of_rows(method: str) -> None:
    with pytest.raises(HarnessError, match="numbers of rows, which have nothing between them"):
        harness.explain(tokens(), np.array([[0, 2, 1]]), method)


def test_relevance_of_a_token_is_the_sum_over_its_features() -> None:
    """Logits are the means of features: of tokens 0, 2, 1 feature 1 has 1, 5, 3, of which a third each is its share."""
    for backend in ("oracle", "tensorflow", "torch"):
        trace = harness.explain(tokens(), np.array([[0, 2, 1]]), "lrp.z", backend, target=1, dtype="float64")
        assert trace.attribution[0].tolist() == pytest.approx([1 / 3, 5 / 3, 1.0])


# -- files of Keras 2 -----------------------------------------------------------------------------------


def keras_2_layer(kind: str, **config: Any) -> dict[str, Any]:
    return {"class_name": kind, "config": {"name": "layer", "batch_input_shape": [None, 3, 2], **config}}


def write_keras_2(path: Path, layer: dict[str, Any], weights: dict[str, np.ndarray]) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = "2.1.6"
        file.attrs["model_config"] = json.dumps({"class_name": "Sequential", "config": [layer]})
        group = file.create_group("model_weights/layer")
        group.attrs["weight_names"] = [name.encode() for name in weights]
        for name, array in weights.items():
            group[name] = array


@pytest.mark.filterwarnings("ignore")
def test_a_gru_of_a_keras_that_knew_no_choice_resets_before(tmp_path: Path) -> None:
    """One unit, W = 0, U_n = 1, b = (60, -60, 1): z = 1 keeps the state, which is 0. With z = 0: h = tanh(1 + r h')."""
    weights = {
        "layer/kernel:0": np.zeros((2, 3)),
        "layer/recurrent_kernel:0": np.array([[0.0, 0.0, 1.0]]),
        "layer/bias:0": np.array([-60.0, 0.0, 1.0]),
    }
    write_keras_2(tmp_path / "old.h5", keras_2_layer("GRU", units=1), weights)
    model = load_model(tmp_path / "old.h5")
    assert model.graph["layer"].attributes["reset_after"] is False
    h = 0.0
    for _ in range(3):
        h = np.tanh(1 + 0.5 * h)
    assert keras_logits(model.keras("float64"), np.zeros((1, 3, 2))).tolist() == [[pytest.approx(h)]]


@pytest.mark.filterwarnings("ignore")
def test_a_hard_sigmoid_of_keras_2_is_its_own(tmp_path: Path) -> None:
    """clip(0.2 x + 0.5, 0, 1) in Keras 2, clip(x / 6 + 0.5, 0, 1) in Keras 3."""
    layer = keras_2_layer("Activation", activation="hard_sigmoid")
    layer["config"]["batch_input_shape"] = [None, 2]
    dense = {"class_name": "Dense", "config": {"name": "head", "units": 1, "use_bias": False}}
    write_keras_2(tmp_path / "old.h5", layer, {})
    import h5py

    with h5py.File(tmp_path / "old.h5", "a") as file:
        file.attrs["model_config"] = json.dumps({"class_name": "Sequential", "config": [layer, dense]})
        group = file.create_group("model_weights/head")
        group.attrs["weight_names"] = [b"head/kernel:0"]
        group["head/kernel:0"] = np.ones((2, 1))
    model = load_model(tmp_path / "old.h5")
    assert keras_logits(model.keras("float64"), np.array([[1.0, -9.0]])).tolist() == [[pytest.approx(0.7)]]
    found = from_model(keras.Sequential([keras.Input((2,)), L.Activation("hard_sigmoid"), L.Dense(1)]))
    assert found.graph.layers[1].attributes["alpha"] == pytest.approx(1 / 6)
