"""LRP rules as plain, comparable values. What a rule computes is written down here once, as a formula.

Notation, for one layer with input ``x``, kernel ``W``, bias ``b``, relevance ``R`` of its output:
``f(x; W, b)`` is the layer without its activation, ``f^T(s; W)`` its transpose (the gradient of
``sum(f(x; W, b) * s)`` with respect to ``x``), ``W+ = max(W, 0)``, ``W- = min(W, 0)``, the same for
``x`` and ``b``. A layer with several kernels (separable convolution) has each of them replaced by its
positive part, square, ... on its own. ``S(.)`` is the rule's stabilizer, applied to denominators.

The formulas are those of iNNvestigate 2.1.2, `analyzer/relevance_based/relevance_rule.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from harness.errors import InvalidInputError


@dataclass(frozen=True)
class ReplaceZero:
    """``S(z) = z + value * [z == 0]``: only an exact zero is replaced (`safe_divide`, iNNvestigate 2.1.2)."""

    value: float = 1e-7


@dataclass(frozen=True)
class SignedEpsilon:
    """``S(z) = z + epsilon * sign(z)`` with ``sign(0) = +1`` (Bach et al. 2015, eq. 58; iNNvestigate `EpsilonRule`)."""

    epsilon: float

    def __post_init__(self) -> None:
        if not self.epsilon > 0:
            raise InvalidInputError(f"epsilon must be above 0, found {self.epsilon}")


Stabilizer = ReplaceZero | SignedEpsilon


@dataclass(frozen=True)
class Z:
    """``R_x = x * f^T(R / S(z); W)`` with ``z = f(x; W, b)``; the bias is left out where ``bias`` is false.

    At a layer without kernel: add is ``z = sum of its inputs``, average pooling is ``z = its output``,
    each with ``R_x = x * (transpose of that linear map)(R / S(z))``.
    Source: Bach et al. 2015, eq. 56; iNNvestigate 2.1.2 `ZRule`, `AddReverseLayer`, `AveragePoolingReverseLayer`.
    """

    bias: bool = True
    stabilizer: Stabilizer = field(default_factory=ReplaceZero)


@dataclass(frozen=True)
class Epsilon:
    """:class:`Z` with ``S = SignedEpsilon(epsilon)`` (Bach et al. 2015, eq. 58; iNNvestigate 2.1.2 `EpsilonRule`)."""

    epsilon: float = 1e-7
    bias: bool = True

    def __post_init__(self) -> None:
        if not self.epsilon > 0:
            raise InvalidInputError(f"epsilon must be above 0, found {self.epsilon}")


@dataclass(frozen=True)
class AlphaBeta:
    """``R_x = alpha * A - beta * B`` with ``alpha - beta = 1``, ``alpha >= 1``, ``beta >= 0``.

    ``A = x+ * f^T(s; W+) + x- * f^T(s; W-)``, ``s = R / S(f(x+; W+, b+) + f(x-; W-, b-))``,
    ``B = x+ * f^T(t; W-) + x- * f^T(t; W+)``, ``t = R / S(f(x+; W-, b-) + f(x-; W+, b+))``.

    Both denominators therefore hold the whole bias ``b+ + b-``: that is how iNNvestigate 2.1.2
    (`AlphaBetaRule`) reads Bach et al. 2015, eq. 60. ``bias=False`` leaves it out of both. ``B`` is not
    computed where ``beta`` is 0. At a separable convolution the product of two ``W-`` is positive, so
    either denominator may mix signs there.
    """

    alpha: float
    beta: float
    bias: bool = True
    stabilizer: Stabilizer = field(default_factory=ReplaceZero)

    def __post_init__(self) -> None:
        if self.alpha < 1 or self.beta < 0 or self.alpha - self.beta != 1:
            raise InvalidInputError(
                "alpha must be at least 1, beta at least 0 and alpha - beta exactly 1, "
                f"found alpha={self.alpha}, beta={self.beta}"
            )


@dataclass(frozen=True)
class WSquare:
    """``R_x = f^T(R / S(f(1; W^2)); W^2)``: ones for the input, no bias (Montavon et al. 2017; `WSquareRule`)."""

    stabilizer: Stabilizer = field(default_factory=ReplaceZero)


@dataclass(frozen=True)
class Flat:
    """:class:`WSquare` with every kernel entry one: ``R_x = f^T(R / S(f(1; 1)); 1)`` (`FlatRule`)."""

    stabilizer: Stabilizer = field(default_factory=ReplaceZero)


@dataclass(frozen=True)
class Bounded:
    """The z^B rule for inputs in ``[low, high]``, without bias (Montavon et al. 2017; `BoundedRule`).

    ``R_x = x * f^T(s; W) - low * f^T(s; W+) - high * f^T(s; W-)``,
    ``s = R / S(f(x; W) - f(low; W+) - f(high; W-))``.
    """

    low: float = -1.0
    high: float = 1.0
    stabilizer: Stabilizer = field(default_factory=ReplaceZero)

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise InvalidInputError(f"low must be below high, found low={self.low}, high={self.high}")


@dataclass(frozen=True)
class Pass:
    """``R_x = R``: the layer has one input of the shape of its output."""


@dataclass(frozen=True)
class Gradient:
    """``R_x = J^T R``, the layer's ordinary vector-Jacobian product at ``x``, for every input."""


@dataclass(frozen=True)
class FusedBatchNorm:
    """``rule`` applied to a batch norm read as ``kernel * x + bias`` per channel (`apply_mapping_to_fused_bn_layer`).

    With gamma (1 if absent), beta (0 if absent), mean, variance and the layer's own epsilon:
    ``kernel = gamma / d``, ``bias = beta - mean / d``, ``d = sqrt(variance**2 + epsilon)``.

    The square on the variance and the missing gamma before the mean are iNNvestigate 2.1.2's
    (`backend/graph.py`, lines 512-515): the line it explains is not the line the network computes.
    """

    rule: Z | Epsilon | AlphaBeta | WSquare | Flat | Bounded


Rule = Z | Epsilon | AlphaBeta | WSquare | Flat | Bounded | Pass | Gradient | FusedBatchNorm
