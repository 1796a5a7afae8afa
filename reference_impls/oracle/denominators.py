"""The divisions of every rule, taken apart into what is passed down, bias and rest; float64.

They follow from the rule's terms; what a `Division` holds: :mod:`harness.divisions`. Relevance does not enter: the same
divisions serve whatever relevance is divided, and whatever stabilizer is tried on them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from harness.divisions import Division, Stage
from harness.graph import Layer
from harness.methods import (
    AlphaBetaOfMaxima,
    BatchNormReverse,
    FusedBatchNorm,
    HeldNorm,
    Linearized,
    Rule,
    ShareProduct,
    SignSplit,
)
from reference_impls.oracle import attention, derivative, forward, linear
from reference_impls.oracle.batch_norm_rules import lines, reversed_parts
from reference_impls.oracle.linear import Arrays
from reference_impls.oracle.parts import Denominator, away_from_zero, divisor_of, own_weights, without_bias
from reference_impls.oracle.rules import UNDIVIDED
from reference_impls.oracle.terms import Pairs, TermAt, Terms, terms_at, terms_of


def divisions(layer: Layer, inputs: Arrays, rule: Rule) -> tuple[Stage, ...]:
    """The divisions of ``layer`` under ``rule`` at ``inputs`` (batch, *input shape); empty for a rule without.

    Empty for a recurrent layer too, whose divisions are of its states and not of its input, and where classes are
    reduced to their maxima, which are divided by whole.

    Raises UnsupportedMethodError for an unknown rule, and where a batch norm's inner rule is none of a kernel.
    """
    inputs = tuple(np.asarray(x, dtype=np.float64) for x in inputs)
    if isinstance(rule, UNDIVIDED) or layer.traits.family == "recurrent":
        return ()
    if isinstance(rule, FusedBatchNorm):
        read_as = reversed(lines(layer, inputs, rule))
        return tuple(_stage(line, seen, terms_of(rule.rule)) for line, seen in read_as)
    if isinstance(rule, BatchNormReverse):
        return ((_reversed(layer, inputs, rule),),)
    if isinstance(rule, AlphaBetaOfMaxima):
        return ()
    if isinstance(rule, Linearized):
        return ((_linearized(layer, inputs, rule),),)
    if isinstance(rule, ShareProduct):
        return ((_product(layer, inputs, rule),),)
    if isinstance(rule, HeldNorm):
        return ((_held(layer, inputs, rule),),)
    if isinstance(rule, SignSplit):
        return (_split(layer, inputs, rule),)
    return (_stage(layer, inputs, terms_of(rule)),)


def _linearized(layer: Layer, inputs: Arrays, rule: Linearized) -> Division:
    """``d = y``: what is passed down, ``J x``, and what is constant near ``x``."""
    output = forward.apply(layer, inputs)
    constant = forward.apply(layer, tuple(np.zeros(x.shape) for x in inputs))

    def back(s: np.ndarray) -> Arrays:
        return tuple(x * each for x, each in zip(inputs, derivative.vjp(layer, inputs, s), strict=True))

    return Division(
        1.0, output, divisor_of(rule.stabilizer, inputs)(output), output - constant, constant, back
    )


def _product(layer: Layer, inputs: Arrays, rule: ShareProduct) -> Division:
    """``d = n z``, all of which is passed down."""
    counted = attention.counted_inputs(layer, inputs, rule)
    denominator = len(counted) * forward.apply(layer, inputs)

    def back(s: np.ndarray) -> Arrays:
        passed = derivative.vjp(layer, inputs, s)
        return tuple(
            x * each if place in counted else np.zeros(x.shape)
            for place, (x, each) in enumerate(zip(inputs, passed, strict=True))
        )

    stabilized = divisor_of(rule.stabilizer, inputs)(denominator)
    return Division(1.0, denominator, stabilized, denominator, np.zeros(()), back)


def _held(layer: Layer, inputs: Arrays, rule: HeldNorm) -> Division:
    """``d = y``: what is passed down, and beta."""
    (x,) = inputs
    denominator = attention.held_output(layer, x, rule.bias)
    contributions = attention.held_output(layer, x, bias=False)

    def back(s: np.ndarray) -> Arrays:
        return (x * attention.held_norm_back(layer, x, s),)

    stabilized = divisor_of(rule.stabilizer, inputs)(denominator)
    return Division(1.0, denominator, stabilized, contributions, denominator - contributions, back)


def _split(layer: Layer, inputs: Arrays, rule: SignSplit) -> Stage:
    """The sum of the positive parts where it counts, and that of the negative parts."""
    above = forward.apply(layer, inputs) > 0

    def side(part: Callable[[np.ndarray], np.ndarray], counts: np.ndarray) -> Division:
        parts = tuple(part(np.broadcast_to(x, above.shape)) for x in inputs)
        denominator = np.sum(parts, axis=0)

        def back(s: np.ndarray) -> Arrays:
            return tuple(
                linear.unbroadcast(each * s, shape)
                for each, shape in zip(parts, layer.input_shapes, strict=True)
            )

        # The side that does not count may be zero.
        stabilized = np.where(counts, divisor_of(rule.stabilizer, inputs)(denominator), 1.0)
        return Division(1.0, denominator, stabilized, denominator, np.zeros(()), back, counts=counts)

    return side(lambda a: np.maximum(a, 0.0), above), side(lambda a: np.minimum(a, 0.0), ~above)


def _stage(layer: Layer, inputs: Arrays, terms: Terms) -> Stage:
    divisor = divisor_of(terms.stabilizer, inputs)
    signed = any(term.only for term in terms.terms)
    own = linear.apply(layer, inputs, own_weights(layer, bias=True)) if signed else None
    return tuple(
        _division(layer, at, term.passes_what_it_divides, divisor, own)
        for term, at in zip(terms.terms, terms_at(layer, inputs, terms), strict=True)
    )


def _division(
    layer: Layer, term: TermAt, same: bool, divisor: Denominator, own: np.ndarray | None
) -> Division:
    """``d = q + bias + other``, ``q`` the sum over above of ``f(y; V)``; no ``other`` where below is the ``same``."""
    # What is zero everywhere (the negative part of an input after a ReLU) contributes exactly nothing.
    kept = tuple(pair for pair in term.above if any(each.any() for each in pair[0]))
    batch = term.above[0][0][0].shape[0]
    contributions = _sums(layer, kept, batch)

    def back(s: np.ndarray) -> Arrays:
        shares = [np.zeros((s.shape[0], *shape)) for shape in layer.input_shapes]
        for y, weights in kept:
            passed = linear.transpose(layer, s, weights)
            shares = [share + each * part for share, each, part in zip(shares, y, passed, strict=True)]
        return tuple(shares)

    bias = sum((weights["bias"] for _, weights in term.below if "bias" in weights), np.zeros(()))
    denominator = contributions + bias
    other = None
    if not same:
        bare = tuple((y, without_bias(weights)) for y, weights in term.below)
        other = _sums(layer, bare, batch) - _sums(layer, term.above, batch)
        denominator = denominator + other
    counts = None if own is None or not term.only else term.only * own > 0
    return Division(term.factor, denominator, divisor(denominator), contributions, bias, back, other, counts)


def _sums(layer: Layer, pairs: Pairs, batch: int) -> np.ndarray:
    """The sum of ``f(y; V)``, (batch, *shape)."""
    return sum((linear.apply(layer, y, weights) for y, weights in pairs), np.zeros((batch, *layer.shape)))


def _reversed(layer: Layer, inputs: Arrays, rule: BatchNormReverse) -> Division:
    """``d = (x - mean) * y``: the line's contribution and bias, both times ``x - mean``."""
    contributions, denominator = reversed_parts(layer, inputs, rule)
    return Division(
        1.0,
        denominator,
        away_from_zero(denominator, rule.epsilon),
        contributions,
        denominator - contributions,
        lambda s: (s * contributions,),
    )
