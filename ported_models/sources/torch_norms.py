"""Norms that a torch module spells out: several operations between one tensor and another that are one layer.

As in `ported_models.onnx.cones`, they are known by their values, not by their spelling.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import fx

from ported_models.norms import Found, norm_of

_FUNCTIONS = {
    operator.add, operator.sub, operator.mul, operator.truediv, operator.pow, operator.neg, torch.add, torch.sub,
    torch.mul, torch.div, torch.pow, torch.square, torch.sqrt, torch.rsqrt, torch.mean, torch.var, torch.reciprocal,
}  # fmt: skip
_METHODS = {
    "add", "sub", "mul", "div", "pow", "square", "sqrt", "rsqrt", "mean", "var", "reciprocal", "float", "to", "type_as",
}  # fmt: skip
#: Without one of these it is no norm that divides by what it computes.
_ROOTS = {torch.sqrt, torch.rsqrt, "sqrt", "rsqrt", operator.pow, torch.pow, "pow"}
_MOST = 16


@dataclass(frozen=True)
class Cone:
    """``nodes`` between ``entry`` and the last of them; nothing else leaves them."""

    entry: fx.Node
    nodes: tuple[fx.Node, ...]


def gathered(node: fx.Node) -> bool:
    if node.op == "call_function":
        return node.target in _FUNCTIONS
    return node.op == "call_method" and node.target in _METHODS


def cones(first: fx.Node, entry: fx.Node, moves: Callable[[fx.Node], bool]) -> Iterator[Cone]:
    """Every cone from ``entry`` that begins with ``first``, the smallest first; ``moves``: whether a node is none of
    the module's constants."""
    members: list[fx.Node] = []
    inside = {entry}
    node = first
    while node.op != "root" and len(members) < _MOST:
        read = [each for each in node.all_input_nodes if moves(each)]
        if read and inside.issuperset(read) and gathered(node):
            members.append(node)
            inside.add(node)
            inner = inside - {entry, node}
            closed = all(inside.issuperset(each.users) for each in inner)
            if closed and any(each.target in _ROOTS for each in members):
                yield Cone(entry, tuple(members))
        node = node.next


def norm_in(
    cone: Cone, sizes: tuple[int, ...], behind: int, constant: Callable[[fx.Node], Any]
) -> Found | None:
    """The norm that the cone is. ``sizes``: those of its entry; ``constant``: what a node outside of it gives."""
    inside = {cone.entry, *cone.nodes}
    outside = {each for node in cone.nodes for each in node.all_input_nodes} - inside
    given = {node: constant(node) for node in outside}
    arrays = [value.detach().cpu().numpy() for value in given.values() if isinstance(value, torch.Tensor)]
    numbers = [value for value in given.values() if isinstance(value, float)]
    for node in cone.nodes:
        fx.node.map_aggregate((node.args, node.kwargs), lambda leaf: _keep(leaf, numbers))
    epsilons = [*numbers, *(float(array.reshape(())) for array in arrays if array.size == 1)]

    def compute(x: np.ndarray) -> np.ndarray:
        values = {**given, cone.entry: torch.from_numpy(x)}
        for node in cone.nodes:
            args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda each: values[each])
            if node.op == "call_method":
                values[node] = getattr(args[0], str(node.target))(*args[1:], **kwargs)
            else:
                values[node] = node.target(*args, **kwargs)
        return values[cone.nodes[-1]].double().numpy()

    try:
        with torch.no_grad():
            return norm_of(compute, sizes, behind, epsilons, arrays)
    except (RuntimeError, TypeError, ValueError, IndexError, AttributeError):
        return None  # it is read operation by operation, and refused by name where one is not known


def _keep(leaf: Any, numbers: list[float]) -> Any:
    if isinstance(leaf, float):
        numbers.append(leaf)
    return leaf
