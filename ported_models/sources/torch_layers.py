"""Torch's kernels, norms, activations and pools in the neutral graph's terms, with torch's own parameters.

A function serves the module and its functional form alike: `nn.MaxPool2d` and `F.max_pool2d` are both
:func:`pool`. Source of the meanings: torch 2.13, `torch/nn/functional.py`. Weights arrive as NumPy arrays
with torch's axes: linear (out, in), convolution (out, in/groups, *space), transposed convolution
(in, out/groups, *space).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ported_models.sources.torch_site import Site, Value, as_it_is

Sides = int | Sequence[int]
Operation = Callable[..., Any]


def sides_of(value: Sides, count: int) -> tuple[int, ...]:
    sides = (value,) * count if isinstance(value, int) else tuple(value)
    return tuple(int(side) for side in (sides * count if len(sides) == 1 else sides))


def _kept(**weights: np.ndarray | None) -> dict[str, np.ndarray]:
    return {name: array for name, array in weights.items() if array is not None}


# -- kernels --------------------------------------------------------------------------------------


def linear(site: Site, input: Value, weight: np.ndarray, bias: np.ndarray | None = None) -> Value:
    """Acts on torch's last axis."""
    value = site.arranged(input, as_it_is(input.rank))
    return site.add("dense", value, {}, _kept(kernel=weight.T, bias=bias))


