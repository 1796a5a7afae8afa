"""One case per golden: the port still computes what the reference computed when the golden was recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.comparison import layers_around, verdict_line
from harness.golden import find_goldens, verify
from harness.methods import SUITE_METHODS, slug

pytestmark = pytest.mark.torch

ROOT = Path(__file__).parents[2] / "golden"
PATHS = list(find_goldens(ROOT))
_models: dict[str, Any] = {}


@pytest.mark.parametrize("path", PATHS, ids=[f"{path.parent.name}-{path.stem}" for path in PATHS])
def test_port_computes_what_the_golden_holds(path: Path) -> None:
    comparison = verify(path, "torch", _models)
    if not comparison.passed:
        pytest.fail(f"{verdict_line(comparison)}\n{layers_around(comparison)}", pytrace=False)


def test_digits_has_a_golden_of_every_suite_method() -> None:
    there = {path.name.rsplit(".", 2)[0] for path in PATHS if path.parent.name == "digits-cnn"}
    assert {slug(name) for name in SUITE_METHODS} == there
