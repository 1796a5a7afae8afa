"""The table of Keras networks: what is on its list, and what its networks are made with."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from evidence.models.keras_networks import NETWORKS, calibrate, draw_constants
from evidence.models.keras_table import (
    TABLE,
    built_in_double,
    example,
    in_double,
    keras_output,
    with_biases_added,
)
from evidence.models.rows import METHODS, Row, page


def test_the_list_holds_the_families_twelve_files_and_eight_of_each_kind_of_sequence() -> None:
    groups = Counter(network.group for network in NETWORKS.values())
    assert groups == {"keras.applications": 15, "Keras 2 files": 12, "recurrent": 8, "one-dimensional": 8}
    for group in ("recurrent", "one-dimensional"):
        names = [network.name for network in NETWORKS.values() if network.group == group]
        assert Counter(name.partition("-")[0] for name in names) == {"keras": 4, "torch": 4}


def test_the_page_counts_each_group() -> None:
    rows = {
        "recurrent/torch-lstm": Row(
            "recurrent/torch-lstm",
            20,
            twins=1e-7,
            verdicts={**dict.fromkeys(METHODS, "equivalent"), METHODS[2]: "refused: layer 'rnn' has no rule"},
            autograd=1e-15,
        ),
        "recurrent/keras-lstm": Row("recurrent/keras-lstm", 20, refusal="layer 'a' is not supported"),
    }
    text = page(TABLE, rows)
    assert "## recurrent: 1 of 2 load, 1 end to end" in text
    assert "- `recurrent/keras-lstm`: layer 'a' is not supported" in text
    assert "- `recurrent/keras-gru-stacked` is not measured yet" in text
    assert f"- `recurrent/torch-lstm`, `{METHODS[2]}`: refused: layer 'rnn' has no rule" in text


@pytest.mark.tensorflow
def test_batch_norms_get_the_statistics_of_their_input_and_keep_their_momentum() -> None:
    import keras

    model = keras.Sequential([keras.Input((4, 4, 2)), keras.layers.BatchNormalization(momentum=0.9)])
    draw_constants(model)
    calibrate(model)
    norm = model.layers[0]
    # Uniform on (-1, 1): the mean is 0, the variance 1/3; of 32 * 16 numbers.
    assert np.abs(np.asarray(norm.moving_mean)).max() < 0.1
    assert np.asarray(norm.moving_variance) == pytest.approx(np.full(2, 1 / 3), abs=0.05)
    assert norm.momentum == 0.9
    assert len(set(np.asarray(norm.gamma).tolist())) == 2


@pytest.mark.torch
def test_the_two_biases_of_a_gate_are_added_as_single_precision_adds_them() -> None:
    import torch

    torch.manual_seed(0)
    module = torch.nn.LSTM(2, 3, bidirectional=True)
    x = torch.randn(4, 1, 2)
    own, first = module(x)[0], module.bias_ih_l0.detach().clone()
    second = module.bias_hh_l0.detach().clone()
    added = with_biases_added(module)
    assert torch.equal(added.bias_ih_l0, first + second) and not added.bias_hh_l0_reverse.any()
    torch.testing.assert_close(added(x)[0], own, rtol=1e-5, atol=1e-6)
    gru = torch.nn.GRU(2, 3)
    assert with_biases_added(gru).bias_hh_l0.any()  # the candidate's second bias stands inside a product


def test_a_configuration_in_double_precision_keeps_the_factors_of_single_precision() -> None:
    """The factors of layers and of operations; a bound of an activation, which twins hold in double, stays."""
    sixth = float(np.float32(1 / 6))
    config = {
        "dtype": "float32",
        "scale": [1 / 6, 2.0],
        "alpha": 1 / 6,
        "inbound_nodes": [{"args": ["x", 1 / 6], "kwargs": {}}],
    }
    assert in_double(config) == {
        "dtype": "float64",
        "scale": [sixth, 2.0],
        "alpha": 1 / 6,
        "inbound_nodes": [{"args": ["x", sixth], "kwargs": {}}],
    }


@pytest.mark.tensorflow
def test_a_normalisation_in_double_precision_has_the_factor_and_offset_that_are_read() -> None:
    """Independent of the configuration: the double model and the twin give one output to the last bits."""
    import keras

    import harness

    layers = [
        keras.Input((2, 2, 3)),
        keras.layers.Normalization(mean=[0.1, 0.2, 0.3], variance=[0.3, 0.7, 0.9]),
    ]
    single = keras.Sequential(layers)
    double = built_in_double(single)
    x = np.random.default_rng(0).uniform(0, 255, (1, 2, 2, 3))
    own = np.asarray(double(x, training=False))
    twin = np.asarray(harness.load_model(single).keras("float64")(x, training=False))
    assert own.dtype == np.float64
    assert np.abs(twin - own).max() <= 1e-14 * np.abs(own).max()


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    ("first", "top"), [("Rescaling", 255.0), ("Normalization", 255.0), ("Activation", 6.0)]
)
def test_a_network_that_scales_its_input_gets_an_image_in_its_range(first: str, top: float) -> None:
    import keras

    layers = {
        "Rescaling": keras.layers.Rescaling(1 / 255),
        "Normalization": keras.layers.Normalization(mean=0.0, variance=1.0),
        "Activation": keras.layers.Activation("relu"),
    }
    model = keras.Sequential([keras.Input((16, 16, 3)), layers[first]])
    x = example(NETWORKS["keras.applications/EfficientNetB0"], model)
    assert x.shape == (1, 16, 16, 3)
    assert top / 2 < x.max() <= top


@pytest.mark.tensorflow
def test_a_twin_is_held_against_what_the_ending_is_given() -> None:
    """Both of these are all on the first class; their logits differ by a half."""
    import keras

    def logits(weight: float) -> np.ndarray:
        model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(2, activation="softmax")])
        model.set_weights([np.array([[weight, -weight]]), np.zeros(2)])
        own = keras_output(model, np.ones((1, 1), np.float32), ends=True)
        assert np.asarray(model(np.ones((1, 1))))[0].tolist() == [1.0, 0.0]  # the ending is back
        return own

    assert logits(100.0).tolist() == [[100.0, -100.0]]
    assert logits(150.0).tolist() == [[150.0, -150.0]]
