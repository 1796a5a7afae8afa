"""Normalisations: with stored statistics, over the last axes, over groups of channels."""

from __future__ import annotations

import numpy as np
import onnx

from ported_models.onnx.reading import Reading, attribute


def _batch_norm(reading: Reading, node: onnx.NodeProto) -> None:
    if attribute(node, "training_mode", 0):
        reading.unsupported(node, "it is in training mode; export the model in inference mode")
    keys = ("gamma", "beta", "mean", "variance")
    weights = {key: reading.constant(node, index, key) for index, key in enumerate(keys, start=1)}
    epsilon = attribute(node, "epsilon", 1e-5)
    reading.emit(node, "batch_norm", [reading.channels_first(node)], {"epsilon": epsilon}, weights)


def _layer_norm(reading: Reading, node: onnx.NodeProto) -> None:
    x = reading.features_last(node)
    sizes = reading.sizes(x)
    rank = len(reading.own_sizes(x))
    count = rank - attribute(node, "axis", -1) % rank
    if count > x.rank - 1 - x.order.index(0) - x.beside[1]:
        reading.mixes_batch(node, "it normalises over the batch axis")
    weights = {}
    for index, key in ((1, "gamma"), (2, "beta")):
        array = reading.constant(node, index, key)
        if array is not None:
            weights[key] = np.broadcast_to(array, sizes[-count:])
    attributes = {"epsilon": attribute(node, "epsilon", 1e-5), "axes_count": count}
    reading.emit(node, "layer_norm", [x], attributes, weights)


def _group_norm(reading: Reading, node: onnx.NodeProto) -> None:
    """Before opset 21 the file has one gamma and beta for each group, since then for each channel."""
    x = reading.channels_first(node)
    channels, groups = reading.sizes(x)[1], attribute(node, "num_groups")
    weights = {}
    for index, key in ((1, "gamma"), (2, "beta")):
        array = reading.constant(node, index, key)
        if array is not None:
            weights[key] = np.repeat(array, channels // array.size)
    reading.emit(
        node, "group_norm", [x], {"epsilon": attribute(node, "epsilon", 1e-5), "groups": groups}, weights
    )


def _instance_norm(reading: Reading, node: onnx.NodeProto) -> None:
    """Each channel is a group."""
    x = reading.channels_first(node)
    weights = {key: reading.constant(node, index, key) for index, key in ((1, "gamma"), (2, "beta"))}
    attributes = {"epsilon": attribute(node, "epsilon", 1e-5), "groups": reading.sizes(x)[1]}
    reading.emit(node, "group_norm", [x], attributes, weights)


def _lrn(reading: Reading, node: onnx.NodeProto) -> None:
    given = {
        key: attribute(node, key, default)
        for key, default in (("alpha", 1e-4), ("beta", 0.75), ("bias", 1.0))
    }
    reading.emit(node, "lrn", [reading.channels_first(node)], {"window": attribute(node, "size"), **given})


OPERATORS = {
    "BatchNormalization": _batch_norm,
    "LayerNormalization": _layer_norm,
    "GroupNormalization": _group_norm,
    "LRN": _lrn,
    "InstanceNormalization": _instance_norm,
}
CHANNELS_FIRST = {"BatchNormalization", "GroupNormalization", "LRN", "InstanceNormalization"}
