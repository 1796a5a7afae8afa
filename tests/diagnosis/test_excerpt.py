"""An excerpt of a large convolution behaves as the convolution does."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest

from harness.diagnosis.excerpt import (
    LARGE,
    PATCHES,
    UNITS,
    Excerpt,
    box_in_run,
    channels_of,
    excerpts,
    multiplications,
)
from harness.graph import Graph, Layer
from harness.methods import (
    AlphaBeta,
    Bounded,
    Contrast,
    Epsilon,
    Flat,
    Gamma,
    Gradient,
    Rule,
    Sign,
    StdEpsilon,
    WSquare,
    Z,
    ZPlusFast,
    method,
)
from harness.steps import Arrays, Deviation, Step
from reference_impls.deviations.backward import carry_out, deviations, deviations_of_places
from reference_impls.deviations.backward.layout import layouts
from reference_impls.dlbacktrace import deviations as backtrace
from reference_impls.oracle import rules

pytestmark = pytest.mark.thinned(0.2)

EPS = float(np.finfo(np.float64).eps)
RANDOM = np.random.default_rng(5)


def convolution(
    strides: tuple[int, int] = (1, 1), padding: int = 1, size: int = 64, channels: int = 24
) -> Layer:
    out = (size + 2 * padding - 3) // strides[0] + 1
    return Layer(
        "conv",
        "conv2d",
        ("input",),
        ((size, size, channels),),
        (out, out, 64),
        ("batch", "height", "width", "channel"),
        {
            "strides": strides,
            "dilations": (1, 1),
            "groups": 1,
            "padding": ((padding, padding), (padding, padding)),
        },
        {"kernel": RANDOM.standard_normal((3, 3, channels, 64)), "bias": RANDOM.standard_normal(64)},
    )


def step_of(layer: Layer, rule: Rule) -> Step:
    source = Layer("input", "input", (), (), layer.input_shapes[0], layer.axes)
    return Step(
        layer=layer,
        rule=rule,
        inputs=(RANDOM.standard_normal((2, *layer.input_shapes[0])),),
        relevance=RANDOM.standard_normal((2, *layer.shape)),
        graph=Graph("one", (source, layer), "conv"),
        method=method("lrp.epsilon"),
    )


def oracle(step: Step) -> Arrays:
    return rules.propagate(step.layer, step.inputs, step.relevance, step.rule)


def boxes(step: Step, observe: Callable[[Step], Arrays]) -> Iterator[Excerpt]:
    """What `box_in_run` makes of a whole run, as one excerpt or none."""
    part = box_in_run(step, oracle(step), observe(step))
    return iter([] if part is None else [part])


@pytest.mark.parametrize("rule", [Epsilon(0.25), Flat()], ids=str)
@pytest.mark.parametrize("strides", [(1, 1), (2, 2)])
def test_the_rows_of_an_excerpt_are_what_the_whole_layer_gives_there(
    rule: Rule, strides: tuple[int, int]
) -> None:
    step = step_of(convolution(strides), rule)
    part = next(excerpts(step, oracle), None)
    assert part is not None
    assert part.step.layer.kind == "dense"
    assert part.step.relevance.shape == (PATCHES, UNITS)
    # Sums of 216 products in another order.
    bound = 216 * np.finfo(np.float64).eps * np.abs(part.observed[0]).max()
    np.testing.assert_allclose(oracle(part.step)[0], part.observed[0], rtol=0, atol=bound)
    assert part.stray == 0


@pytest.mark.parametrize(
    "rule", [Epsilon(0.25), StdEpsilon(0.25), AlphaBeta(2, 1), Flat(), Bounded()], ids=str
)
@pytest.mark.parametrize(("strides", "padding"), [((1, 1), 1), ((2, 2), 1), ((1, 1), 0), ((1, 1), 5)])
def test_a_box_gives_what_the_whole_layer_gives_to_what_it_alone_reads(
    rule: Rule, strides: tuple[int, int], padding: int
) -> None:
    """And it is cut where the candidate differs: here at 20 places of one corner."""
    step = step_of(convolution(strides, padding), rule)
    expected = carry_out(step)
    changed = expected[0].copy()
    changed[:, -4:, -5:] *= 1.5
    part = box_in_run(step, expected, (changed,))
    assert part is not None
    assert part.step.relevance[0, ..., 0].size == 144
    (found,), (seen,) = carry_out(part.step), part.observed
    # Sums of 216 products up to the outputs and of 64 x 9 back, in another order. Outside of what the box alone reads
    # both are 0.
    own = seen[0].any(axis=-1)
    assert own.mean() > 0.5
    differing = np.abs(found - seen).max(axis=(0, -1)) > 1e-9 * np.abs(seen).max()
    assert differing.sum() == 20
    np.testing.assert_allclose(
        found[:, ~differing], seen[:, ~differing], rtol=0, atol=(216 + 576) * EPS * np.abs(seen).max()
    )


def test_a_box_has_what_is_taken_over_the_whole_from_the_whole() -> None:
    """The standard deviation is that of all of the input; the counts are those of the layer."""
    step = step_of(convolution(), StdEpsilon(0.25))
    part = next(boxes(step, lambda each: oracle(replace(each, rule=StdEpsilon(0.5)))))
    assert part.step.whole is step
    (named,) = (
        each
        for each in deviations(part.step, part.observed)
        if each.cause == "epsilon-value" and each.parameters["epsilon"] == 0.5
    )
    (found,), (seen,) = carry_out(named.alter(part.step)), part.observed
    assert np.linalg.norm(found - seen) < 1e-12 * np.linalg.norm(seen)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_box_is_cut_where_a_value_is_missing(value: float) -> None:
    step = step_of(convolution(), Epsilon(0.25))
    expected = carry_out(step)
    observed = expected[0] * (1 + 1e-9)
    observed[0, 40, 33, 7] = value
    part = box_in_run(step, expected, (observed,))
    assert part is not None
    assert np.count_nonzero(~np.isfinite(part.observed[0])) == 1


def test_small_layers_and_changed_results_have_no_box() -> None:
    for step in (
        step_of(convolution(size=6), Epsilon(0.25)),
        step_of(large_dense(), Epsilon(0.25)),
        replace(step_of(convolution(), Epsilon(0.25)), after=(lambda _, shares: shares,)),
    ):
        expected = carry_out(step)
        assert box_in_run(step, expected, (2 * expected[0],)) is None
    step = step_of(convolution(), Epsilon(0.25))
    assert box_in_run(step, carry_out(step), (None,)) is None


def test_a_candidate_that_spreads_relevance_beyond_the_patches_is_noticed() -> None:
    step = step_of(convolution(), Epsilon(0.25))
    part = next(excerpts(step, lambda each: (oracle(each)[0] + 1.0,)), None)
    assert part is not None
    assert part.stray > 0.1


def test_rows_know_their_sample_and_their_whole() -> None:
    step = step_of(convolution(), Epsilon(0.25))
    part = next(excerpts(step, oracle), None)
    assert part is not None and part.step.rows is not None
    assert set(part.step.rows) == {0, 1}
    assert part.step.whole is step


def test_both_relevances_of_a_step_are_cut_to_the_same_patches() -> None:
    """In DLBacktrace's contrast mode they lie one behind the other along the batch: two samples are four rows."""
    wanted = method("backtrace.contrast")
    step = step_of(convolution(), Contrast("linear"))
    samples = step.inputs[0]
    step = replace(
        step,
        inputs=(np.concatenate([samples, samples]),),
        relevance=RANDOM.random((4, *step.layer.shape)),
        method=wanted,
    )
    part = next(excerpts(step, backtrace.carry_out), None)
    assert part is not None and part.step.rows is not None
    assert part.step.relevance.shape == (2 * PATCHES, UNITS)
    favour, against = np.split(part.step.rows, 2)
    assert set(favour) == {0, 1} and (against == favour + 2).all()
    np.testing.assert_array_equal(*np.split(part.step.inputs[0], 2))
    # Sums of 216 products in another order.
    bound = 216 * EPS * np.abs(part.observed[0]).max()
    np.testing.assert_allclose(backtrace.carry_out(part.step)[0], part.observed[0], rtol=0, atol=bound)
    assert part.stray == 0


