"""The manifest of a root of goldens: what belongs there, by hash; and how an entry becomes visible.

    golden/MANIFEST.json                                  hashed; names every entry and every file
    golden/digits-cnn/gradient.float64.0123456789abcdef.safetensors      the last digits are the file's own
    golden/digits-cnn/input.0123456789abcdef.safetensors                 input and activations, shared

The manifest's rename is the one moment at which a recording happens. Before it, new files lie in ``.staging``, where
nothing reads them. After it, they are the entry, also if they still lie there. What a replaced entry leaves is named
in the manifest as replaced, so that it is known for a leftover.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.errors import ModelSourceError, described
from harness.files import replacing
from harness.trace.files import sealed

FORMAT = 3
MANIFEST = "MANIFEST.json"
STAGING = ".staging"
LOCK = ".lock"
REMEDY = "restore it from version control"


@dataclass(frozen=True)
class Manifest:
    """``entries``: by name ("digits-cnn/gradient.float64") the ``file``, its ``shared`` file, the ``model_digest``.

    ``files``: sha256 and size of each file, by path relative to the root. ``replaced``: records of what was there
    before, each with ``entry``, ``file``, ``sha256``, ``reason``, ``time``, ``moved`` and the provenance of then.
    """

    entries: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    files: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    replaced: tuple[Mapping[str, Any], ...] = ()

    @property
    def left_behind(self) -> frozenset[str]:
        """Files of replaced entries, which an interrupted recording may not have removed."""
        return frozenset(each["file"] for each in self.replaced) - set(self.files)


def content_name(stem: str, content: bytes) -> str:
    """The name of a file by what is in it."""
    return f"{stem}.{hashlib.sha256(content).hexdigest()[:16]}.safetensors"


def read_manifest(root: Path) -> Manifest:
    """The manifest of ``root``, an empty one where there is none. Raises ModelSourceError for a damaged one."""
    path = root / MANIFEST
    try:
        if not path.is_symlink() and not path.exists():
            return Manifest()
        if path.is_symlink() or not path.is_file():
            raise ModelSourceError(f"{path} is damaged: it is no file of its own; {REMEDY}")
        text = path.read_bytes()
    except OSError as error:
        raise ModelSourceError(f"{path} cannot be read ({error.strerror}); {REMEDY}") from None
    try:
        document = json.loads(text)
        written = document["format"]
        if written != FORMAT:
            raise ModelSourceError(
                f"{path} has format {repr(written)[:40]}, this version reads {FORMAT}; "
                "take the goldens of this version from version control, or record them again"
            )
        if sealed({key: document[key] for key in document if key != "facts_sha256"}).encode() != text:
            raise ModelSourceError(f"{path} is damaged: its text is not the one that was written; {REMEDY}")
        return Manifest(document["entries"], document["files"], tuple(document["replaced"]))
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise ModelSourceError(f"{path} is damaged ({described(error)}); {REMEDY}") from None


def place_of(root: Path, file: str) -> Path:
    """Where a file of the manifest lies: in its place, or still staged, where a recording was interrupted."""
    place, staged = root / file, staged_at(root, file)
    return staged if not os.path.lexists(place) and staged.is_file() else place


def staged_at(root: Path, file: str) -> Path:
    """Where ``file`` lies before it is put in its place."""
    return root / STAGING / hashlib.sha256(file.encode()).hexdigest()


@contextmanager
def locked(root: Path) -> Iterator[None]:
    """Nobody else commits to ``root`` while the block runs."""
    root.mkdir(parents=True, exist_ok=True)
    with open(root / LOCK, "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def commit(root: Path, manifest: Manifest, new: Mapping[str, bytes]) -> None:
    """Make ``manifest`` that of ``root``, with the files ``new`` that it names; within :func:`locked`.

    Whatever ends this leaves all of the old state or all of the new.
    """
    for file, content in new.items():
        with replacing(staged_at(root, file)) as temporary:
            temporary.write_bytes(content)
    _sync(root / STAGING)
    text = sealed(
        {
            "format": FORMAT,
            "entries": dict(sorted(manifest.entries.items())),
            "files": dict(sorted(manifest.files.items())),
            "replaced": list(manifest.replaced),
        }
    )
    (root / STAGING).mkdir(exist_ok=True)
    staged = root / STAGING / MANIFEST
    with replacing(staged) as temporary:
        temporary.write_text(text, encoding="utf-8")
    os.replace(staged, root / MANIFEST)
    _sync(root)
    tidy(root, manifest)


def tidy(root: Path, manifest: Manifest) -> list[str]:
    """Put staged files of ``manifest`` in their places, remove what recordings left; within :func:`locked`.

    Returns what was removed, relative to ``root``.
    """
    for file in manifest.files:
        place, staged = root / file, staged_at(root, file)
        if staged.is_file() and not os.path.lexists(place):
            place.parent.mkdir(parents=True, exist_ok=True)
            os.replace(staged, place)
            _sync(place.parent)
    removed = []
    for file in sorted(manifest.left_behind):
        if (root / file).is_file() and not (root / file).is_symlink():
            (root / file).unlink()
            removed.append(file)
            _remove_if_empty((root / file).parent)
    staging = root / STAGING
    if staging.is_dir() and not staging.is_symlink():
        for path in sorted(staging.iterdir()):
            if path.is_file() or path.is_symlink():
                path.unlink()
                removed.append(f"{STAGING}/{path.name}")
        _remove_if_empty(staging)
    return removed


def _remove_if_empty(folder: Path) -> None:
    if not any(folder.iterdir()):
        folder.rmdir()


def _sync(folder: Path) -> None:
    """What was renamed in ``folder`` stays renamed, also after the power fails."""
    if not folder.is_dir():
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
