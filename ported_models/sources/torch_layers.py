"""Torch's kernels and normalisations in the neutral graph's terms, with torch's own parameters.

A function serves the module and its functional form alike: `nn.MaxPool2d` and `F.max_pool2d` are both
:func:`pool`. Source of the meanings: torch 2.13, `torch/nn/functional.py`. Weights arrive as NumPy arrays
with torch's axes: linear (out, in), convolution (out, in/groups, *space), transposed convolution
(in, out/groups, *space).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ported_models.sources.torch_site import Sides, Site, Value, sides_of


def _kept(**weights: np.ndarray | None) -> dict[str, np.ndarray]:
    return {name: array for name, array in weights.items() if array is not None}


# -- kernels --------------------------------------------------------------------------------------


def linear(site: Site, input: Value, weight: np.ndarray, bias: np.ndarray | None = None) -> Value:
    """Acts on torch's last axis."""
    value = site.features_last(input)
    if value.axis(-1) == 0:
        raise site.refuse("an input whose last axis holds the batch", "features last")
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
    weights = _kept(gamma=weight, beta=bias)
    return _norm(site, "layer_norm", input, len(normalized_shape), eps, weights)


def rms_norm(
    site: Site,
    input: Value,
    normalized_shape: Sequence[int],
    weight: np.ndarray | None = None,
    eps: float | None = None,
) -> Value:
    """Without ``eps`` torch takes the distance of 1 to the next number."""
    epsilon = float(np.finfo(site.dtype).eps) if eps is None else eps
    return _norm(site, "rms_norm", input, len(normalized_shape), epsilon, _kept(gamma=weight))


def normalize(
    site: Site, input: Value, p: float = 2.0, dim: int = 1, eps: float = 1e-12, out: None = None
) -> Value:
    """``x / max(|x|, eps)`` along the last axis or the channels, as an RMS norm.

    Its epsilon under the root is the square of ``eps`` over the number of values: for a norm of ``n`` times ``eps`` the
    two differ by ``1 / (2 n ** 2)``, and at zero both are zero.
    """
    dim %= input.rank
    if p != 2 or dim not in (1, input.rank - 1):
        raise site.refuse(f"p={p}, dim={dim}", "the L2 norm along the channels or the last axis")
    size = input.shape[dim]
    value = site.features_last(input) if dim == input.rank - 1 else site.feature_map(input)
    gamma = np.full(size, size**-0.5).astype(site.dtype)
    return site.add("rms_norm", value, {"epsilon": eps**2 / size, "axes_count": 1}, {"gamma": gamma})


def _norm(
    site: Site, kind: str, input: Value, count: int, eps: float, weights: dict[str, np.ndarray]
) -> Value:
    if input.batch_dim >= input.rank - count:
        raise site.refuse(
            f"the last {count} axes of {input.shape}, the batch among them", "axes behind the batch"
        )
    if count == input.rank - 1 and input.beside == (0, 0):
        # Axis j of the layer is torch's axis order.index(j).
        axes = [input.order.index(axis) - 1 for axis in range(1, input.rank)]
        weights = {name: array.transpose(axes) for name, array in weights.items()}
    else:
        input = site.features_last(input)
    return site.add(kind, input, {"epsilon": float(eps), "axes_count": count}, weights)


def group_norm(
    site: Site,
    input: Value,
    num_groups: int,
    weight: np.ndarray | None = None,
    bias: np.ndarray | None = None,
    eps: float = 1e-5,
) -> Value:
    """Groups of consecutive channels, each normalised over its channels and all places (Wu and He 2018)."""
    attributes = {"epsilon": float(eps), "groups": int(num_groups)}
    return site.add("group_norm", site.feature_map(input), attributes, _kept(gamma=weight, beta=bias))


def instance_norm(
    site: Site,
    input: Value,
    running_mean: np.ndarray | None = None,
    running_var: np.ndarray | None = None,
    weight: np.ndarray | None = None,
    bias: np.ndarray | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Value:
    """A group norm of one channel a group; with stored statistics a batch norm."""
    if not use_input_stats:
        return batch_norm(site, input, running_mean, running_var, weight, bias, eps=eps)
    return group_norm(site, input, input.shape[1], weight, bias, eps)
