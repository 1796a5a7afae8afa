"""The sub-commands of `xai-harness cache`: what is kept per user, and how it goes."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="What is kept per user on this machine: show it, remove it.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]

_DAY_S = 86400.0


@app.command("info")
def info_command(as_json: AsJson = False) -> None:
    """Show the kinds of what is kept: how many entries of each, their bytes, and where they are."""
    from harness.engine import Store
    from harness.files import cache_folder
    from harness.terminal import print_json, print_table, size_text

    root, store = cache_folder(), Store()
    recordings, peers = root / "recordings", root / "peers"
    counts = {
        "results": (store.folder, [entry.path for entry in store.entries()]),
        "recordings": (recordings, [path for path in recordings.rglob("*") if path.is_file()]),
        "models": (root, _folders(root, r".+-\d[\d.]*")),
        "peers": (peers, _folders(peers, r".+-[0-9a-f]{12}")),
    }
    sizes = [_bytes(entries) for _, entries in counts.values()]
    rows = [
        {"kind": kind, "entries": len(entries), "bytes": size, "place": str(place)}
        for (kind, (place, entries)), size in zip(counts.items(), sizes, strict=True)
    ]
    if as_json:
        print_json({"limit": store.limit, "kinds": rows}, indent=1)
        return
    shown = [{**row, "size": size_text(size)} for row, size in zip(rows, sizes, strict=True)]
    print_table(shown, ("kind", "entries", "size", "place"))
    print(f"Results are kept up to {size_text(store.limit)}; to remove some: xai-harness cache prune")


@app.command("prune")
def prune_command(
    limit: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Keep at most this much of the results, such as 500M or 2G."),
    ] = None,
    older_than: Annotated[
        float | None, typer.Option(metavar="DAYS", help="Remove what was not used for so many days.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Remove all of it.")] = False,
    peers: Annotated[
        bool,
        typer.Option(
            "--peers", help="The peers too: those of earlier pins, or what --older-than and --all say."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Remove kept results, those that were not used for longest first: down to the limit if no option is given."""
    from harness.engine import Store
    from harness.errors import InvalidInputError
    from harness.files import byte_count
    from harness.terminal import print_json, size_text

    if everything and (limit is not None or older_than is not None):
        raise InvalidInputError("--all leaves nothing for --limit or --older-than; leave out one of them")
    if older_than is not None and not older_than >= 0:
        raise InvalidInputError(f"--older-than is {older_than:g}; expected a number of days, 0 or more")
    store = Store()
    least = 0 if everything else None if limit is None else byte_count(limit, "--limit")
    removed = store.prune(least, None if older_than is None else older_than * _DAY_S)
    size = sum(entry.size for entry in removed)
    gone = _pruned_peers(everything, older_than) if peers else []
    if as_json:
        print_json({"results": len(removed), "bytes": size, "folder": store.folder, "peers": gone})
        return
    print(f"results: {len(removed)} removed, {size_text(size)}; {store.folder}")
    for folder in gone:
        print(f"removed {folder}")
    if peers:
        print(f"peers: {len(gone)} removed")


def _pruned_peers(everything: bool, older_than: float | None) -> list[Path]:
    from harness.peers import folder_of, peers, remove

    def goes(folder: Path) -> bool:
        if everything or older_than is None:
            return everything or folder not in current
        return folder.exists() and time.time() - folder.stat().st_mtime > older_than * _DAY_S

    current = [folder_of(peer) for peer in peers().values()]
    return [folder for name in peers() for folder in remove(name, goes)]


def _folders(place: Path, pattern: str) -> list[Path]:
    entries = place.iterdir() if place.is_dir() else ()
    return [path for path in entries if path.is_dir() and re.fullmatch(pattern, path.name)]


def _bytes(entries: Iterable[Path]) -> int:
    """That of all files of ``entries`` and below them."""
    files = (file for entry in entries for file in ([entry] if entry.is_file() else entry.rglob("*")))
    return sum(file.lstat().st_size for file in files if file.is_file() and not file.is_symlink())