def test_a_small_layer_has_no_excerpt() -> None:
    step = step_of(convolution(size=6), Epsilon(0.25))
    # 6 * 6 places, 2 samples, 3 * 3 * 24 * 64 products
    assert multiplications(step.layer, 2) == 2 * 36 * 13824 < LARGE
    assert list(excerpts(step, oracle)) == []


def test_a_few_channels_in_all_places_are_what_the_whole_layer_gives_for_them() -> None:
    step = step_of(convolution(), Epsilon(0.25))
    part = next(channels_of(step, oracle), None)
    assert part is not None
    assert part.step.relevance.shape == (2, 64, 64, 2)
    assert part.observed[0].shape == step.inputs[0].shape
    bound = 216 * np.finfo(np.float64).eps * np.abs(part.observed[0]).max()
    np.testing.assert_allclose(oracle(part.step)[0], part.observed[0], rtol=0, atol=bound)


RULES = (
    Z(),
    Epsilon(0.25),
    StdEpsilon(0.25),
    AlphaBeta(2, 1),
    ZPlusFast(),
    Gamma(0.25),
    Sign(0.5),
    WSquare(),
    Flat(),
)


@pytest.mark.parametrize("cut", [excerpts, channels_of, boxes], ids=["patches", "channels", "box"])
@pytest.mark.parametrize("rule", [*RULES, Gradient()], ids=str)
def test_every_reading_can_be_tried_on_an_excerpt(rule: Rule, cut: Callable[..., Iterator[Excerpt]]) -> None:
    """A batch norm reads the convolution: merging it in takes the weights of the channels that are kept."""
    step = step_of(convolution(size=28), rule)
    statistics = {name: RANDOM.uniform(0.5, 2, 64) for name in ("gamma", "beta", "mean", "variance")}
    norm = replace(
        step.layer,
        name="norm",
        kind="batch_norm",
        inputs=("conv",),
        input_shapes=(step.layer.shape,),
        attributes={"epsilon": 1e-3},
        weights=statistics,
    )
    step = replace(step, graph=Graph("two", (*step.graph.layers, norm), "norm"))
    part = next(cut(step, oracle))
    assert part is not None
    observed = tuple(1.1 * each + 0.01 for each in part.observed)
    tried = [each.alter(part.step) for each in deviations(part.step, observed)]
    assert len(tried) > 20
    for each in tried:
        with np.errstate(all="ignore"):
            assert [found.shape for found in carry_out(each)] == [seen.shape for seen in observed]


