"""The names people type, and how a name becomes a method and a method its name again.

A name is a catalogue entry, optionally followed by parameters: ``lrp.epsilon:epsilon=0.25``,
``lrp.z:input_layer_rule=bounded,low=0,high=1``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from harness.errors import InvalidInputError, UnknownNameError
from harness.methods.composite import GRADIENT, Composite, Method, lrp_composite
from harness.methods.rules import AlphaBeta, Bounded, Epsilon, Flat, Rule, WSquare, Z

Parameters = Mapping[str, str]

_INNVESTIGATE = "iNNvestigate 2.1.2"


@dataclass(frozen=True)
class Entry:
    """A catalogue line: how ``build`` makes the method of the parameters, which it accepts, where it is from."""

    name: str
    family: str
    dialect: str
    source: str
    parameters: Mapping[str, str]
    build: Callable[[str, Parameters], Method]


def _number(name: str, parameters: Parameters, key: str, default: float) -> float:
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


def _input_layer_rule(name: str, parameters: Parameters) -> Rule | None:
    kind = parameters.get("input_layer_rule")
    if kind is None or kind != "bounded":
        stray = [key for key in ("low", "high") if key in parameters]
        if stray:
            raise InvalidInputError(f"{name}: {stray[0]} needs input_layer_rule=bounded")
    if kind is None:
        return None
    if kind == "bounded":
        return Bounded(
            low=_number(name, parameters, "low", -1.0), high=_number(name, parameters, "high", 1.0)
        )
    simple: dict[str, Rule] = {"flat": Flat(), "w_square": WSquare(), "z": Z()}
    if kind not in simple:
        raise UnknownNameError(f"{name}: input_layer_rule", kind, (*simple, "bounded"))
    return simple[kind]


_INPUT_RULE_PARAMETERS = {
    "input_layer_rule": "rule of the layers that see the input: bounded, flat, w_square or z",
    "low": "lower bound of the input, with bounded (default -1)",
    "high": "upper bound of the input, with bounded (default 1)",
}


def _gradient(name: str, parameters: Parameters) -> Method:
    return Method(name, GRADIENT, head="one")


def _input_t_gradient(name: str, parameters: Parameters) -> Method:
    return Method(name, GRADIENT, head="one", postprocess="times_input")


def _lrp(rule: Callable[[str, Parameters], Rule]) -> Callable[[str, Parameters], Method]:
    def build(name: str, parameters: Parameters) -> Method:
        composite: Composite = lrp_composite(
            rule(name, parameters), input_layer_rule=_input_layer_rule(name, parameters)
        )
        return Method(name, composite)

    return build


def _epsilon_rule(name: str, parameters: Parameters) -> Rule:
    epsilon = _number(name, parameters, "epsilon", 1e-7)
    if epsilon <= 0:
        raise InvalidInputError(f"{name}: epsilon must be above 0, found {epsilon:g}")
    return Epsilon(epsilon=epsilon)


def _lrp_entry(
    name: str,
    source: str,
    rule: Callable[[str, Parameters], Rule],
    parameters: Mapping[str, str] | None = None,
) -> Entry:
    return Entry(
        name,
        "lrp",
        _INNVESTIGATE,
        source,
        {**(parameters or {}), **_INPUT_RULE_PARAMETERS},
        _lrp(rule),
    )


_BACH = "Bach et al. 2015"
_MONTAVON = "Montavon et al. 2017"
CATALOGUE: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        Entry("gradient", "gradient", _INNVESTIGATE, "Simonyan et al. 2014", {}, _gradient),
        Entry("input_t_gradient", "gradient", _INNVESTIGATE, "Shrikumar et al. 2016", {}, _input_t_gradient),
        _lrp_entry("lrp.z", f"{_BACH}, eq. 56", lambda *_: Z()),
        _lrp_entry(
            "lrp.epsilon",
            f"{_BACH}, eq. 58",
            _epsilon_rule,
            {"epsilon": "signed stabilizer, above 0 (default 1e-7)"},
        ),
        _lrp_entry("lrp.alpha_1_beta_0", f"{_BACH}, eq. 60", lambda *_: AlphaBeta(1, 0)),
        _lrp_entry(
            "lrp.alpha_1_beta_0_IB", f"{_BACH}, eq. 60, no bias", lambda *_: AlphaBeta(1, 0, bias=False)
        ),
        _lrp_entry("lrp.alpha_2_beta_1", f"{_BACH}, eq. 60", lambda *_: AlphaBeta(2, 1)),
        _lrp_entry(
            "lrp.alpha_2_beta_1_IB", f"{_BACH}, eq. 60, no bias", lambda *_: AlphaBeta(2, 1, bias=False)
        ),
        _lrp_entry("lrp.z_plus", f"{_MONTAVON}, z+ rule", lambda *_: AlphaBeta(1, 0, bias=False)),
        _lrp_entry("lrp.w_square", f"{_MONTAVON}, w^2 rule", lambda *_: WSquare()),
        _lrp_entry("lrp.flat", "Lapuschkin et al. 2019", lambda *_: Flat()),
    )
}

#: What the suites run: every catalogue name, and the input-layer composites on top of two of them.
SUITE_METHODS: tuple[str, ...] = (
    *CATALOGUE,
    "lrp.epsilon:epsilon=0.25",
    "lrp.epsilon:input_layer_rule=bounded",
    "lrp.epsilon:input_layer_rule=flat",
    "lrp.epsilon:input_layer_rule=w_square",
    "lrp.alpha_1_beta_0:input_layer_rule=bounded",
    "lrp.alpha_1_beta_0:input_layer_rule=flat",
    "lrp.alpha_1_beta_0:input_layer_rule=w_square",
)


def method(name: str | Method) -> Method:
    """The method of a name; a method object is returned as it is.

    Raises UnknownNameError for a name or parameter that does not exist (with the nearest match),
    InvalidInputError for a parameter out of range.
    """
    if isinstance(name, Method):
        return name
    base, _, tail = name.partition(":")
    if base not in CATALOGUE:
        raise UnknownNameError("method", base, CATALOGUE, "See: xai-harness methods")
    entry = CATALOGUE[base]
    parameters: dict[str, str] = {}
    for part in tail.split(",") if tail else ():
        key, equals, value = part.partition("=")
        if not equals or not value:
            raise InvalidInputError(f"{name}: {part!r} is not of the form parameter=value")
        if key not in entry.parameters:
            raise UnknownNameError(f"parameter of {base}", key, entry.parameters)
        if key in parameters:
            raise InvalidInputError(f"{name}: {key} is given twice")
        parameters[key] = value
    if tail == "" and name.endswith(":"):
        raise InvalidInputError(f"{name}: parameters are missing after the colon")
    return entry.build(name, parameters)


def slug(name: str) -> str:
    """``name`` as part of a file name that every file system takes."""
    return name.replace(":", "-").replace("=", "_").replace(",", "-")
