"""Layers of the Keras graph that change no value, put into the torch graph where they stand in Keras'."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from harness.graph import Graph, Layer
from ported_models.pair.places import place_of
from ported_models.pair.same import rebuilt
from ported_models.sources.names import Names


def inserted(keras: Graph, torch: Graph, pairs: dict[str, str], wanted: Callable[[Layer], bool]) -> Graph:
    """``torch`` with what only Keras has and is ``wanted``, between the layers it stands between; in ``pairs`` too."""
    for layer_of_keras in keras:
        if layer_of_keras.name in pairs or not wanted(layer_of_keras):
            continue
        source = place_of(keras[layer_of_keras.inputs[0]], pairs, keras, torch)
        readers = {pairs[layer.name] for layer in keras.consumers(layer_of_keras.name) if layer.name in pairs}
        readers &= {layer.name for layer in torch.consumers(source)}
        name = Names(layer.name for layer in torch).free(layer_of_keras.name)
        layers = []
        for layer in torch:
            if layer.name in readers:
                inputs = tuple(name if reads == source else reads for reads in layer.inputs)
                layer = replace(layer, inputs=inputs)
            layers.append(layer)
            if layer.name == source:
                layers.append(replace(layer_of_keras, name=name, inputs=(source,)))
        if readers:
            torch = rebuilt(torch, layers, torch.output)
            pairs[layer_of_keras.name] = name
    return torch
