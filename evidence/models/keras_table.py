"""What loads of the Keras networks and the networks of sequences that people have, and what comes of four methods.

    python -m evidence.models.keras_table [--only NAME]... [--again] [--load] [--only-page]

Each network is a process of its own with a time limit; its row is kept in ``reports/models-keras.json`` at once, and
measured again with ``--again`` only. ``--load`` measures loading alone. ``--only-page`` writes the page from the rows
that are kept. tf_keras has to be importable for the files of Keras 2, which it writes and runs: ``pip install --target
FOLDER --no-deps tf_keras``, and ``PYTHONPATH=FOLDER``. Writes ``reports/models-keras.md``.
"""

from __future__ import annotations

import importlib
import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from evidence.models import rows as tables
from evidence.models.keras_networks import NETWORKS, Network, scales_its_input
from evidence.models.rows import ROOT, Row, apart, closed, verdicts_on

#: Gives a source's own output, in its own layout, and the gradient of its largest output in double precision.
Own = Any


def measured(name: str, load_only: bool) -> Row:
    """The row of a network, measured in this process."""
    import harness

    network = NETWORKS[name]
    source = network.build()
    x = example(network, source)
    start = time.monotonic()
    row = Row(name, network.pixels)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model = _loaded(network, source, x)
        unproven = [str(each.message) for each in caught if "its own output was" in str(each.message)]
        if unproven:
            return closed(replace(row, refusal=f"loads without its own output: {unproven[0]}"), start)
    except harness.HarnessError as error:
        return closed(replace(row, refusal=str(error)), start)
    except Exception as error:  # a raw one is a fault, which the table shows
        return closed(replace(row, refusal=f"RAW {type(error).__name__}: {error}"), start)
    canonical = x if network.axes or x.ndim < 3 or not network.example else np.moveaxis(x, 1, -1)
    canonical = np.ascontiguousarray(canonical, np.float32)
    own = _torch_output(source, x) if network.example else keras_output(source, x, bool(model.removed))
    twins = [np.asarray(model.keras()(canonical, training=False)), _torch_twin(model, canonical)]
    row = replace(row, layers=len(model.layers), twins=max(apart(each, own) for each in twins))
    if load_only:
        return closed(row, start)
    verdicts = verdicts_on(model, canonical, "float32")
    autograd = _autograd(network, model, source, x, canonical)
    return closed(replace(row, verdicts=verdicts, autograd=autograd), start)


def example(network: Network, source: Any) -> np.ndarray:
    """One input in the source's own layout: an image of noise, a signal, or numbers of rows.

    An image is in the range that the network takes, which batch norms have their statistics of.
    """
    rng = np.random.default_rng(5)
    shape = network.example or _keras_model(source).input_shape[1:]
    if network.rows:
        return rng.integers(0, network.rows, (1, *shape))
    if network.group == "keras.applications" and scales_its_input(source):
        return rng.uniform(0.0, 255.0, (1, *shape)).astype(np.float32)
    return rng.standard_normal((1, *shape)).astype(np.float32)


def _keras_model(source: Any) -> Any:
    """The model itself; of a file of Keras 2, as tf_keras opens it."""
    if isinstance(source, Path):
        return importlib.import_module("tf_keras").models.load_model(source, compile=False)
    return source


def _loaded(network: Network, source: Any, x: np.ndarray) -> Any:
    import harness

    if not network.example:
        return harness.load_model(source)
    import torch

    return harness.load_model(source, example=torch.from_numpy(x), axes=network.axes)


def keras_output(source: Any, x: np.ndarray, ends: bool) -> np.ndarray:
    """What the model gives; of one that ends in an activation, what that is given.

    A softmax that is all on one class would be the same whatever the rest of the network computes.
    """
    model = _keras_model(source)
    if not ends:
        return np.asarray(model(x, training=False))
    last = model.layers[-1]
    ending, last.activation = last.activation, _package(model).activations.linear
    try:
        return np.asarray(model(x, training=False))
    finally:
        last.activation = ending


def _package(model: Any) -> Any:
    """keras, or tf_keras."""
    return importlib.import_module(type(model).__module__.split(".")[0])


def _torch_output(source: Any, x: np.ndarray) -> np.ndarray:
    import torch

    with torch.no_grad():
        return source(torch.from_numpy(x)).numpy()


def _torch_twin(model: Any, x: np.ndarray) -> np.ndarray:
    import torch

    inner = x if x.ndim < 3 else np.moveaxis(x, -1, 1)
    with torch.no_grad():
        return model.torch()(torch.from_numpy(np.ascontiguousarray(inner))).numpy()


# -- the source's own autograd ------------------------------------------------------------------------


def _autograd(network: Network, model: Any, source: Any, x: np.ndarray, canonical: np.ndarray) -> float:
    """How far ``gradient`` of the largest output, on either side, is from the source's own autograd, in float64.

    Of a network whose input is numbers of rows, at what it reads of the rows.
    """
    import harness

    own, target = (
        _torch_gradient(network, source, x) if network.example else _keras_gradient(network, source, x, model)
    )
    worst = 0.0
    for backend in ("tensorflow", "torch"):
        trace = harness.explain(
            model, canonical.astype(np.float64), "gradient", backend, target, "float64", layers=True
        )
        gradient: Any = trace.attribution
        if network.rows:
            table = next(layer.name for layer in model.layers if layer.kind == "embedding")
            gradient = trace.layers[table].relevance
        worst = max(worst, apart(gradient, own))
    return worst


