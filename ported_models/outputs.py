"""Which of several outputs of a source is explained: by its name, or by its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.errors import ModelSourceError, UnknownNameError


def place_of(
    outputs: Sequence[str], chosen: str | int | None, origin: str, has: str = "has", named: bool = True
) -> int:
    """The place of the output that is ``chosen``; of a single one nothing has to be.

    ``outputs``: their names; where they have none, ``named`` is false, and each is described. ``has``: what ``origin``
    does with them, in its message.

    Raises ModelSourceError where several are there and none is chosen, or for a place that is none of theirs;
    UnknownNameError for a name that none has.
    """
    listed = ", ".join(f"{place}: {output}" for place, output in enumerate(outputs))
    if chosen is None and len(outputs) != 1:
        way = f"output={outputs[0]!r}), or by its place, output=0" if named and outputs else "output=0)"
        raise ModelSourceError(
            f"{origin}: {has} {len(outputs)} outputs ({listed}); say which one is to be explained with "
            f"load_model(..., {way}"
        )
    if isinstance(chosen, str):
        if not named:
            raise ModelSourceError(
                f"{origin}: output={chosen!r}, expected the place of one of its outputs, which have no names ({listed})"
            )
        if chosen not in outputs:
            raise UnknownNameError(f"output of {origin}", chosen, outputs)
        return list(outputs).index(chosen)
    if chosen is not None and not 0 <= chosen < len(outputs):
        raise ModelSourceError(f"{origin}: output={chosen}, expected one of {listed}")
    return chosen or 0


def picked(returned: Any, chosen: str | int | None, tensor: type | tuple[type, ...], origin: str) -> Any:
    """The tensor that is meant of what a module returns: a tensor, or several in a tuple or dictionary.

    ``tensor``: the type, or types, of one. Raises what :func:`place_of` raises, and ModelSourceError for what is no
    tensor.
    """
    named = True
    if isinstance(returned, Mapping):
        names, values = [str(key) for key in returned], list(returned.values())
    elif isinstance(returned, tuple | list):
        values, fields = list(returned), getattr(returned, "_fields", None)
        named = fields is not None
        names = list(fields or [_described(each, tensor) for each in values])
    else:
        names, values, named = [_described(returned, tensor)], [returned], False
    value = values[place_of(names, chosen, origin, "returns", named)]
    if not isinstance(value, tensor):
        which = "" if len(values) == 1 and value is returned else f" as output {chosen or 0!r}"
        raise ModelSourceError(
            f"{origin}: returns {_described(value, tensor)}{which}, expected one tensor; "
            "wrap the module in one that returns the logits only"
        )
    return value


def _described(value: Any, tensor: type | tuple[type, ...]) -> str:
    if isinstance(value, tensor):
        shape = getattr(value, "shape", None)
        return "a tensor" if shape is None else f"a tensor of shape {tuple(shape)}"
    kinds = ((Mapping, "a dictionary"), (tuple, "a tuple"), (list, "a list"))
    return next((words for kind, words in kinds if isinstance(value, kind)), f"a {type(value).__name__}")
