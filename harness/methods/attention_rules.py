"""Rules for what transformers have beside layers with a kernel: products, softmax, norms, residual additions.

Notation as in `harness.methods.rules`: ``R`` is the relevance of the output, ``S`` the rule's stabilizer.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from harness.methods.stabilizers import ReplaceZero, Stabilizer


@dataclass(frozen=True)
class ShareProduct:
    """A product of two tensors that the network computes, ``z = a b``: relevance goes to one of them, or half to each.

    With ``q = R / S(n z)``, ``n`` the number of inputs that get relevance: ``R_a = a * (q b^T)``, ``R_b = b * (a^T q)``
    at a matrix product, ``R_a = a * (q * b)``, ``R_b = b * (q * a)`` at a product of entries, summed where ``b`` was
    repeated. What gets none gets zeros. At grid sampling the maps are ``a``, with ``b`` the places held, whose own
    relevance is always zero: ``to="first"``.

    ``to="both"``: Achtibat et al. 2024 (AttnLRP, arXiv:2402.05602), proposition 3.3 and the uniform rule of eq. 8.
    ``to="second"`` where the first input holds attention weights: Ali et al. 2022 (arXiv:2202.07304), section 3.2, the
    weights held fixed; called CP-LRP by Achtibat et al.
    """

    to: Literal["both", "first", "second"] = "both"
    stabilizer: Stabilizer = field(default_factory=ReplaceZero)


@dataclass(frozen=True)
class SoftmaxTaylor:
    """``R_x = x * (R - y * sum of R)`` at a softmax with output ``y``, the sum along its axis; 0 where ``x`` is -inf.

    The deep Taylor decomposition at ``x``, whose constant part is left out: Achtibat et al. 2024 (arXiv:2402.05602),
    proposition 3.1.
    """


@dataclass(frozen=True)
class HeldNorm:
    """``R_x = x * C^T(gamma / d * R / S(y))`` at a layer norm, the deviation ``d`` held.

    ``y = gamma * C x / d + beta`` is its output. ``C`` takes off the mean of the normalised axes; at an RMS norm it is
    the identity. ``bias=False`` leaves beta out of ``y``. Source: Ali et al. 2022 (arXiv:2202.07304), section 3.2,
    LN-rule.
    """

    bias: bool = True
    stabilizer: Stabilizer = field(default_factory=ReplaceZero)


@dataclass(frozen=True)
class SignSplit:
    """``R_x = x+ * R / S(sum of x+)`` where the sum ``z`` of the inputs is above 0, else ``x- * R / S(sum of x-)``.

    At an addition. No share is larger than the relevance that is divided. The limit of the signed gamma rule (Zennit
    0.5.1 `Gamma`) for a large gamma, at a layer without kernel.
    """

    stabilizer: Stabilizer = field(default_factory=ReplaceZero)


AttentionRule = ShareProduct | SoftmaxTaylor | HeldNorm | SignSplit
