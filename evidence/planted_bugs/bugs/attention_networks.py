"""Small transformers: an encoder with a class token and a mask, one with RMS norm and SwiGLU, deformable attention."""

from __future__ import annotations

import numpy as np

from harness.graph import Graph
from ported_models.build import Builder

from .building import conv, dense, kernel, norm_weights, normal

TOKENS, WIDTH, HEADS = 6, 8, 2
DEPTH = WIDTH // HEADS


def to_heads(b: Builder, name: str, tokens: int, source: str) -> str:
    """(token, feature) as (head, token, feature of a head)."""
    b.add("reshape", f"{name}_split", source, {"target": (tokens, HEADS, DEPTH)})
    b.add("permute", f"{name}_heads", attributes={"dims": (2, 1, 3)})
    return f"{name}_heads"


def from_heads(b: Builder, name: str, tokens: int) -> None:
    b.add("permute", f"{name}_tokens", attributes={"dims": (2, 1, 3)})
    b.add("reshape", f"{name}_joined", attributes={"target": (tokens, WIDTH)})


def attention(b: Builder, seed: int, source: str, memory: str, sizes: tuple[int, int], masked: bool) -> None:
    """Query from ``source``, key and value from ``memory``, of ``sizes`` tokens; two heads."""
    queries, keys = sizes
    for place, (name, reads) in enumerate((("query", source), ("key", memory), ("value", memory))):
        dense(b, name, seed + 2 * place, WIDTH, WIDTH, reads)
    q = to_heads(b, "query", queries, "query")
    k = to_heads(b, "key", keys, "key")
    v = to_heads(b, "value", keys, "value")
    b.add("matmul", "scores", (q, k), {"transposed": True})
    b.add("scale", "scaled", weights={"kernel": np.full(keys, DEPTH**-0.5, np.float32)})
    if masked:
        hidden = np.where(np.tri(queries, keys) > 0, 0.0, -1e4).astype(np.float32)
        b.add("affine", "masked", weights={"bias": np.repeat(hidden[np.newaxis], HEADS, axis=0)})
    b.add("softmax", "weights")
    b.add("dropout", "weights_dropout", attributes={"rate": 0.2})
    b.add("matmul", "mixed", ("weights_dropout", v))
    from_heads(b, "mixed", queries)
    dense(b, "projected", seed + 8, WIDTH, WIDTH)


def encoder() -> Graph:
    """Five tokens and a class token, causal attention of two heads, feed-forward with GELU, two residual adds."""
    b = Builder("encoder-net", (TOKENS - 1, 5))
    dense(b, "embed", 200, 5, WIDTH)
    b.add("pad", "class_token", attributes={"padding": ((1, 0), (0, 0)), "value": 0.0})
    b.add("affine", "positions", weights={"bias": normal(202, TOKENS, WIDTH)})
    b.add("layer_norm", "norm1", attributes={"epsilon": 1e-3}, weights=norm_weights(204, WIDTH))
    attention(b, 210, "norm1", "norm1", (TOKENS, TOKENS), masked=True)
    b.add("add", "residual1", ("projected", "positions"))
    b.add("layer_norm", "norm2", attributes={"epsilon": 1e-5}, weights=norm_weights(230, WIDTH))
    dense(b, "up", 232, WIDTH, 12)
    b.add("gelu", "up_gelu")
    dense(b, "down", 234, 12, WIDTH)
    b.add("add", "residual2", ("down", "residual1"))
    b.add("flatten", "flatten")
    dense(b, "logits", 240, TOKENS * WIDTH, 4)
    return b.graph()


def gated() -> Graph:
    """RMS norm, attention of two heads without a mask, a feed-forward part with SwiGLU."""
    b = Builder("gated-net", (TOKENS, WIDTH))
    b.add("rms_norm", "norm1", attributes={"epsilon": 1e-5}, weights={"gamma": 1 + 0.3 * normal(300, WIDTH)})
    attention(b, 310, "norm1", "norm1", (TOKENS, TOKENS), masked=False)
    b.add("add", "residual1", ("projected", "input"))
    b.add("rms_norm", "norm2", attributes={"epsilon": 1e-5}, weights={"gamma": 1 + 0.3 * normal(302, WIDTH)})
    dense(b, "gate", 330, WIDTH, 12)
    b.add("swish", "gate_swish")
    dense(b, "up", 332, WIDTH, 12, "norm2")
    b.add("multiply", "gated", ("gate_swish", "up"))
    dense(b, "down", 334, 12, WIDTH)
    b.add("add", "residual2", ("down", "residual1"))
    b.add("flatten", "flatten")
    dense(b, "logits", 340, TOKENS * WIDTH, 4)
    return b.graph()


def deformable() -> Graph:
    """Sixteen tokens of a 4 x 4 map; each reads two computed places of it in each of two heads, some outside."""
    side, points = 4, 2
    tokens = side * side
    b = Builder("deformable-net", (side, side, 3))
    conv(b, "conv", 400, 3, WIDTH)
    b.add("reshape", "memory", attributes={"target": (tokens, WIDTH)})
    dense(b, "offsets", 410, WIDTH, HEADS * points * 2)
    b.add("tanh", "offsets_tanh")
    b.add("scale", "places", weights={"kernel": np.full(HEADS * points * 2, 1.3, np.float32)})
    b.add("reshape", "places_split", attributes={"target": (tokens, HEADS, points * 2)})
    b.add("permute", "places_heads", attributes={"dims": (2, 1, 3)})
    b.add("reshape", "places_points", attributes={"target": (HEADS, tokens, points, 2)})
    dense(b, "value", 420, WIDTH, WIDTH, "memory")
    b.add("reshape", "value_map", attributes={"target": (side, side, HEADS, DEPTH)})
    b.add("permute", "value_heads", attributes={"dims": (3, 1, 2, 4)})
    b.add("grid_sample", "sampled", ("value_heads", "places_points"))
    weights = {"kernel": kernel(430, WIDTH, HEADS * points), "bias": 0.2 * normal(431, HEADS * points)}
    b.add("dense", "scores", "memory", weights=weights)
    b.add("reshape", "scores_split", attributes={"target": (tokens, HEADS, points)})
    b.add("permute", "scores_heads", attributes={"dims": (2, 1, 3)})
    b.add("softmax", "weights")
    b.add("reshape", "weights_row", attributes={"target": (HEADS, tokens, 1, points)})
    b.add("matmul", "mixed", ("weights_row", "sampled"))
    b.add("reshape", "mixed_heads", attributes={"target": (HEADS, tokens, DEPTH)})
    from_heads(b, "mixed", tokens)
    dense(b, "projected", 440, WIDTH, WIDTH)
    b.add("add", "residual", ("projected", "memory"))
    b.add("layer_norm", "norm", attributes={"epsilon": 1e-5}, weights=norm_weights(450, WIDTH))
    b.add("flatten", "flatten")
    dense(b, "logits", 460, tokens * WIDTH, 4)
    return b.graph()
