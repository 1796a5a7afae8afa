"""Other factors for the two shares of alpha-beta, for its four kinds of contribution, and for gamma."""

from __future__ import annotations

from collections.abc import Iterator
from math import isclose

from harness.methods import AlphaBeta, AlphaBetaX, Gamma
from harness.steps import Deviation, Step
from reference_impls.deviations.backward.altering import deviation, with_fields, with_reading
from reference_impls.deviations.backward.carrying import carry_out
from reference_impls.deviations.backward.estimating import (
    factors,
    is_as_specified,
    rounded,
    rounded_alike,
    solved,
)
from reference_impls.deviations.backward.kinds import cause_of_rule, has_weights
from reference_impls.deviations.backward.narrowing import telling
from reference_impls.deviations.backward.signed_shares import is_taken_apart, with_factors
from reference_impls.deviations.distance import where_finite
from reference_impls.oracle.linear import Arrays

Factors = tuple[float, ...]
#: Pairs that are used, or that come out where one is taken for the other.
USUAL: tuple[tuple[float, float], ...] = (
    (1, 0),
    (2, 1),
    (0, 1),
    (1, 2),
    (3, 2),
    (1, 1),
    (2, 0),
    (0.5, 0.5),
)
GAMMAS = (0.0, 0.1, 0.25, 0.5, 1.0)
# Dense, because every sum that crosses zero as gamma grows makes a pole.
_GAMMA_GRID = tuple(1e-3 * 1.25**power for power in range(52))


def alphas_and_betas(step: Step, observed: Arrays) -> Iterator[Deviation]:
    """Other alpha and beta: found from the observation, in which they are linear, exchanged, or the usual ones."""
    rule = step.rule
    if not has_weights(step):
        return
    if isinstance(rule, AlphaBeta) and is_taken_apart(step):
        specified = step.notes.get("factors", (float(rule.alpha), float(rule.beta)))
        estimate = _estimated(step, observed)
        pairs = [(specified[0], -specified[1]), specified[::-1], *USUAL]
        offered = [] if estimate is None else [estimate]
        for pair in dict.fromkeys((float(alpha), float(beta)) for alpha, beta in [*offered, *pairs]):
            if not (_is_scaled(pair, specified) or _says_the_same(pair, specified)):
                yield _other(pair, specified)
    elif isinstance(rule, AlphaBetaX):
        yield from _four(step, observed, rule)


def _is_scaled(pair: Factors, specified: Factors) -> bool:
    """Whether ``pair`` is ``specified`` times one factor (to a millionth): another scale, no other reading."""
    crossed = pair[0] * specified[1], pair[1] * specified[0]
    return isclose(*crossed, rel_tol=1e-6, abs_tol=1e-6 * abs(pair[0] * specified[0]))


def _says_the_same(pair: Factors, specified: Factors) -> bool:
    return all(rounded_alike(*each) for each in zip(pair, specified, strict=True))


def _other(pair: Factors, specified: Factors) -> Deviation:
    alpha, beta = pair
    exchanged = pair == specified[::-1]
    added = pair == (specified[0], -specified[1])
    words = f"alpha is {alpha:g} and beta {beta:g} instead of {specified[0]:g} and {specified[1]:g}"
    if exchanged:
        words = f"alpha and beta are exchanged: {words}"
    elif added:
        words = f"the share of the negative contributions is added instead of subtracted: {words}"
    parameters = {"alpha": alpha, "beta": beta}
    return deviation("alpha-beta", words, with_factors(alpha, beta), parameters)


def _estimated(step: Step, observed: Arrays) -> Factors | None:
    """Alpha and beta by least squares, each rounded where that is no worse."""
    if is_as_specified(step, observed):
        return None
    part, seen = telling(step, observed)
    # A and -B
    columns = [carry_out(with_factors(*unit)(part)) for unit in ((1.0, 0.0), (0.0, 1.0))]
    solution = factors(columns, seen)
    if solution is None:
        return None
    return _rounded(part, seen, (float(solution[0]), float(solution[1])))


def _rounded(step: Step, observed: Arrays, pair: Factors) -> Factors:
    values = list(pair)
    for place in range(len(values)):

        def error(value: float, place: int = place) -> float:
            tried = (*values[:place], value, *values[place + 1 :])
            return where_finite(carry_out(with_factors(*tried)(step)), observed)

        values[place] = rounded(values[place], error, observed)
        if error(0.0) <= error(values[place]):
            values[place] = 0.0
    return tuple(values)


def _four(step: Step, observed: Arrays, rule: AlphaBetaX) -> Iterator[Deviation]:
    specified = f"instead of {_pairs(rule.alpha, rule.beta)}"
    others: list[tuple[tuple[float, float], tuple[float, float]]] = [
        (rule.beta, rule.alpha),
        (rule.alpha[::-1], rule.beta[::-1]),
        ((1.0, 0.0), (0.0, 0.0)),
        ((2.0, 0.0), (1.0, 0.0)),
        ((2.0, 2.0), (1.0, 1.0)),
        ((1.0, 1.0), (0.0, 0.0)),
        ((rule.alpha[0], rule.beta[1]), rule.beta),
    ]
    for alpha, beta in others:
        if (alpha, beta) != (rule.alpha, rule.beta):
            words = f"the factors are {_pairs(alpha, beta)} {specified}"
            yield deviation(
                "alpha-beta", words, with_fields(alpha=alpha, beta=beta), {"alpha": alpha, "beta": beta}
            )


def _pairs(alpha: Factors, beta: Factors) -> str:
    return f"alpha ({alpha[0]:g}, {alpha[1]:g}) and beta ({beta[0]:g}, {beta[1]:g})"


def gammas(step: Step, observed: Arrays) -> Iterator[Deviation]:
    """Another gamma, and the other of the two readings of the rule."""
    rule = step.rule
    if not isinstance(rule, Gamma) or not has_weights(step):
        return
    estimate = None
    if not is_as_specified(step, observed):
        estimate = solved(*telling(step, observed), lambda gamma: with_fields(gamma=gamma), _GAMMA_GRID)
    offered = [each for each in GAMMAS if estimate is None or not rounded_alike(each, estimate)]
    for gamma in ([] if estimate is None else [estimate]) + offered:
        if not rounded_alike(gamma, rule.gamma):
            words = f"gamma is {gamma:g} instead of {rule.gamma:g}"
            yield deviation(cause_of_rule(step), words, with_fields(gamma=gamma), {"gamma": gamma})
    if rule.signed:
        words = "gamma is that for inputs that are not negative instead of the one for either sign"
    else:
        words = "gamma is the one for inputs of either sign instead of that for inputs that are not negative"
    yield deviation(
        cause_of_rule(step), words, with_reading(signed=not rule.signed), {"signed": not rule.signed}
    )
