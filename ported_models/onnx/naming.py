"""Canonical layer names from the node names that exporters write.

An exporter's node name is a path: scopes, then an operator. What is left of the scopes is the layer's name.

- The operator at the end goes, and so does what TensorFlow puts between layer and operator (``batchnorm``).
- Scopes that all nodes share (the model's own: ``functional_1``, ``StatefulPartitionedCall/model``) go.
- A torch scope that the next one repeats goes: ``features/features.0`` -> ``features.0``.
- Keras 3 numbers every scope when it traces a model, the model's own too (``functional_1/dense_1_2`` is the
  layer ``dense_1``): where all scopes end in such a number and stay distinct without it, it goes.
- A node without scopes is named after its weights (``conv1.weight`` -> ``conv1``), else after its kind.
- The first layer of a scope has the scope's name, the next ones its kind behind it (``conv1_relu``), and so
  have all layers of a scope that holds others (``layer1_0_add``).
- Dots and slashes become underscores; a name that is taken already gets ``_2``, ``_3``, ...
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import zip_longest

import onnx

Scope = tuple[str, ...]
_TENSORFLOW_INTERNALS = {"batchnorm", "convolution", "moments", "Tensordot"}
_TRACE_NUMBER = re.compile(r"_\d+$")


class LayerNames:
    """Hands out canonical names for the layers of one file, in forward order."""

    def __init__(self, nodes: Iterable[onnx.NodeProto], weights: Iterable[str]) -> None:
        nodes, weights = list(nodes), set(weights)
        raw = {first_output(node): _scope(node, weights) for node in nodes}
        self._scopes = _without_trace_numbers(*_without_common_root(raw))
        self._containers = {scope[:end] for scope in self._scopes.values() for end in range(1, len(scope))}
        self._taken: set[str] = set()
        #: By name, the last number that was given to one of its kind.
        self._numbers: dict[str, int] = {}

    def input(self, name: str) -> str:
        """The name of the input layer, from the graph input's."""
        return self._take(name.split(":")[0])

    def layer(self, node: onnx.NodeProto, kind: str) -> str:
        """The name of the layer that ``node`` stands for."""
        scope = self._scopes[first_output(node)]
        name = "_".join(scope)
        if scope and scope not in self._containers and _plain(name) not in self._taken:
            return self._take(name)
        return self.beside(node, kind)

    def beside(self, node: onnx.NodeProto, kind: str) -> str:
        """The name of a layer that has to stand before or after what ``node`` stands for."""
        return self._take("_".join((*self._scopes[first_output(node)], kind)))

    def _take(self, name: str) -> str:
        plain = unique = _plain(name)
        while unique in self._taken:
            self._numbers[plain] = number = self._numbers.get(plain, 1) + 1
            unique = f"{plain}_{number}"
        self._taken.add(unique)
        return unique


def first_output(node: onnx.NodeProto) -> str:
    """The first output that has a name: a node leaves out those that nobody reads."""
    return next((name for name in node.output if name), "")


def _plain(name: str) -> str:
    return re.sub(r"\W", "_", name).strip("_") or "layer"


def _scope(node: onnx.NodeProto, weights: set[str]) -> Scope:
    """The scopes of a node's name, or the path of its first weight where it has none."""
    *path, _ = [part for part in (node.name or first_output(node)).split(":")[0].split("/") if part] or [""]
    if not path:
        owners = [name.rsplit(".", 1)[0] for name in node.input if name in weights and "." in name]
        path = owners[:1]
    while len(path) > 1 and path[-1] in _TENSORFLOW_INTERNALS:
        path.pop()
    return tuple(
        part
        for part, following in zip_longest(path, path[1:], fillvalue="")
        if not following.startswith(f"{part}.")
    )


def _without_common_root(scopes: dict[str, Scope]) -> tuple[dict[str, Scope], Scope]:
    """The scopes below the deepest one that holds all others, and that one."""
    nested = [scope[:-1] for scope in scopes.values() if len(scope) > 1]
    root: list[str] = []
    for level in zip(*nested, strict=False):
        if len(set(level)) > 1:
            break
        root.append(level[0])
    while root and not all(scope[: len(root)] == tuple(root)[: len(scope)] for scope in scopes.values()):
        root.pop()
    return {output: scope[len(root) :] for output, scope in scopes.items()}, tuple(root)


def _without_trace_numbers(scopes: dict[str, Scope], root: Scope) -> dict[str, Scope]:
    """The scopes without the number that Keras 3 appends to each, if it did."""
    layers = {scope[0] for scope in scopes.values() if scope}
    stripped = {layer: _TRACE_NUMBER.sub("", layer) for layer in layers}
    traced = bool(root) and _TRACE_NUMBER.search(root[-1]) is not None
    if not (
        traced
        and all(_TRACE_NUMBER.search(layer) for layer in layers)
        and len(set(stripped.values())) == len(layers)
    ):
        return scopes
    return {output: (stripped[scope[0]], *scope[1:]) if scope else scope for output, scope in scopes.items()}
