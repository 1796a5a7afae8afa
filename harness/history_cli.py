"""The command `xai-harness history`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.naming import printable


def history_command(
    method: Annotated[str, typer.Argument(help="Method name or glob (quote it).")],
    models: Annotated[
        list[str] | None, typer.Option("--model", "-m", help="Only on this model; may be repeated.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", help="History of the nights; left out, reports/history.parquet.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The picture; left out, one under reports/runs.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")] = False,
) -> None:
    """Plot the error of a method against date and versions, as the nights found it."""
    from fnmatch import fnmatchcase

    from harness.errors import InvalidInputError
    from harness.history import KEY, PATH, last_night, plot, read_history
    from harness.methods import slug
    from harness.naming import file_name
    from harness.terminal import print_json, print_table

    place = PATH if file is None else file
    table = read_history(place)
    if not len(table):
        raise InvalidInputError(f"{place} holds no night yet; make one with: tox -e nightly")
    # Goldens have the names of their files.
    wanted = {method, slug(method)}
    chosen = table[
        table["method"].map(lambda name: any(fnmatchcase(name, each) for each in wanted)).astype(bool)
        & (table["model"].isin(models) if models else True)
    ]
    if not len(chosen):
        known = ", ".join(sorted(set(table["method"].astype(str)))[:8])
        raise InvalidInputError(
            f"no night has {method!r}{' on these models' if models else ''}; it has: {known}, ..."
        )
    picture = out or Path("reports") / "runs" / f"history-{file_name(slug(method))}.png"
    plot(chosen, method, picture)
    if as_json:
        plain = chosen.drop(columns="versions").astype(object)
        nights = plain.where(plain.notna(), None).to_dict("records")
        print_json({"picture": str(picture), "rows": nights})
        return
    rows = [
        {
            **{name: row[name] for name in (*KEY, "verdict")},
            "error": f"{row['error']:.2e}",
            "floors": f"{row['floors']:.3g}",
        }
        for row in last_night(chosen).to_dict("records")
    ]
    print_table(rows, (*KEY, "verdict", "error", "floors"))
    print(
        printable(f"{chosen['night'].nunique()} nights, the last {chosen['night'].max()}. Picture: {picture}")
    )
