"""LRP rules as plain, comparable values. What a rule computes is written down here once, as a formula.

Notation, for one layer with input ``x``, kernel ``W``, bias ``b``, relevance ``R`` of its output:
``f(x; W, b)`` is the layer without its activation, ``f^T(s; W)`` its transpose (the gradient of
``sum(f(x; W, b) * s)`` with respect to ``x``), ``W+ = max(W, 0)``, ``W- = min(W, 0)``, the same for
``x`` and ``b``. A layer with several kernels (separable convolution) has each of them replaced by its
positive part, square, ... on its own. ``S(.)`` is the rule's stabilizer, applied to denominators.

The readings are those of iNNvestigate 2.1.2 (`analyzer/relevance_based/relevance_rule.py`), signxai
1.1.9.2 (`methods/innvestigate/analyzer/relevance_based/relevance_rule_base.py`) and Zennit 0.5.1
(`rules.py`). Where they differ, a rule has a field for it or there are two rules; which library has
which reading is said in `harness.methods.dialects`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from harness.errors import InvalidInputError
from harness.methods.attention_rules import AttentionRule
from harness.methods.backtrace_rules import BacktraceRule
from harness.methods.later import LATER
from harness.methods.stabilizers import ReplaceZero, Stabilizer


@dataclass(frozen=True)
class Z:
    """``R_x = x * f^T(R / S(z); W)`` with ``z = f(x; W, b)``; the bias is left out where ``bias`` is false.

    At a layer without kernel: add is ``z = sum of its inputs``, average pooling is ``z = its output``,
    each with ``R_x = x * (transpose of that linear map)(R / S(z))``.

    At a recurrent layer the gates are held at the values that they took and get nothing, ``tanh`` passes relevance on,
    and each sum is divided as above, from the last step taken to the first (LRP-all: Arras et al. 2019,
    arXiv:1909.12114, section 3.2; Arras et al. 2017, arXiv:1706.07206, eq. 1 and section 3.1). ``R_h``, what the state
    of a step gets, is what the reader hands to it and what the next step does; ``h'`` and ``c'`` are those before:

    - `lstm`, ``c = f c' + i g``, ``h = o tanh(c)``: ``R_c`` is ``R_h`` and what the next step hands to the cell,
      ``s = R_c / S(c)``, ``R_c' = f c' s``, ``R_g = i g s``; with ``z = W_g x + U_g h' + b_g`` and ``q = R_g / S(z)``:
      ``R_x = x W_g^T q``, ``R_h' = h' U_g^T q``.
    - `gru`, the same reading of its product and sums, ``h = u h' + (1 - u) n``: ``s = R_h / S(h)``,
      ``q = (1 - u) n s / S(z)``, ``R_x = x W_n^T q``, ``R_h' = u h' s + h' U_n^T (r q)`` where the reset gate stands
      in front of ``U_n h'``, ``u h' s + r h' U_n^T q`` where it stands in front of ``h'``.
    - `simple_rnn`, ``h = act(z)``, ``z = W x + U h' + b``: ``q = R_h / S(z)``, ``R_x = x W^T q``, ``R_h' = h' U^T q``.

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

    Both denominators therefore hold the whole bias ``b+ + b-``: that is how iNNvestigate 2.1.2 and
    signxai 1.1.9.2 (`AlphaBetaRule`) read Bach et al. 2015, eq. 60. With ``split_bias`` the second term of
    each has no bias, ``f(x-; W-)`` and ``f(x-; W+)``, so that ``A`` holds ``b+`` and ``B`` holds ``b-``
    (Zennit 0.5.1 `AlphaBeta`, `ZPlus`). ``bias=False`` leaves the bias out altogether. ``B`` is not computed
    where ``beta`` is 0. At a separable convolution the product of two ``W-`` is positive, so either
    denominator may mix signs there.
    """

    alpha: float
    beta: float
    bias: bool = True
    stabilizer: Stabilizer = field(default_factory=ReplaceZero)
    split_bias: bool = False

    def __post_init__(self) -> None:
        if self.alpha < 1 or self.beta < 0 or self.alpha - self.beta != 1:
            raise InvalidInputError(
                "alpha must be at least 1, beta at least 0 and alpha - beta exactly 1, "
                f"found alpha={self.alpha}, beta={self.beta}"
            )


@dataclass(frozen=True)
class AlphaBetaOfMaxima:
    """:class:`AlphaBeta` at the output layer, each of its four sums replaced by its largest value over the classes.

    With ``m(z)`` the largest of ``z`` and ``e(z)`` one where ``z`` is that, shared by equal ones, and zero elsewhere,
    ``r`` the sum of ``R``: ``A = x+ * f^T(s e(p); W+) + x- * f^T(s e(q); W-)``, ``p = f(x+; W+, b+)``,
    ``q = f(x-; W-, b-)``, ``s = r / S(m(p) + m(q))``; ``B`` is the same with ``W-`` for ``W+`` and ``W+`` for ``W-``;
    ``R_x = alpha * A - beta * B``, ``B`` not computed where ``beta`` is 0. Neither class need be the one that is
    explained.
    Source: signxai 1.1.9.2 `AlphaBetaRule.wrap_hook`, where its caller selects no neuron (`_neuron_select`).
    """

    alpha: float
    beta: float
    stabilizer: Stabilizer = field(default_factory=ReplaceZero)


@dataclass(frozen=True)
class AlphaBetaX:
    """AlphaBeta with a factor and a denominator of its own for each of the four kinds of contribution.

    ``R_x = alpha[0] * C(x+, W+) + alpha[1] * C(x-, W-) - beta[0] * C(x+, W-) - beta[1] * C(x-, W+)`` with
    ``C(y, V) = y * f^T(R / S(f(y; V, c)); V)``, ``c`` the part of the bias that has the sign of ``V``.
    Source: iNNvestigate 2.1.2 `AlphaBetaXRule`, which multiplies the second term by ``beta[1]`` instead of
    ``alpha[1]``; for (2, 0) and (1, 0), all that its presets use (`AlphaBetaX2m100Rule`), that is the same.
    """

    alpha: tuple[float, float]
    beta: tuple[float, float]
    stabilizer: Stabilizer = field(default_factory=ReplaceZero)


@dataclass(frozen=True)
class ZPlusFast:
    """``R_x = x * f^T(R / S(f(x; W+)); W+)``: no bias, and negative inputs keep their sign.

    With ``bias`` the denominator is ``f(x; W+) + b``, the whole bias, of whatever sign (Captum 0.9.0
    `Alpha1_Beta0_Rule`). Source: iNNvestigate 2.1.2 `ZPlusFastRule`; for ``x >= 0`` also Zhang et al. 2016, eq. 5.
    """

    stabilizer: Stabilizer = field(default_factory=ReplaceZero)
    bias: bool = field(default=False, metadata=LATER)


@dataclass(frozen=True)
class Gamma:
    """LRP-gamma; kernel and bias with their positive, or negative, part counted ``gamma`` times more.

    ``W^ = W + gamma * W+``, ``b^ = b + gamma * b+``, ``Wv = W + gamma * W-``, ``bv = b + gamma * b-``.
    ``signed=False``: ``R_x = x * f^T(R / S(f(x; W^, b^)); W^)`` (Montavon et al. 2019, for ``x >= 0``).
    ``signed=True``: with ``z = f(x; W, b)``,
    ``p = [z > 0] * R / S(f(x+; W^, b^) + f(x-; Wv))``, ``n = [z < 0] * R / S(f(x+; Wv, bv) + f(x-; W^))``,
    ``R_x = x+ * f^T(p; W^) + x- * f^T(p; Wv) + x+ * f^T(n; Wv) + x- * f^T(n; W^)``
    (Zennit 0.5.1 `Gamma`; Andeol et al. 2021).

    ``bias``, with ``signed=False`` alone: "raised" is ``b^``, "kept" ``b`` as it is and "none" nothing (Captum 0.9.0
    `GammaRule`, without and with ``set_bias_to_zero``). Raises InvalidInputError for a negative ``gamma``.
    """

    gamma: float
    signed: bool = True
    stabilizer: Stabilizer = field(default_factory=ReplaceZero)
    bias: Literal["raised", "kept", "none"] = field(default="raised", metadata=LATER)

    def __post_init__(self) -> None:
        if not self.gamma >= 0:
            raise InvalidInputError(f"gamma must be 0 or above, found {self.gamma}")
        if self.bias not in ("raised", "kept", "none") or (self.signed and self.bias != "raised"):
            raise InvalidInputError(
                f"the bias of gamma must be raised, kept or none, and raised where gamma is signed; found {self.bias!r}"
            )


@dataclass(frozen=True)
class StdEpsilon:
    """:class:`Epsilon` with ``epsilon = factor * std(x)``, one for each sample.

    ``std`` is the population standard deviation (ddof 0) of all values of the sample's layer input. Where
    it is 0, an exact zero in the denominator is replaced as :class:`ReplaceZero` does.
    Source: signxai 1.1.9.2 `StdxEpsilonRule`, which takes ``std`` over the whole batch; signxai itself
    explains one sample at a time.
    """

    factor: float
    bias: bool = True

    def __post_init__(self) -> None:
        if not self.factor > 0:
            raise InvalidInputError(f"the factor of std(x) must be above 0, found {self.factor}")


@dataclass(frozen=True)
class Sign:
    """``R_x = s * f^T(R / S(f(x; W, b)); W)``, ``s = 1`` where ``x >= threshold``, else ``-1``.

    With a ``threshold`` of -1 or below ``s`` is 1 everywhere: signxai writes the -1 first, then sets all
    that is not below the threshold to 1 (`SIGNmuRule`; `SIGNRule` is threshold 0).
    With ``std_factor`` the denominator is that of :class:`StdEpsilon` with this factor (signxai2 0.15.10
    `EpsStdXSIGNRule`), and ``stabilizer`` does not count.
    Source: Gumpfer et al. 2023; signxai 1.1.9.2.
    """

    threshold: float = 0.0
    bias: bool = True
    stabilizer: Stabilizer = field(default_factory=ReplaceZero)
    std_factor: float | None = field(default=None, metadata=LATER)

    def __post_init__(self) -> None:
        if self.std_factor is not None and not self.std_factor > 0:
            raise InvalidInputError(f"the factor of std(x) must be above 0, found {self.std_factor}")


@dataclass(frozen=True)
class WSquare:
    """``R_x = f^T(R / S(f(1; W^2)); W^2)``: ones for the input (Montavon et al. 2017; `WSquareRule`).

    No bias; with ``bias`` the denominator is ``f(1; W^2, b^2)`` (Zennit 0.5.1 `WSquare`).
    """

    stabilizer: Stabilizer = field(default_factory=ReplaceZero)
    bias: bool = False


@dataclass(frozen=True)
class Flat:
    """:class:`WSquare` with every kernel entry one: ``R_x = f^T(R / S(f(1; 1)); 1)`` (`FlatRule`)."""

    stabilizer: Stabilizer = field(default_factory=ReplaceZero)


#: A bound of the input: one for all of it, or one for each channel, the last axis of the layer's input.
Bound = float | tuple[float, ...]


@dataclass(frozen=True)
class Bounded:
    """The z^B rule for inputs in ``[low, high]``, without bias (Montavon et al. 2017; `BoundedRule`).

    ``R_x = x * f^T(s; W) - low * f^T(s; W+) - high * f^T(s; W-)``,
    ``s = R / S(f(x; W) - f(low; W+) - f(high; W-))``.

    A bound is one number, or one for each channel of the layer's input (an image normalised channel by channel has
    three ranges; Zennit's `ZBox` and Montavon's own code take such tensors): a tuple, a list, or an array in which
    one axis at most is longer than 1. It is kept as a number or a tuple.

    ``times_inputs=False`` leaves out the three factors ``x``, ``low`` and ``high`` in front of the
    transposes, as signxai 1.1.9.2 does. What is left, ``f^T(s; W) - (f^T(s; W+) + f^T(s; W-))``, is zero
    for every layer with one kernel: only the rounding of the sum shows. Raises InvalidInputError unless low < high
    in every channel, and where the two have bounds for different numbers of channels.
    """

    low: Bound = -1.0
    high: Bound = 1.0
    stabilizer: Stabilizer = field(default_factory=ReplaceZero)
    times_inputs: bool = True

    def __post_init__(self) -> None:
        for name in ("low", "high"):
            object.__setattr__(self, name, _as_bound(name, getattr(self, name)))
        lows, highs = _each(self.low), _each(self.high)
        if isinstance(self.low, tuple) and isinstance(self.high, tuple) and len(lows) != len(highs):
            raise InvalidInputError(
                f"low and high must have bounds for the same channels, found {len(lows)} and {len(highs)}"
            )
        longest = max(len(lows), len(highs))
        pairs = zip(_repeated(lows, longest), _repeated(highs, longest), strict=True)
        if not lows or not highs or not all(low < high for low, high in pairs):
            raise InvalidInputError(
                f"low must be below high, found low={bound_text(self.low)}, high={bound_text(self.high)}"
            )

    @property
    def channels(self) -> int | None:
        """How many channels there are bounds for; None where one pair serves all."""
        return next((len(bound) for bound in (self.low, self.high) if isinstance(bound, tuple)), None)


def _as_bound(name: str, value: Any) -> Bound:
    """``value`` as a number or a tuple. Raises InvalidInputError for what is neither and cannot be made one."""
    if isinstance(value, int | float) or (
        isinstance(value, tuple) and all(isinstance(x, int | float) for x in value)
    ):
        return value
    try:
        array = np.asarray(value, float)
    except (TypeError, ValueError):
        array = np.full((), np.nan)
    if array.size != max(array.shape, default=1) or np.isnan(array).any():
        found = f"an array of shape {np.shape(value)}" if hasattr(value, "shape") else repr(value)
        raise InvalidInputError(f"{name} must be a number, or one for each channel, found {found}")
    return tuple(map(float, array.reshape(-1))) if array.ndim else float(array)


def bound_text(bound: Bound) -> str:
    """``-1``, or ``-2.1/-2/-1.8`` where each channel has its own, as names write it."""
    return "/".join(f"{value:g}" for value in _each(bound))


def _each(bound: Bound) -> tuple[float, ...]:
    return bound if isinstance(bound, tuple) else (bound,)


def _repeated(bounds: tuple[float, ...], count: int) -> tuple[float, ...]:
    return bounds * count if len(bounds) == 1 else bounds


@dataclass(frozen=True)
class Pass:
    """``R_x = R``: the layer has one input of the shape of its output.

    At an embedding a token gets the sum over its features (Arras et al. 2017, arXiv:1706.07206, section 3.1).
    """


@dataclass(frozen=True)
class Linearized:
    """``R_x = x * J^T(R / S(y))`` with the layer's own output ``y`` and its Jacobian ``J`` at ``x``.

    At a layer without bias and activation that is :class:`Z`. At a max pooling a window's relevance goes to its
    largest entry, and is lost where that is 0; at a batch norm it is Z on the line that the layer computes, its
    constant part counted like a bias. Source: Captum 0.9.0 `EpsilonRule`, its default for such layers (`lrp.py`).
    """

    stabilizer: Stabilizer = field(default_factory=ReplaceZero)


@dataclass(frozen=True)
class Gradient:
    """``R_x = J^T R``, the layer's ordinary vector-Jacobian product at ``x``, for every input."""


