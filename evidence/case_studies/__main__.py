"""Measures the three studies and writes `docs/case-studies.md`; takes up where an interrupted run stopped.

    python -m evidence.case_studies [--force] [--only-page] [--released FOLDER] [--sources FOLDER]...

``--force`` measures everything anew but for the comparison with signxai2 0.5.0, which needs ``--released``, a folder
that holds it unpacked. ``--only-page`` writes the page from the figures that are stored. With ``--sources``, folders
that hold the unpacked libraries, every citation is looked up instead and nothing is run.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from evidence.case_studies import factors, flat, heads, released
from evidence.case_studies.measure import RELEASED, Kept
from evidence.case_studies.page import page
from evidence.case_studies.sources import ALL
from evidence.dialects.idea import wrong_citations
from harness.backends import backend_named
from harness.engine import Store
from harness.files import write_json, write_text
from harness.runner import environment

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "case-studies.md"
FIGURES = ROOT / "reports" / "case-studies.json"


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m evidence.case_studies", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--force", action="store_true", help="measure again what was measured before")
    parser.add_argument("--only-page", action="store_true", help="measure nothing")
    parser.add_argument("--released", type=Path, help="compare with the signxai2 in this folder too")
    parser.add_argument("--sources", action="append", type=Path, help="look citations up in this folder")
    arguments = parser.parse_args()
    if arguments.sources:
        wrong, seen = wrong_citations(ALL, arguments.sources)
        print("\n".join([*wrong, f"{seen} citations looked up, {len(wrong)} wrong"]))
        return int(bool(wrong))
    start = time.monotonic()
    figures = json.loads(FIGURES.read_text(encoding="utf-8"))
    if arguments.released:
        figures["cases"][RELEASED] = released.measure(arguments.released)
    if not arguments.only_page:
        versions = environment([backend_named("tensorflow"), backend_named("torch")])
        figures["environment"] = {name: value for name, value in versions.items() if len(value) < 40}
        kept = Kept(
            Store(force=arguments.force),
            lambda what: print(f"{time.monotonic() - start:6.0f} s  {what}", flush=True),
        )
        for study in (heads, flat, factors):
            study.measure(kept)
        figures["cases"] = dict(sorted({**kept.cases, RELEASED: figures["cases"][RELEASED]}.items()))
    write_json(FIGURES, figures)
    write_text(PAGE, page(figures["cases"], figures["environment"]))
    print(f"{time.monotonic() - start:6.0f} s  {PAGE.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
