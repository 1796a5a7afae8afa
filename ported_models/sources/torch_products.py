"""Torch's products of tensors that the network computes, and maps read at places that it computes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ported_models.einsum import plan_of
from ported_models.sources.torch_joins import add, multiply
from ported_models.sources.torch_shapes import reshape, transpose
from ported_models.sources.torch_site import Site, Value, as_it_is, permuted


def matmul(site: Site, input: Any, other: Any) -> Value:
    """`matmul`, `bmm`, ``@``: of two tensors, or of one and a matrix."""
    if not isinstance(other, Value):
        matrix = np.asarray(other)
        if matrix.ndim != 2:
            raise site.refuse(f"a constant of shape {matrix.shape}", "a matrix")
        value = site.features_last(input)
        if value.axis(-1) == 0:
            raise site.refuse("a constant that mixes the samples of the batch", "features last")
        return site.add("dense", value, {}, {"kernel": matrix})
    if not isinstance(input, Value):
        # W x = (x' W')', a prime for the last two axes exchanged.
        turned = matmul(site, transpose(site, other, -2, -1), np.asarray(input).T)
        return transpose(site, turned, -2, -1)
    return product(site, input, other)


def product(site: Site, first: Value, second: Value) -> Value:
    """(..., row, in) by (..., in, out); a second one whose last axis is not its layer's is read as transposed."""
    if first.rank != second.rank or first.rank < 3:
        raise site.refuse(
            f"factors of shapes {first.shape} and {second.shape}", "three axes or more, as many in both"
        )
    where = {(value.order.index(0), value.beside) for value in (first, second)}
    if len(where) > 1 or first.batch_dim >= first.rank - 2:
        raise site.refuse(
            f"factors of shapes {first.shape} and {second.shape}, the batch in the axes {first.batch_dim} and "
            f"{second.batch_dim}",
            "the batch before the last two axes, in the same place",
        )
    transposed = second.order[-2] == len(second.order) - 1
    if transposed:
        second = transpose(site, second, -2, -1)
    first, second = site.features_last(first), site.features_last(second)
    for dim in range(first.rank - 2):
        sides = first.shape[dim], second.shape[dim]
        if sides[0] != sides[1] and sides[0] == 1:
            first = site.taken(first, dim, (0,) * sides[1], aside=True)
        elif sides[0] != sides[1] and sides[1] == 1:
            second = site.taken(second, dim, (0,) * sides[0], aside=True)
    return site.add("matmul", [first, second], {"transposed": transposed})


def baddbmm(site: Site, input: Any, batch1: Any, batch2: Any, *, beta: float = 1, alpha: float = 1) -> Value:
    """``beta * input + alpha * batch1 @ batch2``."""
    scaled = multiply(site, matmul(site, batch1, batch2), float(alpha))
    if not beta:
        return scaled
    return add(site, scaled, multiply(site, input, float(beta)) if isinstance(input, Value) else input * beta)


def einsum(site: Site, equation: str, *operands: Any) -> Value:
    """A product of two tensors, or of one and weights."""
    given = operands[0] if len(operands) == 1 and isinstance(operands[0], tuple | list) else operands
    if len(given) != 2:
        raise site.refuse(f"{len(given)} operands", "two")
    ranks = [value.rank if isinstance(value, Value) else np.ndim(value) for value in given]
    plan = plan_of(equation, (ranks[0], ranks[1]))
    first, second = given
    if not isinstance(first, Value):
        first, second, plan = second, first, plan.turned()
    left, first = _in_three(site, first, plan.first, plan.shared, plan.left, isinstance(second, Value))
    if isinstance(second, Value):
        right, second = _in_three(site, second, plan.second, plan.shared, plan.right, True)
        value = product(site, first, transpose(site, second, -2, -1))
    elif plan.shared:
        raise site.refuse("weights with an axis of the result that the tensor has as well", "none in both")
    else:
        matrix = np.asarray(second).transpose(plan.second)
        right = matrix.shape[: plan.right]
        value = matmul(site, first, matrix.reshape(math.prod(right), -1).T)
    value = reshape(site, value, [*value.shape[: plan.shared], *left, *right])
    return permuted(value, plan.result)


def _in_three(
    site: Site, value: Value, axes: Sequence[int], shared: int, own: int, together: bool
) -> tuple[tuple[int, ...], Value]:
    """``value`` as (shared, own, summed), and the sizes of the own axes; these in one axis where ``together``."""
    value = permuted(value, axes)
    sides = value.shape
    mine, summed = sides[shared : shared + own], sides[shared + own :]
    shape = (*sides[:shared], *((math.prod(mine),) if together else mine), math.prod(summed))
    return mine, reshape(site, value, shape)


def grid_sample(
    site: Site,
    input: Value,
    grid: Value,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> Value:
    """Maps (batch, channel, height, width) at places (batch, row, column, 2); heads in one axis with the batch."""
    if mode != "bilinear" or padding_mode not in ("zeros", "border") or align_corners:
        raise site.refuse(
            f"mode={mode!r}, padding_mode={padding_mode!r}, align_corners={align_corners}",
            "bilinear, zeros or border, and align_corners=False",
        )
    if not isinstance(grid, Value) or not isinstance(input, Value) or input.rank != 4:
        raise site.refuse(
            "constant maps or places", "maps (batch, channel, height, width) and places of the network"
        )
    opened = []
    for value in (permuted(input, (0, 2, 3, 1)), grid):
        if value.order[0] != 0 or value.beside[0]:
            site.check_batch(value)
        if value.beside == (0, 0):
            value = reshape(site, value, [value.shape[0], 1, *value.shape[1:]])
        value = replace(value, beside=(0, 0))
        opened.append(site.arranged(value, as_it_is(len(value.order))))
    sampled = site.add("grid_sample", opened, {"padding": padding_mode})
    if input.beside == (0, 0):
        sampled = reshape(site, sampled, [sampled.shape[0], *sampled.shape[2:]])
    else:
        sampled = replace(sampled, beside=(0, 1))
    return permuted(sampled, (0, 3, 1, 2))


def masked_fill(site: Site, input: Value, mask: Any, value: Any) -> Value:
    """``value`` where the constant ``mask`` is true."""
    if isinstance(mask, Value) or isinstance(value, Value):
        raise site.refuse("a mask that the network computes", "a constant one")
    chosen = np.asarray(mask, bool)
    return _chosen(site, input, ~chosen, np.where(chosen, float(value), 0.0))


def where(site: Site, condition: Any, input: Any, other: Any) -> Value:
    if isinstance(condition, Value):
        raise site.refuse("a condition that the network computes", "a constant one")
    chosen = np.asarray(condition, bool)
    if isinstance(input, Value) and isinstance(other, Value):
        return add(site, multiply(site, input, chosen * 1.0), multiply(site, other, ~chosen * 1.0))
    if isinstance(input, Value):
        return _chosen(site, input, chosen, np.where(chosen, 0.0, other))
    return _chosen(site, other, ~chosen, np.where(chosen, input, 0.0))


def _chosen(site: Site, value: Value, kept: np.ndarray, instead: np.ndarray) -> Value:
    """``value`` where ``kept``, which is constant, and ``instead`` elsewhere."""
    if kept.all():
        return value
    return add(site, multiply(site, value, kept * 1.0), instead)
