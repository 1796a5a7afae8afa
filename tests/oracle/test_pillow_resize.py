"""The resizing of Grad-CAM's maps: bit for bit what Pillow does, and by hand where it can be worked out."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from reference_impls.oracle import pillow_resize

#: Squares to squares, larger and smaller, by whole factors and others; rectangles that grow; one axis alone.
SIZES = [
    ((14, 14), (224, 224)),
    ((3, 3), (48, 48)),
    ((8, 8), (28, 28)),
    ((7, 7), (5, 5)),
    ((64, 64), (9, 9)),
    ((100, 100), (33, 33)),
    ((1, 1), (6, 6)),
    ((2, 5), (11, 13)),
    ((5, 40), (12, 17)),
    ((9, 20), (9, 7)),
    ((20, 9), (7, 9)),
]


@pytest.mark.parametrize(("before", "after"), SIZES)
@pytest.mark.parametrize("seed", range(5))
def test_a_resized_image_is_pillows_bit_for_bit(
    before: tuple[int, int], after: tuple[int, int], seed: int
) -> None:
    values = np.random.default_rng(seed).integers(0, 256, before).astype(np.uint8)
    # Black and white only: the filter overshoots, and what is beyond 0..255 is cut off.
    image = np.where(values > 127, 255, 0).astype(np.uint8) if seed == 0 else values
    height, width = after
    expected = Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC)
    assert np.array_equal(pillow_resize.resize(image, height, width), np.asarray(expected))


def test_doubling_weighs_the_neighbours_by_the_cubic_kernel() -> None:
    """New pixel 3 of eight lies at 3.5 / 2 = 1.75: 1.25, 0.25, 0.75 and 1.75 from the four old centres.

    With a = -1/2: k(1.25) = -0.0703125, k(0.25) = 0.8671875, k(0.75) = 0.2265625, k(1.75) = -0.0234375,
    which add up to one: multiples of 2**-7, and so exact in 22 bits.
    """
    row = pillow_resize.coefficients(4, 8)[3] / 2**22
    assert row.tolist() == [-0.0703125, 0.8671875, 0.2265625, -0.0234375]


def test_at_the_edge_the_weights_inside_are_scaled_to_one() -> None:
    """New pixel 0 lies at 0.25, 0.25 and 1.25 from the old centres inside; those outside are left out."""
    total = 0.8671875 - 0.0703125
    row = pillow_resize.coefficients(4, 8)[0] / 2**22
    # A coefficient is rounded to a multiple of 2**-22.
    assert np.abs(row - [0.8671875 / total, -0.0703125 / total, 0, 0]).max() <= 2.0**-23


def test_values_are_rounded_and_overshoot_is_cut_off() -> None:
    # 0, 0, 255, 255 doubled. New pixel 2 lies 1.25 left of old pixel 2: 255 * (-0.0703125 + 0) is below 0, and
    # 255 minus that above 255 at its mirror image. New pixel 3: 255 * (0.2265625 - 0.0234375) = 51.797.
    image = np.array([[0, 0, 255, 255]], dtype=np.uint8)
    assert pillow_resize.resize(image, 1, 8)[0, 2:6].tolist() == [0, 52, 255 - 52, 255]
