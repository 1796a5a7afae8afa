"""Which function a rule is: one layer's own step, from the relevance of its output to that of its inputs."""

from __future__ import annotations

import numpy as np

from harness.errors import InvalidInputError, UnsupportedMethodError
from harness.graph import Layer
from harness.methods import FusedBatchNorm, Rule
from reference_impls.oracle.activation_rules import ACTIVATION_RULES
from reference_impls.oracle.batch_norm_rules import BATCH_NORM_RULES
from reference_impls.oracle.kernel_rules import KERNEL_RULES
from reference_impls.oracle.linear import Arrays
from reference_impls.oracle.parts import RuleFunction

RULES: dict[type, RuleFunction] = {**KERNEL_RULES, **ACTIVATION_RULES, **BATCH_NORM_RULES}


def has(rule: Rule) -> bool:
    """Whether the oracle has ``rule`` and, where it is made of another, that one too."""
    if isinstance(rule, FusedBatchNorm):
        return type(rule.rule) in KERNEL_RULES
    return type(rule) in RULES


def propagate(layer: Layer, inputs: Arrays, relevance: np.ndarray, rule: Rule) -> Arrays:
    """The relevance of each input of ``layer`` under ``rule``, in float64.

    ``inputs``: one array (batch, *input shape) per input; ``relevance``: (batch, *shape).

    Raises UnsupportedMethodError for a rule the layer's kind has no reading of, InvalidInputError for
    arrays that do not fit the layer.
    """
    if type(rule) not in RULES:
        raise UnsupportedMethodError(
            f"the oracle has no rule {type(rule).__name__!r}; it has: "
            f"{', '.join(known.__name__ for known in RULES)}"
        )
    inputs = tuple(np.asarray(x, dtype=np.float64) for x in inputs)
    relevance = np.asarray(relevance, dtype=np.float64)
    _require_shapes(layer, inputs, relevance)
    # A denominator of almost nothing may overflow. That is the rule's own result, and the comparison
    # counts it; a warning would only repeat it.
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        return RULES[type(rule)](layer, inputs, relevance, rule)


def _require_shapes(layer: Layer, inputs: Arrays, relevance: np.ndarray) -> None:
    batch = relevance.shape[:1]
    found = tuple(x.shape for x in inputs)
    expected = tuple((*batch, *shape) for shape in layer.input_shapes)
    if found != expected:
        raise InvalidInputError(
            f"layer {layer.name!r} ({layer.kind}) was given inputs of shape {found}, expected {expected}; "
            "arrays are batch first and channels last"
        )
    if relevance.shape[1:] != layer.shape:
        raise InvalidInputError(
            f"layer {layer.name!r} ({layer.kind}) was given relevance of shape {relevance.shape}, "
            f"expected (batch, {', '.join(map(str, layer.shape))}); arrays are batch first and channels last"
        )
