"""Results that are kept on disk, by a digest of all that they depend on, up to a number of bytes."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import os
import re
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.backends import Backend, packages_of
from harness.case import Case
from harness.engine.cases import engine
from harness.files import (
    byte_count,
    cache_folder,
    code_digest,
    code_has_changed,
    json_digest,
    write_bytes,
    write_text,
)
from harness.naming import printable

#: Bytes that are kept, and the environment variable that names another number.
LIMIT, LIMIT_VARIABLE = "2G", "XAI_HARNESS_STORE_BYTES"
#: Seconds after which a temporary file is one that a killed process has left.
_LEFT_BEHIND_S = 3600.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, order=True)
class Entry:
    """``used``: when it was written or read last, in seconds since 1970; ``size`` in bytes."""

    used: float
    size: int
    path: Path


class Store:
    """Documents and files by key, one file each, that carries the sha256 of all that is in it.

    ``folder``: that of the user's cache where none is given. ``limit``: in bytes; the entry that was not used for
    longest goes first, and with 0 nothing is kept. ``force``: what is there is not read, only replaced. Several
    processes may share a folder. What cannot be kept (no room, no permission) costs a notice, not the result.
    """

    def __init__(self, folder: Path | None = None, limit: int | None = None, force: bool = False) -> None:
        self.folder = folder or cache_folder() / "results"
        chosen = os.environ.get(LIMIT_VARIABLE, LIMIT)
        self.limit = byte_count(chosen, LIMIT_VARIABLE) if limit is None else limit
        self.force = force
        #: Bytes that may be written before all entries are counted again; other processes write as well.
        self._room = 0

    def get(self, key: str | None, folder: Path | None = None) -> Any:
        """The document kept under ``key``, or None; its files are put under ``folder`` where they are not whole there.

        An entry that is not what was written is not believed: it is removed, and a notice says so.
        """
        if key is None or self.force or not self.limit:
            return None
        path = self._path(key)
        try:
            entry = _opened(path.read_bytes(), key)
        except FileNotFoundError:
            return None
        except OSError as error:
            entry, why = None, f"cannot be read ({error.strerror})"
        else:
            why = "is not what was written there"
        if entry is None:
            self.refuse(key, why)
            return None
        with suppress(OSError):
            os.utime(path)
        if folder is not None:
            for name, content in entry["files"].items():
                _restore(folder / name, base64.b64decode(content))
        log.debug("done before: %s", printable(str(entry.get("label", key))))
        return entry["document"]

    def put(
        self, key: str | None, label: str, document: Any, files: Sequence[str] = (), folder: Path = Path()
    ) -> None:
        """Keep ``document``, which JSON can hold, and ``files`` (names below ``folder``).

        It is on the disk, whole, when this returns. ``label``: what it is of, for whoever looks into the file.
        """
        if key is None or not self.limit:
            return
        if code_has_changed():
            log.warning(
                "the code has changed since this command began; from here on its results are not kept"
            )
            self.limit = 0
            return
        encoded = {name: base64.b64encode((folder / name).read_bytes()).decode() for name in files}
        text = json.dumps({"key": key, "label": label, "document": document, "files": encoded})
        if len(text) > self.limit:
            return
        try:
            write_text(self._path(key), f"{hashlib.sha256(text.encode()).hexdigest()}\n{text}")
            self._room -= len(text)
            if self._room < 0:
                if self.size() > self.limit:
                    self.prune(self.limit * 9 // 10)
                self._room = (self.limit - self.size()) // 4
        except OSError as error:
            log.warning("results cannot be kept in %s: %s; they are not kept", self.folder, error.strerror)
            self.limit = 0

    def refuse(self, key: str, why: str) -> None:
        """Remove what is kept under ``key``, and say ``why``."""
        path = self._path(key)
        log.warning("the kept result %s %s; it is computed again", printable(str(path)), why)
        with suppress(OSError):
            path.unlink()

    def entries(self) -> list[Entry]:
        """All of them, the one that was not used for longest first."""
        return sorted(self._files(r"[0-9a-f]{64}\.json"))

    def size(self) -> int:
        """In bytes."""
        return sum(entry.size for entry in self.entries())

    def prune(self, limit: int | None = None, older_than_s: float | None = None) -> list[Entry]:
        """Remove what was not used for longer than that, then the oldest down to ``limit`` bytes; what was removed.

        ``limit``: that of the store where neither is given. What killed processes have left goes too.
        """
        limit = self.limit if limit is None and older_than_s is None else limit
        now, size, removed = time.time(), self.size(), []
        for entry in self.entries():
            too_old = older_than_s is not None and now - entry.used > older_than_s
            if too_old or (limit is not None and size > limit):
                entry.path.unlink(missing_ok=True)
                size -= entry.size
                removed.append(entry)
        for entry in self._files(r"\..+"):
            if now - entry.used > _LEFT_BEHIND_S:
                entry.path.unlink(missing_ok=True)
        return removed

    def _files(self, pattern: str) -> list[Entry]:
        entries = []
        for path in self.folder.glob("??/*"):
            if re.fullmatch(pattern, path.name):
                with suppress(FileNotFoundError):  # another process has pruned it
                    facts = path.stat()
                    entries.append(Entry(facts.st_mtime, facts.st_size, path))
        return entries

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.json"


def result_key(case: Case, reference: Backend, candidate: Backend, *more: Any) -> str | None:
    """A digest of all that a comparison of the two on ``case`` depends on; ``more``: what else is in the document.

    None where code of the user's own takes part: nothing can say that it is the same.
    """
    sides = [engine().key(case, backend) for backend in (reference, candidate)]
    packages = {
        type(case.model).__module__.partition(".")[0],
        *packages_of(reference),
        *packages_of(candidate),
    }
    if None in sides or "__main__" in packages:
        return None
    return json_digest([sides, code_digest("harness", *packages), *more])


def _opened(content: bytes, key: str) -> Any:
    """The entry that was written as ``content`` under ``key``; None where it was not written like that."""
    seal, _, text = content.partition(b"\n")
    if seal != hashlib.sha256(text).hexdigest().encode():
        return None
    entry = json.loads(text)
    inside = all(not Path(name).is_absolute() and ".." not in Path(name).parts for name in entry["files"])
    return entry if entry["key"] == key and inside else None


def _restore(path: Path, content: bytes) -> None:
    if path.exists():
        if path.read_bytes() == content:
            return
        log.warning("%s is not what was written there; it is written again", printable(str(path)))
    write_bytes(path, content)
