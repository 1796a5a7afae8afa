"""Branches: how relevance is shared out at an add."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from harness.methods import Gradient, Z

from .arithmetic import nonzero, positive
from .planting import Exchange, Shares, exchange, mutant
from .sites import Where

Inputs = tuple[Tensor, ...]

ISSUE_180 = "innvestigate issue 180: an add layer has the Z rule whatever the method"


def whole(inputs: Inputs, relevance: Tensor) -> Sequence[Tensor]:
    return [relevance for _ in inputs]


def halves(inputs: Inputs, relevance: Tensor) -> Sequence[Tensor]:
    return [relevance / len(inputs) for _ in inputs]


def first_only(inputs: Inputs, relevance: Tensor) -> Sequence[Tensor]:
    return [relevance, *(relevance * 0 for _ in inputs[1:])]


def z_plus(inputs: Inputs, relevance: Tensor) -> Sequence[Tensor]:
    s = relevance / nonzero(sum(map(positive, inputs)))
    return [positive(x) * s for x in inputs]


def z(inputs: Inputs, relevance: Tensor) -> Sequence[Tensor]:
    s = relevance / nonzero(sum(inputs))
    return [x * s for x in inputs]


def by_magnitude(inputs: Inputs, relevance: Tensor) -> Sequence[Tensor]:
    s = relevance / nonzero(sum(x.abs() for x in inputs))
    return [x.abs() * s for x in inputs]


def sharing(shares: Callable[[Inputs, Tensor], Sequence[Tensor]]) -> Exchange:
    return lambda healthy, layer, rule: Shares(shares)


ADDS = Where(("add",), "all", (Z,))
WITH_ADDS = ("fer-xception", "efficientnet-lite0", "branches-net", "tokens-net")

MUTANTS = (
    mutant(
        "residual-doubled",
        "both branches of an add get all the relevance",
        exchange(ADDS, "residual-split", sharing(whole)),
        methods=("lrp.epsilon",),
        models=WITH_ADDS,
        source="zennit issue 236: relevance doubles at every residual connection",
    ),
    mutant(
        "residual-doubled-once",
        "both branches of the last add get all the relevance",
        exchange(Where(("add",), "last", (Z,)), "residual-split", sharing(whole)),
        methods=("lrp.alpha_1_beta_0",),
        models=WITH_ADDS,
        source="zennit issue 236",
        hard=True,
    ),
    mutant(
        "residual-in-halves",
        "both branches get half, whatever they contribute",
        exchange(ADDS, "residual-split", sharing(halves)),
        methods=("lrp.epsilon",),
        models=WITH_ADDS,
        source="zennit issue 236: divide by the number of branches as a remedy",
    ),
    mutant(
        "residual-to-one-branch",
        "the first branch gets everything",
        exchange(Where(("add",), "first", (Z,)), "residual-split", sharing(first_only)),
        methods=("lrp.epsilon",),
        models=WITH_ADDS,
        source="report on LRP for MaskDINO: relevance taken along one path of a residual layer",
    ),
    mutant(
        "add-with-alpha-beta",
        "an add has the positive rule of the method's other layers where the reference has Z",
        exchange(ADDS, "residual-split", sharing(z_plus)),
        methods=("lrp.alpha_1_beta_0",),
        models=WITH_ADDS,
        source=f"{ISSUE_180}; this port does what its reporter expects",
        hard=True,
    ),
    mutant(
        "add-always-with-z",
        "an add has the Z rule in a plain gradient",
        exchange(Where(("add",), "all", (Gradient,)), "residual-split", sharing(z), "rule-mapping"),
        methods=("gradient",),
        models=WITH_ADDS,
        source=ISSUE_180,
    ),
    mutant(
        "residual-by-magnitude",
        "branches share by the absolute value of what they contribute",
        exchange(ADDS, "residual-split", sharing(by_magnitude), "absolute-contributions"),
        methods=("lrp.epsilon",),
        models=WITH_ADDS,
        source="DLBacktrace chronicle: absolute contributions",
        hard=True,
    ),
)
