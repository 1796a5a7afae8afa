"""The ledger by hand: what comes in, what goes out, and who kept the rest."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from harness.graph import Layer
from harness.methods import (
    AlphaBeta,
    Bounded,
    Epsilon,
    Flat,
    Gamma,
    Gradient,
    GuidedReLU,
    Linearized,
    Method,
    Rule,
    Sign,
    StdEpsilon,
    WSquare,
    Z,
    ZPlusFast,
)
from harness.stability.arrays import by_sample
from harness.stability.denominators import denominators_of, quotient
from harness.stability.ledger import absorbed_by
from reference_impls.oracle import propagate
from reference_impls.oracle.denominators import divisions
from tests.oracle.layers import dense, layer, seeds, weighted_layers
from tests.oracle.test_denominators import LARGEST_FACTOR, some, with_bias
from tests.stability.networks import SmallModel, analysed, chain, entry, graph, one_rule, two_layers

UNIT = float(np.finfo(np.float64).eps)
#: No quantity by hand below is the result of more than a dozen roundings.
CLOSE = {"rel": 12 * UNIT, "abs": 100 * UNIT}


def test_what_the_bias_keeps_under_z() -> None:
    """out: s = 8/8, passes (4, 2), the bias 2 keeps 2. a: s = (4/4, 2/1), passes (-1, 6), the bias keeps 4 * 1/4."""
    found = analysed(*two_layers(), one_rule(Z()))
    out, a = entry(found, "out"), entry(found, "a")
    assert (out.received, out.passed, out.bias) == pytest.approx((8, 6, 2), **CLOSE)
    assert (a.received, a.passed, a.bias) == pytest.approx((6, 5, 1), **CLOSE)
    assert [e.stabilizer for e in (out, a)] == [0, 0]
    (total,) = found.totals
    assert (total.received, total.passed, total.bias) == pytest.approx((8, 5, 3), **CLOSE)


def test_what_the_stabilizer_keeps_under_epsilon() -> None:
    """out: S = 8 + 1; the inputs get 6 * 8/9, the bias 2 * 8/9, the stabilizer 1 * 8/9."""
    out = entry(analysed(*two_layers(), one_rule(Epsilon(1.0))), "out")
    assert (out.passed, out.bias, out.stabilizer) == pytest.approx((48 / 9, 16 / 9, 8 / 9), **CLOSE)


def test_both_terms_of_alpha_beta_have_a_bias() -> None:
    """x = (1, 2), W = (3, -1), b = -1, R = 1: A divides by 3 - 1, B by -2 - 1.

    Passed: 2 * 3/2 - 1 * 2/3 = 7/3. The bias: 2 * (-1/2) - 1 * (-1)/(-3) = -4/3, so it adds.
    """
    model = chain(dense([[3.0], [-1.0]], [-1.0], name="out", inputs=("x",)), inputs=2)
    out = entry(analysed(model, [[1.0, 2.0]], one_rule(AlphaBeta(2, 1), head="one")), "out")
    assert (out.received, out.passed, out.bias) == pytest.approx((1, 7 / 3, -4 / 3), **CLOSE)


def test_relevance_over_an_exact_zero_has_a_column_of_its_own() -> None:
    """x = 0: z = 0, the stabilizer stands in for it, and all of R = 1 ends there."""
    model = chain(dense([[1.0]], name="out", inputs=("x",)), inputs=1)
    out = entry(analysed(model, [[0.0]], one_rule(Z(), head="one")), "out")
    assert (out.passed, out.at_zero, out.stabilizer, out.bias) == (0, 1, 0, 0)


def test_gamma_drops_relevance_where_z_is_zero() -> None:
    """z = 1 - 1 = 0: neither the positive nor the negative part takes R = 1; that is the rule's doing."""
    model = chain(dense([[1.0], [-1.0]], name="out", inputs=("x",)), inputs=2)
    out = entry(analysed(model, [[1.0, 1.0]], one_rule(Gamma(0.25), head="one")), "out")
    assert (out.passed, out.rule) == (0, 1)