def readings(found: Iterator[Deviation]) -> set[tuple[str, str]]:
    """Causes and words, without the values in them, which are found from the data.

    One factor and a range for all of the result are left out: they are offered where the data suggest them.
    """
    numbers = re.compile(r"-?\d[\d./]*(e[-+]?\d+)?")
    return {(each.cause, numbers.sub("#", each.words)) for each in found if each.cause != "scale"}


@pytest.mark.parametrize(
    ("rule", "strides"),
    [
        *((rule, (1, 1)) for rule in (*RULES, Bounded(), Gradient())),
        (Epsilon(0.25), (2, 2)),
        (Flat(), (2, 2)),
    ],
    ids=str,
)
def test_all_that_patches_cannot_show_is_of_places(rule: Rule, strides: tuple[int, int]) -> None:
    """What the patches have refuted is not tried again in all places."""
    step = step_of(convolution(strides, size=28 * strides[0]), rule)

    def slightly_other(each: Step) -> Arrays:
        return oracle(replace(each, inputs=(1.01 * each.inputs[0] + 0.01,)))

    rows, places = next(excerpts(step, slightly_other)), next(channels_of(step, slightly_other))
    assert (rows.everywhere, places.everywhere) == (False, True)
    everything = readings(deviations(places.step, places.observed))
    of_places = readings(deviations_of_places(places.step, places.observed))
    assert len(of_places) > 20
    assert of_places <= everything
    assert everything - of_places <= readings(deviations(rows.step, rows.observed))
    box = next(boxes(step, slightly_other))
    assert everything - of_places <= readings(deviations(box.step, box.observed))


