"""Planted NaN and infinities are found where they were planted, with the reason."""

from __future__ import annotations

import numpy as np
import pytest

from harness.graph import Layer
from harness.methods import Flat, Gamma, ReplaceZero, Unprotected, Z
from harness.stability.origin import of_step
from reference_impls.oracle.denominators import divisions
from tests.oracle.layers import dense
from tests.stability.networks import SmallModel, analysed, chain, one_rule, two_layers


def dead_unit() -> tuple[SmallModel, np.ndarray]:
    """x = (1, 0) -> a: z = (0, 2) -> relu -> out: 0 + 2 = 2. The first unit of a is dead."""
    a = dense([[0.0, 2.0], [5.0, 0.0]], name="a", inputs=("x",))
    relu = Layer("relu", "relu", ("a",), ((2,),), (2,), ("batch", "axis_0"))
    return chain(a, relu, dense([[1.0], [1.0]], name="out", inputs=("relu",)), inputs=2), np.array(
        [[1.0, 0.0]]
    )


def test_zero_over_zero_is_named_with_its_place() -> None:
    """Z gives the dead unit no relevance, and without a stabilizer divides that by its z of zero."""
    found = analysed(*dead_unit(), one_rule(Z(stabilizer=Unprotected())))
    assert found.origin is not None
    assert (found.origin.layer, found.origin.kind) == ("a", "0/0")
    assert found.origin.place == {"batch": 0, "axis_0": 0}
    assert (found.origin.relevance, found.origin.denominator, found.origin.count) == (0, 0, 1)
    assert found.sentence.startswith("NaN or infinity first comes from a: 0/0 at batch 0, axis_0 0")
    assert "stabilizer" in found.sentence


def test_relevance_over_zero_is_told_from_it() -> None:
    """Flat above gives the dead unit its share of relevance, 2 / 2 = 1."""
    method = one_rule(Z(stabilizer=Unprotected()), ("out", Flat()))
    origin = analysed(*dead_unit(), method).origin
    assert origin is not None
    assert (origin.kind, origin.relevance, origin.denominator) == ("R/0", 1, 0)


def test_a_quotient_too_large_for_the_dtype_is_an_overflow() -> None:
    """1 / 1e-310 is above the largest float64."""
    method = one_rule(Z(stabilizer=ReplaceZero(1e-310)), ("out", Flat()))
    origin = analysed(*dead_unit(), method).origin
    assert origin is not None
    assert (origin.layer, origin.kind, origin.denominator) == ("a", "overflow", 1e-310)


def test_a_stabilizer_leaves_no_origin() -> None:
    assert analysed(*dead_unit(), one_rule(Z())).origin is None


def test_what_follows_the_first_nan_is_not_its_origin() -> None:
    """Two layers with dead units: the one nearer the output is the origin."""
    first = dense([[1.0, 0.0], [0.0, 0.0]], name="first", inputs=("x",))
    second = dense([[1.0, 0.0], [0.0, 1.0]], name="second", inputs=("first",))
    out = dense([[1.0], [1.0]], name="out", inputs=("second",))
    found = analysed(chain(first, second, out, inputs=2), [[1.0, 1.0]], one_rule(Z(stabilizer=Unprotected())))
    assert found.origin is not None
    assert found.origin.layer == "second"


def test_an_activation_that_overflows_is_the_forward_pass_fault() -> None:
    """1e200 * 1e200 is no float64; LRP has nothing to do with it."""
    first = dense([[1e200]], name="first", inputs=("x",))
    out = dense([[1e200]], name="out", inputs=("first",))
    with np.errstate(over="ignore"):
        found = analysed(chain(first, out, inputs=1), [[1.0]], one_rule(Z()))
    assert found.origin is not None
    assert (found.origin.layer, found.origin.kind) == ("out", "forward")
    assert "forward pass" in found.sentence


@pytest.mark.parametrize("rule", [Z(stabilizer=Unprotected()), Gamma(0.0, False, Unprotected())], ids=str)
def test_a_zero_that_only_the_runs_dtype_sees_is_found_by_its_output(rule: Z | Gamma) -> None:
    """1 + 2**-30 - 1 is 2**-30 in float64; the run's own output was exactly zero in float32."""
    one = dense([[1.0], [2.0**-30], [-1.0]], name="a")
    stages = divisions(one, (np.ones((1, 3)),), rule)
    origin = of_step(one, stages, np.zeros((1, 1)), np.zeros((1, 1), np.float32), "float32")
    assert (origin.kind, origin.denominator) == ("0/0", 2.0**-30)


def test_the_ledger_of_a_layer_with_nan_says_so() -> None:
    found = analysed(*dead_unit(), one_rule(Z(stabilizer=Unprotected())))
    document = found.to_json()
    assert next(each for each in document["ledger"] if each["layer"] == "a")["passed"] == "NaN"
    assert document["totals"][0]["received"] == 2


def test_a_finite_run_has_no_origin() -> None:
    assert analysed(*two_layers(), one_rule(Z(stabilizer=Unprotected()))).origin is None
