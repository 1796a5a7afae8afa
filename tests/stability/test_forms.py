"""The three stabilizer forms on the notebook's own example, and what each does to a run."""

from __future__ import annotations

import numpy as np
import pytest

from harness.methods import AlphaBeta, Gradient, Z
from harness.stability import FormResult, Stability, analyse
from harness.stability.figures import FormName
from harness.stability.forms import FORMS
from tests.oracle.layers import dense
from tests.stability.networks import SmallModel, analysed, chain, one_rule, two_layers

#: The dividend of the background notebook on numerical instability; its epsilon is 0.1.
DIVIDEND = [-0.1, 5.0, -5.0, -10.0]


@pytest.mark.parametrize(
    ("form", "printed"),
    [
        ("signed", [-0.2000, 5.1000, -5.1000, -10.1000]),
        ("rms", [0.5124, 5.6124, -4.3876, -9.3876]),
        ("plain", [0.0000, 5.1000, -4.9000, -9.9000]),
    ],
)
def test_each_form_gives_what_the_notebook_printed(form: FormName, printed: list[float]) -> None:
    """The notebook prints four decimals."""
    found = FORMS[form](np.array([DIVIDEND]), 0.1)
    assert found.ravel().round(4).tolist() == printed


def test_sign_of_zero_is_positive() -> None:
    assert FORMS["signed"](np.zeros((1, 1)), 0.1).item() == 0.1


def test_the_mean_square_is_of_each_sample() -> None:
    """rms 1 and 2, epsilon 1."""
    assert FORMS["rms"](np.array([[1.0], [2.0]]), 1.0).ravel() == pytest.approx([2, 4], abs=2e-9)


def notebook() -> SmallModel:
    """One input, four outputs: for x = 1 they are the notebook's dividend, and for others multiples of it."""
    return chain(dense([DIVIDEND], name="out", inputs=("x",)), inputs=1)


def result(found: Stability, form: FormName) -> FormResult:
    assert found.forms is not None
    return next(each for each in found.forms.results if each.form == form)


def test_what_each_form_does_to_the_denominators() -> None:
    """Only plain addition meets zero; the mean square turns -0.1 to the other side."""
    found = analysed(notebook(), [[1.0]], one_rule(Z()))
    assert [
        (result(found, form).zeros, result(found, form).turned) for form in ("signed", "rms", "plain")
    ] == [
        (0, 0),
        (0, 1),
        (1, 0),
    ]
    assert result(found, "plain").smallest == 0
    assert result(found, "signed").smallest == 0.2


def test_plain_addition_makes_nan_of_a_unit_that_has_no_relevance() -> None:
    """The target is the 5; the -0.1 has no relevance, and 0 / (-0.1 + 0.1) reaches the input: the notebook's NaN."""
    found = analysed(notebook(), [[1.0]], one_rule(Z()))
    assert result(found, "plain").nan == 1
    assert np.isnan(result(found, "plain").distance["method"])
    # 5 of relevance, 5 * 5 / 5.1 of it passes.
    assert result(found, "signed").total == pytest.approx(25 / 5.1, rel=1e-15)
    assert (result(found, "signed").nan, result(found, "rms").nan) == (0, 0)


def test_relevance_through_turned_denominators_is_counted() -> None:
    """With the -0.1 as target all relevance passes the denominator that the mean square has turned."""
    found = analysed(notebook(), [[1.0]], one_rule(Z()), target=0)
    assert result(found, "rms").through_turned == 1
    assert result(found, "signed").through_turned == 0


def test_the_same_zero_in_float32() -> None:
    """-0.1 and 0.1 are each rounded once, to numbers of opposite sign: their sum is zero in float32 too."""
    z = np.array([DIVIDEND], np.float32)
    assert FORMS["plain"](z, 0.1).ravel()[0] == 0


def test_distances_are_to_the_other_forms_and_to_the_method() -> None:
    """8 of relevance with z = 8: signed and plain divide by 8.1, the method by 8; a in float32 likewise."""
    found = analysed(chain(dense([[8.0]], name="out", inputs=("x",)), inputs=1), [[1.0]], one_rule(Z()))
    signed = result(found, "signed")
    assert signed.distance["plain"] == 0
    assert signed.distance["method"] == pytest.approx(0.1 / 8.1, rel=1e-14)


def test_every_division_of_a_rule_has_the_form() -> None:
    """AlphaBeta divides twice at the one output."""
    found = analysed(
        chain(dense([[3.0], [-1.0]], name="out", inputs=("x",)), inputs=2),
        [[1.0, 2.0]],
        one_rule(AlphaBeta(2, 1), head="one"),
    )
    assert found.forms is not None
    assert {each.denominators for each in found.forms.layers} == {2}
    # B divides by 1 * 0 + 2 * (-1) = -2; plain addition makes it -1.9.
    assert result(found, "plain").smallest == pytest.approx(1.9, rel=1e-15)


def test_a_method_that_divides_nowhere_has_no_forms() -> None:
    assert analysed(*two_layers(), one_rule(Gradient())).forms is None


def test_forms_are_left_out_on_request() -> None:
    model, x = two_layers()
    assert analyse(model, x, one_rule(Z()), "oracle", dtype="float64", stabilizers=False).forms is None