def test_a_merged_batch_norm_is_found_on_an_excerpt() -> None:
    step = step_of(convolution(), Epsilon(0.25))
    gamma, beta, mean, variance = (RANDOM.uniform(0.5, 2, 64) for _ in range(4))
    statistics = {"gamma": gamma, "beta": beta, "mean": mean, "variance": variance}
    norm = Layer(
        "norm",
        "batch_norm",
        ("conv",),
        (step.layer.shape,),
        step.layer.shape,
        step.layer.axes,
        {"epsilon": 1e-3},
        statistics,
    )
    step = replace(step, graph=Graph("two", (*step.graph.layers, norm), "norm"))
    factor = gamma / np.sqrt(variance + 1e-3)
    kernel, bias = step.layer.weights["kernel"], step.layer.weights["bias"]
    merged = {"kernel": kernel * factor, "bias": (bias - mean) * factor + beta}
    part = next(
        excerpts(step, lambda each: oracle(replace(each, layer=replace(each.layer, weights=merged)))), None
    )
    assert part is not None
    (named,) = (
        each
        for each in deviations(part.step, part.observed)
        if each.words == "the weights are those with norm merged in"
    )
    (found,), (seen,) = carry_out(named.alter(part.step)), part.observed
    assert np.linalg.norm(found - seen) < 1e-12 * np.linalg.norm(seen)


def large_dense() -> Layer:
    weights = {"kernel": RANDOM.standard_normal((5000, 5000)), "bias": RANDOM.standard_normal(5000)}
    return Layer("dense", "dense", ("input",), ((5000,),), (5000,), ("batch", "feature"), {}, weights)


@pytest.mark.parametrize(
    ("layer", "cut", "count"),
    [(convolution(size=28, channels=64), channels_of, 31), (large_dense(), excerpts, 9)],
    ids=["conv2d", "dense"],
)
def test_another_layout_is_the_same_on_an_excerpt_as_on_the_whole(
    layer: Layer, cut: Callable[..., Iterator[Excerpt]], count: int
) -> None:
    step = step_of(layer, Epsilon(0.25))
    part = next(cut(step, oracle))
    assert part.step.units is not None and len(part.step.units) < len(step.relevance[0].T)
    alone = np.zeros_like(step.relevance)
    alone[..., part.step.units] = part.step.relevance
    step = replace(step, relevance=alone)
    readings, same = list(layouts(part.step, part.observed)), list(layouts(step, part.observed))
    assert [each.words for each in readings] == [each.words for each in same]
    assert len(readings) == count
    kernel = layer.weights["kernel"]
    # Sums of so many products in another order, up to the outputs and back.
    terms = kernel[..., 0].size + kernel.shape[-1]
    for each, other in zip(readings, same, strict=True):
        (found,), (expected,) = carry_out(each.alter(part.step)), carry_out(other.alter(step))
        np.testing.assert_allclose(found, expected, rtol=0, atol=terms * EPS * np.abs(expected).max())


@pytest.mark.parametrize(
    ("words", "function"),
    [
        ("the result has height and width exchanged", lambda x: x.swapaxes(1, 2)),
        ("the result has height in reversed order", lambda x: x[:, ::-1]),
        ("the result has channels in reversed order", lambda x: x[..., ::-1]),
    ],
)
def test_a_result_that_is_rearranged_is_found_on_an_excerpt(
    words: str, function: Callable[[np.ndarray], np.ndarray]
) -> None:
    step = step_of(convolution(size=28), Epsilon(0.25))
    part = next(channels_of(step, lambda each: (function(oracle(each)[0]),)))
    (named,) = (each for each in deviations(part.step, part.observed) if each.words == words)
    (found,), (seen,) = carry_out(named.alter(part.step)), part.observed
    # Sums of 216 products in another order.
    np.testing.assert_allclose(found, seen, rtol=0, atol=216 * EPS * np.abs(seen).max())


@pytest.mark.parametrize("cut", [excerpts, channels_of], ids=["patches", "channels"])
def test_the_next_excerpt_has_the_outputs_of_next_most_relevance(
    cut: Callable[..., Iterator[Excerpt]],
) -> None:
    step = step_of(convolution(size=28), Epsilon(0.25))
    step = replace(step, relevance=step.relevance * (np.arange(64) < 40))
    parts = list(cut(step, oracle))
    kept = np.concatenate([part.step.units for part in parts])
    assert sorted(kept[:40]) == list(range(40))
    assert len(kept) < 64
    loudness = [np.abs(part.step.relevance).sum() / len(part.step.units) for part in parts]
    assert loudness == sorted(loudness, reverse=True)
