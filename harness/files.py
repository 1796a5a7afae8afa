"""Files that are whole or absent (written beside their place, flushed, then renamed), the cache, and digests."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import os
import platform
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatchcase
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs

from harness.errors import InvalidInputError

#: Names another folder for everything that is kept per user: results, recordings, peers, weights of the zoo.
CACHE_VARIABLE = "XAI_HARNESS_CACHE"
#: What computes, draws and reads on all sides; a result depends on their versions.
LIBRARIES = (
    "keras",
    "matplotlib",
    "numpy",
    "onnx",
    "onnxruntime",
    "pandas",
    "scipy",
    "tensorflow",
    "torch",
    "torchvision",
    "xai-harness",
    "zennit",
)
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def cache_folder() -> Path:
    """``$XAI_HARNESS_CACHE``, or the user's cache folder."""
    chosen = os.environ.get(CACHE_VARIABLE)
    folder = Path(chosen).expanduser() if chosen else platformdirs.user_cache_path("xai-harness", False)
    return folder.absolute()


def byte_count(text: str, what: str) -> int:
    """The bytes that ``text`` says: ``1048576``, ``500M``, ``2GiB``. Raises InvalidInputError, which names ``what``."""
    match = re.fullmatch(
        r"\s*(\d{1,15}(?:\.\d{1,15})?)\s*([KMGT]?)(?:i?B)?\s*", text, re.IGNORECASE | re.ASCII
    )
    if match is None:
        raise InvalidInputError(f"{what} is {text!r}; expected a number of bytes, such as 500M or 2G")
    return int(float(match[1]) * _UNITS[match[2].upper()])


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


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Write ``content``, atomically."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


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


def input_digest(given: np.ndarray | Mapping[str, np.ndarray]) -> str:
    """The digest of an input, or of several by name."""
    if isinstance(given, Mapping):
        return json_digest({name: array_digest(array) for name, array in given.items()})
    return array_digest(given)


def json_digest(value: Any) -> str:
    """sha256 of the canonical JSON text of ``value``, in hexadecimal."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def installed_versions(*distributions: str) -> dict[str, str]:
    """By name, the version that is installed; "not installed" where there is none."""
    return {name: _installed_version(name) for name in distributions}


@cache
def _installed_version(distribution: str) -> str:
    """Looked up once a process, whose modules do not change either."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "not installed"


#: What was there when a digest was taken: path, size and time of change of every file, by package.
_read: dict[str, list[tuple[str, int, int]]] = {}


@cache
def source_digest(package: str, without: tuple[str, ...] = ()) -> str:
    """sha256 (hex) over the files of an importable package or module but for bytecode: changes when its code does.

    It is taken once a process, whose modules do not change either; see :func:`code_has_changed`. ``without``: globs of
    files that do not count, from the top-level package on (``harness/report/*``).
    """
    _read.setdefault(package, _seen(package))
    digest = hashlib.sha256()
    for name, path in _source_files(package):
        if not any(fnmatchcase(name, pattern) for pattern in without):
            content = path.read_bytes()
            digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def code_has_changed() -> bool:
    """Whether a file that a digest was taken of is another by now: a module imported since then may be newer."""
    return any(_seen(package) != before for package, before in _read.items())


def _source_files(package: str) -> list[tuple[str, Path]]:
    """Name, from the top-level package on, and path of every file of a package or module but bytecode."""
    module, name = importlib.import_module(package), package.replace(".", "/")
    if not hasattr(module, "__path__"):
        return [(f"{name}.py", Path(module.__file__ or ""))]
    files = sorted(file for folder in module.__path__ for file in _files_under(folder, name))
    return [(file, Path(path)) for file, path in files]


def _files_under(folder: str, name: str) -> Iterator[tuple[str, str]]:
    """Name, from the top-level package on, and path of every file under ``folder`` but bytecode."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if entry.name != "__pycache__":
                    yield from _files_under(entry.path, f"{name}/{entry.name}")
            elif entry.is_file():
                yield f"{name}/{entry.name}", entry.path


def _seen(package: str) -> list[tuple[str, int, int]]:
    stats = ((name, os.stat(path)) for name, path in _source_files(package))
    return [(name, each.st_size, each.st_mtime_ns) for name, each in stats]


def code_digest(*packages: str, without: tuple[str, ...] = ()) -> str:
    """sha256 (hex) over the sources of ``packages`` (see :func:`source_digest`) and the versions of what they use."""
    sources = {package: source_digest(package, without) for package in sorted(set(packages))}
    return json_digest([sources, platform.python_version(), installed_versions(*LIBRARIES)])
