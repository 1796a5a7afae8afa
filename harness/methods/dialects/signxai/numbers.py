"""Numbers in signxai's names, and parameters after a colon."""

from __future__ import annotations

from collections.abc import Mapping

from harness.errors import InvalidInputError, UnknownNameError
from harness.methods.entries import Parameters

NUMBER = r"(?:neg_)?\d+(?:_\d+)?"


def read_number(text: str) -> float:
    """``0_25`` as 0.25, ``neg_0_5`` as -0.5."""
    value = float(text.removeprefix("neg_").replace("_", "."))
    return -value if text.startswith("neg_") else value


def write_number(value: float) -> str:
    """The inverse of :func:`read_number`, without trailing zeros; raises InvalidInputError if it has no such form."""
    plain = f"{abs(value):.12f}".rstrip("0").rstrip(".")
    if float(plain) != abs(value):
        raise InvalidInputError(f"{value:g} cannot be written in a name; use a value with up to 12 decimals")
    return ("neg_" if value < 0 else "") + plain.replace(".", "_")


def check_known(name: str, parameters: Parameters, known: Mapping[str, str]) -> None:
    for key in parameters:
        if not known:
            raise InvalidInputError(f"{name} takes no parameters after a colon, found {key!r}")
        if key not in known:
            raise UnknownNameError(f"parameter of {name}", key, known)
