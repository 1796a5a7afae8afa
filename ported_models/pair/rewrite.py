"""The torch graph written as the Keras graph writes the same thing, where the two are exactly equal.

Each rewriting keeps what every remaining layer computes, with the torch side's own numbers: a port is not
mended by it. Without them, layers that correspond would be one on one side and two on the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from harness.graph import Graph, Layer
from ported_models.pair.align import same_values
from ported_models.pair.insert import inserted
from ported_models.pair.ones import with_the_same_ones
from ported_models.pair.same import exchange, idle, join_scales, join_sums, rebuilt, substituted, without
from ported_models.sources.names import Names
from ported_models.sources.steps import Reading


def before_alignment(keras: Graph, torch: Graph) -> Graph:
    """What Keras has as one layer as one layer, and nothing that does nothing in inference."""
    nothing = {layer.name for layer in torch if idle(torch, layer)}
    torch = without(torch, nothing) if nothing else torch
    torch = _join_global_pools(keras, _join_separable(keras, torch))
    return join_sums(keras, join_scales(keras, torch))


def after_alignment(keras: Graph, torch: Graph, pairs: dict[str, str]) -> Graph:
    """Padding, axes of one, activations and what does nothing where Keras has them; ``pairs`` gains what is added."""
    torch = with_the_same_ones(keras, _move_padding(keras, torch, pairs), pairs)
    return inserted(keras, exchange(keras, torch, pairs), pairs, lambda layer: idle(keras, layer))


def renamed(torch: Graph, pairs: Mapping[str, str], keras: Graph, origins: Mapping[str, str]) -> Reading:
    """The torch graph under the canonical names of ``keras``; layers that only it has keep their own."""
    names = Names(pairs)
    canonical = {torch_name: canonical for canonical, torch_name in pairs.items()}
    new = {layer.name: names.own(canonical[layer.name]) for layer in torch if layer.name in canonical}
    for layer in torch:
        if layer.name not in canonical:
            new[layer.name] = names.free(layer.name, f"torch_{layer.name}")
    layers = tuple(
        replace(layer, name=new[layer.name], inputs=tuple(new[source] for source in layer.inputs))
        for layer in torch
    )
    # Several inputs lie side by side alike, and are called as in Keras.
    layers = (replace(layers[0], attributes=keras.input.attributes), *layers[1:])
    return Reading(
        Graph(keras.name, layers, new[torch.output]),
        {new[layer.name]: origins[layer.name] for layer in torch if layer.name in origins},
    )


def _join_separable(keras: Graph, torch: Graph) -> Graph:
    """A depthwise and the 1x1 convolution after it as one separable convolution, where Keras has its weights."""
    wanted = [layer for layer in keras if layer.traits.convolution and not layer.traits.one_kernel]
    gone: dict[str, Layer | None] = {}
    for depthwise in torch:
        if not wanted or not depthwise.traits.plain_convolution or "bias" in depthwise.weights:
            continue
        readers = torch.consumers(depthwise.name)
        channels = depthwise.input_shapes[0][-1]
        if depthwise.attributes["groups"] != channels or len(readers) != 1 or not _is_pointwise(readers[0]):
            continue
        *space, _, outputs = depthwise.weights["kernel"].shape
        kernels = {
            "depthwise_kernel": depthwise.weights["kernel"].reshape(*space, channels, outputs // channels),
            "pointwise_kernel": readers[0].weights["kernel"].reshape(outputs, -1),
        }
        match = next(
            (
                layer
                for layer in wanted
                if all(same_values(layer.weights[key], kernels[key]) for key in kernels)
            ),
            None,
        )
        if match is None:
            continue
        wanted.remove(match)
        attributes = {key: depthwise.attributes[key] for key in ("strides", "dilations", "padding")}
        bias = {key: readers[0].weights[key] for key in readers[0].weights if key == "bias"}
        gone[depthwise.name] = None
        gone[readers[0].name] = replace(
            readers[0],
            kind=match.kind,
            inputs=depthwise.inputs,
            attributes=attributes,
            weights={**kernels, **bias},
        )
    return substituted(torch, gone, {}) if gone else torch


def _is_pointwise(layer: Layer) -> bool:
    if not layer.traits.plain_convolution:
        return False
    attributes, space = layer.attributes, layer.weights["kernel"].shape[:-2]
    return (
        all(side == 1 for side in (*space, *attributes["strides"]))
        and attributes["groups"] == 1
        and not np.any(attributes["padding"])
    )


def _join_global_pools(keras: Graph, torch: Graph) -> Graph:
    """A global pool that keeps its axes, and the flatten after it, as a global pool that drops them."""
    if not any(layer.traits.places == "pooled" and not layer.attributes["keepdims"] for layer in keras):
        return torch
    flattened: dict[str, Layer] = {}
    flattens: set[str] = set()
    for pool in torch:
        readers = torch.consumers(pool.name)
        keeps = pool.traits.places == "pooled" and pool.attributes["keepdims"]
        if keeps and len(readers) == 1 and readers[0].kind == "flatten":
            flattened[pool.name] = replace(pool, attributes={"keepdims": False})
            flattens.add(readers[0].name)
    return without(torch, flattens, flattened) if flattens else torch


def _move_padding(keras: Graph, torch: Graph, pairs: dict[str, str]) -> Graph:
    """Zeros before a convolution: its own where Keras' pads itself, a layer where Keras has a layer."""
    layers = {layer.name: layer for layer in torch}
    aligned = set(pairs.values())
    dropped: set[str] = set()
    added: dict[str, Layer] = {}
    for convolution in keras:
        if not convolution.traits.convolution or convolution.traits.transposed:
            continue
        if convolution.name not in pairs:
            continue
        counterpart = layers[pairs[convolution.name]]
        pads, reads = keras[convolution.inputs[0]], layers[counterpart.inputs[0]]
        padding = counterpart.attributes.get("padding")
        if padding is None or counterpart.kind != convolution.kind:
            continue
        if reads.kind == "zero_pad" and reads.name not in aligned and len(torch.consumers(reads.name)) == 1:
            total = tuple(
                (a + c, b + d) for (a, b), (c, d) in zip(padding, reads.attributes["padding"], strict=True)
            )
            layers[counterpart.name] = replace(
                counterpart, inputs=reads.inputs, attributes={**counterpart.attributes, "padding": total}
            )
            dropped.add(reads.name)
        elif pads.kind == "zero_pad" and pads.name not in pairs and np.any(padding):
            name = Names([*layers, *(layer.name for layer in added.values())]).free(pads.name)
            none = tuple((0, 0) for _ in padding)
            added[counterpart.name] = replace(
                counterpart, name=name, kind="zero_pad", attributes={"padding": padding}, weights={}
            )
            layers[counterpart.name] = replace(
                counterpart, inputs=(name,), attributes={**counterpart.attributes, "padding": none}
            )
            pairs[pads.name] = name
    if not dropped and not added:
        return torch
    ordered = []
    for name, layer in layers.items():
        ordered += [added[name]] if name in added else []
        ordered += [] if name in dropped else [layer]
    return rebuilt(torch, ordered, torch.output)
