"""The part of a convolution's step that a value is looked for on: the same numbers as in the whole, and enough of them.

What is compared with is the whole step, cut afterwards: a deviation carried out on the part has to give, where the
part was observed, what it gives there on the whole.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from harness.methods import AlphaBeta, Bounded, Epsilon, Flat, Rule, StdEpsilon, Z
from harness.steps import Step
from reference_impls.deviations.backward import carry_out, deviations
from reference_impls.deviations.backward.altering import Change, dividing_by
from reference_impls.deviations.backward.estimating import solved
from reference_impls.deviations.backward.narrowing import PLACES, narrowed
from reference_impls.oracle.parts import away_from_zero
from tests.oracle.layers import layer
from tests.oracle.steps import step

#: (input space, kernel space, strides, dilations, padding by axis); the outputs are some 5,000 and more.
GEOMETRIES = {
    "same": ((80, 80), (3, 3), (1, 1), (1, 1), ((1, 1), (1, 1))),
    "strided": ((163, 170), (3, 3), (2, 2), (1, 1), ((0, 1), (0, 1))),
    "dilated": ((90, 84), (3, 2), (1, 1), (2, 3), ((0, 0), (2, 1))),
    "wider apart than they reach": ((200, 200), (2, 2), (3, 3), (1, 1), ((0, 0), (0, 0))),
    "padded beyond the kernel": ((80, 80), (3, 3), (1, 1), (1, 1), ((5, 4), (0, 7))),
    "1d": ((6000,), (5,), (1,), (1,), ((4, 0),)),
    "1d strided": ((12001,), (7,), (2,), (1,), ((3, 3),)),
    "3d": ((24, 22, 20), (2, 3, 2), (1, 1, 1), (1, 1, 1), ((0, 1), (1, 1), (0, 0))),
}
RULES: tuple[Rule, ...] = (
    Epsilon(0.5),
    Z(),
    StdEpsilon(0.25),
    AlphaBeta(2, 1),
    Flat(),
    Bounded(low=(-4.0, -3.0), high=5.0),
)


def convolution(geometry: str, rule: Rule, channels: int = 2, samples: int = 2) -> Step:
    space, size, strides, dilations, padding = GEOMETRIES[geometry]
    random = np.random.default_rng(sorted(GEOMETRIES).index(geometry))
    counts = tuple(
        (length + sum(pad) - (k - 1) * dilation - 1) // stride + 1
        for length, k, stride, dilation, pad in zip(space, size, strides, dilations, padding, strict=True)
    )
    attributes = {"strides": strides, "dilations": dilations, "padding": padding, "groups": 1}
    one = layer(
        f"conv{len(space)}d",
        (*space, channels),
        (*counts, 3),
        attributes,
        inputs=("x",),
        kernel=random.normal(size=(*size, channels, 3)),
        bias=random.normal(size=3),
    )
    x = random.normal(size=(samples, *space, channels))
    return step(one, rule, x, random.normal(size=(samples, *counts, 3)))


def assert_same_sums(of: Step, found: np.ndarray, expected: np.ndarray) -> None:
    """``z`` is that of the whole on both sides: the sums back, over the window and the outputs, may differ in order."""
    terms = of.layer.weights["kernel"][..., 0, :].size
    bound = terms * np.finfo(np.float64).eps * np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=bound)


def outwards(epsilon: float) -> Change:
    """``z`` moved away from zero by ``epsilon``, whatever the rule has."""
    return dividing_by(lambda _, z: away_from_zero(z, epsilon))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_the_part_gives_what_the_whole_gives_there(geometry: str, rule: Rule) -> None:
    whole = convolution(geometry, rule)
    seen = carry_out(outwards(0.3)(whole))
    part, observed = narrowed(whole, seen)
    assert part.relevance[..., 0].size < whole.relevance[..., 0].size / 3
    (found,) = carry_out(outwards(0.3)(part))
    there = np.isfinite(observed[0])
    # At least half of what the part reads is read by no other output, and was therefore observed.
    assert there.mean() > 0.5
    assert_same_sums(whole, found[there], observed[0][there])
    # Every number of the part is one of the whole, at its own place: none is made up.
    assert np.isin(observed[0][there], seen[0]).all()


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_a_value_is_found_on_the_part(geometry: str) -> None:
    whole = convolution(geometry, Epsilon(0.5))
    seen = carry_out(outwards(0.037)(whole))
    assert solved(*narrowed(whole, seen), outwards, (1e-3, 1e-2, 0.1, 1.0)) == 0.037


@pytest.mark.parametrize("channels", (2, 30))
def test_a_statistic_of_the_input_is_that_of_the_whole(channels: int) -> None:
    whole = convolution("same", StdEpsilon(0.25), channels)
    seen = carry_out(whole)
    part, observed = narrowed(whole, seen)
    assert part.inputs[0].size < whole.inputs[0].size / 3
    (found,) = carry_out(part)
    there = np.isfinite(observed[0])
    assert_same_sums(whole, found[there], observed[0][there])


def test_the_part_lies_where_the_difference_is() -> None:
    whole = convolution("same", Epsilon(0.5), samples=1)
    seen = carry_out(whole)[0].copy()
    seen[0, 50:56, 70:76] += 1.0
    part, observed = narrowed(whole, (seen,))
    (found,) = carry_out(part)
    there = np.isfinite(observed[0])
    changed = np.abs(found - observed[0])[..., 0][there[..., 0]] > 0.5
    assert changed.sum() == 6 * 6


@pytest.mark.parametrize("places", (PLACES // 2, 3 * PLACES))
def test_a_small_layer_is_not_cut(places: int) -> None:
    random = np.random.default_rng(0)
    attributes = {"strides": (1,), "dilations": (1,), "padding": ((1, 1),), "groups": 1}
    kernel = random.normal(size=(3, 2, 3))
    one = layer("conv1d", (places, 2), (places, 3), attributes, inputs=("x",), kernel=kernel)
    whole = step(one, Z(), random.normal(size=(1, places, 2)), random.normal(size=(1, places, 3)))
    assert narrowed(whole, carry_out(whole))[0] is whole


def test_what_is_turned_round_as_a_whole_is_not_cut() -> None:
    whole = convolution("same", Epsilon(0.5))
    turned = replace(whole, after=(lambda _, result: tuple(x[:, ::-1] for x in result),))
    assert narrowed(turned, carry_out(turned))[0] is turned


def test_the_constant_of_a_form_is_found_on_the_part() -> None:
    whole = convolution("same", Z(), channels=3, samples=1)
    seen = carry_out(outwards(0.01)(whole))
    (words,) = (
        each.words
        for each in deviations(whole, seen)
        if each.parameters.get("form") == "z + epsilon * sign(z) with nothing added where z is 0"
        and each.parameters["epsilon"] == 0.01
    )
    assert words.startswith("the denominator is z + 0.01 * sign(z)")
