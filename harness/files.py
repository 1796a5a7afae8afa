"""Files that are whole or absent: written beside their place, flushed, then renamed."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary path in the folder of ``path`` that takes its name when the block ends without an error.

    The folder is made if needed. On an error (a full disk, an interrupt) nothing is left behind.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        with open(temporary, "rb+") as written:
            os.fsync(written.fileno())
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write ``text`` as UTF-8, atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write ``value`` as indented JSON with a final newline, atomically."""
    write_text(path, json.dumps(value, indent=1, sort_keys=False, allow_nan=False) + "\n")


def write_with(path: str | os.PathLike[str], writer: Callable[[Path], Any]) -> None:
    """Call ``writer`` on a temporary path and put the result in place, atomically."""
    with replacing(path) as temporary:
        writer(temporary)


def in_sample(label: str, share: float) -> bool:
    """Whether ``label`` belongs to the fixed sample that holds about this ``share`` of all labels."""
    return int.from_bytes(hashlib.sha256(label.encode()).digest()[:8]) < share * 2.0**64


def array_digest(array: np.ndarray) -> str:
    """sha256 of dtype, shape and bytes of ``array``, in hexadecimal."""
    array = np.ascontiguousarray(array)
    digest = hashlib.sha256(f"{array.dtype.str}{array.shape}".encode())
    digest.update(array.data.cast("B") if array.size else b"")
    return digest.hexdigest()


def json_digest(value: Any) -> str:
    """sha256 of the canonical JSON text of ``value``, in hexadecimal."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


@cache
def source_digest(package: str) -> str:
    """sha256 over the Python sources of an importable package or module, in hexadecimal: changes when its code does."""
    digest = hashlib.sha256()
    module = importlib.import_module(package)
    if not hasattr(module, "__path__"):
        return hashlib.sha256(Path(module.__file__ or "").read_bytes()).hexdigest()
    for folder in module.__path__:
        for path in sorted(Path(folder).rglob("*.py")):
            digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