def test_sign_passes_on_what_the_contributions_are_not() -> None:
    """x = 4, W = 2, z = 8, R = 8: SIGN passes 1 * 2 * 8/8 = 2; the other 6 are the rule's."""
    model = chain(dense([[2.0]], name="out", inputs=("x",)), inputs=1)
    out = entry(analysed(model, [[4.0]], one_rule(Sign())), "out")
    assert (out.passed, out.rule) == (2, 6)


def test_a_mask_keeps_what_reaches_the_scores_that_it_takes_out() -> None:
    """x = (3, 5), b = (1, -inf), R = (8, 2): 3 * 8/4 = 6 is passed, 2 of 8 stay at the bias, and all of the other 2."""
    mask = layer("affine", (2,), (2,), inputs=("x",), name="out", bias=[1.0, -np.inf])
    x, received = (np.array([[3.0, 5.0]]),), np.array([[8.0, 2.0]])
    with np.errstate(invalid="ignore"):  # what it hands down of an infinite denominator is no number
        stages = divisions(mask, x, Linearized())
    absorbed = absorbed_by(mask, stages, received, np.zeros(1))
    assert (absorbed.bias[0], absorbed.total[0]) == (4, 4)
    figures = denominators_of(stages, received)
    assert figures is not None
    assert (figures.smallest, figures.rms, figures.passing) == (4, 4, (0.0,) * len(figures.passing))


def branches() -> SmallModel:
    """x = 1 -> relu -> (times 1, times -3) -> add; the relu has two readers, the add two inputs."""
    axes = ("batch", "axis_0")
    return SmallModel(
        graph(
            Layer("relu", "relu", ("x",), ((1,),), (1,), axes),
            dense([[1.0]], name="up", inputs=("relu",)),
            dense([[-3.0]], name="down", inputs=("relu",)),
            layer("add", [(1,), (1,)], (1,), name="add", inputs=("up", "down")),
            input_shape=(1,),
        )
    )


def test_an_add_under_the_gradient_doubles_relevance() -> None:
    """R = 1 goes to both inputs: -1 under split."""
    found = analysed(branches(), [[1.0]], one_rule(Gradient(), head="one"))
    add = entry(found, "add")
    assert (add.received, add.passed, add.split) == (1, 2, -1)


def test_an_add_under_z_shares_it_out() -> None:
    """z = 1 - 3 = -2: the shares are 1/-2 and -3/-2 of R, together R."""
    found = analysed(branches(), [[1.0]], one_rule(Z(), ("add", Z()), head="one"))
    add = entry(found, "add")
    assert add.passed == pytest.approx(1, **CLOSE)
    assert add.split == 0


def test_relevance_that_readers_share_out_arrives_in_full() -> None:
    """1 from up, -3 from down: -2 at the relu, nothing lost in joining them."""
    found = analysed(branches(), [[1.0]], one_rule(Gradient(), head="one"))
    assert (entry(found, "relu").received, entry(found, "relu").joined) == (-2, 0)


def test_rectified_shares_are_seen_where_they_are_joined() -> None:
    """The share -3 is cut to 0: 1 arrives instead of -2."""
    method = one_rule(Gradient(), ("relu", GuidedReLU(per_edge=True)), head="one")
    relu = entry(analysed(branches(), [[1.0]], method), "relu")
    assert (relu.received, relu.joined) == (1, 3)