@dataclass(frozen=True)
class GuidedReLU:
    """``R_x = J^T max(R, 0)`` at an activation (Springenberg et al. 2015).

    With ``per_edge``, where several layers read the activation, the share of each is rectified before
    they are summed (signxai 1.1.9.2 `GuidedBackpropReplacementLayer`), see `rectifies_shares`.
    """

    per_edge: bool = False


@dataclass(frozen=True)
class Deconvolution:
    """``R_x = max(R, 0)`` at an activation: what the activation did forward is ignored (Zeiler and Fergus 2014).

    ``per_edge``: as for :class:`GuidedReLU`.
    """

    per_edge: bool = False


@dataclass(frozen=True)
class FusedBatchNorm:
    """``rule`` applied to a batch norm read as one or two lines per channel (`apply_mapping_to_fused_bn_layer`).

    With gamma (1 if absent), beta (0 if absent), mean, variance and the layer's own epsilon, and
    ``d = sqrt(variance**2 + epsilon)``: mode "one_linear" is ``kernel * x + bias`` with
    ``kernel = gamma / d``, ``bias = beta - mean / d``. Mode "two_linear" is ``u = x / d - mean / d``, then
    ``gamma * u + beta``; ``rule`` is applied to the second line, then to the first.

    The square on the variance, and in "one_linear" the missing gamma before the mean, are iNNvestigate
    2.1.2's (`backend/graph.py`, lines 512-527): the line it explains is not the line the network computes.
    """

    rule: KernelRule
    mode: Literal["one_linear", "two_linear"] = "one_linear"


