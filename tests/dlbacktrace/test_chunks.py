"""In which parts a step is computed: no more numbers at once than allowed, everything once."""

from __future__ import annotations

import numpy as np
import pytest

from ported_impls.dlbacktrace.chunks import Cost, chunks


def test_a_weight_that_is_large_is_taken_in_parts_once_for_several_samples() -> None:
    # A channel's weight makes 10 numbers, its output in a sample 1: all three are 33, one is 14 for all four samples.
    parts = list(chunks("layer", Cost(0, 1, 10, 3), samples=4, size=32))
    assert [(part.first, part.last, part.low, part.high) for part in parts] == [
        (0, 4, 0, 1),
        (0, 4, 1, 2),
        (0, 4, 2, 3),
    ]
    # All three at once take 33 for one sample, 36 for two.
    parts = list(chunks("layer", Cost(0, 1, 10, 3), samples=4, size=36))
    assert [(part.first, part.last, part.low, part.high) for part in parts] == [(0, 2, 0, 3), (2, 4, 0, 3)]


@pytest.mark.parametrize("seed", range(40))
def test_no_part_holds_more_than_the_size_and_all_parts_are_everything_once(seed: int) -> None:
    rng = np.random.default_rng(seed)
    cost = Cost(*(int(each) for each in rng.integers((0, 1, 0, 1), (50, 20, 60, 12))))
    samples, size = int(rng.integers(1, 9)), cost.of(1, 1) + int(rng.integers(0, 400))
    done = np.zeros((samples, cost.channels), int)
    for part in chunks("layer", cost, samples, size):
        assert cost.of(part.last - part.first, part.high - part.low) <= size
        done[part.first : part.last, part.low : part.high] += 1
    assert (done == 1).all()
