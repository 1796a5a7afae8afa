"""Mutations of a root of goldens: each is reported by name, none is silent, the rest is verified.

All of `COUNT` are run by `make attack`; the tests take a fixed sample.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from harness.golden import FORMS, find_goldens, inspect, load_golden
from harness.trace.files import sealed
from tests.golden.conftest import make, rows

COUNT = 500
SAMPLE = 40
#: What a mutation is given: the root, a seeded generator; it returns the names of which one must be reported.
Mutation = Callable[[Path, np.random.Generator], list[str]]


def files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*.safetensors") if path.is_file())


def some(root: Path, generator: np.random.Generator) -> Path:
    return files(root)[generator.integers(len(files(root)))]


def flip(root: Path, generator: np.random.Generator) -> list[str]:
    path = [*files(root), root / "MANIFEST.json"][generator.integers(len(files(root)) + 1)]
    content = bytearray(path.read_bytes())
    content[generator.integers(len(content))] ^= 1 << int(generator.integers(8))
    path.write_bytes(content)
    return [path.name]


def cut(root: Path, generator: np.random.Generator) -> list[str]:
    path = [*files(root), root / "MANIFEST.json"][generator.integers(len(files(root)) + 1)]
    content = path.read_bytes()
    path.write_bytes(content[: generator.integers(len(content))])
    return [path.name]


def delete(root: Path, generator: np.random.Generator) -> list[str]:
    path = [*files(root), root / "MANIFEST.json"][generator.integers(len(files(root)) + 1)]
    path.unlink()
    return [path.name]


def rename(root: Path, generator: np.random.Generator) -> list[str]:
    path = some(root, generator)
    path.rename(path.with_name(f"other{generator.integers(1000)}.safetensors"))
    return [path.name]


def swap(root: Path, generator: np.random.Generator) -> list[str]:
    one, other = (files(root)[place] for place in generator.choice(len(files(root)), 2, replace=False))
    kept = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(kept)
    return [one.name, other.name]


def copy(root: Path, generator: np.random.Generator) -> list[str]:
    path = some(root, generator)
    shutil.copy(path, path.with_name(f"copy{generator.integers(1000)}.safetensors"))
    return [path.name]


def foreign(root: Path, generator: np.random.Generator) -> list[str]:
    place = [root, root / "linear", root / "new" / "deep"][generator.integers(3)]
    place.mkdir(parents=True, exist_ok=True)
    name = ["notes.txt", "x.safetensors", "x.json", ".hidden", "MANIFEST.json.bak"][generator.integers(5)]
    (place / name).write_bytes(generator.bytes(int(generator.integers(100))))
    return [name]


def folder(root: Path, generator: np.random.Generator) -> list[str]:
    path = some(root, generator)
    if generator.integers(2):
        path.unlink()
        path.mkdir()
        return [path.name]
    (root / "empty").mkdir()
    return ["empty"]


def link(root: Path, generator: np.random.Generator) -> list[str]:
    path = some(root, generator)
    kind = generator.integers(3)
    if kind == 0:
        outside = root.parent / "outside"
        shutil.copy(path, outside)
        path.unlink()
        path.symlink_to(outside)
    elif kind == 1:
        path = path.with_name("loop")
        path.symlink_to(path)
    else:
        path = root / "linked"
        path.symlink_to(root / "linear")
    return [path.name]


def permissions(root: Path, generator: np.random.Generator) -> list[str]:
    path = some(root, generator)
    path.chmod(0o200)
    return [path.name]


def pipe(root: Path, generator: np.random.Generator) -> list[str]:
    path = some(root, generator)
    path.unlink()
    os.mkfifo(path)
    return [path.name]


def fact(root: Path, generator: np.random.Generator) -> list[str]:
    """A word of the facts: a target, the name of a method, a layer, a hash, to another of the same length."""
    path = next(iter(find_goldens(root)))
    content = path.read_bytes()
    words = (
        b"linear",
        b"gradient",
        b"float64",
        b"first",
        b"second",
        b"feature",
        b"plain",
        b"dense",
        b":[0],",
    )
    present = [word for word in words if word in content]
    word = present[generator.integers(len(present))]
    path.write_bytes(content.replace(word, bytes(reversed(word)) if word != b":[0]," else b":[1],"))
    return [path.name]


def floor(root: Path, generator: np.random.Generator) -> list[str]:
    """A floor is raised, in the arrays of an entry."""
    from safetensors.numpy import load, save

    path = list(find_goldens(root))[generator.integers(2)]
    arrays = load(path.read_bytes())
    arrays["floor/relevance"] = arrays["floor/relevance"] + 1.0
    path.write_bytes(save(arrays, {"golden": "{}"}))
    return [path.name]


def manifest(root: Path, generator: np.random.Generator) -> list[str]:
    """The manifest lacks an entry, or its file, or names another, and its own hash is right."""
    import json

    path = root / "MANIFEST.json"
    document = json.loads(path.read_text())
    del document["facts_sha256"]
    names = sorted(document["entries"])
    name = names[generator.integers(len(names))]
    file = document["entries"][name]["file"]
    kind = generator.integers(3)
    if kind == 0:
        del document["entries"][name], document["files"][file]
    elif kind == 1:
        document["entries"]["linear/other.float64"] = document["entries"].pop(name)
    else:
        document["entries"] = dict(
            zip(names, [document["entries"][each] for each in reversed(names)], strict=True)
        )
    path.write_text(sealed(document))
    return [Path(file).name, *(Path(each).name for each in names)]


MUTATIONS: tuple[Mutation, ...] = (
    flip,
    cut,
    delete,
    rename,
    swap,
    copy,
    foreign,
    folder,
    link,
    permissions,
    pipe,
    fact,
    floor,
    manifest,
)


def form_of(number: int) -> str:
    """In which form the goldens are that mutation ``number`` changes: each kind of change meets both."""
    return FORMS[number // len(MUTATIONS) % len(FORMS)]


def attacked(pristine: Path, place: Path, number: int) -> str:
    """Mutation ``number`` of ``pristine``, a copy at ``place``; what went wrong with its report, else nothing."""
    generator = np.random.default_rng(number)
    shutil.copytree(pristine, place)
    change = MUTATIONS[number % len(MUTATIONS)]
    touched = change(place, generator)
    found = rows(place)
    said = [row for row in found if not row["passed"]]
    if not said:
        return f"{number} {change.__name__} {touched}: silent"
    text = " ".join(f"{row['case']} {row['message']}" for row in said)
    if not any(name in text for name in touched):
        return f"{number} {change.__name__} {touched}: not named in {text}"
    if any("\n" in row["message"] for row in said):
        return f"{number} {change.__name__} {touched}: more than a line"
    broken = any(row["status"] not in ("damaged", "missing") for row in said)
    if broken:
        return f"{number} {change.__name__} {touched}: {text}"
    # What both methods share takes both down; each other thing leaves at least one of the two.
    both = change in (swap, manifest) or any("input." in row["message"] for row in said)
    if not both and not any(row["passed"] for row in found):
        return f"{number} {change.__name__} {touched}: the rest is not verified"
    return ""


@pytest.mark.parametrize("number", range(SAMPLE))
def test_a_mutation_is_reported_by_name_and_the_rest_is_verified(tmp_path: Path, number: int) -> None:
    pristine = make(tmp_path / "pristine", form_of(number))
    assert attacked(pristine, tmp_path / "root", number) == ""


def test_what_is_not_touched_is_without_problems(tmp_path: Path) -> None:
    found = inspect(make(tmp_path / "root"))
    assert (found.problems, found.leftovers) == ((), ())
    assert [load_golden(path).form for path in find_goldens(found.root)] == ["full", "full"]


def main() -> None:
    """All mutations: `python -m tests.golden.test_mutations`."""
    import sys
    import tempfile

    faults = []
    with tempfile.TemporaryDirectory() as there:
        roots = {form: make(Path(there) / form, form) for form in FORMS}
        for number in range(COUNT):
            place = Path(there) / "mutant"
            fault = attacked(roots[form_of(number)], place, number)
            shutil.rmtree(place)
            (Path(there) / "outside").unlink(missing_ok=True)
            if fault:
                faults.append(fault)
                print(fault)
    print(f"{COUNT - len(faults)} of {COUNT} mutations of goldens are reported by name.")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
