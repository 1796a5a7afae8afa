"""Writes every page and picture that can be made of what is kept, and `reports/README.md`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from evidence.publish.parts import FURTHER, PARTS, Part
from evidence.publish.pictures import png
from harness.errors import HarnessError
from harness.files import write_bytes, write_text

_HEAD = """\
# Results

Written by `make reports` (`python -m evidence.publish`) from the figures that are kept in this folder; it measures
nothing. The command beside each part measures it anew. Your own runs are below `runs/`."""


def publish(folder: Path, parts: Sequence[Part] = PARTS) -> list[str]:
    """Write the pages, pictures and index of ``folder``; returns what could not be made, a line each.

    A part of which nothing is kept is named as not run yet; one whose figures cannot be read keeps the page and picture
    that it has. Neither stops the others.
    """
    sections, problems = [], []
    for part in parts:
        body = [f"## {part.title}", part.question]
        missing = [name for name in part.kept if not (folder / name).is_file()]
        if missing:
            body.append(f"**Not run yet** ({', '.join(missing)} is not there). `{part.command}` runs it.")
        else:
            try:
                body += _published(folder, part)
            except (HarnessError, OSError, ValueError, LookupError, TypeError) as error:
                problems.append(
                    f"{part.title}: {', '.join(part.kept)} cannot be read ({type(error).__name__}: {error}); "
                    f"restore it or run: {part.command}"
                )
                body.append(f"**Its figures cannot be read.** `{part.command}` makes them anew.")
        sections.append("\n\n".join(body))
    write_text(folder / "README.md", "\n\n".join([_HEAD, *sections, _further(folder)]) + "\n")
    return problems


def _published(folder: Path, part: Part) -> Iterator[str]:
    # All three first: a part is written as a whole or not at all.
    page, picture, sentence = part.page(folder), png(part.picture(folder)), part.sentence(folder)
    write_text(folder / f"{part.name}.md", page)
    write_bytes(folder / "pictures" / f"{part.name}.png", picture)
    yield sentence
    yield f"![{part.title}](pictures/{part.name}.png)"
    yield f"[Every case]({part.name}.md). Anew: `{part.command}`"


def _further(folder: Path) -> str:
    lines = ["## Further", "", "| page | anew |", "| --- | --- |"]
    for name, what, command in FURTHER:
        there = (folder / name).is_file()
        lines.append(f"| {f'[{what}]({name})' if there else f'{what}: not run yet'} | `{command}` |")
    upstream = sorted(path.name for path in (folder / "upstream").glob("*.md"))
    if upstream:
        listed = ", ".join(f"[{name.removesuffix('.md')}](upstream/{name})" for name in upstream)
        lines += [
            "",
            f"Differences written up for the maintainers of libraries, each with a program: {listed}.",
        ]
    return "\n".join(lines)
