"""From a name to its method: the grammar as a whole."""

from __future__ import annotations

import re

from harness.errors import InvalidInputError
from harness.methods.definition import Method
from harness.methods.dialects.signxai.gradients import (
    based,
    grad_cam,
)
from harness.methods.dialects.signxai.lrp import lrp
from harness.methods.entries import Parameters


def parse(name: str, parameters: Parameters) -> Method | None:
    """The method of a signxai name; None where the name has no form of this grammar.

    Raises InvalidInputError or UnknownNameError where it has, and a value is out of range.
    """
    parsed = based(name, parameters) or grad_cam(name, parameters) or lrp(name, parameters)
    if parsed is None:
        _explain_near_miss(name)
    return parsed


def _explain_near_miss(name: str) -> None:
    """Raise InvalidInputError for a name that starts like one of this dialect and writes its numbers wrongly."""
    rule = re.match(r"(lrp|lrpsign|lrpz|zblrp|w2lrp|flatlrp)_(epsilon|alpha)_", name)
    if rule is None:
        return
    if rule[2] == "epsilon":
        raise InvalidInputError(
            f"{name}: epsilon must be a number above 0 with underscores for the point, as in {rule[1]}_epsilon_0_25"
        )
    raise InvalidInputError(
        f"{name}: alpha and beta must be numbers with alpha - beta = 1, as in {rule[1]}_alpha_2_beta_1"
    )
