"""What a run shows on a terminal: a progress bar, a line a case, plain tables."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.text import Text

from harness.naming import printable
from harness.plain import json_text
from harness.report import case_line
from harness.runner import Progress, Skipped

#: A column is as wide as its widest cell, but for cells wider than this: what stands behind those is moved.
_WIDEST = 48


class PlainConsole(Console):
    """A console that shows text as it is: a bracket in a name is no markup, a number has no colour.

    Where the reader of a pipe has had enough, BrokenPipeError says so.
    """

    def __init__(self, stderr: bool = False, soft_wrap: bool = False) -> None:
        super().__init__(stderr=stderr, soft_wrap=soft_wrap, highlight=False, markup=False, emoji=False)

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


class _Display:
    """A progress bar on the terminal while it is entered, and lines above it."""

    def __init__(self, count: int, to_stderr: bool) -> None:
        self._console = PlainConsole(to_stderr, soft_wrap=True)
        self._bar = _bar(self._console)
        self._task = self._bar.add_task("starting", total=count)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()


class RunDisplay(_Display):
    """A progress bar on the terminal and one line per finished case above it."""

    def __init__(self, cases: int, to_stderr: bool = False, quiet: bool = False) -> None:
        super().__init__(cases, to_stderr)
        self._quiet = quiet
        self.progress = Progress(started=self.started, finished=self._finished, skipped=self._skipped)
        #: Methods that do not apply to a model, in the order they were met.
        self.skipped: list[Skipped] = []
        #: Rows that were computed, not found.
        self.computed: list[dict[str, Any]] = []
        #: All rows, in the order in which they came.
        self.rows: list[dict[str, Any]] = []

    def started(self, case: str) -> None:
        """What is done now."""
        self._bar.update(self._task, description=printable(case))

    def _finished(self, row: dict[str, Any], reused: bool) -> None:
        self.rows.append(row)
        line = case_line(row)
        if reused:
            line.append("  (done before)")
        else:
            self.computed.append(row)
        if not self._quiet:
            self._console.print(line)
        self._bar.advance(self._task)

    def _skipped(self, skipped: Skipped) -> None:
        self.skipped.append(skipped)
        self._bar.advance(self._task, skipped.cases)


class Watch(_Display):
    """A progress bar on the terminal, and above it a few lines for each thing that is done."""

    def __init__(self, count: int, quiet: bool = False) -> None:
        super().__init__(count, quiet)
        self._quiet = quiet

    def started(self, name: str) -> None:
        """``name`` is begun."""
        self._bar.update(self._task, description=printable(name))

    def finished(self, lines: str, passed: bool) -> None:
        """It is done, and ``lines`` say how."""
        if not self._quiet:
            self._console.print(printable(lines, lines=True), style=None if passed else "red")
        self._bar.advance(self._task)


def _bar(console: Console) -> Bar:
    return Bar(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        # Nobody watches a bar in a log file; the lines of the cases say how far it got.
        disable=not console.is_terminal,
    )


def print_table(rows: list[dict[str, Any]], columns: tuple[str, ...]) -> None:
    """``rows`` as a plain table with these columns; values that are missing are left empty.

    A row is one line, whole, however wide the terminal is and whatever the table is piped into. Cells hold names: a
    bracket in one is no markup.
    """
    cells = [[printable(_text(row.get(column))) for column in columns] for row in rows]
    widths = [
        max((each for each in map(cell_len, column) if each <= _WIDEST), default=0)
        for column in zip(columns, *cells, strict=True)
    ]
    console = PlainConsole(soft_wrap=True)
    for place, line in enumerate((columns, *cells)):
        text = "  ".join(
            cell + " " * (width - cell_len(cell)) for cell, width in zip(line, widths, strict=True)
        )
        console.print(Text(text.rstrip(), style="" if place else "bold"))


def size_text(count: float) -> str:
    """``count`` bytes to two digits or three: 950 B, 1.2 kB, 41 MB."""
    units = ("B", "kB", "MB", "GB")
    power = next((each for each in range(3) if count < 1000 ** (each + 1)), 3)
    size = count / 1000**power
    return f"{size:.{1 if power and size < 10 else 0}f} {units[power]}"


def print_json(document: Any, indent: int | None = None) -> None:
    """``document`` as JSON on standard output, whatever numbers are in it."""
    print(json_text(document, indent))


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return (
            "x".join(map(str, value))
            if all(isinstance(item, int) for item in value)
            else ", ".join(map(str, value))
        )
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items())
    return str(value)
