"""What keeps a denominator from zero, as plain, comparable values: ``S(z)``."""

from __future__ import annotations

from dataclasses import dataclass

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


@dataclass(frozen=True)
class AddedEpsilon:
    """``S(z) = z + epsilon``, whatever the sign of ``z``: a denominator of ``-epsilon`` becomes zero (lxt 2.1)."""

    epsilon: float

    def __post_init__(self) -> None:
        if not self.epsilon > 0:
            raise InvalidInputError(f"epsilon must be above 0, found {self.epsilon}")


@dataclass(frozen=True)
class Unprotected:
    """``S(z) = z``: division by an exact zero gives an infinity or NaN (Zennit 0.5.1 `Epsilon(epsilon=0)`)."""


Stabilizer = ReplaceZero | SignedEpsilon | AddedEpsilon | Unprotected
