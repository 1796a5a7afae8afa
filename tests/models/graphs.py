"""Random small graphs: any kind of layer with any legal attributes, and small branching networks.

``single_layer_graph`` and ``branching_graph`` draw from a NumPy generator, ``layers`` and ``networks`` are
the hypothesis strategies over the same choices.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from hypothesis import strategies as st

from harness.graph import KINDS, RECURRENT_KINDS, Graph
from ported_models.build import Builder

#: Every kind that a one-layer graph can consist of.
LAYER_KINDS = tuple(kind for kind in KINDS if kind != "input")

#: Picks one of its options.
Pick = Callable[[Sequence[Any]], Any]


def single_layer_graph(kind: str, rng: np.random.Generator) -> Graph:
    """A graph of the input and one layer of ``kind``, called ``layer``; before it what makes several inputs of one.

    add, multiply, concat, matmul: a ReLU beside the input. grid_sample: the input's first values are the maps, those
    that follow the places.
    """
    return _single(kind, lambda options: options[int(rng.integers(len(options)))], rng)


def branching_graph(rng: np.random.Generator) -> Graph:
    """A small network with a residual add, a concat, a channel-wise multiply and a dense head."""
    return _branching(lambda options: options[int(rng.integers(len(options)))], rng)


def random_input(graph: Graph, rng: np.random.Generator, batch: int = 2) -> np.ndarray:
    """(batch, *input shape) float64, standard normal."""
    return rng.standard_normal((batch, *graph.input.shape))


def in_domain(kind: str, x: np.ndarray) -> np.ndarray:
    """``x``, or of it what a layer of ``kind`` takes to numbers: a square root takes magnitudes."""
    return np.abs(x) if kind == "sqrt" else x


@st.composite
def layers(draw: st.DrawFn, kinds: Sequence[str] = LAYER_KINDS) -> Graph:
    """One-layer graphs of the given kinds."""
    kind, pick, rng = draw(st.sampled_from(kinds)), _drawn(draw), _drawn_rng(draw)
    return _single(kind, pick, rng)


@st.composite
def networks(draw: st.DrawFn) -> Graph:
    """Small branching networks."""
    return _branching(_drawn(draw), _drawn_rng(draw))


def _drawn(draw: st.DrawFn) -> Pick:
    return lambda options: draw(st.sampled_from(options))


def _drawn_rng(draw: st.DrawFn) -> np.random.Generator:
    return np.random.default_rng(draw(st.integers(0, 2**32 - 1)))


def _single(kind: str, pick: Pick, rng: np.random.Generator) -> Graph:
    if kind == "grid_sample":
        return _sampled(pick)
    if kind == "part":
        return _part(pick)
    space = _spatial_axes(kind, pick)
    channels = pick((1, 2, 3, 4))
    shape = (*(pick((5, 6, 7, 9) if space < 3 else (5, 6)) for _ in range(space)), channels)
    b = Builder(f"single_{kind}", shape)
    if kind in ("add", "multiply"):
        b.add("relu", "other")
        if kind == "multiply" and space:
            b.add("global_average_pool", "other_mean", attributes={"keepdims": True})
        b.add(kind, "layer", ["input", b.last])
    elif kind == "concat":
        b.add("relu", "other")
        axis = -pick(range(1, space + 2))
        b.add(kind, "layer", ["input", "other", "input"], {"axis": axis})
    elif kind == "matmul":
        b.add("relu", "other")
        b.add("take", "rows", attributes={"axis": -2, "indices": (3, 0, 1)})
        transposed = pick((False, True))
        if not transposed:
            b.add("permute", "columns", attributes={"dims": (*range(1, space), space + 1, space)})
        b.add(kind, "layer", ["input", b.last], {"transposed": transposed})
    else:
        if kind == "sqrt":
            b.add("sigmoid", "positive")
        attributes, weights = _attributes(kind, shape, pick), {}
        if kind in _WEIGHTS:
            weights = _WEIGHTS[kind](shape, attributes, pick, rng)
        b.add(kind, "layer", attributes=attributes, weights=weights)
    return b.graph()


def _sampled(pick: Pick) -> Graph:
    """Maps of 1 or 2 heads, and places of which some are outside."""
    maps = (pick((1, 2)), pick((1, 3, 4)), pick((2, 5)), pick((1, 3)))
    places = (maps[0], pick((1, 3)), pick((1, 2)), 2)
    parts = {"maps": maps, "places": places}
    sizes = {name: int(np.prod(shape)) for name, shape in parts.items()}
    b = Builder("single_grid_sample", (sum(sizes.values()),))
    start = 0
    for name, shape in parts.items():
        indices = tuple(range(start, start + sizes[name]))
        b.add("take", f"{name}_values", "input", {"axis": -1, "indices": indices})
        b.add("reshape", name, attributes={"target": shape})
        start += sizes[name]
    b.add("grid_sample", "layer", list(parts), {"padding": pick(("zeros", "border"))})
    return b.graph()


def _part(pick: Pick) -> Graph:
    b = Builder("single_part", (12,))
    b.add("part", "layer", attributes={"start": pick((0, 3)), "target": pick(((4,), (2, 3), (2, 2, 2)))})
    return b.graph()


def _spatial_axes(kind: str, pick: Pick) -> int:
    if kind.endswith(("1d", "2d", "3d")):
        return int(kind[-2])
    if kind in (
        "global_average_pool",
        "global_max_pool",
        "zero_pad",
        "crop",
        "upsample",
        "permute",
        "matmul",
    ):
        return pick((1, 2))
    if kind in RECURRENT_KINDS:
        return 1
    if kind == "embedding":
        return 0
    if kind == "lrn":
        return 2
    if kind == "prelu":
        return pick((0, 1, 2, 3))
    return pick((0, 1, 2))


def _padding(space: int, pick: Pick, largest: int = 2) -> Any:
    named = pick(("valid", "same", None))
    return named or tuple((pick(range(largest + 1)), pick(range(largest + 1))) for _ in range(space))


def _attributes(kind: str, shape: tuple[int, ...], pick: Pick) -> dict[str, Any]:
    """Any legal attributes of a layer of ``kind`` on this input."""
    space, channels = len(shape) - 1, shape[-1]
    each = range(space)
    if kind in ("conv1d", "conv2d", "conv3d", "separable_conv1d", "separable_conv2d"):
        attributes: dict[str, Any] = {
            "strides": tuple(pick((1, 2, 3)) for _ in each),
            "dilations": tuple(pick((1, 2)) for _ in each),
            "padding": _padding(space, pick),
        }
        if kind.startswith("conv"):
            attributes["groups"] = pick([n for n in range(1, channels + 1) if channels % n == 0])
        return attributes
    if kind in ("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"):
        strides = tuple(pick((1, 2, 3)) for _ in each)
        dilations = tuple(pick((1, 2)) for _ in each)
        attributes = {
            "strides": strides,
            "dilations": dilations,
            "padding": _padding(space, pick),
            "groups": pick([n for n in range(1, channels + 1) if channels % n == 0]),
        }
        if not isinstance(attributes["padding"], str):
            largest = (max(pair) for pair in zip(strides, dilations, strict=True))
            attributes["output_padding"] = tuple(pick(range(limit)) for limit in largest)
        return attributes
    if kind.startswith(("max_pool", "average_pool")):
        window = tuple(pick((1, 2, 3)) for _ in each)
        attributes = {"pool_size": window, "strides": tuple(pick((1, 2, 3)) for _ in each)}
        attributes["padding"] = _padding(space, pick, largest=min(window) - 1)
        if kind.startswith("average"):
            attributes["count_include_pad"] = pick((False, True))
        return attributes
    choices: dict[str, Callable[[], dict[str, Any]]] = {
        "batch_norm": lambda: {"epsilon": pick((1e-5, 1e-3))},
        "layer_norm": lambda: {"epsilon": pick((1e-5, 1e-3)), "axes_count": pick(range(1, space + 2))},
        "rms_norm": lambda: {"epsilon": pick((1e-6, 1e-3)), "axes_count": pick(range(1, space + 2))},
        "group_norm": lambda: {
            "epsilon": pick((1e-5, 1e-3)),
            "groups": pick([n for n in range(1, channels + 1) if channels % n == 0]),
        },
        "lrn": lambda: {
            "window": pick((1, 3, 5)),
            "alpha": pick((0.1, 1.0)),
            "beta": 0.75,
            "bias": pick((1.0, 2.0)),
        },
        "hard_sigmoid": lambda: {"alpha": pick((0.2, 1 / 6)), "beta": pick((0.5, 0.4))},
        "clip": lambda: {"low": pick((-1.0, 0.0)), "high": pick((0.5, 2.0))},
        "pad": lambda: {
            "padding": tuple((pick((0, 1, 2)), pick((0, 1, 2))) for _ in shape),
            "value": pick((0.0, -1.5)),
        },
        "take": lambda: _take_attributes(shape, pick),
        "resample": lambda: {"axis": -pick(range(1, space + 2))},
        "leaky_relu": lambda: {"alpha": pick((0.01, 0.2, 0.3))},
        "elu": lambda: {"alpha": pick((0.5, 1.0))},
        "gelu": lambda: {"approximate": pick(("none", "tanh"))},
        "softmax": lambda: {"axis": -pick(range(1, space + 2))},
        "global_average_pool": lambda: {"keepdims": pick((False, True))},
        "global_max_pool": lambda: {"keepdims": pick((False, True))},
        "flatten": lambda: {"order": pick(("channels_last", "channels_first"))},
        "reshape": lambda: {
            "target": pick(((-1,), (channels, -1), (1, -1, channels))),
            "order": pick(("channels_last", "channels_first")),
        },
        "permute": lambda: {
            "dims": pick(((1, 2), (2, 1)) if space == 1 else ((3, 1, 2), (2, 1, 3), (1, 3, 2)))
        },
        "zero_pad": lambda: {"padding": tuple((pick((0, 1, 2)), pick((0, 1, 2))) for _ in each)},
        "crop": lambda: {"padding": tuple((pick((0, 1, 2)), pick((0, 1, 2))) for _ in each)},
        "upsample": lambda: {
            "size": tuple(pick((1, 2, 3)) for _ in each),
            "interpolation": pick(("nearest", "bilinear")),
        },
        "dropout": lambda: {"rate": 0.5},
        **dict.fromkeys(RECURRENT_KINDS, lambda: _recurrent_attributes(kind, pick)),
    }
    return choices[kind]() if kind in choices else {}


def _recurrent_attributes(kind: str, pick: Pick) -> dict[str, Any]:
    attributes: dict[str, Any] = {"reverse": pick((False, True)), "sequences": pick((False, True))}
    if kind == "gru":
        attributes["reset_after"] = pick((False, True))
    if kind == "simple_rnn":
        attributes["activation"] = pick(("tanh", "relu"))
    return attributes


def _take_attributes(shape: tuple[int, ...], pick: Pick) -> dict[str, Any]:
    axis = -pick(range(1, len(shape) + 1))
    return {"axis": axis, "indices": tuple(pick(range(shape[axis])) for _ in range(3))}


Shape = tuple[int, ...]
Weights = dict[str, np.ndarray]


def _bias(outputs: int, pick: Pick, rng: np.random.Generator) -> Weights:
    return {"bias": rng.standard_normal(outputs)} if pick((True, False)) else {}


def _taps(shape: Shape, pick: Pick) -> Shape:
    return tuple(pick((1, 2, 3)) for _ in shape[:-1])


def _dense_weights(shape: Shape, attributes: dict[str, Any], pick: Pick, rng: np.random.Generator) -> Weights:
    outputs = pick((1, 3))
    return {"kernel": rng.standard_normal((shape[-1], outputs)), **_bias(outputs, pick, rng)}


def _conv_weights(shape: Shape, attributes: dict[str, Any], pick: Pick, rng: np.random.Generator) -> Weights:
    groups = attributes["groups"]
    outputs = groups * pick((1, 2))
    kernel = rng.standard_normal((*_taps(shape, pick), shape[-1] // groups, outputs))
    return {"kernel": kernel, **_bias(outputs, pick, rng)}


def _transposed_weights(
    shape: Shape, attributes: dict[str, Any], pick: Pick, rng: np.random.Generator
) -> Weights:
    groups, outputs = attributes["groups"], pick((1, 2))
    kernel = rng.standard_normal((*_taps(shape, pick), shape[-1], outputs))
    return {"kernel": kernel, **_bias(outputs * groups, pick, rng)}


def _separable_weights(
    shape: Shape, attributes: dict[str, Any], pick: Pick, rng: np.random.Generator
) -> Weights:
    multiplier, outputs = pick((1, 2)), pick((1, 3))
    return {
        "depthwise_kernel": rng.standard_normal((*_taps(shape, pick), shape[-1], multiplier)),
        "pointwise_kernel": rng.standard_normal((shape[-1] * multiplier, outputs)),
        **_bias(outputs, pick, rng),
    }


def _batch_norm_weights(
    shape: Shape, attributes: dict[str, Any], pick: Pick, rng: np.random.Generator
) -> Weights:
    weights = {"mean": rng.standard_normal(shape[-1]), "variance": rng.uniform(0.1, 3.0, shape[-1])}
    for key in ("gamma", "beta"):
        if pick((True, False)):
            weights[key] = rng.standard_normal(shape[-1])
    return weights


def _layer_norm_weights(
    shape: Shape, attributes: dict[str, Any], pick: Pick, rng: np.random.Generator
) -> Weights:
    sides = shape[-attributes["axes_count"] :]
    return {key: rng.standard_normal(sides) for key in ("gamma", "beta") if pick((True, False))}


def _rms_norm_weights(
    shape: Shape, attributes: dict[str, Any], pick: Pick, rng: np.random.Generator
) -> Weights:
    sides = shape[-attributes["axes_count"] :]
    return {"gamma": rng.standard_normal(sides)} if pick((True, False)) else {}


def _channel_weights(
    shape: Shape, attributes: dict[str, Any], pick: Pick, rng: np.random.Generator
) -> Weights:
    return {key: rng.standard_normal(shape[-1]) for key in ("gamma", "beta") if pick((True, False))}


def _prelu_weights(shape: Shape, attributes: dict[str, Any], pick: Pick, rng: np.random.Generator) -> Weights:
    return {"alpha": rng.standard_normal(shape[-1])}


def _affine_weights(
    shape: Shape, attributes: dict[str, Any], pick: Pick, rng: np.random.Generator
) -> Weights:
    return {key: rng.standard_normal(shape) for key in pick((("kernel",), ("bias",), ("kernel", "bias")))}


def _resample_weights(
    shape: Shape, attributes: dict[str, Any], pick: Pick, rng: np.random.Generator
) -> Weights:
    return {"matrix": rng.standard_normal((pick((1, 3, 6)), shape[attributes["axis"]]))}


def _scale_weights(shape: Shape, attributes: dict[str, Any], pick: Pick, rng: np.random.Generator) -> Weights:
    return {"kernel": rng.standard_normal(shape[-1]), **_bias(shape[-1], pick, rng)}


def _recurrent_weights(
    kind: str, shape: Shape, attributes: dict[str, Any], pick: Pick, rng: np.random.Generator
) -> Weights:
    units = pick((1, 3))
    outputs = {"lstm": 4, "gru": 3}.get(kind, 1) * units
    weights = {
        "kernel": rng.standard_normal((shape[-1], outputs)),
        "recurrent_kernel": rng.standard_normal((units, outputs)),
        **_bias(outputs, pick, rng),
    }
    if attributes.get("reset_after") and pick((True, False)):
        weights["recurrent_bias"] = rng.standard_normal(outputs)
    return weights


def _embedding_weights(
    shape: Shape, attributes: dict[str, Any], pick: Pick, rng: np.random.Generator
) -> Weights:
    return {"kernel": rng.standard_normal((4, pick((1, 3))))}


_WEIGHTS: dict[str, Callable[[Shape, dict[str, Any], Pick, np.random.Generator], Weights]] = {
    "dense": _dense_weights,
    "conv1d": _conv_weights,
    "conv2d": _conv_weights,
    "conv3d": _conv_weights,
    "conv_transpose1d": _transposed_weights,
    "conv_transpose2d": _transposed_weights,
    "conv_transpose3d": _transposed_weights,
    "separable_conv1d": _separable_weights,
    "separable_conv2d": _separable_weights,
    "batch_norm": _batch_norm_weights,
    "layer_norm": _layer_norm_weights,
    "rms_norm": _rms_norm_weights,
    "scale": _scale_weights,
    "group_norm": _channel_weights,
    "prelu": _prelu_weights,
    "affine": _affine_weights,
    "resample": _resample_weights,
    **{kind: partial(_recurrent_weights, kind) for kind in RECURRENT_KINDS},
    "embedding": _embedding_weights,
}


def _branching(pick: Pick, rng: np.random.Generator) -> Graph:
    """conv, batch norm, activation; a residual block; two branches, concatenated and gated; a dense head."""
    channels, width = pick((1, 3)), pick((2, 4))
    b = Builder("branching", (pick((6, 7, 9)), pick((6, 8)), channels))

    def conv(name: str, source: str, inputs: int, taps: int, **attributes: Any) -> str:
        kernel = rng.standard_normal((taps, taps, inputs // attributes.get("groups", 1), width))
        weights = {"kernel": kernel / np.sqrt(kernel[..., 0].size), "bias": rng.standard_normal(width) / 4}
        return b.add("conv2d", name, source, {"padding": "same", **attributes}, weights)

    conv("stem", "input", channels, 3, strides=(pick((1, 2)), pick((1, 2))))
    statistics = {"mean": rng.standard_normal(width), "variance": rng.uniform(0.5, 2.0, width)}
    b.add("batch_norm", "stem_norm", weights={**statistics, "gamma": rng.uniform(0.5, 2.0, width)})
    stem = b.add(pick(("relu", "relu6", "elu", "swish")), "stem_activation")
    conv("block", stem, width, 3, groups=pick((1, 2)), dilations=(pick((1, 2)), 1))
    b.add("add", "residual", ["block", stem])
    trunk = b.add("relu", "residual_relu")
    conv("narrow", trunk, width, 1)
    b.add(pick(("max_pool2d", "average_pool2d")), "pooled", trunk, _POOL)
    conv("wide", "pooled", width, 2)
    joined = b.add("concat", "joined", ["narrow", "wide"])
    b.add("global_average_pool", "squeezed", joined, {"keepdims": True})
    b.add("sigmoid", "gate")
    b.add("multiply", "gated", [joined, "gate"])
    b.add(*pick((("flatten", "features"), ("global_average_pool", "features"))))
    features = b["features"].shape[-1]
    kernel = rng.standard_normal((features, 5)) / np.sqrt(features)
    b.add("dense", "logits", weights={"kernel": kernel, "bias": rng.standard_normal(5)})
    return b.graph()


_POOL = {"pool_size": (3, 3), "strides": (1, 1), "padding": "same"}


READ_TWICE_ACTIVATIONS = ("relu", "relu6", "leaky_relu", "elu")


def read_twice_graph(rng: np.random.Generator) -> Graph:
    """(3,) -> random layers of width 3 -> a dense layer that reads what nobody has read -> 3 logits.

    Most activations are read by several layers, some of them twice by one (add, multiply, concat).
    """
    b = Builder("read_twice", (3,))
    tensors, unread = ["input"], {"input"}

    def kernel(inputs: int) -> dict[str, np.ndarray]:
        scale = np.sqrt(inputs)
        return {"kernel": rng.standard_normal((inputs, 3)) / scale, "bias": rng.standard_normal(3) / 4}

    def layer(kind: str, *inputs: str) -> str:
        name = f"{kind}_{len(tensors)}"
        if kind == "concat":
            b.add("concat", f"{name}_joined", list(inputs))
            b.add("dense", name, weights=kernel(3 * len(inputs)))
        elif kind == "dense":
            b.add("dense", name, inputs[0], weights=kernel(3))
        else:
            b.add(kind, name, list(inputs))
        tensors.append(name)
        unread.difference_update(inputs)
        unread.add(name)
        return name

    def activation(source: str) -> str:
        return layer(READ_TWICE_ACTIVATIONS[rng.choice(4, p=(0.8, 0.05, 0.1, 0.05))], source)

    def several(source: str) -> None:
        other = str(rng.choice(tensors))
        inputs = ((source, source), (source, other, source), (source, other))[
            rng.choice(3, p=(0.6, 0.25, 0.15))
        ]
        layer(str(rng.choice(("add", "concat", "multiply"), p=(0.25, 0.6, 0.15))), *inputs)

    activation(layer("dense", "input"))
    for _ in range(4):
        # An activation with several readers is where the rules differ: the last one is read often.
        source = next(name for name in reversed(tensors) if b[name].kind in READ_TWICE_ACTIVATIONS)
        several(source)
        source = str(rng.choice((source, tensors[-1])))
        activation(layer("dense", source) if rng.random() < 0.5 else source)
    layer("concat", *sorted(unread), tensors[-1])
    return b.graph()
