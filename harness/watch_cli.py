"""The command `xai-harness watch`: a case is run again whenever the candidate's file is saved."""

from __future__ import annotations

import sys
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.errors import InvalidInputError
from harness.model_options import ModelKeras, ModelTorch, Words, one_case
from harness.naming import printable
from harness.sides import Timeout

if TYPE_CHECKING:
    from harness.watching import Seen


def watch_command(
    words: Words,
    candidate: Annotated[
        str, typer.Option(metavar="FILE.py:NAME", help="The candidate that is being mended.")
    ],
    model_keras: ModelKeras = None,
    model_torch: ModelTorch = None,
    reference: Annotated[str, typer.Option(help="Backend that is trusted.")] = "tensorflow",
    dtype: Annotated[str, typer.Option(help="float32 or float64.")] = "float64",
    target: Annotated[int | None, typer.Option(help="Class to explain; left out, the largest logit.")] = None,
    input_file: Annotated[
        Path | None,
        typer.Option(
            "--input",
            help="A .npy file, (batch, *input_shape), instead of the model's example; several inputs by name: .npz.",
        ),
    ] = None,
    runs: Annotated[
        int | None, typer.Option(min=1, help="End after so many runs; left out, Ctrl-C ends it.")
    ] = None,
    timeout: Timeout = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a line of JSON a run.")] = False,
) -> None:
    """Run a case again at every save of the candidate's file, and show what is found now beside what was found before.

    The exit status is that of the last run: 0 where it passed, 1 where it did not.
    """
    from harness.backends import backend_named, is_user_file
    from harness.backends.candidate import TIMEOUT_S
    from harness.checks import checked_dtype, read_input
    from harness.runner import chosen_input
    from harness.watching import Watched, saves

    if not is_user_file(candidate):
        raise InvalidInputError(
            f"--candidate is {candidate!r}; expected FILE.py:NAME, the file that is being mended"
        )
    file = Path(candidate.rpartition(":")[0])
    if not file.is_file():
        raise InvalidInputError(f"--candidate: there is no file {file}")
    source, method = one_case(words, model_keras, model_torch)
    given = read_input(input_file)
    model = source.load(given)
    x, _ = chosen_input(model, given)
    limit = TIMEOUT_S if timeout is None else timeout
    watched = Watched(
        model, x, method, backend_named(reference), candidate, checked_dtype(dtype), target, limit
    )
    before: Seen | None = None
    last: Seen | None = None
    try:
        # Begun first, so that no save is missed while the first run is under way.
        with closing(watched), closing(saves(file, watched.counts)) as following:
            begun = time.monotonic()
            for place in range(1, (runs or sys.maxsize) + 1):
                seen = watched.look(begun)
                _show(seen, before, as_json)
                last, before = seen, before if seen.message and before is not None else seen
                if place == runs:
                    break
                begun = next(following)
    except KeyboardInterrupt:
        if not as_json:
            print("ended")
    raise typer.Exit(0 if last is not None and last.passed else 1)


def _show(seen: Seen, before: Seen | None, as_json: bool) -> None:
    from dataclasses import asdict

    from harness.terminal import print_json, print_table

    if as_json:
        print_json({**asdict(seen), "changes": seen.beside(before)})
    else:
        was = f", was {before.verdict}" if before is not None and before.verdict != seen.verdict else ""
        print(printable(f"{time.strftime('%H:%M:%S')}  {seen.verdict}{was}  ({seen.seconds:.1f} s)"))
        if seen.message:
            print(printable(f"  {seen.message}"))
        rows = seen.beside(before)
        if rows:
            print_table(rows, ("layer", "before", "now"))
    sys.stdout.flush()
