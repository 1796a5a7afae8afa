"""Attention rollout and gradient rollout: what they are, and what of a network they read.

Which layers are attention weights, which row of tokens the network ends in, and which place of the input a token stands
for is read off the graph here, once for all backends; nothing is computed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from harness.errors import InvalidInputError, MethodDoesNotApplyError
from harness.graph import Graph, Layer

#: The token whose row is read, the mean over all rows, or what the network itself goes on with.
Rows = int | Literal["mean", "read"]


@dataclass(frozen=True)
class Rollout:
    """Attention followed through the layers of a network with self attention over one axis of T tokens.

    ``A_l``, (head, T, T), are the attention weights of layer l, l = 1 the first, each row a distribution over the
    tokens that it reads.

    - ``gradient=False``: ``R = B_L ... B_1`` with ``B_l = 0.5 * mean over heads of A_l + 0.5 * I``. Abnar and Zuidema
      2020 (arXiv:2005.00928), equation 1, and section 3, whose identity stands for the residual connection; heads are
      averaged as in the same section. No target enters.
    - ``gradient=True``: ``R = I``, then for l = 1, ..., L ``R <- R + C_l R`` with ``C_l = mean over heads of
      max(G_l * A_l, 0)``, ``G_l`` the gradient of the target's logit. Chefer et al. 2021 (arXiv:2103.15679), equations
      5 and 6.

    The attribution is a row of ``R``, that of token ``rows``, or the mean of all rows ("mean"): a figure for each
    token. "read" takes what the network goes on with behind the last attention: the token that it picks, or the mean
    over the tokens. Where a token stands for a patch of pixels each of them gets the token's figure, in every channel,
    as :func:`tokens_of_places` says; what falls on a class token is on no place. The layers' relevance in a trace is
    the gradient from the output back to the first attention weights (``gradient=True``), or zero.
    """

    gradient: bool = False
    rows: Rows = "read"

    def __post_init__(self) -> None:
        if isinstance(self.rows, int) and self.rows < 0:
            raise InvalidInputError(f"rows must be a token from 0 on, mean or read, found {self.rows}")


def attention_weights(graph: Graph) -> tuple[str, ...]:
    """The softmax layers whose output, (head, T, T) or (T, T), weighs tokens, in forward order.

    Raises MethodDoesNotApplyError where there are none, or anything but self attention over one axis of tokens, one
    after the other.
    """
    found: list[str] = []
    for layer in graph.backward():
        if layer.traits.family == "sampling":
            raise _refused(graph, f"layer {layer.name!r} samples maps at computed places")
        if layer.kind == "matmul" and (softmax := _weights_of(graph, layer)) is not None:
            found.append(softmax.name)
    names = tuple(layer.name for layer in graph if layer.name in found)
    if not names:
        raise _refused(graph, "no product in it has a softmax as its first factor")
    tokens = graph[names[0]].shape[-1]
    for name in names:
        shape = graph[name].shape
        if len(shape) not in (2, 3) or shape[-2:] != (tokens, tokens):
            raise _refused(graph, f"the weights {name!r} have shape {shape}, not (head, {tokens}, {tokens})")
        if graph[name].attributes["axis"] != -1:
            raise _refused(graph, f"the softmax {name!r} is not over the last axis")
    for before, after in pairwise(names):
        if before not in _ancestors(graph, after):
            raise _refused(
                graph, f"the weights {after!r} do not depend on {before!r}, which come before them"
            )
    return names


def row_read(graph: Graph, rows: Rows) -> int | None:
    """The token whose row of ``R`` is taken; None for the mean of all rows.

    Raises InvalidInputError for a token that is not there, and where "read" has no answer.
    """
    last = attention_weights(graph)[-1]
    tokens = graph[last].shape[-1]
    if rows == "mean":
        return None
    if rows != "read":
        if rows >= tokens:
            raise InvalidInputError(f"rows={rows}: {graph.name} has the tokens 0 to {tokens - 1}")
        return rows
    read: set[int | None] = set()
    behind = {last}
    for layer in graph:
        if behind.isdisjoint(layer.inputs):
            continue
        behind.add(layer.name)
        if len(layer.input_shapes[0]) == 2 and layer.input_shapes[0][0] == tokens:
            read |= _picked(layer, tokens)
    if len(read) != 1:
        words = "in no way that is known" if not read else "in several ways"
        raise InvalidInputError(
            f"{graph.name} goes on from its {tokens} tokens {words} (one of them, or their mean); name what is "
            "explained: rows=mean, or rows=0 for the first token"
        )
    return read.pop()


def tokens_of_places(graph: Graph) -> np.ndarray:
    """By place of the input, (*input places) without the channels, the token that stands for it; -1 where none does.

    Of an input of token numbers, (T,), each place is its token; of a sequence (T, channel) or a picture (height, width,
    channel) each place is that of the patch of a convolution without overlap or padding, or itself. Raises
    MethodDoesNotApplyError where tokens are made in another way.
    """
    first = attention_weights(graph)[0]
    tokens, above = graph[first].shape[-1], _ancestors(graph, first)
    source = graph.input
    space = source.shape if graph.rows_of_input is not None else source.shape[:-1]
    patch_of = np.arange(int(np.prod(space))).reshape(space)
    #: By layer, the patch that each of its numbers is of, in its shape.
    patches = {source.name: _spread(patch_of, source.shape)}
    made = patches[source.name] if _is_of_tokens(source, tokens) else None
    unknown = ""
    for layer in graph.layers[1:]:
        if layer.name not in above or layer.inputs[0] not in patches:
            continue
        before = patches[layer.inputs[0]]
        if layer.traits.convolution:
            if layer.inputs[0] != source.name or not _in_patches(layer):
                unknown = unknown or f"{layer.name!r} ({layer.kind}) reads pixels of several tokens"
                continue
            strides = layer.attributes["strides"]
            grid = np.arange(int(np.prod(layer.shape[:-1]))).reshape(layer.shape[:-1])
            patch_of = np.full(space, -1)
            whole = grid
            for axis, stride in enumerate(strides):
                whole = np.repeat(whole, stride, axis=axis)
            patch_of[tuple(slice(0, side) for side in whole.shape)] = whole
            patches[layer.name] = _spread(grid, layer.shape)
        elif layer.kind in _MOVES:
            patches[layer.name] = _MOVES[layer.kind](layer, before)
        elif (len(layer.inputs) == 1 and layer.traits.places == "same") or layer.kind == "embedding":
            places = before if layer.kind == "embedding" else before[..., 0]
            if layer.kind != "embedding" and (before != before[..., :1]).any():
                unknown = unknown or f"{layer.name!r} ({layer.kind}) mixes numbers of several patches"
                continue
            patches[layer.name] = _spread(places, layer.shape)
        else:
            continue
        if _is_of_tokens(layer, tokens):
            made = patches[layer.name]
    if made is None or (made != made[:, :1]).any():
        raise _refused(graph, unknown or "which places of the input its tokens stand for is not known")
    token_of = np.full(patch_of.size + 1, -1)
    token_of[made[::-1, 0]] = np.arange(tokens)[::-1]
    token_of[-1] = -1  # the last entry is that of what stands for no patch
    return token_of[patch_of]


def _refused(graph: Graph, reason: str) -> MethodDoesNotApplyError:
    return MethodDoesNotApplyError(
        f"rollout is for networks with self attention over one axis of tokens; in {graph.name} {reason}"
    )


def _weights_of(graph: Graph, product: Layer) -> Layer | None:
    """The softmax that is the first factor of ``product``, at most dropped from or reshaped; None where it is none."""
    source = graph[product.inputs[0]]
    while source.traits.family == "identity" or source.kind == "reshape":
        source = graph[source.inputs[0]]
    return source if source.kind == "softmax" else None


def _ancestors(graph: Graph, name: str) -> set[str]:
    """The layers that ``name`` depends on, and itself."""
    known = {name}
    for layer in reversed(graph.layers):
        if layer.name in known:
            known.update(layer.inputs)
    return known


def _is_of_tokens(layer: Layer, tokens: int) -> bool:
    """Whether its output is (token, feature)."""
    return len(layer.shape) == 2 and layer.shape[0] == tokens


def _picked(layer: Layer, tokens: int) -> set[int | None]:
    """The token that ``layer``, which reads (T, feature), goes on with; None in it for their mean; else empty."""
    if layer.kind == "global_average_pool":
        return {None}
    if layer.kind == "take" and layer.attributes["axis"] == -2 and len(layer.attributes["indices"]) == 1:
        return {layer.attributes["indices"][0] % tokens}
    if layer.kind == "crop" and layer.shape[0] == 1:
        return {layer.attributes["padding"][0][0]}
    return set()


def _in_patches(layer: Layer) -> bool:
    """Whether a convolution's windows lie side by side, with nothing around them."""
    attributes, weights = layer.attributes, layer.weights
    if not layer.traits.plain_convolution or any(map(any, attributes["padding"])):
        return False
    size = weights["kernel"].shape[: len(attributes["strides"])]
    return size == tuple(attributes["strides"]) and set(attributes["dilations"]) == {1}


def _spread(places: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """``places`` for every number of a layer of ``shape``, whose last axis they may lack."""
    return np.broadcast_to(places if places.ndim == len(shape) else places[..., np.newaxis], shape)


def _reshaped(layer: Layer, patches: np.ndarray) -> np.ndarray:
    if layer.attributes["order"] == "channels_last":
        return patches.reshape(layer.shape)
    *space, channels = layer.shape
    return np.moveaxis(np.moveaxis(patches, -1, 0).reshape(channels, *space), 0, -1)


def _padded(layer: Layer, patches: np.ndarray) -> np.ndarray:
    return np.pad(patches, layer.attributes["padding"], constant_values=-1)


def _taken(layer: Layer, patches: np.ndarray) -> np.ndarray:
    return np.take(patches, layer.attributes["indices"], axis=layer.attributes["axis"])


def _permuted(layer: Layer, patches: np.ndarray) -> np.ndarray:
    return patches.transpose([axis - 1 for axis in layer.attributes["dims"]])


_MOVES: Mapping[str, Callable[[Layer, np.ndarray], np.ndarray]] = {
    "reshape": _reshaped,
    "flatten": _reshaped,
    "permute": _permuted,
    "pad": _padded,
    "take": _taken,
}
