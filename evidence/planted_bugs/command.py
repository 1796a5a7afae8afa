"""The command `python -m evidence.planted_bugs`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Annotated, Literal, cast, get_args

import typer

from evidence.kept import key_of
from evidence.planted_bugs.collection import Collection, collect
from evidence.planted_bugs.effect import owed
from evidence.planted_bugs.healthy import DTYPE, Extent, healthy_cases, run_healthy
from evidence.planted_bugs.run import Case, Result, cases, run_case
from evidence.planted_bugs.score import score
from evidence.planted_bugs.table import Scored, document, figures_of, markdown, totals
from harness.engine import Store
from harness.errors import InvalidInputError

#: Where the report of all planted bugs goes, and that of some, which must not take its place.
WHOLE, PART = Path("reports/mutants.md"), Path("reports/runs/mutants.md")
#: The mutants of this package.
BUGS = Path(__file__).parent / "bugs"
#: Whose code a result depends on, beside that of the harness and the models.
CODE = ("evidence.functions", "evidence.planted_bugs", "ported_impls", "reference_impls")
#: What is called with a finished case: its row, and whether it was done before.
Finished = Callable[[Scored, bool], None]


def planted_bugs(
    patterns: Annotated[
        list[str] | None,
        typer.Argument(metavar="[GLOB]...", help="Mutants to run (quote globs); all if none."),
    ] = None,
    models: Annotated[
        list[str] | None, typer.Option("--model", "-m", help="Only on this model; may be repeated.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")] = False,
    healthy: Annotated[
        str, typer.Option(help="Diagnose healthy ports as well: none, quick (digits) or catalogue (hours).")
    ] = "none",
    folder: Annotated[Path, typer.Option(help="Folder of the mutants.", show_default=False)] = BUGS,
    out: Annotated[
        Path | None,
        typer.Option(
            help=f"The Markdown report; if not given, {WHOLE}, or {PART} where only a part is asked for.",
            show_default=False,
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Run at most this many cases.")] = None,
    share: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Only a fixed sample of about this share of all cases.")
    ] = 1.0,
    seed: Annotated[str, typer.Option(help="Draws another sample of that share.")] = "",
    kept: Annotated[
        bool,
        typer.Option("--kept-only", help="Run nothing; report what was run before, and what is missing."),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Run again what was run before.")] = False,
) -> None:
    """Score `diagnose` on ports with planted bugs: detected, layer right, cause right, false alarms.

    A run that was interrupted continues where it stopped; cases whose code is the same are not run again.
    """
    from harness.files import in_sample, write_json, write_text

    if healthy not in get_args(Extent):
        raise InvalidInputError(f"--healthy {healthy!r}; choose one of {', '.join(get_args(Extent))}")
    extent = cast(Literal["none", "quick", "catalogue"], healthy)
    collection, store = collect(folder), Store(force=force)
    if kept and force:
        raise InvalidInputError(
            "--force runs all of it again, --kept-only runs nothing; leave out one of them"
        )

    def chosen(every: Iterator[Case]) -> list[Case]:
        return list(islice((case for case in every if in_sample(seed + case.label, share)), limit))

    planned = chosen(cases(collection, patterns or (), models or ()))
    sound = chosen(healthy_cases(extent, models or (), collection.model))
    if not planned and not sound:
        raise InvalidInputError(
            "nothing to run: no mutant applies to "
            f"{', '.join(models or ['any model'])}; leave out --model or name another"
        )
    if out is None:
        out = PART if patterns or models or limit or share < 1 else WHOLE
    missing: list[Case] = []
    if kept:
        missing = [case for case in (*planned, *sound) if store.get(_key(collection, case)) is None]
        if len(missing) == len(planned) + len(sound):
            raise InvalidInputError(
                f"nothing to report: none of these {len(missing)} cases was run with the code as it is; "
                "leave out --kept-only"
            )
        planned, sound = ([case for case in each if case not in missing] for each in (planned, sound))
    with _Display(len(planned) + len(sound), sys.stderr if as_json else sys.stdout) as display:
        try:
            rows = list(_scored(collection, planned, store, display.started, display.finished))
            healthy_rows = list(_scored(collection, sound, store, display.started, display.finished))
        except KeyboardInterrupt:
            print("interrupted; run the same command again to continue where it stopped", file=sys.stderr)
            raise typer.Exit(130) from None
    figures = figures_of(rows, healthy_rows, _environment(), missing)
    # The figures first: what the page is made of is there wherever the page is.
    write_json(out.with_suffix(".json"), figures.as_json())
    write_text(out, markdown(figures))
    summary = {**document(rows, healthy_rows), "missing": len(missing)}
    if as_json:
        print(json.dumps(summary))
    else:
        sums = totals(figures.rows)
        print(
            f"{sums.cases} cases: {sums.detected} detected, layer right in {sums.layer_right}, cause right in "
            f"{sums.cause_right}, {sums.wrong_names} wrong names, {summary['false_alarms']} false alarms in "
            f"{len(healthy_rows)} healthy cases. Report: {out}"
        )
        if missing:
            print(f"not yet run: {len(missing)}; the same command without --kept-only runs them")
    right = not missing and all(row.score.cause_right for row in rows) and not summary["false_alarms"]
    raise typer.Exit(0 if right else 1)


def _scored(
    collection: Collection,
    planned: Sequence[Case],
    store: Store,
    started: Callable[[str], None],
    finished: Finished,
) -> Iterator[Scored]:
    """Each case with its result, from the store or now."""
    for case in planned:
        started(case.label)
        is_mutant, key = bool(case.expected), _key(collection, case)
        kept = store.get(key)
        if kept is not None:
            result = Result.from_json(kept)
        else:
            result = run_case(collection, case) if is_mutant else run_healthy(case, collection.model)
            # What went wrong this time need not go wrong the next.
            if result.error is None:
                store.put(key, f"planted bug: {case.label}", result.as_json())
        expected = owed(collection, case, result) if is_mutant else ()
        row = Scored(replace(case, expected=expected), result, score(expected, result))
        finished(row, kept is not None)
        yield row


def _key(collection: Collection, case: Case) -> str:
    """What the result of ``case`` is kept under."""
    is_mutant = bool(case.expected)
    dtype = collection.named(case.mutant).dtype if is_mutant else DTYPE
    digest = collection.digests[case.mutant] if is_mutant else ""
    return key_of("planted bug", case.mutant, digest, case.model, case.method, dtype, code=CODE)


class _Display:
    """A progress bar on a terminal and a line for each finished case above it."""

    def __init__(self, count: int, stream: object) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        self._console = Console(stderr=stream is sys.stderr, soft_wrap=True, highlight=False, markup=False)
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("starting", total=count)

    def __enter__(self) -> _Display:
        self._bar.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._bar.stop()

    def started(self, label: str) -> None:
        self._bar.update(self._task, description=label)

    def finished(self, row: Scored, reused: bool) -> None:
        words = (
            "; ".join(each.sentence for each in row.result.findings) or row.result.error or "nothing found"
        )
        right = row.score.cause_right
        before = " (done before)" if reused else f" ({row.result.seconds:.1f} s)"
        self._console.print(f"{'right' if right else 'WRONG'}  {row.case.label}: {words}{before}")
        self._bar.advance(self._task)


def _environment() -> str:
    """What the figures were made with, in a line."""
    import os
    from importlib.metadata import version

    named = ", ".join(f"{name} {version(name)}" for name in ("tensorflow", "torch", "numpy"))
    return f"Made by `python -m evidence.planted_bugs` with {named} on {os.cpu_count()} cores."
