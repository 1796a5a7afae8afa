"""Tests that need a real library, on a machine that has none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.files import CACHE_VARIABLE
from harness.peers import peers, variable_of


@pytest.mark.nightly
def test_every_test_of_a_library_is_skipped_where_it_is_not_installed(tmp_path: Path) -> None:
    chosen = {variable_of(name) for name in peers()}
    environment = {key: value for key, value in os.environ.items() if key not in chosen}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-m", "peer", "-p", "no:cacheprovider"],
        cwd=Path(__file__).parents[2],
        env={**environment, CACHE_VARIABLE: str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    last = done.stdout.rstrip().splitlines()[-1]
    assert "skipped" in last and "failed" not in last and "error" not in last, done.stdout[-2000:]
