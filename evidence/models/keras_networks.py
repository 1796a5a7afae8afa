"""The Keras networks of the table: which, and how they get weights without a download.

One network of each family of `keras.applications`, the smallest, at the smallest size that it takes; six networks in
both file formats of Keras 2; networks of sequences, half of them in torch. Weights are drawn from a seed, batch norms
get the statistics of noise, as training would leave them.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

#: Samples of noise that batch norms take their statistics from.
SAMPLES = 32


@dataclass(frozen=True)
class Network:
    """A network. ``pixels``: the side of its image, or its steps. ``build``: the module, model or file to load.

    ``example``: the shape of one input in the source's own layout, for what needs one; with ``rows`` it is numbers of
    rows below that. ``axes``: their names, for a torch module that takes features last.
    """

    group: str
    name: str
    pixels: int
    build: Callable[[], Any]
    example: tuple[int, ...] = ()
    rows: int = 0
    axes: tuple[str, ...] | None = None

    @property
    def key(self) -> str:
        return f"{self.group}/{self.name}"


# -- keras.applications -------------------------------------------------------------------------------


def _application(name: str, pixels: int) -> Callable[[], Any]:
    def build() -> Any:
        import keras

        keras.utils.set_random_seed(0)
        model = getattr(keras.applications, name)(weights=None, input_shape=(pixels, pixels, 3), classes=10)
        draw_constants(model)
        calibrate(model)
        return model

    return build


def draw_constants(model: Any) -> None:
    """Values for each variable that has one value everywhere: biases near zero, scales near one."""
    rng = np.random.default_rng(0)
    for variable in model.trainable_weights:
        array = np.asarray(variable)
        if array.size > 1 and (array == array.flat[0]).all():
            bias = array.flat[0] == 0
            variable.assign(rng.normal(0.0, 0.1, array.shape) if bias else rng.uniform(0.5, 1.5, array.shape))


def calibrate(model: Any) -> None:
    """The statistics of every batch norm: those of its input on noise, from the first to the last."""
    import keras

    norms = [each for each in model.layers if isinstance(each, keras.layers.BatchNormalization)]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0  # the statistics of the last batch alone
    low, high = (0.0, 255.0) if scales_its_input(model) else (-1.0, 1.0)
    x = np.random.default_rng(1).uniform(low, high, (SAMPLES, *model.input_shape[1:])).astype(np.float32)
    model(x, training=True)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def scales_its_input(model: Any) -> bool:
    """Whether ``model`` takes images of 0 to 255, which its first layers scale."""
    return any(type(each).__name__ in ("Rescaling", "Normalization") for each in model.layers)


#: The smallest of each family, at the smallest size, or a little above.
_FAMILIES = (
    ("VGG16", 32),
    ("VGG19", 32),
    ("ResNet50", 32),
    ("ResNet50V2", 32),
    ("Xception", 71),
    ("InceptionV3", 75),
    ("InceptionResNetV2", 75),
    ("MobileNet", 32),
    ("MobileNetV2", 32),
    ("MobileNetV3Small", 32),
    ("DenseNet121", 32),
    ("NASNetMobile", 32),
    ("EfficientNetB0", 32),
    ("EfficientNetV2B0", 32),
    ("ConvNeXtTiny", 32),
)
APPLICATIONS = tuple(
    Network("keras.applications", name, pixels, _application(name, pixels)) for name, pixels in _FAMILIES
)


# -- files of Keras 2 ---------------------------------------------------------------------------------


def _plain(k: Any) -> Any:
    kl = k.layers
    layers = [
        *(kl.Conv2D(8, 3, padding="same", activation="relu"), kl.BatchNormalization(), kl.MaxPooling2D()),
        *(kl.Conv2D(12, 3, activation="relu"), kl.Flatten(), kl.Dropout(0.3)),
        kl.Dense(5, activation="softmax"),
    ]
    return k.Sequential([k.Input((16, 16, 3)), *layers])


def _residual(k: Any) -> Any:
    kl = k.layers
    source = k.Input((16, 16, 3))
    x = kl.ReLU()(kl.BatchNormalization()(kl.Conv2D(8, 3, padding="same", use_bias=False)(source)))
    branch = kl.BatchNormalization()(kl.Conv2D(8, 3, padding="same")(x))
    x = kl.GlobalAveragePooling2D()(kl.ReLU()(kl.add([x, branch])))
    return k.Model(source, kl.Dense(5)(x))


def _nested(k: Any) -> Any:
    """A functional model in one, read by a node whose index is 1, after a Sequential one."""
    kl = k.layers
    base = k.Sequential([k.Input((16, 16, 3)), kl.Conv2D(6, 3, activation="relu"), kl.MaxPooling2D()])
    inner = k.Input((7, 7, 6))
    head = k.Model(inner, kl.Conv2D(4, 3, activation="relu")(inner))
    source = k.Input((16, 16, 3))
    x = kl.Flatten()(head(base(kl.Rescaling(0.25)(source))))
    return k.Model(source, kl.Dense(5, activation="softmax")(x))


def _mobile(k: Any) -> Any:
    kl = k.layers
    source = k.Input((16, 16, 3))
    x = kl.ReLU(6.0)(kl.BatchNormalization()(kl.Conv2D(8, 3, 2, padding="same", use_bias=False)(source)))
    x = kl.ReLU(6.0)(kl.BatchNormalization()(kl.DepthwiseConv2D(3, padding="same", use_bias=False)(x)))
    x = kl.SeparableConv2D(10, 3, activation="elu")(x)
    gate = kl.Conv2D(10, 1, activation="hard_sigmoid")(kl.GlobalAveragePooling2D(keepdims=True)(x))
    return k.Model(source, kl.Dense(5)(kl.GlobalMaxPooling2D()(kl.multiply([x, gate]))))


def _operators(k: Any) -> Any:
    import tensorflow as tf

    kl = k.layers
    source = k.Input((16, 16, 3))
    x = kl.Conv2D(8, 3, padding="same")(source)
    y = tf.nn.relu(x) + 1.0
    y = kl.PReLU(shared_axes=[1, 2])(kl.LeakyReLU(0.1)(kl.Concatenate()([x, y * 0.5 - 1.0])))
    y = kl.Flatten()(kl.AveragePooling2D(2)(y))
    return k.Model(source, kl.Dense(5, activation=tf.nn.softmax)(y))


def _recurrent(k: Any) -> Any:
    kl = k.layers
    both = kl.Bidirectional(kl.LSTM(5, return_sequences=True))
    return k.Sequential([k.Input((20,)), kl.Embedding(30, 6), both, kl.GRU(4), kl.Dense(3)])


def seeded(model: Any, scale: float = 0.4) -> Any:
    """``model`` with normal weights, variances above 0.5."""
    rng = np.random.default_rng(3)
    drawn = [
        np.abs(rng.normal(size=array.shape)) + 0.5
        if "variance" in variable.name
        else rng.normal(size=array.shape) * scale
        for variable, array in zip(model.weights, model.get_weights(), strict=True)
    ]
    model.set_weights(drawn)
    return model


def _keras_2_file(name: str, make: Callable[[Any], Any], suffix: str) -> Callable[[], Any]:
    def build() -> Path:
        import tempfile

        path = Path(tempfile.mkdtemp()) / f"{name}{suffix}"
        seeded(make(importlib.import_module("tf_keras"))).save(path)
        return path

    return build


_KERAS_2 = {
    "plain": (_plain, 16),
    "residual": (_residual, 16),
    "nested": (_nested, 16),
    "mobile": (_mobile, 16),
    "operators": (_operators, 16),
    "recurrent": (_recurrent, 20),
}
KERAS_2_FILES = tuple(
    Network(
        "Keras 2 files",
        f"{name}{suffix}",
        pixels,
        _keras_2_file(name, make, suffix),
        rows=30 if name == "recurrent" else 0,
    )
    for name, (make, pixels) in _KERAS_2.items()
    for suffix in (".h5", ".keras")
)


# -- sequences ----------------------------------------------------------------------------------------


def _keras_sequential(*layers: Callable[[Any], Any], shape: tuple[int, ...]) -> Callable[[], Any]:
    def build() -> Any:
        import keras

        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input(shape), *(make(keras.layers) for make in layers)])
        return seeded(model)

    return build


def _torch(function: Callable[[Any], Any]) -> Callable[[], Any]:
    def build() -> Any:
        import torch

        torch.manual_seed(0)
        return function(torch.nn).eval()

    return build


def _last(kind: str, **options: Any) -> Callable[[Any], Any]:
    """A torch network of a recurrent module and a dense layer on its state after the last step."""

    def build(nn: Any) -> Any:
        class Last(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.rnn = getattr(nn, kind)(5, 8, batch_first=True, **options)
                self.fc = nn.Linear(16 if options.get("bidirectional") else 8, 4)

            def forward(self, x: Any) -> Any:
                states, _ = self.rnn(x)
                return self.fc(states[:, -1])

        return Last()

    return build


def _tokens(nn: Any) -> Any:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(30, 6)
            self.rnn = nn.LSTM(6, 8, batch_first=True, bidirectional=True)
            self.fc = nn.Linear(16, 4)

        def forward(self, x: Any) -> Any:
            states, _ = self.rnn(self.table(x))
            return self.fc(states.mean(1))

    return Tokens()


_TIME = ("batch", "time", "feature")
_STEPS = (20, 5)
RECURRENT = tuple(
    Network("recurrent", *rest)
    for rest in (
        ("keras-lstm", 20, _keras_sequential(lambda k: k.LSTM(8), lambda k: k.Dense(4), shape=_STEPS)),
        (
            "keras-gru-stacked",
            20,
            _keras_sequential(
                lambda k: k.GRU(8, return_sequences=True),
                lambda k: k.GRU(6, reset_after=False),
                lambda k: k.Dense(4, activation="softmax"),
                shape=_STEPS,
            ),
        ),
        (
            "keras-embedding-bidirectional-lstm",
            20,
            _keras_sequential(
                lambda k: k.Embedding(30, 6),
                lambda k: k.Bidirectional(k.LSTM(8, return_sequences=True)),
                lambda k: k.GlobalMaxPooling1D(),
                lambda k: k.Dense(4),
                shape=(20,),
            ),
            (),
            30,
        ),
        (
            "keras-simple-rnn-time-distributed",
            20,
            _keras_sequential(
                lambda k: k.SimpleRNN(8, return_sequences=True),
                lambda k: k.TimeDistributed(k.Dense(6, activation="relu")),
                lambda k: k.SimpleRNN(5, go_backwards=True),
                lambda k: k.Dense(4),
                shape=_STEPS,
            ),
        ),
        ("torch-lstm", 20, _torch(_last("LSTM")), _STEPS, 0, _TIME),
        ("torch-gru-bidirectional", 20, _torch(_last("GRU", bidirectional=True)), _STEPS, 0, _TIME),
        ("torch-rnn-two-layers", 20, _torch(_last("RNN", num_layers=2)), _STEPS, 0, _TIME),
        ("torch-embedding-bidirectional-lstm", 20, _torch(_tokens), (20,), 30),
    )
)


def _conv_block(k: Any, width: int, **options: Any) -> Any:
    return k.Conv1D(width, 5, padding="same", **options)


def _fcn(nn: Any) -> Any:
    """The fully convolutional network of Wang et al. 2017, arXiv:1611.06455, narrow."""
    blocks = [
        part
        for inputs, outputs, taps in ((3, 16, 8), (16, 32, 5), (32, 16, 3))
        for part in (nn.Conv1d(inputs, outputs, taps, padding="same"), nn.BatchNorm1d(outputs), nn.ReLU())
    ]
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(16, 4))


def _causal(nn: Any) -> Any:
    """Dilated causal convolutions with residuals (Bai et al. 2018, arXiv:1803.01271)."""

    class Block(nn.Module):
        def __init__(self, dilation: int) -> None:
            super().__init__()
            self.pad = nn.ConstantPad1d((2 * dilation, 0), 0.0)
            self.conv = nn.Conv1d(8, 8, 3, dilation=dilation)

        def forward(self, x: Any) -> Any:
            return (self.conv(self.pad(x)).relu() + x).relu()

    blocks = [Block(dilation) for dilation in (1, 2, 4)]
    return nn.Sequential(nn.Conv1d(3, 8, 1), *blocks, nn.AdaptiveMaxPool1d(1), nn.Flatten(), nn.Linear(8, 4))


def _strided(nn: Any) -> Any:
    return nn.Sequential(
        *(nn.Conv1d(3, 12, 7, stride=2, padding=3), nn.GroupNorm(3, 12), nn.GELU(), nn.MaxPool1d(3, 2, 1)),
        *(nn.Conv1d(12, 12, 5, groups=12, padding=2), nn.Conv1d(12, 16, 1), nn.PReLU(16), nn.AvgPool1d(4)),
        *(nn.Flatten(), nn.Linear(16 * 4, 4)),
    )


def _convolutions_and_lstm(nn: Any) -> Any:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv1d(3, 8, 5, stride=2)
            self.rnn = nn.LSTM(8, 6, batch_first=True)
            self.fc = nn.Linear(6, 4)

        def forward(self, x: Any) -> Any:
            states, _ = self.rnn(self.conv(x).relu().transpose(1, 2))
            return self.fc(states[:, -1])

    return Both()


_SIGNAL = (64, 3)
ONE_DIMENSIONAL = tuple(
    Network("one-dimensional", *rest)
    for rest in (
        (
            "keras-conv",
            64,
            _keras_sequential(
                lambda k: _conv_block(k, 12, activation="relu"),
                lambda k: k.BatchNormalization(),
                lambda k: k.MaxPooling1D(2),
                lambda k: _conv_block(k, 16, activation="relu"),
                lambda k: k.GlobalAveragePooling1D(),
                lambda k: k.Dense(4, activation="softmax"),
                shape=_SIGNAL,
            ),
        ),
        (
            "keras-causal-dilated",
            64,
            _keras_sequential(
                lambda k: k.Conv1D(8, 3, padding="causal", activation="relu"),
                lambda k: k.Conv1D(8, 3, padding="causal", dilation_rate=4, activation="swish"),
                lambda k: k.SpatialDropout1D(0.2),
                lambda k: k.GlobalMaxPooling1D(),
                lambda k: k.Dense(4),
                shape=_SIGNAL,
            ),
        ),
        (
            "keras-separable-transposed",
            64,
            _keras_sequential(
                lambda k: k.SeparableConv1D(8, 5, strides=2, padding="same", activation="relu"),
                lambda k: k.Conv1DTranspose(6, 4, strides=2, activation="elu"),
                lambda k: k.UpSampling1D(2),
                lambda k: k.Cropping1D((3, 2)),
                lambda k: k.AveragePooling1D(4),
                lambda k: k.Flatten(),
                lambda k: k.Dense(4),
                shape=_SIGNAL,
            ),
        ),
        (
            "keras-conv-lstm",
            64,
            _keras_sequential(
                lambda k: k.Conv1D(8, 5, strides=2, activation="relu"),
                lambda k: k.Bidirectional(k.LSTM(6)),
                lambda k: k.Dense(4),
                shape=_SIGNAL,
            ),
        ),
        ("torch-fcn", 64, _torch(_fcn), (3, 64)),
        ("torch-causal-dilated", 64, _torch(_causal), (3, 64)),
        ("torch-strided-grouped", 64, _torch(_strided), (3, 64)),
        ("torch-conv-lstm", 64, _torch(_convolutions_and_lstm), (3, 64)),
    )
)

NETWORKS = {network.key: network for network in (*APPLICATIONS, *KERAS_2_FILES, *RECURRENT, *ONE_DIMENSIONAL)}
