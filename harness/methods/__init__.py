"""What can be asked for: rules and composites as plain data, the catalogue, the name grammar."""

from harness.methods.catalogue import CATALOGUE, SUITE_METHODS, Entry, method, slug
from harness.methods.composite import GRADIENT, Assignment, Composite, Method, lrp_composite
from harness.methods.rules import (
    AlphaBeta,
    Bounded,
    Epsilon,
    Flat,
    FusedBatchNorm,
    Gradient,
    Pass,
    ReplaceZero,
    Rule,
    SignedEpsilon,
    Stabilizer,
    WSquare,
    Z,
)
from harness.methods.serialize import from_json, to_json

__all__ = [
    "CATALOGUE",
    "GRADIENT",
    "SUITE_METHODS",
    "AlphaBeta",
    "Assignment",
    "Bounded",
    "Composite",
    "Entry",
    "Epsilon",
    "Flat",
    "FusedBatchNorm",
    "Gradient",
    "Method",
    "Pass",
    "ReplaceZero",
    "Rule",
    "SignedEpsilon",
    "Stabilizer",
    "WSquare",
    "Z",
    "from_json",
    "lrp_composite",
    "method",
    "slug",
    "to_json",
]
