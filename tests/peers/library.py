"""Whether a peer is there to be tested against; and what stands in for one where no library is needed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from harness.errors import PeerError
from harness.peers import python_of


def needs(name: str) -> None:
    """Skip the test, with the reason, where peer ``name`` is not installed."""
    try:
        python_of(name)
    except PeerError as error:
        pytest.skip(str(error))


def stand_in(folder: Path) -> str:
    """A program in ``folder`` that runs this Python with an empty `signxai` and versions of what it needs."""
    packages = folder / "packages"
    (packages / "signxai").mkdir(parents=True)
    (packages / "signxai" / "__init__.py").touch()
    for name in ("signxai", "tensorflow", "keras", "numpy", "scipy", "pillow"):
        (packages / f"{name}-0.1.dist-info").mkdir()
        facts = f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1\n"
        (packages / f"{name}-0.1.dist-info" / "METADATA").write_text(facts)
    program = folder / "python"
    program.write_text(f'#!/bin/sh\nPYTHONPATH={packages} exec {sys.executable} "$@"\n')
    program.chmod(0o755)
    return str(program)
