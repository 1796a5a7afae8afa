"""A sketch says how far a tensor is from one that is not there any more, and how small a difference it sees."""

from __future__ import annotations

import numpy as np
import pytest

from harness.golden import sketch as sketches
from harness.golden.sketch import BUCKETS, ROWS, between, distance_from, packed, sketch_of

#: The smallest relative error that a sketch detects, as docs/goldens.md states it.
SMALLEST = 1e-13
#: Of an estimated distance, relative: 9 % (docstring of `harness.golden.sketch`).
STANDARD_ERROR = 1 / np.sqrt(2 * ROWS * BUCKETS)
#: Of the projection of 1 to 100, the sum of the absolute values.
FIRST = 7056.0


def differences(generator: np.random.Generator, shape: tuple[int, ...]):
    """Of norm 1: spread over the whole tensor, in one channel, of two values, of one."""
    spread = generator.normal(size=shape)
    channel = np.zeros(shape)
    channel[..., 0] = generator.normal(size=shape[:-1])
    two = np.zeros(shape)
    two.flat[generator.choice(two.size, 2, replace=False)] = 1.0, -1.0
    one = np.zeros(shape)
    one.flat[generator.integers(one.size)] = 1.0
    return [each / np.linalg.norm(each) for each in (spread, channel, two, one)]


@pytest.mark.parametrize("shape", [(1, 12), (2, 8, 8, 16), (1, 32, 32, 64)])
@pytest.mark.parametrize("size", [1.0, 1e-4, 1e-8, SMALLEST])
def test_an_estimated_distance_is_right_within_a_half(shape, size: float) -> None:
    """4 standard errors of 9 %; of two equal values in one bucket of one row in four, one row in four is lost."""
    generator = np.random.default_rng(7)
    for _ in range(5):
        golden = generator.normal(size=shape) * 10.0 ** generator.integers(-6, 6)
        sketch = sketch_of(golden)
        for direction in differences(generator, shape):
            moved = golden + size * np.linalg.norm(golden) * direction
            true = np.linalg.norm(moved - golden) / np.linalg.norm(golden)
            distance = distance_from(sketch, moved)[0]
            assert not distance.identical
            assert 0.5 * true < distance.rel_l2 < 1.6 * true


def test_the_estimate_is_not_biased() -> None:
    generator = np.random.default_rng(3)
    golden = generator.normal(size=4000)
    sketch = sketch_of(golden)
    squares = []
    for _ in range(200):
        direction = generator.normal(size=4000)
        moved = golden + 1e-3 * np.linalg.norm(golden) / np.linalg.norm(direction) * direction
        squares.append((distance_from(sketch, moved)[0].rel_l2 / 1e-3) ** 2)
    # The mean of 200 squares with a standard deviation of sqrt(2 / (ROWS * BUCKETS)) each.
    assert abs(np.mean(squares) - 1) < 4 * np.sqrt(2 / (ROWS * BUCKETS) / 200)


def test_equal_bytes_are_identical_and_one_bit_is_not() -> None:
    golden = np.random.default_rng(0).normal(size=(3, 100))
    assert distance_from(sketch_of(golden), golden.copy())[0].identical
    other = golden.copy()
    other[1, 50] = np.nextafter(other[1, 50], np.inf)
    assert not distance_from(sketch_of(golden), other)[0].identical


def test_nan_is_seen_where_it_is() -> None:
    golden = np.arange(12.0).reshape(3, 4)
    golden[1, 1] = np.nan
    same, moved = golden * (1 + 1e-3), golden.copy()
    moved[1, 1], moved[0, 0] = 5.0, np.nan
    assert distance_from(sketch_of(golden), same)[0].same_finite
    assert distance_from(sketch_of(golden), same)[0].rel_l2 == pytest.approx(1e-3, rel=5 * STANDARD_ERROR)
    assert not distance_from(sketch_of(golden), moved)[0].same_finite


def test_two_tensors_of_a_layer_take_less_than_2_kB() -> None:
    """2.5 kB a layer is allowed; names, kinds, axes, floors and the method as data are the rest of an entry."""
    sketch = sketch_of(np.ones((1, 224, 224, 3)))
    arrays = packed({"conv": sketch}, "relevance") | packed({"conv": sketch}, "activation")
    assert sum(array.nbytes for array in arrays.values()) < 2000


def test_the_random_numbers_are_those_of_the_stored_sketches() -> None:
    """PCG64's raw stream is promised not to change; the figure is that of the first version of the format."""
    sketch = sketch_of(np.arange(1.0, 101.0))
    assert float(np.abs(sketch.projection).sum()) == FIRST
    assert between(sketch, sketch).identical


def test_a_projection_is_the_signed_sum_of_each_bucket_value_by_value() -> None:
    """A random byte a value and row: the four lowest bits are the bucket, the highest is the sign."""
    values = np.array([1.5, -2.0, np.nan, 0.25, -8.0, np.inf, 3.0])
    random = np.random.PCG64(20260101).random_raw(4).astype("<u8").view(np.uint8)
    expected = np.zeros((4, 16))
    for place, value in enumerate(values):
        for row in range(4):
            byte = int(random[4 * place + row])
            if np.isfinite(value):
                expected[row, byte % 16] += -value if byte >= 128 else value
    np.testing.assert_array_equal(sketch_of(values).projection, expected)


def test_an_array_that_nobody_can_write_to_is_sketched_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    monkeypatch.setattr(sketches, "_projection", lambda flat: made.append(flat) or np.zeros((ROWS, BUCKETS)))
    shared, own = np.ones(3), np.ones(3)
    shared.setflags(write=False)
    assert sketch_of(shared) is sketch_of(shared)
    assert len(made) == 1
    assert sketch_of(own) is not sketch_of(own)
    assert len(made) == 3
