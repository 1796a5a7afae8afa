"""The contributions of one linear map, by their sign: their sums at each output, and shares of them on the way back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reference_impls.dlbacktrace.maps import Linear


@dataclass(frozen=True, eq=False)
class Contributions:
    """``c_ij = w_ij * x_i`` of ``linear`` at the input ``x`` (batch, *input shape).

    A contribution is positive where ``x`` and ``w`` have one sign, negative where they have not. Sizes are at least 0.
    """

    linear: Linear
    x: np.ndarray

    @property
    def positive(self) -> np.ndarray:
        """``P``: at each output the sum of the positive ones."""
        return self._sums(same_sign=True)

    @property
    def negative(self) -> np.ndarray:
        """``N``: at each output the sum of the sizes of the negative ones."""
        return self._sums(same_sign=False)

    @property
    def bias_positive(self) -> np.ndarray:
        return np.maximum(self.linear.bias, 0)

    @property
    def bias_negative(self) -> np.ndarray:
        return np.maximum(-self.linear.bias, 0)

    def shared(self, to_positive: np.ndarray, to_negative: np.ndarray) -> np.ndarray:
        """``sum over j of |c_ij| * q_j`` at each input, with ``q`` that of the sign of ``c_ij``."""
        up, down = self._parts(self.linear.kernel)
        by_up, by_down = self._parts(self.x)
        back = self.linear.back
        return by_up * (back(to_positive, up) + back(to_negative, down)) + by_down * (
            back(to_positive, down) + back(to_negative, up)
        )

    def _sums(self, same_sign: bool) -> np.ndarray:
        up, down = self._parts(self.linear.kernel)
        if not same_sign:
            up, down = down, up
        by_up, by_down = self._parts(self.x)
        return self.linear.apply(by_up, up) + self.linear.apply(by_down, down)

    @staticmethod
    def _parts(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The sizes of the positive and of the negative values."""
        return np.maximum(values, 0), np.maximum(-values, 0)
