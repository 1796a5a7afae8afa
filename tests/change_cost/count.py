"""What an addition costs: each patch of this folder, applied to a copy of the tree, tested, its files counted.

    python -m tests.change_cost.count [WHAT ...]      a table: files outside tests/, the goal, the patch's own tests
    python -m tests.change_cost.count --open WHAT     a worktree with the patch applied, to change it in
    python -m tests.change_cost.count --refresh WHAT  write the patch anew for the present commit

Every file outside ``tests/`` counts, pages of the documentation too, but for those that a command writes. The patches
are examples: nothing of them ships.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(__file__).resolve().parent
#: The most files outside ``tests/`` that the addition of one may touch.
GOALS = {"rule": 8, "kind": 12, "candidate": 1, "column": 2, "cause": 3}
#: Files that a command writes: a person edits what they are written from.
WRITTEN = ("docs/api.md", "docs/case-studies.md", "docs/causes.md", "docs/dialects.md", "reports/")
#: Where a patch is open to be changed; git ignores it.
OPENED = ROOT / "build" / "change_cost"


class PatchError(Exception):
    """A patch that does not apply; the message is git's, which names the file."""


def patch_of(what: str) -> Path:
    return FOLDER / f"{what}.patch"


def touched(what: str) -> list[str]:
    """The files that the patch changes, adds or removes."""
    lines = _git("apply", "--numstat", "-z", str(patch_of(what)), cwd=ROOT).split("\0")
    return [line.split("\t", 2)[2] for line in lines if line]


def counted(files: Sequence[str]) -> list[str]:
    """Those that a person edits, outside ``tests/``."""
    return [file for file in files if not file.startswith(("tests/", *WRITTEN))]


def tests_of(files: Sequence[str]) -> list[str]:
    """The modules of tests among the patch's files: they show that the addition works."""
    return [file for file in files if file.startswith("tests/") and Path(file).name.startswith("test_")]


@contextmanager
def applied(what: str) -> Iterator[Path]:
    """A copy of the tracked files, as they are in the working tree, with the patch applied. Raises PatchError."""
    with tempfile.TemporaryDirectory(prefix=f"change-cost-{what}-") as folder:
        tree = Path(folder).resolve() / "tree"
        for name in _git("ls-files", "-z", cwd=ROOT).split("\0"):
            if name and (ROOT / name).is_file():
                (tree / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / name, tree / name)
        _git("apply", str(patch_of(what)), cwd=tree)
        yield tree


def run_tests(tree: Path, tests: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """pytest on ``tests`` of a copy, with the copy's packages in the place of the installed ones."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment["PYTHONPATH"] = str(tree)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests]
    return subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True)


def measure(what: str) -> tuple[list[str], str]:
    """The files that count, and how the patch's own tests ended: "passed", or what went wrong."""
    files = touched(what)
    try:
        with applied(what) as tree:
            ended = run_tests(tree, tests_of(files))
    except PatchError as error:
        return counted(files), str(error)
    return counted(files), "passed" if ended.returncode == 0 else f"failed\n{ended.stdout[-4000:]}"


def opened(what: str) -> Path:
    """A worktree of the present commit with the patch merged into it; one that is open already is left as it is.

    Raises PatchError with what git says of files with conflicts, which stand in them, and of files that are gone.
    """
    tree = OPENED / what
    if tree.exists():
        return tree
    _git("worktree", "prune", cwd=ROOT)
    _git("worktree", "add", "--detach", str(tree), "HEAD", cwd=ROOT)
    wrong = []
    for file in (
        touched(what) if patch_of(what).exists() else ()
    ):  # one by one: git applies all of it or nothing
        try:
            _git("apply", "--3way", f"--include={file}", str(patch_of(what)), cwd=tree)
        except PatchError as error:
            wrong.append(str(error))
    if wrong:
        raise PatchError("\n".join(wrong))
    return tree


def refresh(what: str) -> None:
    """The patch as the worktree has it, merged into the present commit; the worktree is removed. Raises PatchError."""
    tree = opened(what)
    if conflicts := _git("diff", "--name-only", "--diff-filter=U", cwd=tree):
        raise PatchError(f"conflicts in {', '.join(conflicts.split())}; resolve them, then git add them")
    _git("add", "--all", cwd=tree)
    changes = _git("diff", "--cached", "--no-renames", "-U1", "HEAD", cwd=tree)
    patch_of(what).write_text(changes, encoding="utf-8")
    of, present = (_git("rev-parse", "HEAD", cwd=folder) for folder in (tree, ROOT))
    _git("worktree", "remove", "--force", str(tree), cwd=ROOT)
    if of != present:  # it was opened at an earlier commit
        refresh(what)


def _git(*arguments: str, cwd: Path) -> str:
    # Inside another repository `git apply` would look for the files there, and silently find none.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment["GIT_CEILING_DIRECTORIES"] = str(cwd.parent)
    ended = subprocess.run(
        ["git", *arguments], cwd=cwd, env=environment, capture_output=True, encoding="utf-8"
    )
    if ended.returncode:
        raise PatchError(ended.stderr.strip())
    return ended.stdout


def _report(measured: Mapping[str, tuple[list[str], str]]) -> bool:
    """Print the table, then what went wrong; whether all is well."""
    print(f"{'what':<10} {'files':>5} {'goal':>5}  tests")
    for what, (files, ended) in measured.items():
        print(f"{what:<10} {len(files):>5} {GOALS[what]:>5}  {ended.splitlines()[0]}")
    wrong = {what: ended for what, (_, ended) in measured.items() if ended != "passed"}
    wrong |= {
        what: f"{len(files)} files where {GOALS[what]} are the goal: {', '.join(files)}"
        for what, (files, _) in measured.items()
        if len(files) > GOALS[what]
    }
    for what, message in wrong.items():
        print(f"\n{what}: {message}", file=sys.stderr)
    return not wrong


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.change_cost.count", description=__doc__.split("\n")[0]
    )
    parser.add_argument("what", nargs="*", help=f"of {', '.join(GOALS)}; all, if left out")
    parser.add_argument("--open", metavar="WHAT", choices=GOALS, help="a worktree with the patch applied")
    parser.add_argument("--refresh", metavar="WHAT", choices=GOALS, help="write the patch anew")
    given = parser.parse_args(arguments)
    if unknown := set(given.what) - set(GOALS):
        parser.error(f"there is no patch {', '.join(sorted(unknown))}; there are {', '.join(GOALS)}")
    what = given.refresh or given.open
    if what is None:
        return 0 if _report({each: measure(each) for each in given.what or GOALS}) else 1
    try:
        if given.refresh:
            refresh(what)
            print(f"{patch_of(what)} is written anew; its worktree is gone")
        else:
            print(f"{opened(what)}: change it there, then --refresh {what}")
    except PatchError as error:
        print(
            f"{what}: {error}\nIts worktree is {OPENED / what}: put it right there, then --refresh {what}",
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