@pytest.mark.parametrize(
    "method",
    [
        one_rule(Z()),
        one_rule(Epsilon(0.25), ("add", Z())),
        one_rule(Gradient(), ("relu", GuidedReLU(per_edge=True))),
    ],
    ids=str,
)
def test_the_ledger_closes_from_head_to_input(method: Method) -> None:
    """What the head has and the input lacks is in the columns: difference by difference, minus what joining made."""
    (total,) = analysed(branches(), [[1.5]], method).totals
    absorbed = total.bias + total.stabilizer + total.at_zero + total.split + total.rule + total.unexplained
    assert absorbed - total.joined == pytest.approx(total.received - total.passed, **CLOSE)
    assert total.unexplained == pytest.approx(0, abs=CLOSE["abs"])


def test_samples_have_ledgers_of_their_own() -> None:
    """The second sample is twice the first, its bias is not: z = (7, 2), 7 + 4 + 2 = 13 of which the bias has 2."""
    model, x = two_layers()
    found = analysed(model, np.concatenate([x, 2 * x]), one_rule(Z()))
    assert [entry(found, "out", sample).received for sample in (0, 1)] == [8, 13]
    assert [entry(found, "out", sample).bias for sample in (0, 1)] == pytest.approx([2, 2], **CLOSE)


def test_a_step_that_is_not_the_rules_shows_as_unexplained() -> None:
    """A backend that passes half of what the rule says keeps the other half, and no column has it."""
    from harness.backends import backend_named

    class Halving:
        name = "halving"

        def version(self) -> dict[str, str]:
            return {}

        def supports(self, method: Method, graph: Any) -> str:
            return ""

        def prepare(self, model: SmallModel, dtype: str, device: str = "cpu") -> Halved:
            return Halved(backend_named("oracle").prepare(model, dtype))  # type: ignore[arg-type]

    class Halved:
        def __init__(self, oracle: object) -> None:
            self.run = oracle.run  # type: ignore[attr-defined]
            self._step = oracle.step  # type: ignore[attr-defined]

        def step(self, layer: Layer, *rest: object) -> tuple[np.ndarray, ...]:
            factor = 0.5 if layer.name == "out" else 1.0
            return tuple(factor * share for share in self._step(layer, *rest))

    from harness.stability import analyse

    found = analyse(*two_layers(), one_rule(Z()), backend=Halving(), dtype="float64")  # type: ignore[arg-type]
    out = entry(found, "out")
    assert (out.bias, out.unexplained) == pytest.approx((2, 3), **CLOSE)
    assert found.sentence.startswith("halving does not compute the rule of out: 3 of relevance at out")
    # The next layer received 6 in the run although 3 was handed to it.
    assert entry(found, "relu").joined == pytest.approx(3, **CLOSE)


@pytest.mark.parametrize(
    "rule",
    [
        Z(),
        Epsilon(0.25),
        StdEpsilon(0.1),
        AlphaBeta(1, 0),
        AlphaBeta(2, 1, split_bias=True),
        Gamma(0.25),
        Gamma(0.25, signed=False),
        ZPlusFast(),
        Sign(0.5),
        WSquare(bias=True),
        Flat(),
        Bounded(-4, 4),
    ],
    ids=str,
)
@settings(deadline=None, max_examples=25)
@given(weighted_layers, seeds)
def test_the_columns_add_up_to_what_the_step_did_not_pass_down(rule: Rule, one: Layer, seed: int) -> None:
    """The oracle's own rule and its divisions are two computations; together they account for all of R."""
    one = with_bias(one, seed + 5)
    inputs, relevance = some(one, seed)
    passed = sum(by_sample(share) for share in propagate(one, inputs, relevance, rule))
    difference = by_sample(relevance) - passed
    stages = divisions(one, inputs, rule)
    absorbed = absorbed_by(one, stages, relevance, difference)
    (stage,) = stages
    # Each output's share is a sum of at most n products (Higham 2002, sec. 4.2), none larger than this.
    n = sum(x.size for x in inputs) + relevance.size
    largest = LARGEST_FACTOR * sum(np.abs(quotient(division, relevance)).sum() for division in stage)
    assert np.abs(absorbed.total - difference).max() <= (n + 8) * UNIT * n * max(1.0, largest)