@dataclass(frozen=True)
class BatchNormReverse:
    """``R_x = x * (y - beta) * R / S((x - mean) * y)`` at a batch norm, ``y`` its output; Z on the line it computes.

    ``S(z) = z + epsilon * sign(z)``, ``sign(0) = +1``; a missing beta is 0. Source: signxai 1.1.9.2
    `BatchNormalizationReverseRule` (its only reading, whatever the rule of the other layers); iNNvestigate
    2.1.2 `BatchNormalizationReverseLayer` (where `bn_layer_rule` is None). ``epsilon`` is Keras's
    `backend.epsilon()`.
    """

    epsilon: float = 1e-7


KernelRule = (
    Z | Epsilon | StdEpsilon | AlphaBeta | AlphaBetaX | ZPlusFast | Gamma | Sign | WSquare | Flat | Bounded
)
Rule = (
    KernelRule
    | AlphaBetaOfMaxima
    | Pass
    | Linearized
    | Gradient
    | GuidedReLU
    | Deconvolution
    | FusedBatchNorm
    | BatchNormReverse
    | BacktraceRule
    | AttentionRule
)


def rectifies_shares(rule: Rule) -> bool:
    """Whether a layer under ``rule`` that has several readers gets the positive part of each one's share.

    The relevance of its output is then the sum of the rectified shares. With one reader nothing is
    rectified before the rule itself does it.
    """
    return isinstance(rule, GuidedReLU | Deconvolution) and rule.per_edge
