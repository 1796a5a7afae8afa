"""signxai2 0.15.10: its two composites (`composites.py`) on Zennit's base layer map; SIGN as its `sign_mu` computes it.

`sign_mu` writes -1 where ``x < mu``, into ``x``, and then 1 wherever that is ``mu`` or more: for ``mu`` of -1 or below
all of it is 1. The deviation is that of each sample; the library takes it over the batch, and explains one at a time.
"""

from __future__ import annotations

from collections.abc import Callable

from harness.graph import KERNEL_KINDS
from harness.methods.composite import Assignment
from harness.methods.definition import Method
from harness.methods.dialects import zennit
from harness.methods.entries import Entry, Parameters, above_zero, choice, number
from harness.methods.rules import Sign, StdEpsilon
from harness.methods.stabilizers import SignedEpsilon

DIALECT = "signxai2 0.15.10"


def _build(sign: bool) -> Callable[[str, Parameters], Method]:
    """`EpsilonStdX`; with ``sign`` `EpsilonStdXSIGN`, whose first layer with a kernel has SIGN."""

    def build(name: str, parameters: Parameters) -> Method:
        rule = StdEpsilon(above_zero(name, parameters, "stdfactor", 0.25))
        first: Assignment | None = None
        if sign:
            factor = above_zero(name, parameters, "signstdfactor", 0.25)
            special = Sign(number(name, parameters, "mu", 0.0), std_factor=factor)
            first = Assignment(special, kinds=KERNEL_KINDS, first=True)
        stabilizer = SignedEpsilon(above_zero(name, parameters, "stabilizer", 1e-6))
        head = choice(name, parameters, "head", "logit", ("logit", "one"))
        return Method(name, zennit.composite(rule, rule, stabilizer, first), head)  # type: ignore[arg-type]

    return build


_PARAMETERS = {
    "stdfactor": "of the deviation of a layer's input, above 0 (default 0.25)",
    "stabilizer": "of all rules without a deviation, above 0 (default 1e-6)",
    "head": "logit (default) or one",
}
ENTRIES: tuple[Entry, ...] = (
    Entry("epsilon_stdx", "lrp", DIALECT, "`EpsilonStdX`", _build(sign=False), _PARAMETERS),
    Entry(
        "epsilon_stdx_sign",
        "lrp",
        DIALECT,
        "Gumpfer et al. 2023; `EpsilonStdXSIGN`",
        _build(sign=True),
        {
            "mu": "threshold of the sign at the first layer, any number (default 0)",
            "signstdfactor": "of the deviation of the input at the first layer, above 0 (default 0.25)",
            **_PARAMETERS,
        },
    ),
)
