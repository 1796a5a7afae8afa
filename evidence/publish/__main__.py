"""The command `python -m evidence.publish`: pages, pictures and index of `reports/` from what is kept in it.

    python -m evidence.publish [--run FOLDER] [--reports FOLDER]

It measures nothing and takes seconds. ``--run``: take the figures of conformance from this run of the default suite.
Exit status: 0 written, 1 figures of a part cannot be read (its page stays as it is), 2 wrong use.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from evidence.publish.conformance import kept_of
from evidence.publish.index import publish
from harness.errors import HarnessError
from harness.files import write_json

REPORTS = Path(__file__).parents[2] / "reports"


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m evidence.publish",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--run", type=Path, help="the folder of a run of the default suite")
    parser.add_argument("--reports", type=Path, default=REPORTS, help="folder of what is kept")
    chosen = parser.parse_args()
    try:
        if chosen.run is not None:
            write_json(chosen.reports / "conformance.json", kept_of(chosen.run))
        problems = publish(chosen.reports)
    except (HarnessError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"written: {chosen.reports / 'README.md'}")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