def convolution(
    site: Site,
    input: Value,
    weight: np.ndarray,
    bias: np.ndarray | None = None,
    stride: Sides = 1,
    padding: Sides | str = 0,
    dilation: Sides = 1,
    groups: int = 1,
) -> Value:
    count = weight.ndim - 2
    dilations = sides_of(dilation, count)
    if isinstance(padding, str) and padding == "same":
        totals = [(taps - 1) * step for taps, step in zip(weight.shape[2:], dilations, strict=True)]
        pairs = tuple((total // 2, total - total // 2) for total in totals)
    else:
        sides = sides_of(0 if isinstance(padding, str) else padding, count)
        pairs = tuple((side, side) for side in sides)
    attributes = {
        "strides": sides_of(stride, count),
        "dilations": dilations,
        "groups": groups,
        "padding": pairs,
    }
    kernel = np.moveaxis(weight, (0, 1), (-1, -2))
    return site.add(f"conv{count}d", site.feature_map(input), attributes, _kept(kernel=kernel, bias=bias))


def transposed_convolution(
    site: Site,
    input: Value,
    weight: np.ndarray,
    bias: np.ndarray | None = None,
    stride: Sides = 1,
    padding: Sides = 0,
    output_padding: Sides = 0,
    groups: int = 1,
    dilation: Sides = 1,
) -> Value:
    """``output_padding`` takes back cropping at the end first; only what is left of it appends values."""
    count = weight.ndim - 2
    crops, appended = sides_of(padding, count), sides_of(output_padding, count)
    attributes = {
        "strides": sides_of(stride, count),
        "dilations": sides_of(dilation, count),
        "groups": groups,
        "padding": tuple((crop, max(crop - extra, 0)) for crop, extra in zip(crops, appended, strict=True)),
        "output_padding": tuple(max(extra - crop, 0) for crop, extra in zip(crops, appended, strict=True)),
    }
    kernel = np.moveaxis(weight, (0, 1), (-2, -1))
    return site.add(
        f"conv_transpose{count}d", site.feature_map(input), attributes, _kept(kernel=kernel, bias=bias)
    )


# -- normalisation --------------------------------------------------------------------------------


def batch_norm(
    site: Site,
    input: Value,
    running_mean: np.ndarray | None,
    running_var: np.ndarray | None,
    weight: np.ndarray | None = None,
    bias: np.ndarray | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Value:
    if running_mean is None or running_var is None:
        raise site.refuse("no running statistics", "track_running_stats=True")
    if training:
        raise site.refuse("training=True in evaluation mode too", "training=self.training")
    weights = _kept(gamma=weight, beta=bias, mean=running_mean, variance=running_var)
    return site.add("batch_norm", site.feature_map(input), {"epsilon": float(eps)}, weights)


def layer_norm(
    site: Site,
    input: Value,
    normalized_shape: Sequence[int],
    weight: np.ndarray | None = None,
    bias: np.ndarray | None = None,
    eps: float = 1e-5,
) -> Value:
    """Over the last axes of torch; where these are all but the batch, their order does not matter."""
    count = len(normalized_shape)
    weights = _kept(gamma=weight, beta=bias)
    if count == input.rank - 1:
        # Axis j of the layer is torch's axis order.index(j).
        axes = [input.order.index(axis) - 1 for axis in range(1, input.rank)]
        weights = {name: array.transpose(axes) for name, array in weights.items()}
    else:
        input = site.arranged(input, as_it_is(input.rank))
    return site.add("layer_norm", input, {"epsilon": float(eps), "axes_count": count}, weights)


# -- activations ----------------------------------------------------------------------------------


def activation(kind: str) -> Operation:
    """An elementwise function without parameters."""

    def apply(site: Site, input: Value, inplace: bool = False) -> Value:
        return site.add(kind, input)

    return apply


def leaky_relu(site: Site, input: Value, negative_slope: float = 0.01, inplace: bool = False) -> Value:
    return site.add("leaky_relu", input, {"alpha": float(negative_slope)})


def elu(site: Site, input: Value, alpha: float = 1.0, inplace: bool = False) -> Value:
    return site.add("elu", input, {"alpha": float(alpha)})


def gelu(site: Site, input: Value, approximate: str = "none") -> Value:
    return site.add("gelu", input, {"approximate": approximate})


def clamp(site: Site, input: Value, min: float | None = None, max: float | None = None) -> Value:
    if min is not None and float(min) == 0.0 and (max is None or float(max) == 6.0):
        return site.add("relu" if max is None else "relu6", input)
    raise site.refuse(f"the limits ({min}, {max})", "(0, 6) or (0, none)")


def hardtanh(
    site: Site, input: Value, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False
) -> Value:
    return clamp(site, input, min_val, max_val)


def softmax(
    site: Site, input: Value, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None
) -> Value:
    """Without ``dim`` torch takes axis 1 of an array of two or four axes, and axis 0, the batch, of three."""
    if dim is None:
        dim = 0 if input.rank == 3 else 1
    axis = input.axis(dim)
    if axis == 0:
        raise site.refuse(f"dim={dim}", "an axis other than the batch")
    return site.add("softmax", input, {"axis": axis - input.rank})


# -- pooling --------------------------------------------------------------------------------------


def pool(kind: str, count: int) -> Operation:
    """``max_pool`` or ``average_pool`` over ``count`` axes."""

    def max_pool(
        site: Site,
        input: Value,
        kernel_size: Sides,
        stride: Sides | None = None,
        padding: Sides = 0,
        dilation: Sides = 1,
        ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> Value:
        if any(step != 1 for step in sides_of(dilation, count)) or return_indices:
            raise site.refuse(f"dilation={dilation}, return_indices={return_indices}", "neither")
        value, attributes = _windows(site, input, kernel_size, stride, padding)
        if ceil_mode:
            attributes["padding"] = _ceil_padding(value, attributes)
        return site.add(f"max_pool{count}d", value, attributes)

    def average_pool(
        site: Site,
        input: Value,
        kernel_size: Sides,
        stride: Sides | None = None,
        padding: Sides = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> Value:
        if divisor_override is not None:
            raise site.refuse(f"divisor_override={divisor_override}", "none")
        value, attributes = _windows(site, input, kernel_size, stride, padding)
        if ceil_mode and _ceil_padding(value, attributes) != attributes["padding"]:
            raise site.refuse(
                f"ceil_mode=True, which adds windows to an input of shape {value.shape}", "ceil_mode=False"
            )
        padded = any(side for pair in attributes["padding"] for side in pair)
        attributes["count_include_pad"] = bool(count_include_pad and padded)
        return site.add(f"average_pool{count}d", value, attributes)

    def _windows(
        site: Site, input: Value, kernel_size: Sides, stride: Sides | None, padding: Sides
    ) -> tuple[Value, dict[str, Any]]:
        size = sides_of(kernel_size, count)
        attributes = {
            "pool_size": size,
            "strides": size if stride is None or stride == [] else sides_of(stride, count),
            "padding": tuple((side, side) for side in sides_of(padding, count)),
        }
        return site.feature_map(input), attributes

    return max_pool if kind == "max_pool" else average_pool


def _ceil_padding(value: Value, attributes: dict[str, Any]) -> tuple[tuple[int, int], ...]:
    """Padding with what `ceil_mode` adds at the end: one more window where values would be left over.

    The window must begin inside the input or its padding before (torch `pooling_output_shape`).
    """
    pairs = []
    for size, window, stride, (before, after) in zip(
        value.shape[2:], attributes["pool_size"], attributes["strides"], attributes["padding"], strict=True
    ):
        outputs = -(-(size + before + after - window) // stride) + 1
        if (outputs - 1) * stride >= size + before:
            outputs -= 1
        extra = max((outputs - 1) * stride + window - size - before - after, 0)
        pairs.append((before, after + extra))
    return tuple(pairs)


def adaptive_pool(kind: str, count: int) -> Operation:
    """Windows that cover the input evenly; one window is global pooling, one a value is nothing."""

    def adaptive(site: Site, input: Value, output_size: Any, return_indices: bool = False) -> Value:
        value = site.feature_map(input)
        space = value.shape[2:]
        sizes = (output_size,) * count if isinstance(output_size, int) or output_size is None else output_size
        outputs = tuple(
            side if wanted is None else int(wanted) for side, wanted in zip(space, sizes, strict=True)
        )
        if outputs == space:
            return value
        if all(side == 1 for side in outputs):
            return site.add(f"global_{kind}", value, {"keepdims": True})
        if any(side % wanted for side, wanted in zip(space, outputs, strict=True)):
            raise site.refuse(f"output size {outputs} for an input of {space}", "a divisor of the input")
        window = tuple(side // wanted for side, wanted in zip(space, outputs, strict=True))
        return site.add(f"{kind}{count}d", value, {"pool_size": window, "strides": window})

    return adaptive


def reduction(kind: str) -> Operation:
    """``mean`` or ``amax`` over all axes but the batch and the layer's last one: global pooling."""

    def reduce(
        site: Site, input: Value, dim: Sides | None = None, keepdim: bool = False, dtype: Any = None
    ) -> Value:
        dims = (dim,) if isinstance(dim, int) else tuple(dim or ())
        reduced = {input.axis(axis) for axis in dims}
        if not reduced or reduced != set(range(1, input.rank - 1)):
            raise site.refuse(f"dim={dim}", "all axes but the batch and the channels")
        order = input.order if keepdim else (0, 1)
        return site.add(kind, input, {"keepdims": bool(keepdim)}, order=order)

    return reduce
