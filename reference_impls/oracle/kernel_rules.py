"""The rules of layers with weights, by their type: those a batch norm read as lines may be given too."""

from __future__ import annotations

from reference_impls.oracle.contribution_rules import CONTRIBUTION_RULES
from reference_impls.oracle.input_rules import INPUT_RULES
from reference_impls.oracle.parts import RuleFunction
from reference_impls.oracle.signed_rules import SIGNED_RULES

KERNEL_RULES: dict[type, RuleFunction] = {**CONTRIBUTION_RULES, **SIGNED_RULES, **INPUT_RULES}
