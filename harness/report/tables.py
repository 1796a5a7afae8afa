"""Tables as files: one row a case, one row a layer."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from harness.files import replacing

#: One case of a run as a plain mapping. `ROW_COLUMNS` are the keys the report knows; any other key
#: becomes a further column.
Row = Mapping[str, Any]

ROW_COLUMNS = (
    "model",
    "input",
    "method",
    "dtype",
    "reference",
    "candidate",
    "verdict",
    "passed",
    "worst_layer",
    "worst_rel_l2",
    "worst_floor",
    "worst_ratio",
    "attribution_mae",
    "attribution_pearson_r",
    "attribution_max_abs",
    "attribution_rel_l2",
    "attribution_floor",
    "decided_by",
    "floor_from",
    "first_divergent",
    "first_divergent_forward",
    "largest_floor",
    "largest_floor_layer",
    "notes",
    "model_notes",
    "alone",
    "target",
    "seconds_reference",
    "seconds_candidate",
    "seconds_total",
    "message",
    "family",
    "cause",
    "stage",
    "diagnosed_layer",
    "diagnosis",
    "like",
    "again",
    "files",
)
#: Between several values in one cell.
SEPARATOR = "; "

_NUMBERS = (
    *(name for name in ROW_COLUMNS if name.startswith(("attribution_", "seconds_"))),
    "worst_rel_l2",
    "worst_floor",
    "worst_ratio",
    "largest_floor",
)
_TEXTS = tuple(name for name in ROW_COLUMNS if name not in (*_NUMBERS, "passed"))


def rows_table(rows: Iterable[Row]) -> pd.DataFrame:
    """All rows, the known columns first and always there, each of one type.

    Numbers are float64 (NaN where a row has none), ``passed`` is bool, everything else is text; several
    values in one cell (targets of a batch, files) are joined by :data:`SEPARATOR`.
    """
    table = pd.DataFrame([dict(row) for row in rows])
    further = [name for name in table.columns if name not in ROW_COLUMNS]
    table = table.reindex(columns=[*ROW_COLUMNS, *further])
    for name in _NUMBERS:
        table[name] = pd.to_numeric(table[name]).astype("float64")
    table["passed"] = table["passed"].eq(True)
    for name in (*_TEXTS, *further):
        table[name] = table[name].map(_cell).astype("str")
    return table


def table_csv(table: pd.DataFrame, path: str | os.PathLike[str]) -> None:
    """Write ``table`` as CSV in full precision, without the index, atomically.

    Where a name has a carriage return in it, every text stands in quotes: bare, it would end the line for a reader.
    """
    texts = table.select_dtypes(exclude=["number", "bool"])
    returns = any("\r" in str(value) for name in texts for value in texts[name])
    with replacing(path) as temporary:
        table.to_csv(temporary, index=False, quoting=csv.QUOTE_NONNUMERIC if returns else csv.QUOTE_MINIMAL)


def table_parquet(table: pd.DataFrame, path: str | os.PathLike[str]) -> None:
    """Write ``table`` as Parquet, without the index, atomically."""
    with replacing(path) as temporary:
        table.to_parquet(temporary, index=False)


def _cell(value: Any) -> str:
    if isinstance(value, Mapping):
        return SEPARATOR.join(str(part) for part in value.values())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return SEPARATOR.join(str(part) for part in value)
    if hasattr(value, "tolist"):
        return _cell(value.tolist())
    return "" if value is None or value != value else str(value)
