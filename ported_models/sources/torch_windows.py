"""Attention in windows of a map, as torchvision's Swin transformers have it (torchvision 0.28)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ported_models.sources.torch_attention import scaled_dot_product_attention
from ported_models.sources.torch_cuts import index, pad, roll
from ported_models.sources.torch_joins import concatenate
from ported_models.sources.torch_layers import linear
from ported_models.sources.torch_shapes import reshape
from ported_models.sources.torch_site import Operation, Site, Value, permuted


def shifted_window_attention(
    site: Site,
    input: Value,
    qkv_weight: np.ndarray,
    proj_weight: np.ndarray,
    relative_position_bias: np.ndarray,
    window_size: Sequence[int],
    num_heads: int,
    shift_size: Sequence[int],
    attention_dropout: float = 0.0,
    dropout: float = 0.0,
    qkv_bias: np.ndarray | None = None,
    proj_bias: np.ndarray | None = None,
    logit_scale: Any = None,
    training: bool = True,
) -> Value:
    """(batch, height, width, channel): attention inside each window of the map, which was rolled before."""
    if logit_scale is not None or (training and (attention_dropout or dropout)):
        raise site.refuse("a logit_scale or active dropout", "the attention of Swin version 1 in evaluation")
    batch, height, width, channels = input.shape
    rows, columns = window_size
    x = pad(site, input, (0, 0, 0, -width % columns, 0, -height % rows), aside=True)
    _, tall, wide, _ = x.shape
    shifts = [
        0 if window >= side else int(shift)
        for window, side, shift in zip(window_size, (tall, wide), shift_size, strict=True)
    ]
    x = roll(site.part("rolled"), x, [-shift for shift in shifts], (1, 2))
    down, across, tokens = tall // rows, wide // columns, rows * columns
    x = permuted(reshape(site, x, [batch, down, rows, across, columns, channels]), (0, 1, 3, 2, 4, 5))
    x = reshape(site, x, [batch, down * across, tokens, channels])
    qkv = linear(site.part("qkv"), x, qkv_weight, qkv_bias)
    qkv = reshape(site, qkv, [batch, down * across, tokens, 3, num_heads, channels // num_heads])
    every = slice(None)
    query, key, value = (
        permuted(index(site, qkv, (every, every, every, place)), (0, 1, 3, 2, 4)) for place in range(3)
    )
    mask = np.asarray(relative_position_bias)[:, None]
    if any(shifts):
        mask = mask + _of_windows((tall, wide), (rows, columns), shifts)[None, :, None]
    x = scaled_dot_product_attention(site.part("attended"), query, key, value, attn_mask=mask)
    x = reshape(site, permuted(x, (0, 1, 3, 2, 4)), [batch, down * across, tokens, channels])
    x = linear(site.part("proj"), x, proj_weight, proj_bias)
    x = permuted(reshape(site, x, [batch, down, across, rows, columns, channels]), (0, 1, 3, 2, 4, 5))
    x = roll(site.part("unrolled"), reshape(site, x, [batch, tall, wide, channels]), shifts, (1, 2))
    return index(site, x, (every, slice(0, height), slice(0, width)))


def _of_windows(sides: Sequence[int], window: Sequence[int], shifts: Sequence[int]) -> np.ndarray:
    """(window, query, key): -100 between tokens that the rolling brought together, else 0."""
    part = np.zeros(sides)
    cuts = [
        (slice(0, -size), slice(-size, -shift), slice(-shift, None))
        for size, shift in zip(window, shifts, strict=True)
    ]
    for number, (row, column) in enumerate((row, column) for row in cuts[0] for column in cuts[1]):
        part[row, column] = number
    down, across = (side // size for side, size in zip(sides, window, strict=True))
    part = part.reshape(down, window[0], across, window[1]).transpose(0, 2, 1, 3).reshape(down * across, -1)
    return np.where(part[:, None, :] == part[:, :, None], 0.0, -100.0)


def patch_merging_pad(site: Site, x: Value) -> Value:
    """Four neighbours of (batch, height, width, channel) side by side, the last row and column zeros where odd."""
    _, height, width, _ = x.shape
    x = pad(site, x, (0, 0, 0, width % 2, 0, height % 2), aside=True)
    parts = [
        index(site, x, (slice(None), slice(row, None, 2), slice(column, None, 2)))
        for row, column in ((0, 0), (1, 0), (0, 1), (1, 1))
    ]
    return concatenate(site, parts, -1)


#: Operations of torchvision that a trace does not look into, by name.
OF_TORCHVISION: dict[str, Operation] = {
    "shifted_window_attention": shifted_window_attention,
    "_patch_merging_pad": patch_merging_pad,
}
