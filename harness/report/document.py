"""One run, verification or report as one document: what the terminal, Markdown, JSON and the page all show."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.comparison import VERDICTS
from harness.errors import InvalidInputError
from harness.files import write_text
from harness.methods import CATALOGUE
from harness.naming import shell
from harness.plain import json_text, plain
from harness.report.tables import Row, rows_table

if TYPE_CHECKING:
    import pandas as pd

#: The file that holds the document; everything else is made from it and from the files of the cases.
DOCUMENT = "report.json"

MEANINGS = {
    "identical": "equal bit for bit",
    "equivalent": "no further apart than rounding explains",
    "close": "alike by the field's habit, but rounding does not explain the rest",
    "divergent": "a different function",
    "error": "one side failed, or gave NaN or Inf where the other did not",
}
#: Beside each colour, so that no reader needs to tell colours apart.
SYMBOLS = {"identical": "=", "equivalent": "≈", "close": "~", "divergent": "≠", "error": "!"}


@dataclass(frozen=True)
class Document:
    """What came of many cases.

    ``rows``: a mapping a case, keys as in `harness.report.tables.ROW_COLUMNS`. ``facts``: what is worth knowing about
    the whole (versions, machine), by name; nested mappings become dotted names. ``skipped``: methods that do not apply
    (keys ``model``, ``method``, ``reason``). ``notes``: sentences that belong on the first screen.
    ``selection``: what was asked for, as plain data; two documents of one selection are of the same cases.
    """

    rows: tuple[Row, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)
    skipped: tuple[Mapping[str, Any], ...] = ()
    notes: tuple[str, ...] = ()
    selection: Mapping[str, Any] = field(default_factory=dict)
    title: str = "Conformance run"

    @cached_property
    def table(self) -> pd.DataFrame:
        """All rows with typed columns; see `harness.report.tables.rows_table`."""
        return rows_table(self.rows)

    @property
    def passed(self) -> int:
        return sum(bool(row["passed"]) for row in self.rows)

    @property
    def counts(self) -> dict[str, int]:
        """How many cases have each verdict, best first; verdicts that none has are left out."""
        counted = Counter(str(row["verdict"]) for row in self.rows)
        return {verdict: counted[verdict] for verdict in reversed(VERDICTS) if counted[verdict]}

    @property
    def sides(self) -> str:
        """``candidate torch against reference tensorflow``"""
        pairs = {
            f"candidate {row['candidate']} against reference {row['reference']}"
            if row.get("reference")
            else f"candidate {row['candidate']}"
            for row in self.rows
            if row.get("candidate")
        }
        return ", ".join(sorted(pairs))

    def write(self, folder: Path) -> Path:
        """Write it into ``folder`` as JSON, atomically, and return the file."""
        path = folder / DOCUMENT
        write_text(path, json_text(asdict(self), indent=1) + "\n")
        return path


def document_of(
    rows: Sequence[Row],
    facts: Mapping[str, Any] | None = None,
    skipped: Sequence[Mapping[str, Any]] = (),
    again: Callable[[Mapping[Any, Any]], list[str]] | None = None,
    **more: Any,
) -> Document:
    """The document of ``rows``, each with its ``family`` and, in ``again``, the command that repeats it.

    ``again``: the words behind `xai-harness` that repeat the case of a row; left out, :func:`run_again`.
    """
    words = again or run_again
    named = tuple(
        plain(row)
        | {
            "family": family_of(str(row["method"])),
            "again": row.get("again") or shell(("xai-harness", *words(row))),
        }
        for row in rows
    )
    return Document(named, dict(facts or {}), tuple(skipped), **more)


def run_again(row: Mapping[Any, Any]) -> list[str]:
    """The words of the command that runs the case of ``row`` again."""
    options = ("model", "method", "dtype", "reference", "candidate")
    return ["run", *(word for each in options for word in (f"--{each}", str(row[each])))]


def read_document(folder: Path) -> Document:
    """What :meth:`Document.write` left in ``folder``. Raises InvalidInputError where there is nothing to be read."""
    path = folder / DOCUMENT
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
        return Document(
            tuple(read["rows"]),
            read["facts"],
            tuple(read["skipped"]),
            tuple(read["notes"]),
            read["selection"],
            read["title"],
        )
    except (FileNotFoundError, NotADirectoryError):
        raise InvalidInputError(
            f"{folder} holds no report ({DOCUMENT} is not there); name the folder of a run, see: xai-harness run --out"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidInputError(
            f"{path} is no readable report ({type(error).__name__}); run the cases again"
        ) from None


def family_of(method: str) -> str:
    """The family of a method's name; for a name that the catalogue reads by its grammar, what it begins with."""
    base = method.partition(":")[0]
    entry = CATALOGUE.get(base)
    return entry.family if entry else base.partition(".")[0].partition("_")[0]
