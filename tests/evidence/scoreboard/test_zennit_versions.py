"""The table of two versions of Zennit."""

from __future__ import annotations

import numpy as np

from evidence.scoreboard.zennit_versions import distance, page


def test_what_is_equal_bit_for_bit_is_no_distance_apart_nan_included():
    one = np.array([3.0, np.nan, 4.0])
    assert distance(one, one.copy()) == 0.0
    assert distance(np.array([3.0, 4.0]), np.array([3.0, 3.0])) == 0.2  # 1 / 5
    assert np.isnan(distance(one, np.array([3.0, 0.0, 4.0])))


def test_the_page_has_a_row_for_each_method_and_each_probe():
    measured = [
        ("lrp.z", "digits-cnn", 0.0),
        ("lrp.z", "ecg-cnn1d", 0.25),
        ("lrp.z", "fer-xception", "it has none"),
    ]
    shown = page(measured, {"epsilon": 0.5}, {"epsilon": 0.0})
    assert "| `lrp.z` | 0 | 2.5e-01 | it has none |" in shown
    assert "| epsilon | 0.5 | 0.0 |" in shown