def _torch_gradient(network: Network, source: Any, x: np.ndarray) -> tuple[np.ndarray, int]:
    import torch

    module = with_biases_added(source).double()
    if not network.rows:
        tensor = torch.from_numpy(x).double().requires_grad_()
        output = module(tensor)
    else:
        kept: list[Any] = []

        def keep(own: Any, given: Any, made: Any) -> None:
            made.retain_grad()
            kept.append(made)

        module.table.register_forward_hook(keep)
        output = module(torch.from_numpy(x))
        (tensor,) = kept
    output.max().backward()
    gradient = tensor.grad.numpy()
    if network.axes is None and gradient.ndim >= 3 and not network.rows:
        gradient = np.moveaxis(gradient, 1, -1)
    return gradient, int(output.argmax())


def with_biases_added(module: Any) -> Any:
    """``module`` with the two biases of each LSTM and RNN as one, added in its own precision, and the other zero.

    They are read as one; in double precision a sum that was not rounded before would be another network's.
    """
    import torch

    with torch.no_grad():
        for child in module.modules():
            if isinstance(child, torch.nn.LSTM | torch.nn.RNN) and child.bias:
                for name, bias in child.named_parameters():
                    if name.startswith("bias_ih"):
                        other = child.get_parameter(name.replace("bias_ih", "bias_hh"))
                        bias.add_(other)
                        other.zero_()
    return module


def _keras_gradient(network: Network, source: Any, x: np.ndarray, model: Any) -> tuple[np.ndarray, int]:
    """Of the model built anew in double precision, with the same weights, and without the ending that was taken off."""
    import tensorflow as tf

    single = _keras_model(source)
    double = built_in_double(single)
    double.set_weights(single.get_weights())
    if model.removed:
        double.layers[-1].activation = _package(single).activations.linear
    if network.rows:
        table = next(each for each in double.layers if type(each).__name__ == "Embedding")
        with tf.GradientTape() as tape:
            y = table(x)
            tape.watch(y)
            given, z = y, y
            for layer in double.layers[double.layers.index(table) + 1 :]:
                z = layer(z, training=False) if type(layer).__name__ != "InputLayer" else z
            top = tf.reduce_max(z)
        return np.asarray(tape.gradient(top, given)), int(np.argmax(z))
    given = tf.constant(x, tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(given)
        z = double(given, training=False)
        top = tf.reduce_max(z)
    return np.asarray(tape.gradient(top, given)), int(np.argmax(z))


def built_in_double(single: Any) -> Any:
    """The model built anew in double precision, without its weights."""
    keras = _package(single)
    policy = keras.config if hasattr(keras, "config") else keras.mixed_precision
    set_policy = getattr(policy, "set_dtype_policy", None) or policy.set_global_policy
    set_policy("float64")
    try:
        double = type(single).from_config(in_double(single.get_config()))
    finally:
        set_policy("float32")
    for layer in double.layers:
        if type(layer).__name__ == "Normalization" and layer.input_mean is not None:
            _hold_as_read(layer)
    return double


def _hold_as_read(layer: Any) -> None:
    """Give a normalisation the factor and offset of each channel that it is read as, which single precision holds.

    Its own mean and variance are single-precision numbers in a model in double precision too.
    """
    import tensorflow as tf

    shape = layer.mean.shape
    variance, mean = (np.asarray(each, np.float64) for each in (layer.input_variance, layer.input_mean))
    factor = 1 / np.sqrt(variance)
    kernel, bias = (each.astype(np.float32).astype(np.float64) for each in (factor, -mean * factor))
    layer.mean = tf.constant(np.broadcast_to(-bias / kernel, shape))
    layer.variance = tf.constant(np.broadcast_to(kernel**-2.0, shape))


def in_double(config: Any, rounded: bool = False) -> Any:
    """A configuration with every "float32" in it "float64", and its factors as single precision holds them.

    Those are the numbers of the layers that scale, and those that an operation such as ``x * (1 / 6)`` is called with.
    ``rounded``: whether ``config`` is one of them.
    """
    if isinstance(config, dict):
        return {
            key: in_double(value, rounded or key in ("scale", "offset", "inbound_nodes"))
            for key, value in config.items()
        }
    if isinstance(config, list | tuple):
        return type(config)(in_double(value, rounded) for value in config)
    if rounded and isinstance(config, float):
        return float(np.float32(config))
    return "float64" if config == "float32" else config


TABLE = tables.Table(
    module="evidence.models.keras_table",
    groups={name: network.group for name, network in NETWORKS.items()},
    pixels={name: network.pixels for name, network in NETWORKS.items()},
    measured=measured,
    kept=ROOT / "reports" / "models-keras.json",
    page=ROOT / "reports" / "models-keras.md",
    intro=(
        "# Keras networks, and networks of sequences",
        "",
        "Written by `python -m evidence.models.keras_table`. Seeded weights, batch-norm statistics of noise; single",
        "precision, batches of one. *pixels*: the side of an image, or steps. *twins*: relative difference of the",
        "twins' output from the network's own, the larger, before a softmax at the end; an image is in the range that",
        "the network takes. *autograd*: the same of `gradient` from the network's own autograd, in double precision,",
        "with its weights and the factors of its configuration as single precision holds them; of a network that reads",
        "tokens, at their embeddings. *end to end*: all four methods equivalent, or refused by name because no rule",
        "exists while `gradient` is equivalent, and *autograd*",
        f"within {tables.AUTOGRAD_BOUND:g}. A file of Keras 2 is written and run by tf_keras.",
        "",
    ),
)


if __name__ == "__main__":
    sys.exit(tables.run(TABLE, __doc__))
