"""Every rule of a layer with a kernel, written once: as terms, each with one division of relevance.

``R_x = sum over terms of factor * sum over above of y * f^T(s; V)`` with ``s = R / S(sum over below of f(y; V, c))``:
``y`` is a part of the input, ``V`` one of the kernel, ``c`` the same part of the bias or nothing. From the terms follow
the step (:func:`shares`), its denominators (`denominators`), what a deviation changes (`reference_impls.deviations`),
and the formula that a reproducer prints (`formulas`).

Notation and sources: :mod:`harness.methods.rules`. Arrays are batch-first, channels-last, float64.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from harness.errors import UnsupportedMethodError
from harness.graph import SUM_KINDS, Layer, kinds_where
from harness.methods import (
    AlphaBeta,
    AlphaBetaX,
    Bound,
    Bounded,
    Epsilon,
    Flat,
    Gamma,
    Rule,
    Sign,
    SignedEpsilon,
    StdEpsilon,
    WSquare,
    Z,
    ZPlusFast,
)
from reference_impls.oracle import linear
from reference_impls.oracle.linear import Arrays, Weights
from reference_impls.oracle.parts import (
    Denominator,
    Stabilizing,
    TimesDeviation,
    divisor_of,
    own_weights,
    require,
    sign_of,
    without_bias,
)

#: Layers whose weights a rule may replace by others.
WEIGHTED_KINDS = kinds_where(lambda kind: kind.weighted)


@dataclass(frozen=True)
class Part:
    """What stands for an input, a kernel or a bias: in NumPy, ``{}`` being the array, and as a function of it."""

    text: str
    of: Callable[[np.ndarray], np.ndarray] = field(compare=False)


WHOLE = Part("{}", lambda a: a)
POSITIVE = Part("P({})", lambda a: np.maximum(a, 0.0))
NEGATIVE = Part("N({})", lambda a: np.minimum(a, 0.0))
SQUARE = Part("{}**2", np.square)
ONES = Part("np.ones_like({})", lambda a: np.ones(a.shape))


def raised(gamma: float) -> Part:
    """``a + gamma * a+``"""
    return Part(f"{{0}} + {gamma!r} * P({{0}})", lambda a: a + gamma * np.maximum(a, 0.0))


def lowered(gamma: float) -> Part:
    """``a + gamma * a-``"""
    return Part(f"{{0}} + {gamma!r} * N({{0}})", lambda a: a + gamma * np.minimum(a, 0.0))


def constant(value: Bound) -> Part:
    """``value`` at every entry, or that of its channel, the last axis.

    Where the last axis holds the channels of several places (an excerpt of patches), each place has them all.
    """
    return Part(f"np.full_like({{0}}, {value!r})", lambda a: np.full(a.shape, by_channel(value, a.shape[-1])))


def by_channel(value: Bound, count: int) -> np.ndarray:
    """``value`` for each of ``count`` numbers, the channels of one place after those of the one before.

    Raises ValueError where ``count`` is no multiple of the channels.
    """
    values = np.atleast_1d(np.asarray(value, dtype=np.float64))
    return np.tile(values, count // len(values)).reshape(count)


def signs_from(threshold: float) -> Part:
    """The `sign_of` each value."""
    if threshold <= -1:
        return ONES
    return Part(f"np.where({{0}} >= {threshold!r}, 1.0, -1.0)", lambda a: sign_of(a, threshold))


@dataclass(frozen=True)
class Product:
    """``f(y; V, c)`` in a denominator, ``y * f^T(s; V)`` in front of it; ``bias``: whether there is a ``c``.

    ``whole_bias``: ``c`` is the layer's own bias, whatever part of the kernel ``V`` is.
    """

    inputs: Part
    weights: Part
    bias: bool = False
    whole_bias: bool = False

    @property
    def bare(self) -> Product:
        """The product without a bias."""
        return Product(self.inputs, self.weights)


@dataclass(frozen=True)
class Term:
    """One division. ``only``: 1 where relevance counts where ``f(x; W, b) > 0`` alone, -1 where it is below 0."""

    below: tuple[Product, ...]
    above: tuple[Product, ...]
    factor: float = 1.0
    only: int = 0

    @property
    def passes_what_it_divides(self) -> bool:
        """Whether what stands in the denominator, its bias left out, stands in front of it too."""
        return tuple(product.bare for product in self.below) == self.above


@dataclass(frozen=True)
class Terms:
    """A rule. ``at_sums``: whether it has a reading at a linear layer without kernel as well. ``cancels``: whether what
    is in front sums to zero for every layer with one kernel, so that nothing but rounding is passed down.
    """

    terms: tuple[Term, ...]
    stabilizer: Stabilizing
    at_sums: bool = False
    cancels: bool = False

    @property
    def counts_bias(self) -> bool:
        """Whether a denominator holds the bias."""
        return any(product.bias for term in self.terms for product in term.below)


def terms_of(rule: Rule) -> Terms:
    """The terms of ``rule``. Raises UnsupportedMethodError for one that is no sum of such terms."""
    match rule:
        case Z():
            return Terms((_same(Product(WHOLE, WHOLE, rule.bias)),), rule.stabilizer, at_sums=True)
        case Epsilon():
            own = Product(WHOLE, WHOLE, rule.bias)
            return Terms((_same(own),), SignedEpsilon(rule.epsilon), at_sums=True)
        case StdEpsilon():
            return Terms((_same(Product(WHOLE, WHOLE, rule.bias)),), TimesDeviation(rule.factor))
        case ZPlusFast():
            return Terms((_same(Product(WHOLE, POSITIVE, rule.bias, whole_bias=True)),), rule.stabilizer)
        case Sign():
            signs = Product(signs_from(rule.threshold), WHOLE)
            factor = rule.std_factor
            stabilizer = rule.stabilizer if factor is None else TimesDeviation(factor)
            return Terms((Term((Product(WHOLE, WHOLE, rule.bias),), (signs,)),), stabilizer)
        case WSquare():
            return Terms((_same(Product(ONES, SQUARE, rule.bias)),), rule.stabilizer)
        case Flat():
            return Terms((_same(Product(ONES, ONES)),), rule.stabilizer)
        case Bounded():
            return Terms((_bounded(rule),), rule.stabilizer, cancels=not rule.times_inputs)
        case AlphaBeta():
            second = rule.bias and not rule.split_bias
            upper = _by_sign(POSITIVE, NEGATIVE, (rule.bias, second))
            lower = _by_sign(NEGATIVE, POSITIVE, (rule.bias, second))
            # As in `AlphaBetaRule`: B may overflow where it does not count, and 0 * inf is no number.
            weighted = ((rule.alpha, upper), (-rule.beta, lower))[: 1 if rule.beta == 0 else 2]
            return Terms(tuple(replace(term, factor=factor) for factor, term in weighted), rule.stabilizer)
        case AlphaBetaX():
            # All four are computed, whatever their factor, as in `AlphaBetaXRule`.
            weighted_kinds = (
                (rule.alpha[0], POSITIVE, POSITIVE),
                (rule.alpha[1], NEGATIVE, NEGATIVE),
                (-rule.beta[0], POSITIVE, NEGATIVE),
                (-rule.beta[1], NEGATIVE, POSITIVE),
            )
            each = (replace(_same(Product(y, v, True)), factor=factor) for factor, y, v in weighted_kinds)
            return Terms(tuple(each), rule.stabilizer)
        case Gamma():
            up, down = raised(rule.gamma), lowered(rule.gamma)
            if not rule.signed:
                product = Product(WHOLE, up, rule.bias != "none", whole_bias=rule.bias == "kept")
                return Terms((_same(product),), rule.stabilizer)
            above_zero = replace(_by_sign(up, down, (True, False)), only=1)
            below_zero = replace(_by_sign(down, up, (True, False)), only=-1)
            return Terms((above_zero, below_zero), rule.stabilizer)
    raise UnsupportedMethodError(
        f"the oracle has no terms for the rule {type(rule).__name__}; a rule of layers with a kernel needs a case in "
        "reference_impls.oracle.terms, another one an entry in reference_impls.oracle.rules"
    )


def has_terms(rule: object) -> bool:
    """Whether :func:`terms_of` has ``rule``."""
    try:
        terms_of(rule)  # type: ignore[arg-type]
    except UnsupportedMethodError:
        return False
    return True


def _same(*products: Product) -> Term:
    """What stands in the denominator stands in front of it too."""
    return Term(products, tuple(product.bare for product in products))


def _by_sign(for_upper: Part, for_lower: Part, bias: tuple[bool, bool]) -> Term:
    """``x+`` with one part of the weights, ``x-`` with the other."""
    return _same(Product(POSITIVE, for_upper, bias[0]), Product(NEGATIVE, for_lower, bias[1]))


def _bounded(rule: Bounded) -> Term:
    low, high = Product(constant(_minus(rule.low)), POSITIVE), Product(constant(_minus(rule.high)), NEGATIVE)
    below = (Product(WHOLE, WHOLE), low, high)
    if rule.times_inputs:
        return Term(below, below)
    # signxai's order of summation, f^T(s; W) - (f^T(s; W+) + f^T(s; W-)): nothing but its rounding is left.
    minus = constant(-1.0)
    return Term(below, (Product(minus, POSITIVE), Product(minus, NEGATIVE), Product(ONES, WHOLE)))


def _minus(bound: Bound) -> Bound:
    return tuple(-value for value in bound) if isinstance(bound, tuple) else -bound


# At a layer ------------------------------------------------------------------------------------------

#: ``(y, V)``, a bias among the weights where it counts.
Pairs = tuple[tuple[Arrays, Weights], ...]


@dataclass(frozen=True, eq=False)
class TermAt:
    """A :class:`Term` at a layer: the arrays themselves; ``above`` without bias."""

    below: Pairs
    above: Pairs
    factor: float = 1.0
    only: int = 0


def terms_at(layer: Layer, inputs: Arrays, terms: Terms) -> tuple[TermAt, ...]:
    """The terms with their parts of ``inputs`` and of the layer's own weights; each part is computed once."""
    weights = own_weights(layer, bias=True)
    of_inputs: dict[Part, Arrays] = {}
    of_weights: dict[Part, Weights] = {}

    def pairs(products: tuple[Product, ...]) -> Pairs:
        made = []
        for product in products:
            if product.inputs not in of_inputs:
                of_inputs[product.inputs] = tuple(product.inputs.of(x) for x in inputs)
            if product.weights not in of_weights:
                of_weights[product.weights] = {
                    name: product.weights.of(weight) for name, weight in weights.items()
                }
            parts = of_weights[product.weights]
            if product.whole_bias and "bias" in weights:
                parts = {**parts, "bias": weights["bias"]}
            made.append((of_inputs[product.inputs], parts if product.bias else without_bias(parts)))
        return tuple(made)

    return tuple(TermAt(pairs(term.below), pairs(term.above), term.factor, term.only) for term in terms.terms)


