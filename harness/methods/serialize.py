"""Methods as JSON and back: the form in which a golden keeps them."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any

from harness.errors import InvalidInputError
from harness.graph import Graph
from harness.methods import (
    attention_rules,
    backtrace_rules,
    composite,
    definition,
    procedures,
    rollout,
    rules,
    stabilizers,
)
from harness.methods.definition import Method
from harness.methods.later import is_left_out

_MODULES = (stabilizers, rules, attention_rules, backtrace_rules, procedures, rollout, composite, definition)
_CLASSES = {
    name: cls
    for module in _MODULES
    for name, cls in vars(module).items()
    if isinstance(cls, type) and is_dataclass(cls) and cls.__module__ == module.__name__
}


def to_json(value: Any) -> Any:
    """Dataclasses become objects with their class name under ``"is"``, tuples lists.

    A field of `later` is left out at its default, which :func:`from_json` then takes.
    """
    if is_dataclass(value):
        return {
            "is": type(value).__name__,
            **{
                f.name: to_json(getattr(value, f.name))
                for f in fields(value)
                if not is_left_out(f, getattr(value, f.name))
            },
        }
    if isinstance(value, tuple):
        return [to_json(item) for item in value]
    return value


def same_on(graph: Graph | None, one: Method, other: Method) -> bool:
    """Whether two methods are the same on a network: one may know kinds of layers that it has not.

    ``graph``: None where the network is not at hand; they then have to be the same altogether. Raises what
    `Composite.assign` raises.
    """
    if graph is None or one == other:
        return one == other
    if one.composite.assign(graph) != other.composite.assign(graph):
        return False
    return replace(one, composite=other.composite) == other


def from_json(value: Any) -> Any:
    """The inverse of :func:`to_json`; raises InvalidInputError for a class it does not know."""
    if isinstance(value, dict):
        arguments = dict(value)
        name = arguments.pop("is", None)
        if name not in _CLASSES:
            raise InvalidInputError(
                f"{name!r} is no part of a method; was the file written by a newer version?"
            )
        try:
            return _CLASSES[name](**{key: from_json(item) for key, item in arguments.items()})
        except TypeError as error:
            raise InvalidInputError(f"{name} cannot be read: {error}") from None
    if isinstance(value, list):
        return tuple(from_json(item) for item in value)
    return value
