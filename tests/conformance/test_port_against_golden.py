"""One case per golden: the port still computes what the reference computed when the golden was recorded."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.files import in_sample
from harness.golden import Models, inspect, verify_all
from harness.methods import SUITE_METHODS, slug
from harness.runner import SUITES

pytestmark = pytest.mark.torch

ROOT = Path(__file__).parents[2] / "golden"
FOUND = inspect(ROOT)
MODELS = Models()
#: Of the sketches of the whole catalogue CI takes a tenth; `xai-harness golden verify` takes all.
SHARE = 0.1
SUITE = [f"digits-cnn/{slug(name)}.float64" for name in SUITE_METHODS]
#: Too large for every push.
LARGE = tuple(f"{model}/" for model in SUITES["large"].models)
NAMES = [
    name
    for name in sorted(FOUND.entries)
    if name in SUITE or (in_sample(name, SHARE) and not name.startswith(LARGE))
]


def test_nothing_is_wrong_with_the_goldens() -> None:
    assert FOUND.problems == ()


@pytest.mark.parametrize("name", NAMES)
def test_port_computes_what_the_golden_holds(name: str) -> None:
    (row,) = verify_all(FOUND, "torch", MODELS, lambda each: each == name)
    if not row["passed"]:
        pytest.fail(f"{row['message']}\n{row['layers']}", pytrace=False)


def test_digits_has_a_golden_of_every_suite_method() -> None:
    assert set(SUITE) <= set(FOUND.entries)
