"""What a name of the catalogue is, and how its parameters are read from text."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from harness.errors import InvalidInputError, UnknownNameError
from harness.methods.definition import Method
from harness.methods.rules import Bound, Bounded

Parameters = Mapping[str, str]


@dataclass(frozen=True)
class Entry:
    """A catalogue line: what a name is called with, where it is from, and what it means.

    ``build`` makes the method of the name as typed and its parameters. ``parameters``: by name, what each
    means and its default. ``source``: paper and equation, or library, version and class.
    """

    name: str
    family: str
    dialect: str
    source: str
    build: Callable[[str, Parameters], Method]
    parameters: Mapping[str, str] = field(default_factory=dict)


def number(name: str, parameters: Parameters, key: str, default: float) -> float:
    """Parameter ``key`` as a finite number; raises InvalidInputError."""
    text = parameters.get(key)
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        raise InvalidInputError(f"{name}: {key} must be a number, found {text!r}") from None
    if not math.isfinite(value):
        raise InvalidInputError(f"{name}: {key} must be finite, found {text!r}")
    return value


def above_zero(name: str, parameters: Parameters, key: str, default: float) -> float:
    """Parameter ``key`` as a number above 0; raises InvalidInputError."""
    value = number(name, parameters, key, default)
    if value <= 0:
        raise InvalidInputError(f"{name}: {key} must be above 0, found {value:g}")
    return value


def whole(name: str, parameters: Parameters, key: str, default: int, least: int) -> int:
    """Parameter ``key`` as a whole number, ``least`` or more; raises InvalidInputError."""
    value = number(name, parameters, key, default)
    if value != int(value) or value < least:
        raise InvalidInputError(f"{name}: {key} must be a whole number, {least} or more, found {value:g}")
    return int(value)


def choice(name: str, parameters: Parameters, key: str, default: str, among: tuple[str, ...]) -> str:
    """Parameter ``key`` as one of ``among``; raises UnknownNameError."""
    value = parameters.get(key, default)
    if value not in among:
        raise UnknownNameError(f"value of {key} of {name}", value, among)
    return value


def flag(name: str, parameters: Parameters, key: str, default: bool) -> bool:
    """Parameter ``key``, "true" or "false"; raises UnknownNameError."""
    return choice(name, parameters, key, str(default).lower(), ("true", "false")) == "true"


def bounds(name: str, parameters: Parameters, low: float, high: float) -> tuple[Bound, Bound]:
    """Parameters ``low`` and ``high`` with their defaults: each a number, or one a channel, ``low=-2.1/-2/-1.8``.

    Raises InvalidInputError unless low < high in every channel.
    """
    pair = _bound(name, parameters, "low", low), _bound(name, parameters, "high", high)
    try:
        Bounded(*pair)
    except InvalidInputError as error:
        raise InvalidInputError(f"{name}: {error}") from None
    return pair


def _bound(name: str, parameters: Parameters, key: str, default: float) -> Bound:
    texts = parameters.get(key, str(default)).split("/")
    values = tuple(number(name, {key: text}, key, default) for text in texts)
    return values if len(values) > 1 else values[0]


def required_bounds(name: str, parameters: Parameters) -> tuple[Bound, Bound]:
    """Parameters ``low`` and ``high``, which have no defaults; raises InvalidInputError unless low < high."""
    for key in ("low", "high"):
        if key not in parameters:
            raise InvalidInputError(f"{name}: {key} is missing; write {name}:low=0,high=1")
    return bounds(name, parameters, -1.0, 1.0)


def alpha_and_beta(name: str, parameters: Parameters) -> tuple[float, float]:
    """``alpha`` and ``beta``, one inferred from the other where only one is given (alpha - beta = 1).

    Raises InvalidInputError where both are missing, alpha < 1, beta < 0 or the difference is not 1.
    """
    if "alpha" not in parameters and "beta" not in parameters:
        raise InvalidInputError(f"{name}: alpha or beta is missing; write {name}:alpha=2,beta=1")
    beta = number(name, parameters, "beta", number(name, parameters, "alpha", 0.0) - 1)
    alpha = number(name, parameters, "alpha", beta + 1)
    return checked_alpha_beta(name, alpha, beta)


def checked_alpha_beta(name: str, alpha: float, beta: float) -> tuple[float, float]:
    """Raises InvalidInputError unless alpha >= 1, beta >= 0 and alpha - beta = 1."""
    if alpha < 1 or beta < 0 or alpha - beta != 1:
        raise InvalidInputError(
            f"{name}: alpha must be 1 or more, beta 0 or more and alpha - beta 1, "
            f"found alpha={alpha:g}, beta={beta:g}"
        )
    return alpha, beta
