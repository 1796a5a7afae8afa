"""What a notebook shows of an object: a sentence and a table, as HTML. Names are text there too."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from harness.naming import printable

#: Rows of a table beyond these are counted, not shown.
MOST_ROWS = 60


def shown(
    sentence: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], notes: Iterable[str] = ()
) -> str:
    """``sentence`` and ``notes`` above a table; numbers to three digits."""
    every = list(rows)
    head = "".join(f"<th>{_text(name)}</th>" for name in columns)
    body = "".join(
        f"<tr>{''.join(f'<td>{_text(value)}</td>' for value in row)}</tr>" for row in every[:MOST_ROWS]
    )
    more = f"<p>{len(every) - MOST_ROWS} more rows</p>" if len(every) > MOST_ROWS else ""
    lines = "".join(f"<p>{_text(line)}</p>" for line in (sentence, *notes))
    return f"<div>{lines}<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}</div>"


def _text(value: Any) -> str:
    if isinstance(value, float):
        value = "" if value != value else f"{value:.3g}"
    return escape(printable(str(value)))
