"""Files, digests and fixed samples."""

from __future__ import annotations

from harness.files import in_sample


def test_a_sample_is_fixed_and_of_about_the_size_asked_for() -> None:
    labels = [f"case {number}" for number in range(10_000)]
    small = {label for label in labels if in_sample(label, 0.03)}
    # 300 expected, standard deviation 17.
    assert 200 < len(small) < 400
    assert small < {label for label in labels if in_sample(label, 0.1)}
    assert all(in_sample(label, 1.0) for label in labels)
    assert not any(in_sample(label, 0.0) for label in labels)
