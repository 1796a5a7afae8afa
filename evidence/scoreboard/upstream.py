"""Reports for the maintainers of libraries, in `reports/upstream/`: runs each one's program and writes what it prints.

    python -m evidence.scoreboard.upstream

A report is a Markdown file: a title, a sentence, ``Runs with: NAME`` (the library as `xai-harness peers` calls it, or
torch, which runs here), and a program. The versions and the output, below the program, are written here.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from evidence.scoreboard.rows import library_named
from harness.backends.worker import surroundings_of_another
from harness.files import write_text
from harness.peers import python_of

FOLDER = Path(__file__).parents[2] / "reports" / "upstream"
#: What needs no interpreter of its own.
HERE = "torch"
_LIBRARY = re.compile(r"^Runs with: (\S+)$", re.MULTILINE)
_PROGRAM = re.compile(r"^```python\n(.*?)^```\n", re.MULTILINE | re.DOTALL)


def rerun(text: str, limit_s: float = 300) -> str:
    """``text`` with what its program prints now, and the versions. Raises PeerError, CalledProcessError."""
    named, program = _LIBRARY.search(text), _PROGRAM.search(text)
    if named is None or program is None:
        raise ValueError("a report has a line 'Runs with: NAME' and a program")
    versions = (
        "import sys, importlib.metadata as m; print(sys.version.split()[0], *map(m.version, sys.argv[1:]))"
    )
    names = [*_pinned(named[1]), "torch"]
    answers = dict(
        zip(["python", *names], _run(named[1], versions, *names, limit_s=limit_s).split(), strict=True)
    )
    printed = _run(named[1], program[1], limit_s=limit_s)
    shown = ", ".join(f"{name} {version}" for name, version in answers.items())
    return f"{text[: program.end()]}\nIt prints, with {shown}:\n\n```text\n{printed.rstrip()}\n```\n"


def _pinned(name: str) -> list[str]:
    """The packages that library ``name`` is installed with."""
    if name == HERE:
        return []
    constraints = library_named(name).constraints
    return [pin.partition("==")[0] for pin in constraints.read_text(encoding="utf-8").split()]


def _run(name: str, program: str, *words: str, limit_s: float) -> str:
    """What ``program`` prints in the interpreter of library ``name``."""
    environment = {"PATH": "/usr/bin:/bin", "PYTHONNOUSERSITE": "1", **surroundings_of_another()}
    python = sys.executable if name == HERE else str(python_of(name))
    command = [python, "-c", program, *words]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=limit_s, env=environment, check=True
    )
    return done.stdout


def main() -> int:
    """Rerun every report; 1 where one prints something else than before."""
    changed = 0
    for path in sorted(FOLDER.glob("*.md")):
        before = path.read_text(encoding="utf-8")
        after = rerun(before)
        changed += before != after
        write_text(path, after)
        print(f"{path.name}: {'changed' if before != after else 'as it was'}")
    return int(bool(changed))


if __name__ == "__main__":
    sys.exit(main())
