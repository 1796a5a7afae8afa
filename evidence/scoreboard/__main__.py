"""Measures the scoreboard and writes `reports/scoreboard.md`; takes up where an interrupted run stopped.

    python -m evidence.scoreboard [--library NAME]... [--model NAME]... [--only PATTERN] [--limit SECONDS] [--force]
                                  [--missing] [--share S --seed TEXT] [--out FOLDER] [--only-page]

Without options every library, which has to be installed (`xai-harness peers install NAME`), on every network. Rows
that are not asked for stay as `reports/scoreboard.json` has them. ``--missing`` asks for those alone that it has not,
or not finished, or whose diagnosis ended at a shorter ``--limit``; ``--share`` for a sample, drawn by the seed;
``--only-page`` writes the page from that file.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import sys
import time
from pathlib import Path
from typing import Any

from evidence.scoreboard.measure import LIMIT_S, Json, key, measure
from evidence.scoreboard.page import page
from evidence.scoreboard.rows import MODELS, Row, libraries, library_named, rows
from harness.api import explain, load_model
from harness.backends import Backend, backend_named
from harness.engine import Store
from harness.errors import HarnessError
from harness.files import in_sample, write_json, write_text
from harness.runner import chosen_input

REPORTS = Path(__file__).parents[2] / "reports"
PAGE, FIGURES = "scoreboard.md", "scoreboard.json"
#: Of what a backend says of its version, what is none.
_NO_VERSIONS = ("adapter", "layers", "source")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m evidence.scoreboard", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--library", action="append", help="of these libraries alone")
    parser.add_argument("--model", action="append", help="on these networks alone")
    parser.add_argument("--only", default="*", metavar="PATTERN", help="methods whose name matches")
    parser.add_argument("--limit", type=float, default=LIMIT_S, help="seconds that a row may take")
    parser.add_argument("--force", action="store_true", help="measure again what was measured before")
    parser.add_argument(
        "--missing",
        action="store_true",
        help="rows that the page does not have yet, or that were cut off earlier",
    )
    parser.add_argument("--share", type=float, default=1.0, help="of the rows, about this part")
    parser.add_argument("--seed", default="", help="draws that part: another seed, other rows")
    parser.add_argument("--out", type=Path, default=REPORTS, help="folder of the page and its figures")
    parser.add_argument("--only-page", action="store_true", help="measure nothing")
    arguments = parser.parse_args()
    place = arguments.out / FIGURES
    known = REPORTS / FIGURES
    figures: Json = json.loads(known.read_text(encoding="utf-8")) if known.exists() else {}
    if not arguments.only_page:
        names = tuple(arguments.library or libraries())
        models = tuple(arguments.model or MODELS)
        asked = [row for row in rows(names, models) if fnmatch.fnmatch(row.method, arguments.only)]
        if arguments.missing:
            asked = [row for row in asked if not _measured(figures, row, arguments.limit)]
        drawn = f"{arguments.seed} scoreboard"
        asked = [row for row in asked if in_sample(f"{drawn} {row}", arguments.share)]
        store = Store(force=arguments.force)
        for library in names:
            these = [row for row in asked if row.library == library]
            _measure(library, these, store, arguments.limit, figures, place)
    write_json(place, figures)
    write_text(arguments.out / PAGE, page(figures))
    return 0


def _measured(figures: Json, row: Row, limit_s: float = 0.0) -> bool:
    """Whether ``figures`` have a verdict on ``row`` whose diagnosis was not cut off before ``limit_s``."""
    facts = figures.get(row.library, {}).get("rows", {}).get(row.method, {}).get(row.model)
    return facts is not None and facts["state"] != "late" and facts.get("limit_s", limit_s) >= limit_s


def _measure(
    library: str, asked: list[Row], store: Store, limit_s: float, figures: Json, place: Path
) -> None:
    """Measure ``asked``, all of one library, and add them to ``figures`` and the file at ``place``, row by row.

    A verdict that is known stays where no verdict was found within the limit.
    """
    peer = library_named(library)
    entry = figures.setdefault(library, {})
    entry |= {"requirement": peer.requirement, "pins": peer.constraints.read_text(encoding="utf-8").split()}
    known = entry.setdefault("rows", {})
    candidate: Backend | None = None
    started = time.monotonic()
    try:
        for model_name in dict.fromkeys(row.model for row in asked):
            model: Any = load_model(model_name)
            x, _ = chosen_input(model, None)
            warm = False
            for row in asked:
                if row.model != model_name:
                    continue
                kept_under = key(row, model, x)
                facts = store.get(kept_under)
                if facts is None or facts.get("limit_s", limit_s) < limit_s:
                    candidate = candidate or backend_named(library)
                    if not warm:  # what the reference takes to start is not the first row's
                        explain(model, x, "gradient", layers=False)
                        warm = True
                    facts = measure(row, model, x, candidate, limit_s)
                    store.put(kept_under, f"scoreboard: {library} {row.method} {model_name}", facts)
                    print(
                        f"{time.monotonic() - started:6.0f} s  {library}  {model_name}  {row.method}  {facts['state']}",
                        flush=True,
                    )
                if facts["state"] != "late" or not _measured(figures, row):
                    known.setdefault(row.method, {"says": row.says})[model_name] = facts
            write_json(place, figures)
        if candidate is not None:
            answered = candidate.version().items()
            entry["versions"] = {name: text for name, text in answered if name not in _NO_VERSIONS}
        entry.pop("refused", None)
    except HarnessError as error:
        entry["refused"] = str(error)
    finally:
        if candidate is not None:
            getattr(candidate, "close", lambda: None)()
        write_json(place, figures)


if __name__ == "__main__":
    sys.exit(main())
