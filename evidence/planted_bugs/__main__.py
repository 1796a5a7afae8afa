"""`python -m evidence.planted_bugs`. Exit status: 0 all right, 1 something is not, 2 wrong use, 130 interrupted."""

from __future__ import annotations

import logging
import os
import sys

import typer

from evidence.planted_bugs.command import planted_bugs
from harness.errors import HarnessError


def main() -> None:
    """Run the command; a mistake of the user's is one line, never a traceback."""
    # Two frameworks share the processors: a thread that has nothing to do must not spin while the other works.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Downloads are announced by log records; a long silence would look like a hang.
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    logging.getLogger("ported_models").setLevel(logging.INFO)
    try:
        typer.run(planted_bugs)
    except HarnessError as error:
        print("error: " + " ".join(str(error).split()), file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
