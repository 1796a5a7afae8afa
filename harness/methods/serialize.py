"""Methods as JSON and back: the form in which a golden keeps them."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

from harness.errors import InvalidInputError
from harness.methods import composite, definition, procedures, rules

_MODULES = (rules, procedures, composite, definition)
_CLASSES = {
    name: cls
    for module in _MODULES
    for name, cls in vars(module).items()
    if isinstance(cls, type) and is_dataclass(cls) and cls.__module__ == module.__name__
}


def to_json(value: Any) -> Any:
    """Dataclasses become objects with their class name under ``"is"``, tuples lists."""
    if is_dataclass(value):
        return {
            "is": type(value).__name__,
            **{f.name: to_json(getattr(value, f.name)) for f in fields(value)},
        }
    if isinstance(value, tuple):
        return [to_json(item) for item in value]
    return value


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
