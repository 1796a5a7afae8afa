"""Attention of Keras, and products of two tensors, as the steps that they consist of.

Source of the meanings: Keras 3.15, `keras/src/layers/attention` and `keras/src/layers/core/einsum_dense.py`. Tensors
are (batch, token, feature); shapes leave the batch out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from harness.errors import InvalidInputError, UnsupportedLayerError
from harness.graph import KINDS
from ported_models.einsum import plan_of
from ported_models.shapes import output_shape
from ported_models.sources.keras_activations import activation
from ported_models.sources.keras_calls import Call, Tensor
from ported_models.sources.keras_parameters import Shape, refusal
from ported_models.sources.steps import Step

#: What Keras adds to a score that a mask hides (`keras/src/layers/activations/softmax.py`).
_HIDDEN = -1e9


class Chain:
    """Steps under construction; a tensor is a number, the call's own come first."""

    def __init__(self, call: Call, shapes: Sequence[Shape]) -> None:
        self.call, self.steps, self.shapes = call, list[Step](), list(shapes)

    def add(
        self,
        kind: str,
        reads: int | Sequence[int],
        attributes: Mapping[str, Any] | None = None,
        weights: Mapping[str, np.ndarray] | None = None,
    ) -> int:
        """Append a step; returns the number of what it gives."""
        reads = (reads,) if isinstance(reads, int) else tuple(reads)
        given = {**KINDS[kind].defaults, **(attributes or {})}
        try:
            shape = output_shape(kind, [self.shapes[number] for number in reads], given, weights or {})
        except InvalidInputError as error:
            raise UnsupportedLayerError(f"{self.call.where}: {error}") from None
        self.steps.append(Step(kind, attributes or {}, weights or {}, reads))
        self.shapes.append(tuple(int(side) for side in shape))
        return len(self.shapes) - 1

    def reshape(self, tensor: int, shape: Sequence[int]) -> int:
        if tuple(shape) == self.shapes[tensor]:
            return tensor
        return self.add("reshape", tensor, {"target": tuple(shape)})

    def permute(self, tensor: int, axes: Sequence[int]) -> int:
        """``axes``: for each axis that of the tensor, 1 for the first after the batch."""
        if tuple(axes) == tuple(range(1, len(axes) + 1)):
            return tensor
        return self.add("permute", tensor, {"dims": tuple(axes)})

    def dense(self, tensor: int, kernel: np.ndarray, bias: np.ndarray | None = None) -> int:
        weights = {"kernel": kernel} if bias is None else {"kernel": kernel, "bias": bias}
        return self.add("dense", tensor, {}, weights)

    def scale(self, tensor: int, factor: float) -> int:
        return self.add("scale", tensor, {}, {"kernel": np.full(self.shapes[tensor][-1], factor)})


def multi_head_attention(call: Call, shapes: Sequence[Shape]) -> list[Step]:
    """`MultiHeadAttention`: query, value and key (the value where it is not given), by their places or names."""
    config = call.config
    given = _given(call, ("query", "value", "key", "query_mask", "value_mask", "key_mask", "attention_mask"))
    tensors = {name: given.get(name) for name in ("query", "value", "key")}
    tensors["key"] = tensors["key"] or tensors["value"]
    _refuse(call, config, {"use_gate": False, "sliding_window": None})
    _refuse(
        call,
        given,
        {"return_attention_scores": False, **dict.fromkeys(("query_mask", "value_mask", "key_mask"))},
    )
    numbers = {}
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor) or len(shapes[tensor.number]) != 2:
            raise refusal(call, f"a {name}", tensor, "a tensor (batch, token, feature) of the network")
        numbers[name] = tensor.number
    axes = config.get("attention_axes")
    if axes is not None and [axis % 3 for axis in axes] != [1]:
        raise refusal(call, "attention_axes", axes, "that of the tokens")
    chain = Chain(call, shapes)
    weights = _of_parts(call, ("query", "key", "value", "output"))
    split = {}
    for name in ("query", "key", "value"):
        kernel, bias = weights[name]
        inner, heads, size = kernel.shape
        flat = None if bias is None else bias.reshape(-1)
        projected = chain.dense(numbers[name], kernel.reshape(inner, -1), flat)
        opened = chain.reshape(projected, (chain.shapes[projected][0], heads, size))
        split[name] = chain.permute(opened, (2, 1, 3))
    scale = 1.0 / math.sqrt(float(config["key_dim"]))
    attended = _attended(chain, split["query"], split["key"], split["value"], scale, _mask(call, given))
    heads, rows, size = chain.shapes[attended]
    joined = chain.reshape(chain.permute(attended, (2, 1, 3)), (rows, heads * size))
    kernel, bias = weights["output"]
    if kernel.ndim != 3:
        raise refusal(call, "output_shape", config.get("output_shape"), "one axis of features")
    chain.dense(joined, kernel.reshape(-1, kernel.shape[-1]), bias)
    return chain.steps


