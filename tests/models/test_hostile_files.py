"""Model files from strangers cost neither time nor memory, read no other file, and are refused in one line.

All of `MUTATED` and every hostile file are tried by `make attack-models`, which writes reports/attack-models.md; the
tests take a fixed sample.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.models.hostile_files import KINDS, harmless, hostile, mutated, other_files

MUTATED = 500
SAMPLE = 40
#: What a file may cost: seconds, and bytes above those of the harmless file.
SECONDS, BYTES = 20.0, 2 * 2**30
ROOT = Path(__file__).parents[2]
PAGE = ROOT / "reports" / "attack-models.md"


class Loader:
    """A process that loads files, and is replaced where one hangs or ends it."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def load(self, path: Path) -> dict[str, Any]:
        """What `tests.models.hostile_worker` says, or the outcome "hangs" or "crashes"."""
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.models.hostile_worker"],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            assert self._answer(600)["outcome"] == "ready"
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(str(path)) + "\n")
        self._process.stdin.flush()
        return self._answer(10 * SECONDS)

    def _answer(self, seconds: float) -> dict[str, Any]:
        assert self._process is not None and self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], seconds)
        line = self._process.stdout.readline() if ready else ""
        if line:
            answer: dict[str, Any] = json.loads(line)
            return answer
        self.close()
        return {"outcome": "crashes" if ready else "hangs", "words": "", "seconds": seconds, "bytes": 0}

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


@dataclass
class Attack:
    """The files, one after the other, and what comes of them."""

    folder: Path
    loader: Loader

    def __post_init__(self) -> None:
        (self.folder / "models").mkdir()
        self.pristine = harmless(self.folder)
        self.secret = other_files(self.folder)
        self._watched = self._can_watch()
        self._made = dict(hostile(self.pristine))
        self.bytes = {kind: self.loader.load(self.folder / f"harmless.{kind}")["bytes"] for kind in KINDS}

    @property
    def names(self) -> list[str]:
        """Every hostile file."""
        return list(self._made)

    def _can_watch(self) -> bool:
        """Whether reading a file shows in its time of access."""
        (self.folder / "watched").write_text("x")
        os.utime(self.folder / "watched", (10**9, 2 * 10**9))
        (self.folder / "watched").read_text()
        return (self.folder / "watched").stat().st_atime != 10**9

    def hostile(self, name: str) -> tuple[dict[str, Any], str]:
        """What comes of the hostile file of this name, and what is wrong with that."""
        path = self.folder / "models" / name
        self._made[name](path, self.secret)
        return self._tried(path)

    def mutated(self, number: int) -> tuple[dict[str, Any], str]:
        kind = KINDS[number % len(KINDS)]
        path = self.folder / "models" / f"mutant.{kind}"
        path.write_bytes(mutated(self.pristine[kind], np.random.default_rng(number)))
        return self._tried(path)

    def _tried(self, path: Path) -> tuple[dict[str, Any], str]:
        os.utime(self.secret, (10**9, 2 * 10**9))
        answer = self.loader.load(path)
        faults = []
        if answer["outcome"] not in ("loads", "refused"):
            faults.append(f"{answer['outcome']} {answer['words'][:300]}")
        if "\n" in answer["words"].strip() or "Traceback" in answer["words"]:
            faults.append("more than a line")
        if answer["seconds"] > SECONDS:
            faults.append(f"{answer['seconds']:.0f} s")
        kind = path.suffix.removeprefix(".")
        if answer["bytes"] - self.bytes[kind] > BYTES:
            faults.append(f"{answer['bytes'] / 2**30:.1f} GiB")
        if self._watched and self.secret.stat().st_atime != 10**9:
            faults.append("another file was read")
        if (self.folder.parent / "escaped").exists() or Path("/tmp/escaped").exists():
            faults.append("another file was written")
        path.unlink()
        return answer, ", ".join(faults)


@contextmanager
def attack(folder: Path) -> Iterator[Attack]:
    loader = Loader()
    try:
        yield Attack(folder, loader)
    finally:
        loader.close()


@pytest.mark.tensorflow
@pytest.mark.torch
def test_a_sample_of_the_files_does_no_harm(tmp_path: Path) -> None:
    with attack(tmp_path) as attacked:
        # Every fifth hostile file, and as many mutants as are left.
        names = attacked.names[::5]
        tried = {name: attacked.hostile(name) for name in names}
        tried |= {f"mutant {number}": attacked.mutated(number) for number in range(SAMPLE - len(names))}
        faults = {name: fault for name, (_, fault) in tried.items() if fault}
        assert faults == {}
        assert any(answer["outcome"] == "loads" for answer, _ in tried.values())
        assert len(tried) == SAMPLE


def page(rows: list[tuple[str, dict[str, Any], str]], base: dict[str, int]) -> str:
    """The result as Markdown."""
    faulty = [row for row in rows if row[2]]
    kinds = {"hostile": [row for row in rows if "mutant" not in row[0]]}
    kinds["mutated"] = [row for row in rows if row not in kinds["hostile"]]
    lines = [
        "# Model files from strangers",
        "",
        "Written by `make attack-models`. Each file is loaded by `harness.load_model` in a process that has loaded",
        "others before it. Right: it loads as what it is, or is refused in one line, within "
        f"{SECONDS:.0f} s, with at most {BYTES >> 30} GiB more",
        "than the harmless file of its kind takes, and no other file is read or written.",
        "",
        "| files | right | load | are refused | longest | most memory |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, own in kinds.items():
        answers = [answer for _, answer, _ in own]
        loads = sum(answer["outcome"] == "loads" for answer in answers)
        refused = sum(answer["outcome"] == "refused" for answer in answers)
        most = max(answer["bytes"] for answer in answers) / 2**20
        longest = max(answer["seconds"] for answer in answers)
        right = sum(not fault for _, _, fault in own)
        lines.append(
            f"| {len(own)} {name} | {right} | {loads} | {refused} | {longest:.1f} s | {most:.0f} MiB |"
        )
    lines += [
        "",
        "The harmless files take " + ", ".join(f"{size >> 20} MiB ({kind})" for kind, size in base.items()),
    ]
    lines[-1] += "."
    lines += (
        ["", "## Not right", "", *(f"- `{name}`: {fault}" for name, _, fault in faulty)] if faulty else []
    )
    lines += [
        "",
        "## What is said of the hostile files",
        "",
        "| file | seconds | what |",
        "| --- | --- | --- |",
    ]
    for name, answer, _ in kinds["hostile"]:
        words = answer["words"].rpartition("/models/")[2][:160] or "loads"
        printable = "".join(each if each.isprintable() else "?" for each in words).replace("|", "\\|")
        lines.append(f"| {name} | {answer['seconds']:.1f} | {printable} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """All files: `python -m tests.models.test_hostile_files`; words: only those whose names hold one of them."""
    import tempfile

    from harness.files import write_text

    words = sys.argv[1:]
    rows = []
    with tempfile.TemporaryDirectory() as there, attack(Path(there)) as attacked:
        names = [*attacked.names, *(f"mutant {number}" for number in range(MUTATED))]
        for name in [name for name in names if not words or any(word in name for word in words)]:
            mutant = name.startswith("mutant")
            answer, fault = attacked.mutated(int(name.split()[1])) if mutant else attacked.hostile(name)
            rows.append((name, answer, fault))
            if fault or words:
                print(name, fault or "right", answer, flush=True)
        if not words:
            write_text(PAGE, page(rows, attacked.bytes))
    faults = sum(bool(fault) for _, _, fault in rows)
    print(f"{len(rows) - faults} of {len(rows)} files do no harm.")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
