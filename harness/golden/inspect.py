"""What is wrong with a root of goldens, each thing by its name; the rest is read all the same."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import ModelSourceError
from harness.golden.entry import UNREADABLE, Golden, decoded, facts_in
from harness.golden.manifest import (
    LOCK,
    MANIFEST,
    REMEDY,
    STAGING,
    Manifest,
    place_of,
    read_manifest,
)

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Problem:
    """``kind``: manifest, missing, added, renamed, swapped, edited, truncated, link, unreadable or foreign.

    ``name``: the entry, or the path relative to the root where it belongs to none. ``message`` is one line.
    """

    kind: str
    name: str
    message: str


@dataclass(frozen=True)
class Root:
    """A root as it was found. ``entries``: what can be read, by name; ``leftovers``: of recordings, harmless."""

    root: Path
    manifest: Manifest
    entries: Mapping[str, Mapping[str, Any]]
    problems: tuple[Problem, ...]
    leftovers: tuple[str, ...]


def inspect(root: Path) -> Root:
    """Hold every file under ``root`` against the manifest. Raises nothing for what is damaged: that is a Problem."""
    problems: list[Problem] = []
    try:
        manifest = read_manifest(root)
    except ModelSourceError as error:
        # Read from the files themselves, by the digits in their names; whether any is missing cannot be known then.
        manifest = _salvaged(root)
        problems.append(Problem("manifest", MANIFEST, str(error)))
    files = dict(_files(root))
    if not (root / MANIFEST).exists() and any(what == "file" for what in files.values()) and not problems:
        manifest = _salvaged(root)
        problems.append(Problem("manifest", MANIFEST, f"{root / MANIFEST} does not exist; {REMEDY}"))
    listed = set(manifest.files)
    leftovers = sorted(
        name
        for name in files
        if name in manifest.left_behind
        or (Path(name).parts[0] == STAGING and not _is_link(root / name) and files[name] != "folder")
    )
    # A recording that is killed may leave the folders that it has made, empty.
    made = {STAGING, *(Path(name).parts[0] for name in listed)}
    strangers = [
        name
        for name in files
        if name not in listed and name not in leftovers and not (files[name] == "folder" and name in made)
    ]
    digests = {name: _digest(root / name) for name in strangers if files[name] == "file"}
    owners: dict[str, list[str]] = {}
    for entry, facts in manifest.entries.items():
        for file in (facts["file"], facts["shared"]):
            owners.setdefault(file, []).append(entry)
    by_digest = {facts["sha256"]: name for name, facts in manifest.files.items()}
    bad: set[str] = set()
    explained: set[str] = set()
    for name, facts in manifest.files.items():
        problem = _problem(root, name, facts, digests, by_digest)
        if problem is None:
            continue
        kind, message, other = problem
        bad.add(name)
        if other is not None:
            explained.add(other)
        for entry in owners.get(name, [name]):
            problems.append(Problem(kind, entry, message))
    broken = any(each.kind == "manifest" for each in problems)
    for name in sorted(set(strangers) - explained):
        problem_ = _stranger(root, name, files[name], digests.get(name), by_digest, broken)
        if problem_ is not None:
            problems.append(problem_)
    entries = {
        name: facts
        for name, facts in manifest.entries.items()
        if facts["file"] not in bad and facts["shared"] not in bad
    }
    return Root(root, manifest, entries, tuple(problems), tuple(leftovers))


def _salvaged(root: Path) -> Manifest:
    """A manifest made of the files whose names hold the digits of their content."""
    files: dict[str, dict[str, Any]] = {}
    entries: dict[str, dict[str, Any]] = {}
    for name, what in _files(root):
        parts = name.rsplit(".", 2)
        if what != "file" or len(parts) != 3 or parts[2] != "safetensors":
            continue
        digest = _digest(root / name)
        if digest is None or parts[1] != digest[:16]:
            continue
        files[name] = {"sha256": digest, "size": (root / name).stat().st_size}
        try:
            facts = facts_in((root / name).read_bytes())
            entries[facts["entry"]] = {
                "file": name,
                "shared": facts["shared"],
                "model_digest": facts["model_digest"],
            }
        except UNREADABLE:  # inputs and activations, which say nothing of themselves
            continue
    return Manifest({name: facts for name, facts in entries.items() if facts["shared"] in files}, files)


def load_entry(root: Path, name: str, facts: Mapping[str, Any], files: Mapping[str, Any]) -> Golden:
    """The golden ``name`` of a manifest. Raises ModelSourceError where it is damaged or is not what its name says."""
    contents = []
    for file in (facts["file"], facts["shared"]):
        place = place_of(root, file)
        try:
            content = place.read_bytes()
        except OSError as error:
            raise ModelSourceError(f"{root / file} cannot be read ({error.strerror}); {REMEDY}") from None
        if hashlib.sha256(content).hexdigest() != files[file]["sha256"]:
            raise ModelSourceError(f"{root / file} is damaged: it is not what was recorded; {REMEDY}")
        contents.append(content)
    golden = decoded(root / facts["file"], *contents)
    if golden.facts.get("entry") != name:
        raise ModelSourceError(
            f"{root / facts['file']} holds the golden {golden.facts.get('entry')!r}, not {name!r}; {REMEDY}"
        )
    return golden


def _files(root: Path) -> Iterator[tuple[str, str]]:
    """Path relative to ``root`` and what it is (file, folder, other) of everything but manifest and lock.

    A folder is named only where nothing is in it.
    """
    for folder, folders, files in os.walk(root):
        here = Path(folder)
        for name in sorted(folders):
            if _is_link(here / name):
                yield (here / name).relative_to(root).as_posix(), "other"
        if here != root and not folders and not files:
            yield here.relative_to(root).as_posix(), "folder"
        for name in sorted(files):
            path = (here / name).relative_to(root).as_posix()
            if path in (MANIFEST, LOCK):
                continue
            yield path, "file" if stat.S_ISREG(os.lstat(here / name).st_mode) else "other"


def _is_link(path: Path) -> bool:
    return path.is_symlink()


def _problem(
    root: Path,
    name: str,
    facts: Mapping[str, Any],
    digests: Mapping[str, str | None],
    by_digest: Mapping[str, str],
) -> tuple[str, str, str | None] | None:
    """Kind, message and the stranger that explains it, for a listed file; None where it is as it was recorded."""
    path, place = root / name, place_of(root, name)
    try:
        mode = os.lstat(place).st_mode
    except OSError:
        moved = next((other for other, digest in digests.items() if digest == facts["sha256"]), None)
        if moved is not None:
            return "renamed", f"{path} is now {root / moved}; give it its name back, or {REMEDY}", moved
        return "missing", f"{path} does not exist; {REMEDY}", None
    if stat.S_ISLNK(mode) or any(_is_link(each) for each in path.parents if root in each.parents):
        return "link", f"{path} is a link, expected a file of its own; {REMEDY}", None
    if not stat.S_ISREG(mode):
        return "edited", f"{path} is a folder or a device, expected a file; {REMEDY}", None
    if not mode & 0o444:
        return "unreadable", f"{path} cannot be read: nobody has the permission; chmod a+r, or {REMEDY}", None
    digest = _digest(place)
    if digest is None:
        return "unreadable", f"{path} cannot be read; look at its permissions, or {REMEDY}", None
    if digest == facts["sha256"]:
        return None
    if digest in by_digest:
        return "swapped", f"{path} holds what belongs in {root / by_digest[digest]}; {REMEDY}", None
    size = place.stat().st_size
    if size < facts["size"]:
        return "truncated", f"{path} is damaged: {size} bytes of {facts['size']} are there; {REMEDY}", None
    return "edited", f"{path} is damaged: it is not what was recorded; {REMEDY}", None


def _stranger(
    root: Path, name: str, what: str, digest: str | None, by_digest: Mapping[str, str], broken: bool
) -> Problem | None:
    path = root / name
    if what == "other":
        return Problem("link", name, f"{path} is a link or a device, which no golden is; remove it")
    if what == "folder":
        return Problem("foreign", name, f"{path} is a folder with no golden in it; remove it")
    if digest is not None and digest in by_digest:
        return Problem("added", name, f"{path} is a copy of {root / by_digest[digest]}; remove it")
    if name.endswith(".safetensors"):
        if broken:
            return Problem(
                "added", name, f"{path} cannot be held against a manifest; restore the manifest first"
            )
        return Problem(
            "added", name, f"{path} is not in the manifest; remove it, or restore the manifest it belongs to"
        )
    if name.endswith(".json"):
        return Problem(
            "foreign",
            name,
            f"{path} is not in the manifest, perhaps of format 2, which had none; remove it, or take the goldens of "
            "this version from version control",
        )
    return Problem("foreign", name, f"{path} is no golden; remove it")


def _digest(path: Path) -> str | None:
    """sha256 of a file's bytes; None where it cannot be read."""
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while part := file.read(_CHUNK):
                digest.update(part)
    except OSError:
        return None
    return digest.hexdigest()