def _of_parts(call: Call, names: Sequence[str]) -> dict[str, tuple[np.ndarray, np.ndarray | None]]:
    """Kernel and bias of each of the layer's parts, whose variables are called alike and stand in the parts' order."""
    found = {}
    for number, name in enumerate(names, start=1):
        suffix = "" if number == 1 else f"_{number}"
        found[name] = (call.weights[f"kernel{suffix}"], call.weights.get(f"bias{suffix}"))
    return found


def _given(call: Call, names: Sequence[str]) -> dict[str, Any]:
    return {**dict(zip(names, call.arguments, strict=False)), **call.keywords}


def _refuse(call: Call, given: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Raise UnsupportedLayerError for what is given and is not what is expected."""
    for key, value in expected.items():
        found = given.get(key)
        if found is not None and found is not value and found != value:
            raise refusal(call, key, found, str(value))


def _mask(call: Call, given: Mapping[str, Any]) -> tuple[np.ndarray | None, bool]:
    """The constant mask, true where a score counts, and whether later tokens are hidden."""
    mask = given.get("attention_mask")
    if isinstance(mask, Tensor):
        raise refusal(call, "attention_mask", "a tensor of the network", "a constant one")
    return None if mask is None else np.asarray(mask, bool), bool(given.get("use_causal_mask"))


def _attended(
    chain: Chain,
    query: int,
    key: int,
    value: int,
    scale: float | None,
    mask: tuple[np.ndarray | None, bool] = (None, False),
) -> int:
    """``softmax(scale * query key' + mask) value`` over the last two axes."""
    scores = chain.add("matmul", (query, key), {"transposed": True})
    if scale is not None:
        scores = chain.scale(scores, scale)
    shape = chain.shapes[scores]
    seen = np.ones((1,) * len(shape), bool)
    given, causal = mask
    if given is not None:
        if given.ndim == 3 and given.shape[0] != 1 and (given == given[:1]).all():
            given = given[:1]
        if given.ndim == 4 and len(shape) == 3:
            given = given[0] if (given == given[:1]).all() else given
        try:
            seen = seen & np.broadcast_to(given, shape)
        except ValueError:
            raise refusal(
                chain.call, "attention_mask of shape", given.shape, f"one for all samples that fits {shape}"
            ) from None
    if causal:
        seen = seen & np.tril(np.ones(shape[-2:], bool))
    if not seen.all():
        bias = np.broadcast_to(np.where(seen, 0.0, _HIDDEN), shape)
        scores = chain.add("affine", scores, {}, {"bias": bias})
    weights = chain.add("softmax", scores, {"axis": -1})
    return chain.add("matmul", (weights, value), {"transposed": False})


def attention(call: Call, shapes: Sequence[Shape]) -> list[Step]:
    """`Attention` by products: a list of query, value and key (the value where it is not given)."""
    given = _given(call, ("inputs", "mask"))
    if call.config.get("score_mode", "dot") != "dot":
        raise refusal(call, "score_mode", call.config["score_mode"], "'dot'")
    _refuse(call, given, {"return_attention_scores": False, "mask": None})
    tensors = given["inputs"] if isinstance(given["inputs"], list) else list(call.arguments)
    if not all(isinstance(tensor, Tensor) for tensor in tensors) or len(tensors) < 2:
        raise refusal(call, "inputs", tensors, "query, value and key, tensors of the network")
    query, value, *more = (tensor.number for tensor in tensors)
    chain = Chain(call, shapes)
    scale = float(call.weights["scale"]) if call.config.get("use_scale") else None
    _attended(chain, query, more[0] if more else value, value, scale, _mask(call, given))
    return chain.steps


def dot(call: Call, shapes: Sequence[Shape]) -> list[Step]:
    """`Dot`: one axis of each of two tensors (batch, a, b) summed, or the only one of (batch, a)."""
    axes = call.config["axes"]
    first, second = (axes, axes) if isinstance(axes, int) else axes
    rank = len(shapes[0]) + 1
    if call.config.get("normalize") or {len(shape) for shape in shapes} not in ({1}, {2}) or len(shapes) != 2:
        raise refusal(
            call, "(axes, normalize)", (axes, call.config.get("normalize")), "two tensors of one or two axes"
        )
    chain = Chain(call, shapes)
    if rank == 2:
        rows = [chain.reshape(number, (1, *shapes[number])) for number in range(2)]
        chain.reshape(chain.add("matmul", rows, {"transposed": True}), (1,))
        return chain.steps
    left = chain.permute(0, (1, 2) if first % rank == 2 else (2, 1))
    chain.add("matmul", (left, 1), {"transposed": second % rank == 2})
    return chain.steps


def matmul(given: Mapping[str, Any], call: Call, shapes: Sequence[Shape]) -> list[Step]:
    """`ops.matmul` of two tensors, or of one and a matrix."""
    first, second = given["x1"], given["x2"]
    chain = Chain(call, shapes)
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        chain.add("matmul", (first.number, second.number), {"transposed": False})
    elif isinstance(first, Tensor) and np.ndim(second) == 2:
        chain.dense(first.number, np.asarray(second))
    else:
        raise refusal(
            call, "the factors", "a constant that is no matrix on the right", "tensors of the network"
        )
    return chain.steps


def einsum(call: Call, shapes: Sequence[Shape]) -> list[Step]:
    """`ops.einsum` of two tensors, or of one and weights."""
    operands = call.arguments
    if len(operands) != 2:
        raise refusal(call, "operands", len(operands), "two")
    arrays = [None if isinstance(operand, Tensor) else np.asarray(operand) for operand in operands]
    numbers = [operand.number for operand in operands if isinstance(operand, Tensor)]
    chain = Chain(call, shapes)
    _product(chain, str(call.config["subscripts"]), numbers, arrays)
    return chain.steps


def einsum_dense(call: Call, shapes: Sequence[Shape]) -> list[Step]:
    """`EinsumDense`; its bias has one number along each of its axes."""
    chain = Chain(call, shapes)
    made = _product(chain, str(call.config["equation"]), [0], [None, call.weights["kernel"]])
    bias = call.weights.get("bias")
    if bias is not None:
        shape = chain.shapes[made]
        full = np.broadcast_to(bias, shape)
        if bias.ndim == 1 and bias.shape == shape[-1:]:
            chain.add("scale", made, {}, {"kernel": np.ones_like(bias), "bias": bias})
        else:
            chain.add("affine", made, {}, {"bias": np.ascontiguousarray(full)})
    return [*chain.steps, *activation(call, [chain.shapes[-1]])]


def _product(chain: Chain, equation: str, numbers: Sequence[int], arrays: Sequence[np.ndarray | None]) -> int:
    tensors = iter(numbers)
    operands = [next(tensors) if array is None else array for array in arrays]
    ranks = [len(chain.shapes[each]) + 1 if isinstance(each, int) else each.ndim for each in operands]
    try:
        plan = plan_of(equation, (ranks[0], ranks[1]))
    except UnsupportedLayerError as error:
        raise UnsupportedLayerError(f"{chain.call.where}: {error}") from None
    first, second = operands
    if not isinstance(first, int):
        first, second, plan = second, first, plan.turned()
    weights = None if isinstance(second, int) else second
    if not isinstance(first, int) or plan.first[0] != 0:
        raise refusal(
            chain.call, "equation", equation, "the batch as the first axis of its tensors and of the result"
        )
    first = chain.permute(first, plan.first[1:])
    sides = (0, *chain.shapes[first])
    shared, left = sides[1 : plan.shared], sides[max(plan.shared, 1) : plan.shared + plan.left]
    summed = math.prod(sides[plan.shared + plan.left :])
    if weights is None:
        assert isinstance(second, int)
        if not plan.shared or plan.second[0] != 0:
            raise refusal(chain.call, "equation", equation, "the batch in both operands and the result")
        second = chain.permute(second, plan.second[1:])
        right = chain.shapes[second][plan.shared - 1 : plan.shared - 1 + plan.right]
        first = chain.reshape(first, (*shared, math.prod(left), summed))
        second = chain.reshape(second, (*shared, math.prod(right), summed))
        made = chain.add("matmul", (first, second), {"transposed": True})
    else:
        if plan.shared:
            raise refusal(
                chain.call,
                "equation",
                equation,
                "weights that share no axis of the result",
            )
        matrix = weights.transpose(plan.second)
        right = matrix.shape[: plan.right]
        first = chain.reshape(first, (*left, summed))
        made = chain.dense(first, matrix.reshape(math.prod(right), -1).T)
    if plan.result[0] != 0 or len(plan.result) == 1:
        raise refusal(
            chain.call, "equation", equation, "the batch as the first axis of the result, and others"
        )
    return chain.permute(chain.reshape(made, (*shared, *left, *right)), plan.result[1:])
