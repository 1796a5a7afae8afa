"""Cases that were run before: what one depends on, where its files lie, and whether it is complete."""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from harness.backends import Backend, is_installed
from harness.files import array_digest, json_digest, source_digest, write_json
from harness.methods import to_json

Row = dict[str, Any]


def label_of(model: Any, labels: dict[str, str]) -> str:
    """What ``model`` is called in this run: its name, with its digest where another model has that name.

    ``labels``: the digests by label so far; a label that is new is added.
    """
    label = str(model.name)
    while labels.setdefault(label, model.digest) != model.digest:
        label += f"-{model.digest[:8]}"
    return label


def key_of(
    model: Any, x: np.ndarray, each: Any, dtype: str, reference: Backend, candidate: Backend
) -> str | None:
    """What a finished case depends on; any change makes it run again. None: it is not known, run it again."""
    if not (is_installed(reference) and is_installed(candidate)):
        return None
    packages = {type(part).__module__.partition(".")[0] for part in (model, reference, candidate)}
    return json_digest(
        {
            "model": model.digest,
            "input": array_digest(x),
            "method": to_json(each),
            "dtype": dtype,
            "reference": reference.version(),
            "candidate": candidate.version(),
            "harness": own_version(),
            "code": {name: source_digest(name) for name in sorted({"harness", *packages})},
        }
    )


def keep_row(stem: Path, key: str | None, row: Row) -> None:
    """Write the row of a case, last of its files: it vouches for the others."""
    write_json(_path(stem), {"key": key, "row": row, "sha256": json_digest([key, row])})


def kept_row(stem: Path, key: str | None, folder: Path) -> Row | None:
    """The row of a case that is complete on disk under this key, and is what was written; else None."""
    if key is None:
        return None
    try:
        document = json.loads(_path(stem).read_text(encoding="utf-8"))
        row: Row = document["row"]
        whole = document["key"] == key and document["sha256"] == json_digest([key, row])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return row if whole and all((folder / name).is_file() for name in row["files"]) else None


def _path(stem: Path) -> Path:
    return stem.parent / f"{stem.name}.json"


def own_version() -> str:
    try:
        return version("xai-harness")
    except PackageNotFoundError:
        return "not installed"
