"""Looks at a Keras file in a process of its own, before anything else opens it. Run as a script: it imports h5py alone.

    python keras_look.py FILE SECONDS BYTES

Prints one JSON object: ``{"values": N, "largest": [N, NAME]}``, how many numbers the file holds and the largest array
among them, or ``{"refused": why}``. Everything in the file is read once here, so that what would hang, crash or take
all memory does so in this process, which has a limit.
"""

from __future__ import annotations

import json
import math
import resource
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

#: The most bytes that a file may hold beyond this many times its own size: a bomb holds thousands of times its size.
EXPANSION, ROOM = 16, 2**28
#: The most groups, datasets and attributes; and the most bytes of a configuration.
MOST_OBJECTS, LARGEST_CONFIG = 200_000, 2**26
#: Bytes that are read of a dataset at once.
_PIECE = 2**24


class RefusedError(Exception):
    """Why the file is not opened."""


def look(path: Path) -> dict[str, Any]:
    """What is printed of a file that is not refused. Raises RefusedError."""
    limit = EXPANSION * path.stat().st_size + ROOM
    if path.suffix.lower() != ".keras":
        return _answer([_hdf5(path, limit)])
    with zipfile.ZipFile(path) as archive, tempfile.TemporaryDirectory() as folder:
        members = archive.infolist()
        _check_members(members, limit)
        weights = [member for member in members if member.filename.endswith((".h5", ".hdf5"))]
        readers = []
        for member in weights:
            copied = Path(folder) / "weights.h5"
            with archive.open(member) as source, copied.open("wb") as target:
                while piece := source.read(_PIECE):
                    target.write(piece)
            readers.append(_hdf5(copied, limit))
        for member in members:
            if member not in weights:  # its checksum is compared
                with archive.open(member) as source:
                    while source.read(_PIECE):
                        pass
    return _answer(readers)


def _answer(readers: list[_Reader]) -> dict[str, Any]:
    return {
        "values": sum(reader.values for reader in readers),
        "largest": max((reader.largest for reader in readers), default=(0, "")),
    }


def _check_members(members: list[zipfile.ZipInfo], limit: int) -> None:
    if len(members) > MOST_OBJECTS:
        raise RefusedError(f"holds {len(members)} files, at most {MOST_OBJECTS} are read")
    names = [member.filename for member in members]
    if len(set(names)) < len(names):
        raise RefusedError("holds two files of one name")
    for member in members:
        parts = member.filename.replace("\\", "/").split("/")
        if ".." in parts or parts[0] == "" or ":" in parts[0]:
            raise RefusedError(f"holds a file named {member.filename[:100]!r}, which lies outside of it")
        if member.filename.endswith(".json") and member.file_size > LARGEST_CONFIG:
            raise RefusedError(
                f"its {member.filename[:100]} has {member.file_size} bytes, at most {LARGEST_CONFIG} are read"
            )
    size = sum(member.file_size for member in members)
    if size > limit:
        raise RefusedError(f"unpacks to {size} bytes, at most {limit} are read of a file of its size")


def _hdf5(path: Path, limit: int) -> _Reader:
    import h5py

    if not h5py.is_hdf5(path):
        raise RefusedError("is not an HDF5 file")
    with h5py.File(path, "r") as file:
        reader = _Reader(limit)
        reader.read(file)
        return reader


class _Reader:
    """Goes through groups, each once, and reads every attribute and dataset.

    ``values``: the numbers of the datasets read so far; ``largest``: of that of the most, their number and its name.
    """

    def __init__(self, limit: int) -> None:
        self._limit, self._bytes, self._objects = limit, 0, 0
        self.values, self.largest = 0, (0, "")

    def read(self, file: Any) -> None:
        pending, seen = [file], set()
        while pending:
            group = pending.pop()
            if group.id.__hash__() in seen:
                continue
            seen.add(group.id.__hash__())
            self._attributes(group)
            for name in group:
                self._count(1)
                pending += self._member(group, name)

    def _member(self, group: Any, name: str) -> list[Any]:
        import h5py

        link = group.get(name, getlink=True)
        if not isinstance(link, h5py.HardLink):
            what = "another file" if isinstance(link, h5py.ExternalLink) else "another place by name"
            raise RefusedError(
                f"{group.name}/{name} is a link to {what}, which is not followed".replace("//", "/")
            )
        member = group[name]
        if isinstance(member, h5py.Group):
            return [member]
        if isinstance(member, h5py.Dataset):
            self._attributes(member)
            self._dataset(member)
        return []

    def _dataset(self, dataset: Any) -> None:
        if dataset.external or dataset.is_virtual:
            raise RefusedError(f"the values of {dataset.name} are kept in other files, which are not read")
        if dataset.shape is None:
            return
        if dataset.dtype.hasobject and dataset.dtype.kind != "O":
            raise RefusedError(f"{dataset.name} holds {dataset.dtype}, expected numbers")
        self._add(dataset.size * max(dataset.dtype.itemsize, 1), dataset.name)
        self.values += dataset.size
        self.largest = max(self.largest, (dataset.size, dataset.name))
        if not dataset.shape:
            dataset[()]
            return
        row = max(1, math.prod(dataset.shape[1:]) * dataset.dtype.itemsize)
        step = max(1, _PIECE // row)
        for first in range(0, dataset.shape[0], step):
            dataset[first : first + step]

    def _attributes(self, item: Any) -> None:
        for name in item.attrs:
            self._count(1)
            identity = item.attrs.get_id(name)
            self._add(math.prod(identity.shape or ()) * identity.dtype.itemsize, f"{item.name}@{name}")
            value = item.attrs[name]
            if isinstance(value, str | bytes) and len(value) > LARGEST_CONFIG:
                raise RefusedError(f"its {name} has {len(value)} bytes, at most {LARGEST_CONFIG} are read")

    def _count(self, more: int) -> None:
        self._objects += more
        if self._objects > MOST_OBJECTS:
            raise RefusedError(f"holds more than {MOST_OBJECTS} groups, datasets and attributes")

    def _add(self, more: int, name: str) -> None:
        self._bytes += more
        if self._bytes > self._limit:
            raise RefusedError(
                f"holds {self._bytes} bytes up to {name}, at most {self._limit} are read of a file of its size"
            )


def main(words: list[str]) -> None:
    path, seconds, room = Path(words[0]), int(words[1]), int(words[2])
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_AS, (room, room))
    try:
        answer: dict[str, Any] = look(path)
    except RefusedError as error:
        answer = {"refused": str(error)}
    except MemoryError:
        answer = {"refused": f"takes more than {room >> 20} MiB to read"}
    except Exception as error:  # h5py and zipfile raise whatever fits the damage
        answer = {
            "refused": f"is damaged or truncated ({type(error).__name__}: {' '.join(str(error).split())[:200]})"
        }
    print(json.dumps(answer))


if __name__ == "__main__":
    main(sys.argv[1:])
