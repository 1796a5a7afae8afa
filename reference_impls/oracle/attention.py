"""What transformers have beside other networks: products of two tensors, sampling at computed places, RMS norm.

Forward, the derivative by hand, and the rules of `harness.methods.attention_rules`. Arrays are batch first, float64.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from harness.errors import UnsupportedMethodError
from harness.graph import Layer
from harness.methods import HeldNorm, ShareProduct, SignSplit
from reference_impls.oracle import linear
from reference_impls.oracle.linear import Arrays
from reference_impls.oracle.parts import Denominator, require

# Products ----------------------------------------------------------------------------------------------


def matmul(layer: Layer, inputs: Arrays) -> np.ndarray:
    """``a b`` over the last two axes of each; ``b`` has them swapped where the layer is ``transposed``."""
    first, second = inputs
    return first @ _upright(layer, second)


def matmul_vjp(layer: Layer, inputs: Arrays, s: np.ndarray) -> Arrays:
    """``s b^T`` and ``a^T s``."""
    first, second = inputs
    to_second = np.swapaxes(first, -1, -2) @ s
    return s @ np.swapaxes(_upright(layer, second), -1, -2), _upright(layer, to_second)


def _upright(layer: Layer, b: np.ndarray) -> np.ndarray:
    return np.swapaxes(b, -1, -2) if layer.attributes["transposed"] else b


# Sampling ----------------------------------------------------------------------------------------------


def grid_sample(layer: Layer, inputs: Arrays) -> np.ndarray:
    """Each map at each place, from the four pixels around it, by their distances along both axes.

    A place ``(x, y)`` from -1 to 1 lies at ``((x + 1) * width - 1) / 2, ((y + 1) * height - 1) / 2`` (pixel centres,
    no aligned corners). Pixels outside the map are 0, or with ``padding="border"`` the place is first moved to the
    nearest that lies between the outermost centres (PyTorch 2.13 `grid_sample`; Zhu et al. 2021, arXiv:2010.04159,
    eq. 2, for deformable attention).
    """
    maps, places = inputs
    flat = maps.reshape(*maps.shape[:2], -1, maps.shape[-1])
    total = np.zeros((*maps.shape[:2], *places.shape[2:4], maps.shape[-1]))
    for pixels, weights, _, _ in _corners(layer, maps, places):
        total += weights[..., np.newaxis] * _read(flat, pixels)
    return total


def grid_sample_vjp(layer: Layer, inputs: Arrays, s: np.ndarray) -> Arrays:
    """``s`` splatted back with the same weights, and the slope along each axis of the map between its pixels."""
    maps, places = inputs
    flat = maps.reshape(*maps.shape[:2], -1, maps.shape[-1])
    to_maps, to_places = np.zeros(flat.shape), np.zeros(places.shape)
    index = np.indices(places.shape[:2]).reshape(2, *places.shape[:2], 1, 1)
    for pixels, weights, along_x, along_y in _corners(layer, maps, places):
        np.add.at(to_maps, (index[0], index[1], pixels), weights[..., np.newaxis] * s)
        read = (_read(flat, pixels) * s).sum(axis=-1)
        to_places[..., 0] += read * along_x
        to_places[..., 1] += read * along_y
    return to_maps.reshape(maps.shape), to_places


def _read(flat: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """(batch, head, query, point, channel): the rows ``pixels`` of each flattened map."""
    index = np.indices(pixels.shape[:2]).reshape(2, *pixels.shape[:2], 1, 1)
    return np.asarray(flat[index[0], index[1], pixels])


def _corners(
    layer: Layer, maps: np.ndarray, places: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """For each of the four pixels around a place: its number, its weight, and the weight's slope along x and y.

    All (batch, head, query, point). A pixel outside the map has weight and slopes 0.
    """
    height, width = maps.shape[2:4]
    x, x_slope = _pixel(places[..., 0], width, layer.attributes["padding"])
    y, y_slope = _pixel(places[..., 1], height, layer.attributes["padding"])
    left, top = np.floor(x), np.floor(y)
    for right_of in (0, 1):
        for below in (0, 1):
            column, row = left + right_of, top + below
            inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
            by_x = x - left if right_of else left + 1 - x
            by_y = y - top if below else top + 1 - y
            pixels = np.clip(row, 0, height - 1) * width + np.clip(column, 0, width - 1)
            yield (
                pixels.astype(np.int64),
                inside * by_x * by_y,
                inside * (1 if right_of else -1) * by_y * x_slope,
                inside * (1 if below else -1) * by_x * y_slope,
            )


def _pixel(place: np.ndarray, size: int, padding: str) -> tuple[np.ndarray, np.ndarray]:
    """Where a place lies among the pixels along one axis, and its slope."""
    pixel, slope = ((place + 1) * size - 1) / 2, np.full(place.shape, size / 2)
    if padding == "zeros":
        return pixel, slope
    return np.clip(pixel, 0, size - 1), np.where((pixel > 0) & (pixel < size - 1), slope, 0.0)


# RMS norm ----------------------------------------------------------------------------------------------


def rms_norm(layer: Layer, inputs: Arrays) -> np.ndarray:
    """``gamma * x / d``, ``d`` as :func:`deviation` (Zhang and Sennrich 2019, arXiv:1910.07467, eq. 4)."""
    return linear.weights_of(layer).get("gamma", 1.0) * inputs[0] / deviation(layer, inputs[0])


def rms_norm_vjp(layer: Layer, inputs: Arrays, s: np.ndarray) -> Arrays:
    """``(g - x * mean(g * x) / d**2) / d`` with ``g = s * gamma``."""
    (x,) = inputs
    g, d = s * linear.weights_of(layer).get("gamma", 1.0), deviation(layer, x)
    return ((g - x * (g * x).mean(axis=_normalised(layer), keepdims=True) / d**2) / d,)


def deviation(layer: Layer, x: np.ndarray) -> np.ndarray:
    """``sqrt(mean of squares + epsilon)`` over the normalised axes; of a layer norm, of what the mean is taken off."""
    return np.sqrt(
        (centred(layer, x) ** 2).mean(axis=_normalised(layer), keepdims=True) + layer.attributes["epsilon"]
    )


def centred(layer: Layer, x: np.ndarray) -> np.ndarray:
    """``C x``: the mean over the normalised axes taken off, at an RMS norm ``x`` itself."""
    return x if layer.kind == "rms_norm" else x - x.mean(axis=_normalised(layer), keepdims=True)


def _normalised(layer: Layer) -> tuple[int, ...]:
    return tuple(range(-layer.attributes["axes_count"], 0))


# Rules -------------------------------------------------------------------------------------------------

#: The kinds that :class:`ShareProduct` has a reading at.
PRODUCT_KINDS = ("matmul", "multiply", "grid_sample")
NORM_KINDS = ("layer_norm", "rms_norm")


def share_product(
    layer: Layer,
    inputs: Arrays,
    relevance: np.ndarray,
    rule: ShareProduct,
    divisor: Denominator,
    output: np.ndarray,
    pull: Callable[[np.ndarray], Arrays],
) -> Arrays:
    """``x * J^T(R / S(n z))`` for the ``n`` inputs that get relevance, zeros for the others.

    ``output``: ``z``. ``pull``: ``J^T``, for every input with the others held.

    Raises UnsupportedMethodError at another kind, and where places of a sampling would get relevance.
    """
    counted = counted_inputs(layer, inputs, rule)
    quotients = relevance / divisor(len(counted) * output)
    return tuple(
        x * passed if place in counted else np.zeros(x.shape)
        for place, (x, passed) in enumerate(zip(inputs, pull(quotients), strict=True))
    )


def counted_inputs(layer: Layer, inputs: Arrays, rule: ShareProduct) -> tuple[int, ...]:
    """The inputs that get relevance. Raises what :func:`share_product` raises."""
    require(layer, rule, PRODUCT_KINDS)
    if layer.kind == "grid_sample" and rule.to != "first":
        raise UnsupportedMethodError(
            f"ShareProduct(to={rule.to!r}) has no reading at layer {layer.name!r} (grid_sample): places get no "
            "relevance; assign ShareProduct(to='first')"
        )
    return {"first": (0,), "second": (1,), "both": tuple(range(len(inputs)))}[rule.to]


def softmax_taylor(x: np.ndarray, y: np.ndarray, relevance: np.ndarray, axis: int) -> np.ndarray:
    """``x * (R - y * sum of R)``, 0 where ``x`` is -inf."""
    held = np.where(np.isneginf(x), 0.0, x)
    return held * (relevance - y * relevance.sum(axis=axis, keepdims=True))


def held_norm(
    layer: Layer, inputs: Arrays, relevance: np.ndarray, rule: HeldNorm, divisor: Denominator
) -> Arrays:
    """``x * C^T(gamma / d * R / S(y))``. Raises UnsupportedMethodError at another kind."""
    return (
        inputs[0]
        * held_norm_back(layer, inputs[0], relevance / divisor(held_output(layer, inputs[0], rule.bias))),
    )


def held_output(layer: Layer, x: np.ndarray, bias: bool) -> np.ndarray:
    """``gamma * C x / d``, with beta where ``bias``."""
    require(layer, HeldNorm(), NORM_KINDS)
    weights = linear.weights_of(layer)
    line = weights.get("gamma", 1.0) * centred(layer, x) / deviation(layer, x)
    return line + weights.get("beta", 0.0) if bias else line


def held_norm_back(layer: Layer, x: np.ndarray, s: np.ndarray) -> np.ndarray:
    """``C^T(gamma / d * s)``; ``C`` is symmetric."""
    return centred(layer, linear.weights_of(layer).get("gamma", 1.0) / deviation(layer, x) * s)


def sign_split(
    layer: Layer, inputs: Arrays, relevance: np.ndarray, rule: SignSplit, divisor: Denominator
) -> Arrays:
    """``x+ * R / S(sum of x+)`` where the sum is above 0, else ``x- * R / S(sum of x-)``."""
    require(layer, rule, ("add",))
    repeated = np.broadcast_arrays(*inputs)
    upper = [np.maximum(x, 0.0) for x in repeated]
    lower = [np.minimum(x, 0.0) for x in repeated]
    above = sum(repeated) > 0
    q_upper = np.where(above, relevance / divisor(np.asarray(sum(upper))), 0.0)
    q_lower = np.where(above, 0.0, relevance / divisor(np.asarray(sum(lower))))
    return tuple(
        linear.unbroadcast(up * q_upper + down * q_lower, shape)
        for up, down, shape in zip(upper, lower, layer.input_shapes, strict=True)
    )
