"""Measures every reading and writes `docs/dialects.md`; takes up where an interrupted run stopped.

    python -m evidence.dialects [--force] [--sources FOLDER]...

``--force`` measures again what was measured before. With ``--sources``, folders that hold the unpacked libraries,
every citation is looked up instead and nothing is run.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from evidence.dialects.idea import wrong_citations
from evidence.dialects.ideas import IDEAS
from evidence.dialects.measure import subject
from evidence.dialects.page import page, settings_of
from evidence.dialects.settings import SETTINGS
from harness.backends import backend_named
from harness.engine import Store
from harness.files import write_text
from harness.runner import environment

PAGE = Path("docs") / "dialects.md"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m evidence.dialects", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--sources", action="append", type=Path, help="look citations up in this folder, run nothing"
    )
    parser.add_argument("--force", action="store_true", help="measure again what was measured before")
    arguments = parser.parse_args()
    if arguments.sources:
        wrong, seen = wrong_citations(IDEAS, arguments.sources)
        print("\n".join([*wrong, f"{seen} citations looked up, {len(wrong)} wrong"]))
        return int(bool(wrong))
    backend = backend_named("tensorflow")
    start = time.monotonic()
    subjects, store = {}, Store(force=arguments.force)
    for name in settings_of(IDEAS):
        ideas = [idea for idea in IDEAS if name in idea.settings]
        subjects[name] = subject(
            SETTINGS[name],
            ideas,
            backend,
            store,
            lambda line: print(f"{time.monotonic() - start:6.0f} s  {line}", flush=True),
        )
    write_text(PAGE, page(IDEAS, subjects, environment([backend])))
    print(f"{time.monotonic() - start:6.0f} s  {PAGE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
