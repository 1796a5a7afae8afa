"""No rule class is forgotten: each has a step, its denominators and a formula, and they say the same.

The classes are read off the module that defines them, so that a new one is asked for by itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field, is_dataclass
from typing import Any, get_args

import numpy as np
import pytest

from harness.diagnosis.measure import apart
from harness.diagnosis.reproducer.formulas import rule_formula
from harness.divisions import passed_down
from harness.errors import UnsupportedMethodError
from harness.graph import Layer
from harness.methods import (
    AlphaBeta,
    AlphaBetaOfMaxima,
    AlphaBetaX,
    BacktraceRule,
    BatchNormReverse,
    Deconvolution,
    FusedBatchNorm,
    Gamma,
    Gradient,
    GuidedReLU,
    HeldNorm,
    KernelRule,
    Pass,
    ReplaceZero,
    Rule,
    ShareProduct,
    SignSplit,
    SoftmaxTaylor,
    Stabilizer,
    StdEpsilon,
    Z,
    attention_rules,
    rules,
)
from ported_impls.dlbacktrace import rules as backtrace_port
from reference_impls.deviations.backward import carry_out, terms
from reference_impls.deviations.backward.mapping import other_rules
from reference_impls.dlbacktrace import rules as backtrace_reference
from reference_impls.oracle import propagate
from reference_impls.oracle.denominators import divisions
from reference_impls.oracle.formulas import formula
from reference_impls.oracle.rules import has, stabilizer_of
from reference_impls.oracle.terms import has_terms
from tests.oracle.layers import dense, layer
from tests.oracle.steps import step

CLASSES = [
    each
    for each in (*vars(rules).values(), *vars(attention_rules).values())
    if is_dataclass(each) and isinstance(each, type) and each not in get_args(Stabilizer)
]
#: A value of each class that has no defaults, and of those whose defaults leave a part of the formula out.
EXAMPLES: dict[type, Any] = {
    AlphaBeta: AlphaBeta(2, 1),
    AlphaBetaOfMaxima: AlphaBetaOfMaxima(2, 1),
    AlphaBetaX: AlphaBetaX((2, 0.5), (1, 0.25)),
    FusedBatchNorm: FusedBatchNorm(Z(), "two_linear"),
    Gamma: Gamma(0.25),
    StdEpsilon: StdEpsilon(0.25),
}
#: Where none is short: a norm is a line of its own first, maxima are taken before anything is divided.
WITHOUT_FORMULA = (FusedBatchNorm, BatchNormReverse, AlphaBetaOfMaxima, HeldNorm)
AT_A_BATCH_NORM = (FusedBatchNorm, BatchNormReverse)
#: What it divides is no value of a unit.
WITHOUT_DIVISIONS = AlphaBetaOfMaxima
AT_AN_ACTIVATION = (GuidedReLU, Deconvolution, Pass)
#: A few sums of six products, in two orders.
ROUNDINGS = 1e-13


def a_layer_for(rule: object) -> Layer:
    if isinstance(rule, AT_A_BATCH_NORM):
        return layer(
            "batch_norm",
            (6,),
            (6,),
            {"epsilon": 0.5},
            gamma=[2, -1, 1, 0, 3, 1],
            beta=[0.5, 1, 0, -1, 0, 2],
            mean=[1, -2, 0, 0, 1, 3],
            variance=[4, 1, 0, 2, 1, 1],
        )
    if isinstance(rule, AT_AN_ACTIVATION):
        return layer("relu", (6,), (6,))
    if isinstance(rule, SoftmaxTaylor):
        return layer("softmax", (6,), (6,), {"axis": -1})
    if isinstance(rule, HeldNorm):
        weights = {"gamma": [2, -1, 1, 0.5, 3, 1], "beta": [0.5, 1, 0, -1, 0, 2]}
        return layer("layer_norm", (6,), (6,), {"epsilon": 0.5, "axes_count": 1}, **weights)
    if isinstance(rule, SignSplit):
        return layer("add", [(6,), (6,)], (6,))
    if isinstance(rule, ShareProduct):
        return layer("matmul", [(1, 6), (4, 6)], (1, 4), {"transposed": True})
    kernel = np.random.default_rng(5).standard_normal((6, 4))
    # An output of nothing but zeros, which a stabilizer has to catch, and weights that are zero among the others.
    kernel[:, 3], kernel[1, :2] = 0.0, 0.0
    return dense(kernel, [0.5, -1.0, 0.25, 0.0], inputs=("x",))


def data_for(one: Layer) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
    """Inputs with values of both signs, the first with zeros, and relevance of both signs."""
    x = np.array([[1.5, -2.0, 0.0, 0.75, -0.25, 3.0], [0.0, 0.5, -1.0, 2.0, 1.0, -0.5]])
    rng = np.random.default_rng(7)
    others = (rng.standard_normal((2, *shape)) for shape in one.input_shapes[1:])
    relevance = np.array([[1.0, -2.0, 0.5, 3.0, -1.0, 2.0], [2.0, 1.0, -3.0, 0.0, 4.0, 0.5]])
    return (x.reshape(2, *one.input_shapes[0]), *others), relevance[:, : one.shape[-1]].reshape(2, *one.shape)


def require_complete(rule: Any) -> None:
    """That ``rule`` has all it needs in the oracle, and that all of it is one function."""
    one = a_layer_for(rule)
    inputs, relevance = data_for(one)
    expected = propagate(one, inputs, relevance, rule)
    assert has(rule)
    assert np.isfinite(expected[0]).all()
    assert expected[0].any()

    stages = divisions(one, inputs, rule)
    divides = stabilizer_of(rule) is not None and not isinstance(rule, WITHOUT_DIVISIONS)
    assert bool(stages) == divides
    passed: tuple[np.ndarray, ...] = (relevance,)
    for stage in stages:
        passed = passed_down(stage, tuple(each.counted(passed[0]) / each.stabilized for each in stage))
    if stages:
        assert apart(expected, passed) < ROUNDINGS

    text = rule_formula(formula(one, rule), one)
    assert (text is None) == isinstance(rule, WITHOUT_FORMULA)
    if text is not None:
        space: dict[str, Any] = {"np": np, "data": dict(one.weights)}
        exec(text, space)
        assert apart(expected, space["expected"](list(inputs), relevance)) < ROUNDINGS

    of = step(one, rule, inputs, relevance)
    np.testing.assert_array_equal(carry_out(of)[0], expected[0])
    assert terms.has_terms(of) or not has_terms(rule)
    if has_terms(rule):
        assert apart(expected, terms.carried(of, terms.Arithmetic())) < ROUNDINGS


@pytest.mark.parametrize("of", CLASSES)
def test_every_rule_class_has_a_step_its_denominators_and_a_formula(of: type) -> None:
    require_complete(EXAMPLES[of] if of in EXAMPLES else of())


def test_every_rule_of_a_kernel_is_offered_where_another_took_its_place() -> None:
    one = a_layer_for(Z())
    of = step(one, Gradient(), *data_for(one))
    offered = {type(each.alter(of).rule) for each in other_rules(of, carry_out(of))}
    assert offered >= set(get_args(KernelRule))


def test_every_class_of_the_module_is_a_rule() -> None:
    """`Rule` is what the backends are typed with: a class that is not in it is seen by none of them."""
    assert set(CLASSES) | set(get_args(BacktraceRule)) == set(get_args(Rule))


def test_every_rule_of_dlbacktrace_has_both_its_sides() -> None:
    """They have an oracle and a port of their own."""
    assert set(get_args(BacktraceRule)) <= set(backtrace_reference.RULES)
    assert set(get_args(BacktraceRule)) <= set(backtrace_port.RULES)


@dataclass(frozen=True)
class Forgotten:
    """A rule like any other, of which nobody has been told."""

    stabilizer: Stabilizer = field(default_factory=ReplaceZero)
    bias: bool = True


def test_a_rule_class_without_terms_is_noticed_everywhere() -> None:
    rule: Any = Forgotten()
    one = a_layer_for(rule)
    inputs, relevance = data_for(one)
    assert not has(rule)
    for ask in (
        lambda: propagate(one, inputs, relevance, rule),
        lambda: divisions(one, inputs, rule),
        lambda: formula(one, rule),
        lambda: stabilizer_of(rule),
        lambda: require_complete(rule),
    ):
        with pytest.raises(UnsupportedMethodError, match="no terms for the rule Forgotten"):
            ask()
