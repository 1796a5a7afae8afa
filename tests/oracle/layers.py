"""Single layers and small graphs for the oracle's tests, written out, and random ones to draw from."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from harness.graph import Graph, Layer
from harness.methods import Rule
from reference_impls.oracle import propagate

#: A common multiple of 1..10: an integer times this is divisible by the size of every small window.
DIVISIBLE = 2520.0
#: One rounding each of a quotient that is not exact, the products and the sums that follow.
FEW_ROUNDINGS = 4 * np.finfo(np.float64).eps


def layer(
    kind: str,
    input_shapes: tuple[int, ...] | list[tuple[int, ...]],
    shape: tuple[int, ...],
    attributes: dict[str, Any] | None = None,
    inputs: tuple[str, ...] | None = None,
    name: str = "layer",
    **weights: Any,
) -> Layer:
    """A layer of one input shape (a tuple) or several (a list of tuples)."""
    shapes = tuple(input_shapes) if isinstance(input_shapes, list) else (input_shapes,)
    return Layer(
        name=name,
        kind=kind,
        inputs=inputs or tuple(f"input_{index}" for index in range(len(shapes))),
        input_shapes=shapes,
        shape=shape,
        axes=("batch", *(f"axis_{index}" for index in range(len(shape)))),
        attributes=attributes or {},
        weights={key: np.asarray(value, dtype=np.float64) for key, value in weights.items()},
    )


def dense(kernel: Any, bias: Any = None, **options: Any) -> Layer:
    """A dense layer; ``kernel`` is (in, out)."""
    ins, outs = np.shape(kernel)
    weights = {"kernel": kernel} if bias is None else {"kernel": kernel, "bias": bias}
    return layer("dense", (ins,), (outs,), **options, **weights)


def relevances(one: Layer, rule: Rule, relevance: Any, *inputs: Any) -> list[Any]:
    """The relevance of each input, flattened, for one sample without a batch axis."""
    batch = tuple(
        np.asarray(x, dtype=np.float64).reshape(1, *shape)
        for x, shape in zip(inputs, one.input_shapes, strict=True)
    )
    parts = propagate(one, batch, np.asarray(relevance, dtype=np.float64).reshape(1, *one.shape), rule)
    return [part.ravel().tolist() for part in parts]


def graph(*layers: Layer, input_shape: tuple[int, ...], output: str | None = None) -> Graph:
    """The layers behind an input layer called ``x``; the last one is the output unless named."""
    first = layer("input", [], input_shape, name="x", inputs=())
    return Graph("small", (first, *layers), output or layers[-1].name)


def integers(seed: int, *shape: int, scale: float = 1.0) -> np.ndarray:
    """Whole numbers from -3 to 3 times ``scale``: sums and products of a few of them are exact in float64."""
    return scale * np.random.default_rng(seed).integers(-3, 4, shape).astype(np.float64)


def apart(seed: int, *shape: int) -> np.ndarray:
    """Numbers at least 0.1 from each other, from 0 and from 6, in random order: away from every kink."""
    count = int(np.prod(shape))
    order = np.random.default_rng(seed).permutation(count)
    return ((order - count // 2) * 0.25 + 0.1).reshape(shape)


seeds = st.integers(0, 2**32 - 1)


@st.composite
def geometries(draw: st.DrawFn, dilated: bool = True) -> dict[str, Any]:
    """Size, strides, dilations, padding and an input space of one or two axes that holds a window or more."""
    axes = draw(st.integers(1, 2))

    def per_axis(low: int, high: int) -> tuple[int, ...]:
        return tuple(draw(st.integers(low, high)) for _ in range(axes))

    size, strides = per_axis(1, 3), per_axis(1, 3)
    dilations = per_axis(1, 2) if dilated else (1,) * axes
    # Less padding than window: no window lies in the padding alone.
    padding = tuple((draw(st.integers(0, length - 1)), draw(st.integers(0, length - 1))) for length in size)
    least = (d * (k - 1) + 1 - sum(p) for k, d, p in zip(size, dilations, padding, strict=True))
    space = tuple(max(1, length) + draw(st.integers(0, 4)) for length in least)
    counts = tuple(
        (n + sum(p) - d * (k - 1) - 1) // s + 1
        for n, k, s, d, p in zip(space, size, strides, dilations, padding, strict=True)
    )
    return {
        "size": size,
        "strides": strides,
        "dilations": dilations,
        "padding": padding,
        "space": space,
        "counts": counts,
    }


def _attributes(geometry: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {key: geometry[key] for key in ("strides", "dilations", "padding")} | more


@st.composite
def convolutions(draw: st.DrawFn) -> Layer:
    """Convolutions of whole-number kernels, grouped and depthwise ones among them."""
    g, seed = draw(geometries()), draw(seeds)
    groups, ins, outs = (draw(st.integers(1, high)) for high in (3, 2, 2))
    return layer(
        f"conv{len(g['space'])}d",
        (*g["space"], groups * ins),
        (*g["counts"], groups * outs),
        _attributes(g, groups=groups),
        kernel=integers(seed, *g["size"], ins, groups * outs),
    )


@st.composite
def transposed_convolutions(draw: st.DrawFn) -> Layer:
    """Transposed convolutions; their windows lie in the output, so space and counts change places."""
    g, seed = draw(geometries()), draw(seeds)
    groups, ins, outs = (draw(st.integers(1, high)) for high in (3, 2, 2))
    least = tuple(
        (n - 1) * s + d * (k - 1) + 1 - sum(p)
        for n, k, s, d, p in zip(
            g["counts"], g["size"], g["strides"], g["dilations"], g["padding"], strict=True
        )
    )
    output_padding = tuple(n - m for n, m in zip(g["space"], least, strict=True))
    return layer(
        f"conv_transpose{len(g['space'])}d",
        (*g["counts"], groups * ins),
        (*g["space"], groups * outs),
        _attributes(g, groups=groups, output_padding=output_padding),
        kernel=integers(seed, *g["size"], groups * ins, outs),
    )


@st.composite
def separable_convolutions(draw: st.DrawFn) -> Layer:
    """Separable convolutions with one or two depthwise kernels per channel."""
    g, seed = draw(geometries()), draw(seeds)
    ins, multiplier, outs = (draw(st.integers(1, high)) for high in (3, 2, 3))
    return layer(
        f"separable_conv{len(g['space'])}d",
        (*g["space"], ins),
        (*g["counts"], outs),
        _attributes(g),
        depthwise_kernel=integers(seed, *g["size"], ins, multiplier),
        pointwise_kernel=integers(seed + 1, ins * multiplier, outs),
    )


@st.composite
def average_poolings(draw: st.DrawFn) -> Layer:
    """Average poolings, with and without the padding counted, and global ones."""
    g, channels = draw(geometries(dilated=False)), draw(st.integers(1, 3))
    if draw(st.booleans()):
        keepdims = draw(st.booleans())
        shape = (*(1 for _ in g["space"]), channels) if keepdims else (channels,)
        return layer("global_average_pool", (*g["size"], channels), shape, {"keepdims": keepdims})
    return layer(
        f"average_pool{len(g['space'])}d",
        (*g["space"], channels),
        (*g["counts"], channels),
        {
            "pool_size": g["size"],
            "strides": g["strides"],
            "padding": g["padding"],
            "count_include_pad": draw(st.booleans()),
        },
    )


@st.composite
def sums(draw: st.DrawFn) -> Layer:
    """Additions of two or three inputs, one of which may be repeated along its spatial axes."""
    space, channels = draw(st.tuples(st.integers(1, 3), st.integers(1, 3))), draw(st.integers(1, 3))
    shapes = [(*space, channels)] * draw(st.integers(2, 3))
    if draw(st.booleans()):
        shapes[-1] = (1, 1, channels)
    return layer("add", shapes, (*space, channels))


@st.composite
def dense_layers(draw: st.DrawFn) -> Layer:
    """Dense layers on vectors or on the last axis of sequences."""
    ins, outs, length = (draw(st.integers(1, 4)) for _ in range(3))
    before = (length,) if draw(st.booleans()) else ()
    return layer("dense", (*before, ins), (*before, outs), kernel=integers(draw(seeds), ins, outs))


@st.composite
def scales(draw: st.DrawFn) -> Layer:
    """Lines per channel."""
    shape = draw(st.tuples(st.integers(1, 3), st.integers(1, 4)))
    return layer("scale", shape, shape, kernel=integers(draw(seeds), shape[-1]))


#: Layers with weights that a rule replaces by others.
weighted_layers = st.one_of(
    dense_layers(), scales(), convolutions(), transposed_convolutions(), separable_convolutions()
)
#: Every linear layer.
linear_layers = st.one_of(weighted_layers, average_poolings(), sums())
