"""A fresh interpreter for what can only be seen once a process: imports."""

from __future__ import annotations

import subprocess
import sys
import textwrap


def output_of(script: str) -> list[str]:
    """The lines that ``script`` prints in an interpreter of its own, which must end well."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()
