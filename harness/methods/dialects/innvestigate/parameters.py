"""The parameters of iNNvestigate's LRP analyzers: rules by name, for the input layer, batch norm, up to an index."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from harness.errors import InvalidInputError, UnknownNameError
from harness.graph import WEIGHTED_KINDS
from harness.methods.backtrace_rules import BacktraceStart
from harness.methods.composite import Assignment
from harness.methods.definition import AT_ALL, Method
from harness.methods.entries import Parameters, bounds, choice, whole
from harness.methods.rules import (
    AlphaBeta,
    AlphaBetaX,
    BatchNormReverse,
    Bounded,
    Epsilon,
    Flat,
    FusedBatchNorm,
    KernelRule,
    Rule,
    WSquare,
    Z,
    ZPlusFast,
)

#: The rules that are written as one word: those of `LRP_RULES` in its spelling, and the classes of `relevance_rule.py`
#: that a user hands over instead. ("AlphaBeta" and "AlphaBetaIgnoreBias" of `LRP_RULES` cannot be made: without alpha
#: and beta the library raises.) "ZIgnoreBias" is `LRPZIgnoreBias` of iNNvestigate 1.0, in 2.1.2 `ZRule(bias=False)`.
#: `AlphaBetaXRule` weighs negative inputs under negative weights with beta[1] in place of alpha[1]: the values of the
#: four AlphaBetaX are those that it uses.
RULES: dict[str, KernelRule] = {
    "Z": Z(),
    "ZIgnoreBias": Z(bias=False),
    "Epsilon": Epsilon(),
    "WSquare": WSquare(),
    "Flat": Flat(),
    "Alpha2Beta1": AlphaBeta(2, 1),
    "Alpha2Beta1IgnoreBias": AlphaBeta(2, 1, bias=False),
    "Alpha1Beta0": AlphaBeta(1, 0),
    "Alpha1Beta0IgnoreBias": AlphaBeta(1, 0, bias=False),
    "ZPlus": AlphaBeta(1, 0, bias=False),
    "ZPlusFast": ZPlusFast(),
    "Bounded": Bounded(),
    "AlphaBetaX1000": AlphaBetaX(alpha=(1, 0), beta=(0, 0)),
    "AlphaBetaX1010": AlphaBetaX(alpha=(1, -1), beta=(0, -1)),
    "AlphaBetaX1001": AlphaBetaX(alpha=(1, 0), beta=(0, 0)),
    "AlphaBetaX2m100": AlphaBetaX(alpha=(2, 0), beta=(1, 0)),
}
#: Spellings of this project's own that mean the same.
_SHORT = {"z": "Z", "epsilon": "Epsilon", "w_square": "WSquare", "flat": "Flat", "bounded": "Bounded"}

INPUT_RULE_PARAMETERS = {
    "input_layer_rule": f"rule of the kernels that see the input: {', '.join(RULES)}, or low and high",
    "low": "lower bound of the input, or one a channel: -2.1/-2/-1.8; makes the rule Bounded (default -1)",
    "high": "upper bound of the input, or one a channel; makes the rule Bounded (default 1)",
}
LRP_PARAMETERS = {
    **INPUT_RULE_PARAMETERS,
    "until_layer_idx": "kernels up to this place get until_layer_rule (0 is the input; all layers count)",
    "until_layer_rule": "rule of the kernels up to until_layer_idx (default Flat)",
    "bn_layer_fuse_mode": "one_linear (default) or two_linear: batch norm read as one line or as two",
    "activation_layers": "pass (default: Activation layers, activations inside a layer) or gradient (ReLU, ... layers)",
}
BN_PARAMETER = {
    "bn_layer_rule": f"rule of batch norms: {', '.join(RULES)}, or none for the dedicated one",
}


def rule_named(what: str, name: str) -> KernelRule:
    """The rule of a name of `LRP_RULES`; raises UnknownNameError."""
    full = _SHORT.get(name, name)
    if full not in RULES:
        raise UnknownNameError(what, name, (*RULES, *_SHORT))
    return RULES[full]


def input_layer_rule_of(name: str, parameters: Parameters) -> Rule | None:
    given = parameters.get("input_layer_rule")
    bounded = "low" in parameters or "high" in parameters
    if given is None and not bounded:
        return None
    if bounded or given in ("bounded", "Bounded"):
        if given not in (None, "bounded", "Bounded"):
            raise InvalidInputError(f"{name}: low and high are for input_layer_rule=bounded, found {given!r}")
        low, high = bounds(name, parameters, -1.0, 1.0)
        return Bounded(low=low, high=high)
    return rule_named(f"{name}: input_layer_rule", str(given))


def batch_norm_rule_of(name: str, parameters: Parameters, default: Rule | None) -> Rule | None:
    mode = choice(name, parameters, "bn_layer_fuse_mode", "one_linear", ("one_linear", "two_linear"))
    given = parameters.get("bn_layer_rule")
    if given is None:
        rule = default
    elif given.lower() == "none":
        return BatchNormReverse()
    else:
        rule = rule_named(f"{name}: bn_layer_rule", given)
    if rule is None or isinstance(rule, BatchNormReverse):
        return rule
    return FusedBatchNorm(rule, mode)  # type: ignore[arg-type]


#: `AlphaBetaX2m100Rule`
ALPHA_BETA_X_2M100 = RULES["AlphaBetaX2m100"]


def until_index(name: str, parameters: Parameters) -> tuple[Assignment, ...]:
    if "until_layer_idx" not in parameters:
        if "until_layer_rule" in parameters:
            raise InvalidInputError(f"{name}: until_layer_rule needs until_layer_idx")
        return ()
    rule = rule_named(f"{name}: until_layer_rule", parameters.get("until_layer_rule", "Flat"))
    index = whole(name, parameters, "until_layer_idx", 0, least=0)
    return (Assignment(rule, kinds=WEIGHTED_KINDS, until_index=index),)


def activation_layers(
    name: str, parameters: Parameters, default: Literal["pass", "gradient"] = "pass"
) -> Literal["pass", "gradient"]:
    chosen = choice(name, parameters, "activation_layers", default, ("pass", "gradient"))
    return "pass" if chosen == "pass" else "gradient"


def selecting(method: Method, selection: str) -> Method:
    """``method`` with a `neuron_selection_mode`: "index", "all", or "max_activation", the library's default.

    The largest output of the input is explained, in all runs of integrated gradients and SmoothGrad
    (`AugmentReduceBase.analyze`). With "all" nothing is selected (`AnalyzerNetworkBase._prepare_model`): every output
    starts with what the target would have.
    """
    if selection == "all":
        return (
            method if isinstance(method.head, BacktraceStart) else replace(method, head=AT_ALL[method.head])
        )
    return replace(method, selection="input_maximum") if selection == "max_activation" else method
