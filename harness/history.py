"""What nights found, in one Parquet file: a row a case and night. What moved since the last one, and since when."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import InvalidInputError
from harness.files import write_with
from harness.naming import printable

if TYPE_CHECKING:
    import pandas

PATH = Path("reports") / "history.parquet"
#: What names a case from night to night.
KEY = ("step", "model", "method", "dtype")
#: ``error``: the largest relative L2 distance of any tensor; ``floors``: the same in noise floors, by which it is
#: judged; NaN where there is none. ``versions``: JSON, of everything that computed.
COLUMNS = ("night", *KEY, "verdict", "passed", "error", "floors", "versions")
#: A figure that changes by more noise floors than this has moved; less, rounding may do.
MOVED = 1.0


@dataclass(frozen=True)
class Move:
    """A case that is not what it was: ``was`` and ``now`` say how, ``worse`` that it passed and does not any more."""

    case: tuple[str, ...]
    was: str
    now: str
    worse: bool


def read_history(path: Path) -> pandas.DataFrame:
    """All nights, oldest first; an empty table where there is no file. Raises InvalidInputError for a damaged one."""
    import pandas

    if not path.exists():
        return pandas.DataFrame(columns=list(COLUMNS))
    try:
        table = pandas.read_parquet(path)
    except (OSError, ValueError) as error:
        raise InvalidInputError(
            f"{path} is no readable Parquet file ({' '.join(str(error).split())[:200]}); "
            "name the history of the nights with --file"
        ) from None
    missing = [name for name in COLUMNS if name not in table.columns]
    if missing:
        raise InvalidInputError(f"{path} is no history of nights: it has no column {missing[0]!r}")
    return table[list(COLUMNS)]


def append(path: Path, rows: Sequence[Mapping[str, Any]]) -> pandas.DataFrame:
    """Add ``rows``, keys :data:`COLUMNS`, to the file, atomically; the whole table."""
    import pandas

    new = pandas.DataFrame([dict(row) for row in rows], columns=list(COLUMNS))
    before = read_history(path)
    table = pandas.concat([before, new], ignore_index=True) if len(before) else new
    # Text that repeats from night to night is written once: a year of nights is a few megabytes.
    write_with(path, lambda place: table.to_parquet(place, index=False))
    return table


def moves(before: pandas.DataFrame, now: pandas.DataFrame) -> list[Move]:
    """The cases of ``now`` that are others than those of ``before``, of one night each; and those that are gone."""
    moved = []
    known, today = _by_case(before), _by_case(now)
    for case in sorted({*known, *today}):
        one, other = known.get(case), today.get(case)
        if one is None or other is None:
            moved.append(Move(case, _words(one), _words(other), False))
            continue
        apart = abs(one["floors"] - other["floors"])
        same = one["verdict"] == other["verdict"] and one["passed"] == other["passed"]
        if not same or apart > MOVED:
            moved.append(Move(case, _words(one), _words(other), bool(one["passed"] and not other["passed"])))
    return moved


def since(table: pandas.DataFrame, case: tuple[str, ...]) -> str:
    """The first night of those, up to the last, on which the case had the verdict that it has now."""
    rows = table[(table[list(KEY)] == list(case)).all(axis=1)].sort_values("night")
    first = ""
    for _, row in rows[::-1].iterrows():
        if row["verdict"] != rows.iloc[-1]["verdict"]:
            break
        first = str(row["night"])
    return first


def versions_moved(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """What has another version: "torch 2.13.0 -> 2.14.0"."""
    return [
        f"{name} {before.get(name, 'not there')} -> {now.get(name, 'not there')}"
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name)
    ]


def versions_of_night(table: pandas.DataFrame) -> dict[str, str]:
    """The versions of the last night in ``table``; none where there is none."""
    if not len(table):
        return {}
    versions: dict[str, str] = json.loads(table.iloc[-1]["versions"])
    return versions


def last_night(table: pandas.DataFrame) -> pandas.DataFrame:
    """The rows of the latest night."""
    return table[table["night"] == table["night"].max()] if len(table) else table


def last_of_each_step(table: pandas.DataFrame) -> pandas.DataFrame:
    """Of each step the rows of the latest night on which it was carried out."""
    return table[table["night"] == table.groupby("step")["night"].transform("max")] if len(table) else table


def plot(table: pandas.DataFrame, title: str, path: Path) -> None:
    """Error against date, a line a step, model and dtype; a dotted line, and a name, where versions moved."""
    import pandas
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    nights = table.drop_duplicates("night").sort_values("night")
    known: dict[str, str] | None = None
    for _, row in nights.iterrows():
        now = json.loads(row["versions"])
        changed = versions_moved(known, now) if known is not None else []
        known = now
        if changed:
            when = pandas.Timestamp(row["night"])
            axes.axvline(when, color="grey", linestyle=":")
            axes.annotate(
                printable("\n".join(changed[:4])),
                (when, 1),
                xycoords=("data", "axes fraction"),
                fontsize=7,
                va="top",
            )
    for names, part in table.groupby(["step", "model", "dtype"]):
        # A logarithmic axis has no place for an error of zero: bit for bit is drawn at the smallest number.
        error = part["error"].clip(lower=1e-18)
        label = " ".join(str(name) for name in names)
        axes.plot(pandas.to_datetime(part["night"]), error, marker="o", markersize=3, label=printable(label))
    axes.set_yscale("log")
    axes.set_ylabel("relative L2 distance, of the furthest tensor")
    axes.set_title(printable(title), parse_math=False)
    axes.legend(fontsize=7)
    axes.tick_params(axis="x", rotation=30)
    write_with(path, lambda place: figure.savefig(place, dpi=120))


def _by_case(table: pandas.DataFrame) -> dict[tuple[str, ...], dict[str, Any]]:
    return {tuple(str(row[name]) for name in KEY): row for row in table.to_dict("records")}


def _words(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return "not there"
    figure = "" if row["floors"] != row["floors"] else f", {row['floors']:.3g} noise floors"
    return f"{row['verdict']}{figure}"
