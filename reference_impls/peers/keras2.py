"""A Keras 2 model from a graph that came as JSON (`graph_json.py`). Runs in a peer's interpreter only.

Where a stock layer computes what the graph says, the stock layer is used. Elsewhere (a padding that is
neither "same" nor "valid", groups, channels-first orders, float64) it is a subclass of the stock layer, of
the same class name and with the stock layer's weights: `keras2_layers.py`, `keras2_convolutions.py`.
Nothing is put between the layers: an extra `ZeroPadding2D` would be a layer of its own to the libraries,
so that a convolution behind it no longer sees the input, and w^2 and flat count the zeros as ones.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import keras2_kinds as kinds  # type: ignore[import-not-found]  # beside this file, on the path there
import numpy as np
from tensorflow.keras import backend, layers, models

#: How activations are written: an `Activation` layer each; inside the kernel layer before, where that is
#: their only place; or a class of its own (`ReLU`, `LeakyReLU`, `ELU`, `Softmax`) where Keras has one. "sequential" is
#: "fused" in a `Sequential` model, where the network is a chain: what most users write.
FORMS = ("activation", "fused", "layers", "sequential")

if TYPE_CHECKING:
    Spec = dict[str, Any]
    Options = dict[str, Any]


@dataclass
class Network:
    """A Keras 2 model and where the graph's layers are in it.

    ``outputs``: by canonical name, the symbolic output; a kernel layer whose activation is fused into it has
    none. ``layers``: by canonical name, the Keras layer that computes it (fused: kernel and activation the
    same). ``produces``: by Keras layer name, the canonical name of what that layer puts out.
    ``substitutes``: canonical names of the layers that are no stock Keras layer, with the stock class each
    one is derived from.
    """

    model: Any
    outputs: dict[str, Any]
    layers: dict[str, Any]
    produces: dict[str, str]
    input: str
    output: str
    substitutes: dict[str, str] = field(default_factory=dict)


def build(
    graph: Mapping[str, Any],
    weights: Mapping[str, np.ndarray],
    dtype: str = "float32",
    activations: str = "activation",
    prefix: str = "",
) -> Network:
    """A functional or sequential model of ``graph`` in ``dtype``, channels-last, weights set.

    Keras's floatx becomes ``dtype``.

    ``graph`` and ``weights`` as `graph_json.graph_payload` and `graph_weights` make them. ``activations`` is
    one of :data:`FORMS`. A Keras layer is named ``prefix`` + canonical name, with characters that TensorFlow
    does not take in a name replaced by "_". Raises ValueError for a kind or shape that cannot be built, and for a
    sequential model of a network that branches.
    """
    if activations not in FORMS:
        raise ValueError(f"activations must be one of {', '.join(FORMS)}, found {activations!r}")
    backend.set_floatx(dtype)
    specs: list[Spec] = graph["layers"]
    fused: dict[str, str] = _fused_activations(graph) if activations in ("fused", "sequential") else {}
    sequential = _sequential(graph) if activations == "sequential" else None
    names = _keras_names(specs, prefix)
    network = Network(None, {}, {}, {}, specs[0]["name"], graph["output"])
    for spec in specs:
        name: str = spec["name"]
        if spec["kind"] == "input":
            if sequential is not None:
                sequential.add(layers.InputLayer(spec["shape"], name=names[name], dtype=dtype))
                tensor = sequential.inputs[0]
            else:
                tensor = layers.Input(spec["shape"], name=names[name], dtype=dtype)
            _record(network, name, tensor, None, names[name])
            continue
        if name in fused.values():
            continue
        options: Options = {"name": names[name], "dtype": dtype}
        produced = fused.get(name, name)
        if produced != name:
            options["activation"] = kinds.activation_function(_spec(specs, produced))
        shapes = {key: weights[f"{name}/{key}"].shape for key in spec["weights"]}
        layer = kinds.layer_of(spec, shapes, options, activations)
        if sequential is not None:
            sequential.add(layer)
            tensor = layer.output
        else:
            inputs = [network.outputs[source] for source in spec["inputs"]]
            tensor = layer(inputs if len(inputs) > 1 else inputs[0])
        shape = tuple(tensor.shape[1:])
        if shape != tuple(spec["shape"]):
            raise ValueError(
                f"{graph['name']}: layer {name!r} ({spec['kind']}) has shape {shape} in Keras 2, the graph "
                f"says {tuple(spec['shape'])}; the graph's attributes of this layer are wrong"
            )
        if layer.weights:
            layer.set_weights(_arrays(spec, layer, weights))
        network.layers[name] = layer
        _record(network, produced, tensor, layer, names[name])
        if kinds.is_substitute(layer):
            network.substitutes[name] = type(layer).__name__
    network.model = sequential or models.Model(
        network.outputs[network.input], network.outputs[network.output]
    )
    return network


def _sequential(graph: Mapping[str, Any]) -> Any:
    """An empty `Sequential` model; raises ValueError where a layer reads another one than that before it."""
    specs = graph["layers"]
    for place, spec in enumerate(specs[1:]):
        if list(spec["inputs"]) != [specs[place]["name"]]:
            raise ValueError(
                f"{graph['name']}: layer {spec['name']!r} reads {', '.join(spec['inputs'])}: a network that branches "
                "is no Sequential model"
            )
    return models.Sequential()


def _record(network: Network, canonical: str, tensor: Any, layer: Any | None, keras_name: str) -> None:
    network.outputs[canonical] = tensor
    network.produces[keras_name] = canonical
    if layer is not None:
        network.layers[canonical] = layer


def _spec(specs: Sequence[Spec], name: str) -> Spec:
    return next(spec for spec in specs if spec["name"] == name)


def _keras_names(specs: Sequence[Spec], prefix: str) -> dict[str, str]:
    """By canonical name, a name that TensorFlow takes and no other layer has."""
    taken: dict[str, str] = {}
    for spec in specs:
        plain = re.sub(r"[^A-Za-z0-9_\-]", "_", prefix + spec["name"])
        plain = plain if re.match(r"[A-Za-z0-9]", plain) else f"layer_{plain}"
        unique, count = plain, 1
        while unique in taken.values():
            count += 1
            unique = f"{plain}_{count}"
        taken[spec["name"]] = unique
    return taken


def _fused_activations(graph: Mapping[str, Any]) -> dict[str, str]:
    """By kernel layer, the activation that alone reads it; not the graph's output, which has to stay."""
    specs = graph["layers"]
    readers: dict[str, list[Spec]] = {}
    for spec in specs:
        for source in spec["inputs"]:
            readers.setdefault(source, []).append(spec)
    return {
        spec["name"]: readers[spec["name"]][0]["name"]
        for spec in specs
        if spec["kind"] in kinds.KERNEL_KINDS
        and spec["name"] != graph["output"]
        and len(readers.get(spec["name"], ())) == 1
        and readers[spec["name"]][0]["kind"] in kinds.ACTIVATION_KINDS
    }


# Weights -------------------------------------------------------------------------------------------------

_ORDER = ("kernel", "depthwise_kernel", "pointwise_kernel", "gamma", "beta", "bias", "mean", "variance")


def _arrays(spec: Spec, layer: Any, weights: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """The layer's weights in Keras's order and with Keras's axes."""
    arrays = {key: weights[f"{spec['name']}/{key}"] for key in _ORDER if key in spec["weights"]}
    if spec["kind"].startswith("conv_transpose"):
        # Keras keeps the channels that come out before those that go in.
        arrays["kernel"] = np.swapaxes(arrays["kernel"], -1, -2)
    if "pointwise_kernel" in arrays:
        point = arrays["pointwise_kernel"]
        arrays["pointwise_kernel"] = point.reshape((1,) * kinds.rank_of(spec) + point.shape)
    if isinstance(layer, layers.DepthwiseConv2D):
        *space, _, outputs = arrays["kernel"].shape
        groups = spec["attributes"]["groups"]
        arrays["kernel"] = arrays["kernel"].reshape(*space, groups, outputs // groups)
    return list(arrays.values())
