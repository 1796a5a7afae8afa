"""Torch's attention and the layers that are made of it, as the products, sums and norms that they consist of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ported_models.sources.torch_activations import softmax
from ported_models.sources.torch_joins import add, multiply
from ported_models.sources.torch_layers import layer_norm, linear
from ported_models.sources.torch_products import product
from ported_models.sources.torch_shapes import reshape, transpose
from ported_models.sources.torch_site import Site, Value, permuted


def scaled_dot_product_attention(
    site: Site,
    query: Value,
    key: Value,
    value: Value,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Value:
    """``softmax(scale * query key' + mask) value`` over the last two axes, (..., token, feature)."""
    if dropout_p or enable_gqa:
        raise site.refuse(
            f"dropout_p={dropout_p}, enable_gqa={enable_gqa}", "0 in evaluation, and as many heads in all"
        )
    query, key, value = _tensors(site, query, key, value)
    scores = product(site.part("scores"), query, transpose(site, key, -2, -1))
    scores = multiply(site.part("scaled"), scores, 1 / math.sqrt(query.shape[-1]) if scale is None else scale)
    if is_causal:
        if attn_mask is not None:
            raise site.refuse("attn_mask and is_causal", "one of them")
        attn_mask = np.tril(np.ones(scores.shape[-2:], bool))
    if attn_mask is not None:
        scores = add(site.part("masked"), scores, _added(site, attn_mask, keeps=True))
    weights = softmax(site.part("weights"), scores, -1)
    return product(site, weights, value)


def _tensors(site: Site, *values: Any) -> list[Value]:
    """Constants among ``values`` (learnt queries, say) as layers: a tensor times 0, plus the constant."""
    like = next((value for value in values if isinstance(value, Value)), None)
    if like is None:
        raise site.refuse("constants alone", "a tensor of the network among them")
    known: dict[int, Value] = {}
    made = []
    for value in values:
        if isinstance(value, Value):
            made.append(value)
            continue
        if id(value) not in known:
            known[id(value)] = _constant(site.part("constant"), np.asarray(value), like)
        made.append(known[id(value)])
    return made


def _constant(site: Site, array: np.ndarray, like: Value) -> Value:
    if (
        array.ndim != like.rank
        or like.beside != (0, 0)
        or array.shape[like.batch_dim] != like.shape[like.batch_dim]
    ):
        raise site.refuse(
            f"a constant of shape {array.shape} beside {like.shape}", "as many axes, the batch in its place"
        )
    for dim, side in enumerate(array.shape):
        if dim != like.batch_dim and side != like.shape[dim]:
            like = site.taken(like, dim, (0,) * side, aside=True)
    return add(site, multiply(site, like, np.zeros([1] * like.rank)), array)


def _added(site: Site, mask: Any, keeps: bool) -> Any:
    """A mask as what is added to scores; ``keeps``: true means that a score counts, otherwise that it does not."""
    if isinstance(mask, Value):
        return mask
    mask = np.asarray(mask)
    return np.where(mask if keeps else ~mask, 0.0, -math.inf) if mask.dtype == bool else mask


def multi_head_attention(
    site: Site,
    query: Any,
    key: Any,
    value: Any,
    key_padding_mask: Any = None,
    need_weights: bool = True,
    attn_mask: Any = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
    *,
    heads: int,
    batch_first: bool,
    weights: Sequence[np.ndarray],
    biases: Sequence[np.ndarray | None],
    out: tuple[np.ndarray, np.ndarray | None],
    extra: bool,
) -> tuple[Value, None]:
    """`nn.MultiheadAttention`; the weights of attention, which it returns as well, are None.

    ``weights``, ``biases``: of query, key and value, (out, in). ``out``: those of the last product. ``extra``: whether
    it adds a bias or zeros to keys and values as further tokens.
    """
    if extra:
        raise site.refuse("bias_k, bias_v or add_zero_attn", "keys and values as they are")
    given = _tensors(site, query, key, value)
    if any(each.rank != 3 for each in given):
        raise site.refuse(f"a query of shape {given[0].shape}", "three axes: batch, token, feature")
    if any(each.batch_dim != 1 - batch_first for each in given):
        raise site.refuse(
            f"batch_first={batch_first} and the batch in the axis {given[0].batch_dim}",
            "the batch where the module has it",
        )
    split = []
    for name, each, weight, bias in zip(("query", "key", "value"), given, weights, biases, strict=True):
        projected = linear(site.part(name), each, weight, bias)
        opened = reshape(site, projected, [*projected.shape[:-1], heads, projected.shape[-1] // heads])
        split.append(permuted(opened, (0, 2, 1, 3) if batch_first else (1, 2, 0, 3)))
    masks = [None if attn_mask is None else _added(site, _of_heads(site, attn_mask, heads), keeps=False)]
    if attn_mask is None and is_causal:
        raise site.refuse("is_causal without attn_mask", "attn_mask, which is_causal is a hint about")
    if key_padding_mask is not None:
        if isinstance(key_padding_mask, Value):
            raise site.refuse("a key_padding_mask that the network computes", "a constant one")
        masks.append(_added(site, np.asarray(key_padding_mask)[:, None, None, :], keeps=False))
    present = [mask for mask in masks if mask is not None]
    mask = None if not present else present[0] if len(present) == 1 else present[0] + present[1]
    queries, keys, values = split
    attended = scaled_dot_product_attention(site.part("attended"), queries, keys, values, mask)
    joined = permuted(attended, (0, 2, 1, 3) if batch_first else (2, 0, 1, 3))
    joined = reshape(site, joined, [*joined.shape[:2], -1])
    return linear(site, joined, *out), None


def _of_heads(site: Site, mask: Any, heads: int) -> np.ndarray:
    """(query, key), or (batch * head, query, key), as (batch, head, query, key)."""
    if isinstance(mask, Value):
        raise site.refuse("an attn_mask that the network computes", "a constant one")
    array = np.asarray(mask)
    return array[None, None] if array.ndim == 2 else array.reshape(-1, heads, *array.shape[1:])


# -- layers of transformers -----------------------------------------------------------------------


def encoder_layer(
    site: Site,
    src: Value,
    src_mask: Any = None,
    src_key_padding_mask: Any = None,
    is_causal: bool = False,
    *,
    parts: dict[str, Any],
) -> Value:
    """`nn.TransformerEncoderLayer`. ``parts``: see `ported_models.sources.torch_table`."""
    attend = _attention(site, parts, "self_attn", src_mask, src_key_padding_mask)
    steps = [(lambda x: attend(x, x), "norm1"), (_feed_forward(site, parts), "norm2")]
    return _residual(site, src, steps, parts)


def decoder_layer(
    site: Site,
    tgt: Any,
    memory: Any,
    tgt_mask: Any = None,
    memory_mask: Any = None,
    tgt_key_padding_mask: Any = None,
    memory_key_padding_mask: Any = None,
    tgt_is_causal: bool = False,
    memory_is_causal: bool = False,
    *,
    parts: dict[str, Any],
) -> Value:
    """`nn.TransformerDecoderLayer`."""
    tgt, memory = _tensors(site, tgt, memory)
    attend = _attention(site, parts, "self_attn", tgt_mask, tgt_key_padding_mask)
    cross = _attention(site, parts, "multihead_attn", memory_mask, memory_key_padding_mask)
    steps = [
        (lambda x: attend(x, x), "norm1"),
        (lambda x: cross(x, memory), "norm2"),
        (_feed_forward(site, parts), "norm3"),
    ]
    return _residual(site, tgt, steps, parts)


def _attention(site: Site, parts: dict[str, Any], name: str, mask: Any, padding: Any) -> Any:
    at = site.child(name)

    def attend(x: Value, memory: Value) -> Value:
        given = {"key_padding_mask": padding, "attn_mask": mask}
        return multi_head_attention(at, x, memory, memory, **given, **parts[name])[0]

    return attend


def _feed_forward(site: Site, parts: dict[str, Any]) -> Any:
    def apply(x: Value) -> Value:
        x = linear(site.child("linear1"), x, *parts["linear1"])
        x = parts["activation"](site.part("activation"), x)
        return linear(site.child("linear2"), x, *parts["linear2"])

    return apply


def _residual(site: Site, x: Value, steps: Sequence[tuple[Any, str]], parts: dict[str, Any]) -> Value:
    """``x + step(x)`` one after the other, each normed before the step or after the sum."""
    for step, norm in steps:
        if parts["norm_first"]:
            x = add(site.part("add"), x, step(layer_norm(site.child(norm), x, **parts[norm])))
        else:
            x = layer_norm(site.child(norm), add(site.part("add"), x, step(x)), **parts[norm])
    return x


def encoder(
    site: Site,
    src: Value,
    mask: Any = None,
    src_key_padding_mask: Any = None,
    is_causal: bool | None = None,
    *,
    layers: Sequence[dict[str, Any]],
    norm: dict[str, Any] | None,
) -> Value:
    """`nn.TransformerEncoder`."""
    for number, parts in enumerate(layers):
        src = encoder_layer(site.child(f"layers.{number}"), src, mask, src_key_padding_mask, parts=parts)
    return src if norm is None else layer_norm(site.child("norm"), src, **norm)


def decoder(
    site: Site,
    tgt: Any,
    memory: Any,
    tgt_mask: Any = None,
    memory_mask: Any = None,
    tgt_key_padding_mask: Any = None,
    memory_key_padding_mask: Any = None,
    tgt_is_causal: bool | None = None,
    memory_is_causal: bool = False,
    *,
    layers: Sequence[dict[str, Any]],
    norm: dict[str, Any] | None,
) -> Value:
    """`nn.TransformerDecoder`."""
    masks = (tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask)
    for number, parts in enumerate(layers):
        tgt = decoder_layer(site.child(f"layers.{number}"), tgt, memory, *masks, parts=parts)
    return tgt if norm is None else layer_norm(site.child("norm"), tgt, **norm)


def transformer(
    site: Site,
    src: Any,
    tgt: Any,
    src_mask: Any = None,
    tgt_mask: Any = None,
    memory_mask: Any = None,
    src_key_padding_mask: Any = None,
    tgt_key_padding_mask: Any = None,
    memory_key_padding_mask: Any = None,
    src_is_causal: bool | None = None,
    tgt_is_causal: bool | None = None,
    memory_is_causal: bool = False,
    *,
    encoder_parts: dict[str, Any],
    decoder_parts: dict[str, Any],
) -> Value:
    """`nn.Transformer`."""
    src, tgt = _tensors(site, src, tgt)
    memory = encoder(site.child("encoder"), src, src_mask, src_key_padding_mask, **encoder_parts)
    masks = (tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask)
    return decoder(site.child("decoder"), tgt, memory, *masks, **decoder_parts)
