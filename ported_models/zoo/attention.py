"""What the zoo's transformers are put together from: attention of many heads, feed-forward, class tokens.

Attention is never one layer. It is dense, reshape, permute, matmul, scale, softmax, matmul, permute, reshape, dense, so
that each has a rule, and each a relevance to look at. Sources of weights give torch's arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from ported_models.build import Builder

#: The weights of a layer as the graph has them, by the names of the table of kinds.
Weights = Mapping[str, np.ndarray]
#: The weights of a part of a block, by the part's name.
WeightsOf = Callable[[str], Weights]


def dense_weights(state: Mapping[str, np.ndarray], name: str) -> Weights:
    """Those of torch's `Linear` layer ``name``, whose matrix is (out, in)."""
    return {"kernel": state[f"{name}.weight"].T, "bias": state[f"{name}.bias"]}


def norm_weights(state: Mapping[str, np.ndarray], name: str) -> Weights:
    """Those of torch's `LayerNorm` ``name``."""
    return {"gamma": state[f"{name}.weight"], "beta": state[f"{name}.bias"]}


def attention(
    builder: Builder,
    name: str,
    weights: WeightsOf,
    heads: int,
    query: str,
    key: str | None = None,
    value: str | None = None,
    mask: np.ndarray | None = None,
) -> str:
    """``softmax(q k^T / sqrt(width of a head)) v``, head by head, and a dense layer; the name of its output.

    ``query``, ``key``, ``value``: the layers read, (batch, query, feature) and (batch, token, feature); ``key`` is
    ``query`` where left out, ``value`` is ``key``. ``weights`` gives those of the dense layers "query", "key", "value"
    and "output". ``mask``, (query, token), is added to the scores of every head.
    Source: Vaswani et al. 2017 (arXiv:1706.03762), section 3.2.
    """
    key = query if key is None else key
    read = {"query": query, "key": key, "value": key if value is None else value}
    split = {}
    for part, source in read.items():
        builder.add("dense", f"{name}_{part}", source, weights=weights(part))
        split[part] = split_heads(builder, f"{name}_{part}", heads)
    rows, columns = builder[query].axes[1], builder[key].axes[1]
    scores = ("batch", "head", rows, columns if columns != rows else f"other_{columns}")
    builder.add("matmul", f"{name}_scores", (split["query"], split["key"]), {"transposed": True}, axes=scores)
    tokens, width = builder[split["key"]].shape[1:]
    scaled = np.full(tokens, 1 / np.sqrt(width), np.float32)
    builder.add("scale", f"{name}_scaled", weights={"kernel": scaled})
    if mask is not None:
        bias = np.repeat(mask[np.newaxis], heads, axis=0).astype(np.float32)
        builder.add("affine", f"{name}_masked", weights={"bias": bias})
    builder.add("softmax", f"{name}_weights")
    mixed = ("batch", "head", rows, "feature")
    builder.add("matmul", f"{name}_mixed", (f"{name}_weights", split["value"]), axes=mixed)
    merge_heads(builder, f"{name}_mixed", rows)
    return builder.add("dense", f"{name}_output", weights=weights("output"))


def split_heads(builder: Builder, source: str, heads: int) -> str:
    """``source``, (batch, token, feature), as (batch, head, token, feature)."""
    tokens, features = builder[source].shape
    rows = builder[source].axes[1]
    axes = ("batch", rows, "head", "feature")
    builder.add(
        "reshape", f"{source}_split", source, {"target": (tokens, heads, features // heads)}, axes=axes
    )
    return builder.add("permute", f"{source}_heads", attributes={"dims": (2, 1, 3)})


def merge_heads(builder: Builder, source: str, rows: str) -> str:
    """``source``, (batch, head, token, feature), as (batch, token, feature); ``rows`` names the tokens' axis."""
    heads, tokens, width = builder[source].shape
    builder.add("permute", f"{source}_tokens", source, {"dims": (2, 1, 3)})
    axes = ("batch", rows, "feature")
    return builder.add(
        "reshape", f"{source}_merged", attributes={"target": (tokens, heads * width)}, axes=axes
    )


def feed_forward(builder: Builder, name: str, weights: WeightsOf, activation: str, source: str) -> str:
    """A wider dense layer, an activation and a narrower dense layer, at each token; the name of its output."""
    builder.add("dense", f"{name}_wide", source, weights=weights("wide"))
    builder.add(activation, f"{name}_{activation}")
    return builder.add("dense", f"{name}_narrow", weights=weights("narrow"))


def mean_of_tokens(builder: Builder, source: str, name: str) -> str:
    """The mean over the tokens of ``source``, (batch, token, feature): (batch, feature)."""
    return builder.add("global_average_pool", name, source, axes=("batch", "feature"))
