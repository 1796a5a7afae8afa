"""The figures of a row, against numbers derived by hand."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from harness.arrays import in_stretches
from harness.comparison import compare_arrays, relative_l2, statistics_of
from harness.comparison import metrics as metrics_module


def test_distance_of_a_shifted_vector() -> None:
    # r = (1, 2, 3, 4), c = r + 1: mean difference 1, |r|^2 = 30, |c|^2 = 54, r.c = 40,
    # var = 5/4 on both sides and cov = 5/4: ccc = 2*5/(5 + 5 + 4*1) = 10/14.
    reference, candidate = np.array([1.0, 2, 3, 4]), np.array([2.0, 3, 4, 5])
    distance, _, _ = compare_arrays(reference, candidate)
    assert distance.mae == 1.0
    assert distance.max_abs == 1.0
    assert distance.rel_l2 == pytest.approx(np.sqrt(4 / 30), rel=1e-15)
    assert distance.pearson_r == pytest.approx(1.0, rel=1e-15)
    assert distance.ccc == pytest.approx(10 / 14, rel=1e-15)
    assert distance.cosine == pytest.approx(40 / np.sqrt(30 * 54), rel=1e-15)
    assert distance.best_scale == pytest.approx(40 / 54, rel=1e-15)
    # ||r - s c||^2 = rr - rc^2/cc = 30 - 1600/54
    assert distance.rel_l2_after_scale == pytest.approx(np.sqrt((30 - 1600 / 54) / 30), rel=1e-12)
    assert distance.sign_agreement == 1.0
    assert not distance.identical


def test_a_pure_scale_is_found_and_leaves_nothing() -> None:
    reference = np.array([[1.0, -2.0], [4.0, 0.5]])
    distance, _, _ = compare_arrays(reference, reference / 20.0)
    assert distance.best_scale == pytest.approx(20.0, rel=1e-15)
    assert distance.rel_l2_after_scale < 1e-15
    assert distance.pearson_r == pytest.approx(1.0, rel=1e-15)
    assert distance.ccc < 0.2


def test_signs_count_zero_as_a_sign_of_its_own() -> None:
    distance, _, _ = compare_arrays(np.array([0.0, 1, -1, 2]), np.array([1.0, 1, 1, 2]))
    assert distance.sign_agreement == 0.5


def test_statistics_name_what_is_there() -> None:
    array = np.array([[0.0, -3.0, 2.0], [np.nan, 2.0, -np.inf]])
    _, statistics, _ = compare_arrays(array, array)
    assert statistics == statistics_of(array)
    assert (statistics.negative, statistics.zero, statistics.positive) == (1, 1, 2)
    assert (statistics.nan, statistics.inf) == (1, 1)
    assert (statistics.min, statistics.argmin) == (-3.0, (0, 1))
    assert (statistics.max, statistics.argmax) == (2.0, (0, 2))
    assert statistics.sum == 1.0
    assert statistics.mean == 0.25
    assert statistics.std == pytest.approx(np.sqrt((0.0625 + 10.5625 + 3.0625 + 3.0625) / 4), rel=1e-15)


def test_equal_arrays_with_nan_are_identical_and_finite_at_the_same_places() -> None:
    array = np.array([1.0, np.nan, np.inf])
    distance, _, _ = compare_arrays(array, array.copy())
    assert distance.identical
    assert distance.same_finite
    assert distance.rel_l2 == 0.0


@pytest.mark.parametrize("other", [[1.0, 2.0, np.inf], [1.0, np.nan, 3.0], [1.0, -np.inf, np.inf]])
def test_nan_or_inf_on_one_side_only_is_noticed(other: list[float]) -> None:
    distance, _, _ = compare_arrays(np.array([1.0, np.inf, np.inf]), np.array(other))
    assert not distance.same_finite


def test_zero_against_zero_is_no_distance_and_zero_against_something_is_infinite() -> None:
    zero, one = np.zeros(3), np.array([0.0, 1e-300, 0.0])
    assert compare_arrays(zero, zero.copy())[0].rel_l2 == 0.0
    assert relative_l2(zero, one * 1e300) == np.inf
    assert relative_l2(zero, zero) == 0.0


def test_figures_do_not_depend_on_how_the_array_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    reference = generator.normal(5.0, 1.0, (7, 11, 3))
    candidate = reference * 1.5 + generator.normal(0.0, 0.1, reference.shape)
    whole, whole_left, _ = compare_arrays(reference, candidate)
    monkeypatch.setattr(metrics_module, "_CHUNK", 10)
    cut, cut_left, _ = compare_arrays(reference, candidate)
    for figure in ("mae", "rel_l2", "pearson_r", "ccc", "cosine", "best_scale", "rel_l2_after_scale"):
        # 231 terms summed in another order: a few hundred roundings at most.
        assert getattr(cut, figure) == pytest.approx(getattr(whole, figure), rel=231 * 2.3e-16)
    assert (cut_left.argmin, cut_left.argmax) == (whole_left.argmin, whole_left.argmax)
    assert whole.pearson_r == pytest.approx(
        np.corrcoef(reference.ravel(), candidate.ravel())[0, 1], rel=231 * 2.3e-16
    )


def test_the_relative_difference_of_float32_arrays_is_computed_in_float64() -> None:
    # 1 + 2^-20 differs from 1 by 9.5e-7; its square would vanish beside 1 in float32 sums over 10^6 terms.
    reference = np.ones(10**6, dtype=np.float32)
    candidate = np.full(10**6, 1 + 2.0**-20, dtype=np.float32)
    assert relative_l2(reference, candidate) == pytest.approx(2.0**-20, rel=1e-12)
    assert compare_arrays(reference, candidate)[0].rel_l2 == pytest.approx(2.0**-20, rel=1e-12)


@pytest.mark.parametrize("shape", [(1, 5, 7, 3), (2, 4, 3, 6), (1, 6, 5), (7, 4), (3,), (1, 1, 2), (0, 3)])
@pytest.mark.parametrize("size", [1, 4, 9, 1000])
def test_stretches_are_those_of_the_flattened_array_whatever_its_order_in_memory(shape, size: int) -> None:
    array = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    first = np.moveaxis(np.ascontiguousarray(np.moveaxis(array, -1, 0)), 0, -1)
    for laid_out in (array, first, np.asfortranarray(array), np.repeat(array, 2, axis=-1)[..., ::2]):
        stretches = list(in_stretches(laid_out, size))
        assert all(len(each) == size for each in stretches[:-1])
        assert np.array_equal(np.concatenate([*stretches, np.zeros(0)]), array.reshape(-1))


def test_a_channels_first_array_is_compared_without_a_copy_of_it() -> None:
    reference = np.random.default_rng(0).standard_normal((1, 512, 512, 32)).astype(np.float32)
    candidate = np.moveaxis(np.ascontiguousarray(np.moveaxis(reference, -1, 1)), 1, -1)
    assert compare_arrays(reference, candidate) == compare_arrays(reference, reference)
    tracemalloc.start()
    try:
        compare_arrays(reference, candidate)
        assert relative_l2(reference, candidate) == 0
        assert tracemalloc.get_traced_memory()[1] < reference.nbytes / 2
    finally:
        tracemalloc.stop()
