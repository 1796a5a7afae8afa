"""Methods in which one thing is varied and everything else stays."""

from __future__ import annotations

from typing import Literal

from harness.graph import AVERAGE_POOLING_KINDS
from harness.methods import (
    Assignment,
    BatchNormReverse,
    Head,
    KernelRule,
    Method,
    Rule,
    Z,
    lrp_composite,
)


def lrp(
    name: str,
    rule: KernelRule,
    *,
    input_rule: KernelRule | None = None,
    batch_norm: Rule | None = None,
    activations: Literal["pass", "gradient"] = "pass",
    norm: Z | None = None,
    head: Head = "logit",
) -> Method:
    """``rule`` for every kernel; ``input_rule``, where given, for those that see the input.

    Batch norms get Z on the line that the network computes (`BatchNormReverse`) unless ``batch_norm`` says
    otherwise; add and average pooling ``norm``, Z with iNNvestigate's stabilizer if left out.
    """
    normalised = () if norm is None else (Assignment(norm, kinds=("add", *AVERAGE_POOLING_KINDS)),)
    composite = lrp_composite(rule, input_rule, batch_norm or BatchNormReverse(), activations, normalised)
    return Method(name, composite, head)
