"""Small transformers with seeded weights, attention written out in single layers; and inputs for them.

Axes of the tensors inside are (token, channel), or (head, token, channel) inside an attention. Every network ends in 3
logits. ``NETWORKS`` has them all by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from harness.graph import Graph
from ported_models.build import Builder

HEADS, WIDTH, CLASSES = 2, 8, 3


class Blocks:
    """A builder with the blocks of a transformer; each block returns the name of its last layer."""

    def __init__(self, name: str, shape: tuple[int, ...], seed: int) -> None:
        self.builder = Builder(name, shape)
        self.rng = np.random.default_rng(seed)

    def shape(self, name: str) -> tuple[int, ...]:
        return self.builder[name].shape

    def dense(self, name: str, source: str, outputs: int, bias: bool = True) -> str:
        inputs = self.shape(source)[-1]
        weights = {"kernel": self.rng.standard_normal((inputs, outputs)) / np.sqrt(inputs)}
        if bias:
            weights["bias"] = self.rng.standard_normal(outputs) / 4
        return self.builder.add("dense", name, source, weights=weights)

    def norm(self, kind: str, name: str, source: str) -> str:
        """A layer norm or an RMS norm of the last axis."""
        weights = {"gamma": self.rng.uniform(0.5, 1.5, self.shape(source)[-1])}
        if kind == "layer_norm":
            weights["beta"] = self.rng.standard_normal(self.shape(source)[-1]) / 4
        return self.builder.add(kind, name, source, {"epsilon": 1e-5}, weights)

    def placed(self, name: str, source: str) -> str:
        """A number added at every place: position embeddings, a class token, query embeddings."""
        bias = self.rng.standard_normal(self.shape(source)) / 2
        return self.builder.add("affine", name, source, weights={"bias": bias})

    def reshape(self, name: str, source: str, *target: int) -> str:
        return self.builder.add("reshape", name, source, {"target": target})

    def heads(self, name: str, source: str) -> str:
        """(token, head * channel) to (head, token, channel)"""
        tokens, width = self.shape(source)
        self.reshape(f"{name}_split", source, tokens, HEADS, width // HEADS)
        return self.builder.add("permute", f"{name}_heads", attributes={"dims": (2, 1, 3)})

    def joined(self, name: str, source: str) -> str:
        """(head, token, channel) to (token, head * channel)"""
        heads, tokens, channels = self.shape(source)
        self.builder.add("permute", f"{name}_tokens", source, {"dims": (2, 1, 3)})
        return self.reshape(f"{name}_joined", f"{name}_tokens", tokens, heads * channels)

    def attention(self, name: str, query: str, memory: str, mask: np.ndarray | None = None) -> str:
        """Multi-head attention; ``mask``, (query, memory) token: what is added to the scores of every head."""
        b = self.builder
        q, k, v = (
            self.heads(f"{name}_{part}", self.dense(f"{name}_{part}", source, WIDTH))
            for part, source in (("query", query), ("key", memory), ("value", memory))
        )
        scores = b.add("matmul", f"{name}_scores", [q, k], {"transposed": True})
        root = np.full(self.shape(scores)[-1], 1 / np.sqrt(WIDTH // HEADS))
        scores = b.add("scale", f"{name}_scaled", scores, weights={"kernel": root})
        if mask is not None:
            bias = np.broadcast_to(mask, self.shape(scores)).copy()
            scores = b.add("affine", f"{name}_masked", scores, weights={"bias": bias})
        weights = b.add("softmax", f"{name}_weights", scores)
        values = b.add("matmul", f"{name}_values", [weights, v])
        return self.dense(f"{name}_out", self.joined(name, values), WIDTH)

    def add(self, name: str, *sources: str) -> str:
        return self.builder.add("add", name, list(sources))

    def feed_forward(self, name: str, source: str, activation: str) -> str:
        self.builder.add(activation, f"{name}_{activation}", self.dense(f"{name}_in", source, 2 * WIDTH))
        return self.dense(f"{name}_out", f"{name}_{activation}", WIDTH)

    def swiglu(self, name: str, source: str) -> str:
        """``(swish(x U) * (x V)) W`` (Shazeer 2020, arXiv:2002.05202, eq. 6), without biases."""
        gate = self.dense(f"{name}_gate", source, 2 * WIDTH, bias=False)
        gate = self.builder.add("swish", f"{name}_swish", gate)
        up = self.dense(f"{name}_up", source, 2 * WIDTH, bias=False)
        self.builder.add("multiply", f"{name}_gated", [gate, up])
        return self.dense(f"{name}_down", f"{name}_gated", WIDTH, bias=False)

    def deformable_attention(
        self, name: str, query: str, memory: str, levels: tuple[tuple[int, int], ...], padding: str
    ) -> str:
        """Attention to places around each query's own, on maps of several sizes (Zhu et al. 2021, eq. 3).

        ``memory``: the pixels of all levels, (token, channel), level by level; ``levels``: height and width of each.
        Places are 2 a level and head; those of the first queries lie close to the border, and some outside.
        """
        b, points, queries = self.builder, 2, self.shape(query)[0]
        values = self.heads(f"{name}_value", self.dense(f"{name}_value", memory, WIDTH))
        reference = np.stack(
            np.broadcast_arrays(np.linspace(-1, 0.6, queries), np.linspace(0.9, -0.5, queries)), -1
        )
        sampled, start = [], 0
        for level, (height, width) in enumerate(levels):
            indices = tuple(range(start, start + height * width))
            start += height * width
            b.add("take", f"{name}_pixels_{level}", values, {"axis": -2, "indices": indices})
            maps = self.reshape(
                f"{name}_map_{level}", f"{name}_pixels_{level}", HEADS, height, width, WIDTH // HEADS
            )
            offsets = self.dense(f"{name}_offsets_{level}", query, HEADS * points * 2)
            self.reshape(f"{name}_offsets_{level}_split", offsets, queries, HEADS, points, 2)
            b.add("permute", f"{name}_offsets_{level}_heads", attributes={"dims": (2, 1, 3, 4)})
            around = np.broadcast_to(reference[:, np.newaxis], (HEADS, queries, points, 2)).copy()
            pixels = np.broadcast_to(2 / np.array([width, height]), around.shape).copy()
            places = b.add("affine", f"{name}_places_{level}", weights={"kernel": pixels, "bias": around})
            sampled.append(
                b.add("grid_sample", f"{name}_sampled_{level}", [maps, places], {"padding": padding})
            )
        joined = b.add("concat", f"{name}_sampled", sampled, {"axis": -2})
        count = len(levels) * points
        scores = self.dense(f"{name}_scores", query, HEADS * count)
        self.reshape(f"{name}_scores_split", scores, queries, HEADS, count)
        b.add("softmax", f"{name}_weights")
        b.add("permute", f"{name}_weights_heads", attributes={"dims": (2, 1, 3)})
        self.reshape(f"{name}_weights_rows", f"{name}_weights_heads", HEADS, queries, 1, count)
        b.add("matmul", f"{name}_values", [f"{name}_weights_rows", joined])
        self.reshape(f"{name}_values_rows", f"{name}_values", HEADS, queries, WIDTH // HEADS)
        return self.dense(f"{name}_out", self.joined(name, f"{name}_values_rows"), WIDTH)

    def logits(self, source: str) -> Graph:
        """Three logits of all tokens, flattened."""
        flat = self.builder.add("flatten", "flat", source)
        self.dense("logits", flat, CLASSES)
        return self.builder.graph()


def causal_mask(tokens: int, refused: float) -> np.ndarray:
    """(token, token): ``refused`` where the second token comes later, else 0."""
    return np.triu(np.full((tokens, tokens), refused), 1)


def encoder(seed: int = 0) -> Graph:
    """A class token before 4 tokens, positions, and a block with the norms first, masked by -inf, with GELU."""
    blocks = Blocks("encoder", (4, WIDTH), seed)
    b = blocks.builder
    b.add("pad", "with_class_token", attributes={"padding": ((1, 0), (0, 0)), "value": 0.0})
    x = blocks.placed("positions", "with_class_token")
    mask = np.zeros((5, 5))
    mask[:, 3] = -np.inf
    normed = blocks.norm("layer_norm", "norm_1", x)
    x = blocks.add("sum_1", x, blocks.attention("attention", normed, normed, mask))
    normed = blocks.norm("layer_norm", "norm_2", x)
    x = blocks.add("sum_2", x, blocks.feed_forward("mlp", normed, "gelu"))
    blocks.norm("layer_norm", "norm", x)
    b.add("take", "class_token", attributes={"axis": -2, "indices": (0,)})
    return blocks.logits("class_token")


def rms_encoder(seed: int = 0) -> Graph:
    """Numbers of 5 words, embedded; a block with RMS norms, a causal mask of -1e9 and SwiGLU."""
    blocks = Blocks("rms_encoder", (5,), seed)
    rows = blocks.rng.standard_normal((11, WIDTH))
    x = blocks.builder.add("embedding", "embedded", weights={"kernel": rows})
    normed = blocks.norm("rms_norm", "norm_1", x)
    x = blocks.add("sum_1", x, blocks.attention("attention", normed, normed, causal_mask(5, -1e9)))
    normed = blocks.norm("rms_norm", "norm_2", x)
    x = blocks.add("sum_2", x, blocks.swiglu("mlp", normed))
    return blocks.logits(blocks.norm("rms_norm", "norm", x))


def decoder(seed: int = 0) -> Graph:
    """3 queries on 6 encoded tokens: self attention with a causal mask, cross attention, ReLU; norms last."""
    blocks = Blocks("decoder", (6, WIDTH), seed)
    b = blocks.builder
    encoded = blocks.add("encoded", "input", blocks.attention("encoder", "input", "input"))
    memory = blocks.norm("layer_norm", "memory", encoded)
    b.add("take", "queries", memory, {"axis": -2, "indices": (4, 0, 2)})
    x = blocks.placed("embedded_queries", "queries")
    attended = blocks.attention("self", x, x, causal_mask(3, -np.inf))
    x = blocks.norm("layer_norm", "norm_1", blocks.add("sum_1", x, attended))
    x = blocks.norm("layer_norm", "norm_2", blocks.add("sum_2", x, blocks.attention("cross", x, memory)))
    fed = blocks.feed_forward("mlp", x, "relu")
    return blocks.logits(blocks.norm("layer_norm", "norm_3", blocks.add("sum_3", x, fed)))


def deformable(seed: int = 0, padding: str = "zeros") -> Graph:
    """3 queries on maps of 3x4 and 2x2 pixels, some of the places outside."""
    levels = ((3, 4), (2, 2))
    pixels = sum(height * width for height, width in levels)
    blocks = Blocks(f"deformable_{padding}", (pixels, WIDTH), seed)
    b = blocks.builder
    b.add("take", "queries", "input", {"axis": -2, "indices": (1, 8, 13)})
    x = blocks.placed("embedded_queries", "queries")
    attended = blocks.deformable_attention("attention", x, "input", levels, padding)
    x = blocks.norm("layer_norm", "norm_1", blocks.add("sum_1", x, attended))
    fed = blocks.feed_forward("mlp", x, "relu")
    return blocks.logits(blocks.norm("layer_norm", "norm_2", blocks.add("sum_2", x, fed)))


#: Each network by its name, as a function of its seed.
NETWORKS: Mapping[str, Callable[[int], Graph]] = {
    "encoder": encoder,
    "rms_encoder": rms_encoder,
    "decoder": decoder,
    "deformable_zeros": lambda seed: deformable(seed, "zeros"),
    "deformable_border": lambda seed: deformable(seed, "border"),
}


def inputs_for(graph: Graph, seed: int = 0, batch: int = 2) -> np.ndarray:
    """(batch, *input shape) float64: standard normal, or numbers of words where the input is embedded."""
    rng, shape = np.random.default_rng(seed), (batch, *graph.input.shape)
    first = graph.consumers(graph.input.name)[0]
    if first.kind == "embedding":
        return rng.integers(len(first.weights["kernel"]), size=shape).astype(np.float64)
    return rng.standard_normal(shape)
