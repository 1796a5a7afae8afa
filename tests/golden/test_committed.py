"""What is committed: the whole catalogue on three networks, a method for each rule on two large ones, in 60 MB."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

import harness
from harness.golden import read_manifest
from harness.golden.store import entry_name
from harness.methods import ALL_METHODS, method
from harness.runner import SUITES, is_sampled
from harness.runner.run import why_not

ROOT = Path(__file__).parents[2] / "golden"
ONCE = tuple(name for name in ALL_METHODS if not is_sampled(name))
LARGE = SUITES["large"].methods


@pytest.mark.parametrize(
    ("model", "methods"),
    [
        ("digits-cnn", ALL_METHODS),
        ("ecg-cnn1d", ALL_METHODS),
        ("fer-xception", ONCE),
        ("efficientnet-lite0", LARGE),
        ("vgg16-mri", LARGE),
    ],
)
def test_every_method_that_applies_has_a_golden(model: str, methods: Sequence[str]) -> None:
    network, there = harness.load_model(model), read_manifest(ROOT).entries
    apply = [name for name in methods if not why_not(method(name), network)]
    assert len(apply) >= 40
    assert [name for name in apply if entry_name(model, method(name).name, "float64") not in there] == []


def test_all_together_are_small_enough_for_a_repository() -> None:
    assert sum(facts["size"] for facts in read_manifest(ROOT).files.values()) < 60e6