def shares(
    layer: Layer, inputs: Arrays, relevance: np.ndarray, rule: Rule, divisor: Denominator | None
) -> Arrays:
    """The relevance of each input; ``divisor`` instead of ``S`` where one is given.

    Raises UnsupportedMethodError for a rule without terms, or without a reading at the layer.
    """
    terms = terms_of(rule)
    require(layer, rule, (*WEIGHTED_KINDS, *SUM_KINDS) if terms.at_sums else WEIGHTED_KINDS)
    divide_by = divisor_of(terms.stabilizer, inputs) if divisor is None else divisor
    return added_up(layer, inputs, relevance, terms_at(layer, inputs, terms), divide_by)


def added_up(
    layer: Layer, inputs: Arrays, relevance: np.ndarray, terms: tuple[TermAt, ...], divisor: Denominator
) -> Arrays:
    """``sum of factor * sum over above of y * f^T(s; V)``, ``s = R / S(z)``, ``S`` the ``divisor``."""
    signed = any(term.only for term in terms)
    own = linear.apply(layer, inputs, own_weights(layer, bias=True)) if signed else np.zeros(())
    total: Arrays | None = None
    for term in terms:
        counted = np.where(term.only * own > 0, relevance, 0.0) if term.only else relevance
        s = counted / divisor(denominator(layer, term))
        share: Arrays | None = None
        for y, weights in term.above:
            passed = linear.transpose(layer, s, weights)
            share = _plus(share, tuple(a * b for a, b in zip(y, passed, strict=True)))
        assert share is not None
        total = _plus(total, tuple(term.factor * part for part in share))
    assert total is not None
    return total


def denominator(layer: Layer, term: TermAt) -> np.ndarray:
    """``z``: the sum over below of ``f(y; V, c)``."""
    first, *others = (linear.apply(layer, y, weights) for y, weights in term.below)
    return sum(others, first)


def _plus(total: Arrays | None, more: Arrays) -> Arrays:
    return more if total is None else tuple(a + b for a, b in zip(total, more, strict=True))
