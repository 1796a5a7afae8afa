"""LRP names: a prefix for the input layer, the rule, the threshold (``lrpsign_epsilon_0_25_std_x_mu_0_5``)."""

from __future__ import annotations

import re

from harness.errors import InvalidInputError
from harness.graph import CONVOLUTION_KINDS
from harness.methods.composite import Assignment
from harness.methods.definition import Method
from harness.methods.dialects.signxai.composites import lrp_composite
from harness.methods.dialects.signxai.numbers import NUMBER, check_known, read_number, write_number
from harness.methods.entries import Parameters, bounds, checked_alpha_beta
from harness.methods.rules import (
    AlphaBeta,
    Bounded,
    Epsilon,
    Flat,
    KernelRule,
    Sign,
    StdEpsilon,
    WSquare,
    Z,
)

#: The bounds that `..._VGG16ILSVRC` stands for: a mean-free BGR image.
ILSVRC_BOUNDS = (-123.68, 151.061)


_LRP = re.compile(
    r"(?P<prefix>lrp|lrpsign|lrpz|zblrp|w2lrp|flatlrp)_"
    rf"(?:(?P<z>z)|epsilon_(?P<epsilon>{NUMBER})(?P<std>_std_x)?"
    rf"|alpha_(?P<alpha>{NUMBER})_beta_(?P<beta>{NUMBER})|sequential_composite_(?P<preset>[ab]))"
    rf"(?:_mu_(?P<mu>{NUMBER}))?(?P<ilsvrc>_VGG16ILSVRC)?$"
)
_INPUT_RULES: dict[str, KernelRule | None] = {
    "lrp": None,
    "lrpsign": Sign(),
    "lrpz": Z(),
    "w2lrp": WSquare(),
    "flatlrp": Flat(),
    "zblrp": Bounded(times_inputs=False),
}
_BOUNDS = {
    "low": "lower bound of the input, or one a channel: -2.1/-2/-1.8 (default -1)",
    "high": "upper bound of the input, or one a channel (default 1)",
}


def lrp(name: str, parameters: Parameters) -> Method | None:
    """``<prefix>_<rule>[_mu_<number>][_VGG16ILSVRC]``; None for another form."""
    match = _LRP.match(name)
    if match is None:
        return None
    prefix = match["prefix"]
    if match["mu"] and prefix != "lrpsign":
        raise InvalidInputError(f"{name}: mu is the threshold of lrpsign_..., not of {prefix}_...")
    if match["ilsvrc"] and prefix != "zblrp":
        raise InvalidInputError(
            f"{name}: VGG16ILSVRC stands for the bounds of zblrp_..., not of {prefix}_..."
        )
    check_known(name, parameters, _BOUNDS if prefix == "zblrp" and not match["ilsvrc"] else {})

    input_rule = _INPUT_RULES[prefix]
    if match["mu"]:
        input_rule = Sign(threshold=read_number(match["mu"]))
    if prefix == "zblrp":
        low, high = ILSVRC_BOUNDS if match["ilsvrc"] else bounds(name, parameters, -1.0, 1.0)
        input_rule = Bounded(low=low, high=high, times_inputs=False)

    rule, before, text = _rule(name, match)
    name = f"{prefix}_{text}"
    if match["mu"]:
        name += f"_mu_{write_number(read_number(match['mu']))}"
    return Method(name + (match["ilsvrc"] or ""), lrp_composite(rule, input_rule, before))


def _rule(name: str, match: re.Match[str]) -> tuple[KernelRule, tuple[Assignment, ...], str]:
    """The rule of the kernels, assignments that come before it, and how the name writes it."""
    if match["z"]:
        return Z(), (), "z"
    if match["epsilon"]:
        value = read_number(match["epsilon"])
        if value <= 0:
            raise InvalidInputError(f"{name}: epsilon must be above 0, found {value:g}")
        text = f"epsilon_{write_number(value)}"
        return (StdEpsilon(value), (), f"{text}_std_x") if match["std"] else (Epsilon(value), (), text)
    if match["preset"]:
        convolution = AlphaBeta(1, 0) if match["preset"] == "a" else AlphaBeta(2, 1)
        before = (Assignment(convolution, kinds=CONVOLUTION_KINDS),)
        return Epsilon(0.1), before, f"sequential_composite_{match['preset']}"
    alpha, beta = checked_alpha_beta(name, read_number(match["alpha"]), read_number(match["beta"]))
    return AlphaBeta(alpha, beta), (), f"alpha_{write_number(alpha)}_beta_{write_number(beta)}"
