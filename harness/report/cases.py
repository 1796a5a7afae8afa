"""What the page shows of one case, gathered from the files that the case has left."""

from __future__ import annotations

import base64
import csv
import gzip
import io
import json
import math
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.plain import json_text
from harness.report.tables import SEPARATOR

#: A reproducer above this size is not put into the page; the page says where it lies.
LARGEST_REPRODUCER = 200_000
#: The columns of the table of relevances that the page shows.
COLUMNS = (
    *("layer", "kind", "shape", "verdict", "rel_l2", "floor", "floors", "decided_by"),
    *("mae", "max_abs", "pearson_r", "ccc", "cosine", "best_scale", "rel_l2_after_scale", "sign_agreement"),
    *(
        f"{side}_{what}"
        for side in ("ref", "cand")
        for what in ("sum", "min", "max", "argmin", "argmax", "negative", "zero", "positive", "nan", "inf")
    ),
)
_TEXT = frozenset({"layer", "kind", "shape", "verdict", "decided_by"})


def files_of(row: Mapping[str, Any]) -> list[str]:
    """Names of the files of a case, relative to the folder of its run."""
    files = row.get("files") or ()
    return files.split(SEPARATOR) if isinstance(files, str) else [str(each) for each in files]


def case_detail(row: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Tables, maps and diagnosis of one case; what a file does not give, because it is missing or damaged, is left out.

    ``layers``: the relevances, a row a layer in backward order; ``forward``: the activations, in forward order; both as
    ``columns`` and ``rows``. ``view``: see `harness.report.view.case_view`. ``diagnosis``: see
    `harness.diagnosis.document`. ``reproducer``: ``folder``, and as ``zip`` its files in base64 where they are small.
    """
    detail: dict[str, Any] = {}
    for name in files_of(row):
        path = folder / name
        if not path.resolve().is_relative_to(folder.resolve()):
            continue
        try:
            if name.endswith(".forward.csv"):
                detail["forward"] = _table(path, None)
            elif name.endswith(".csv"):
                detail["layers"] = _table(path, COLUMNS)
            elif name.endswith(".view.json"):
                detail["view"] = json.loads(path.read_text(encoding="utf-8"))
            elif name.endswith(".diagnosis.json"):
                detail["diagnosis"] = _diagnosis(path)
        except (OSError, ValueError, LookupError, TypeError, csv.Error):
            continue
    reproducer = (detail.get("diagnosis") or {}).get("reproducer")
    if reproducer:
        inside = sorted(name for name in files_of(row) if name.startswith(f"{reproducer}/"))
        detail["reproducer"] = {"folder": reproducer, "zip": _zipped(folder, inside, reproducer)}
    return detail


def packed(value: Any) -> str:
    """``value`` as JSON, compressed, in base64: safe in any place of a page."""
    # No time stamp: the same document is the same page.
    return base64.b64encode(gzip.compress(json_text(value).encode(), 6, mtime=0)).decode()


def _diagnosis(path: Path) -> dict[str, Any]:
    read = json.loads(path.read_text(encoding="utf-8"))
    return {
        "explanation": read["explanation"],
        "dtype": read.get("dtype"),
        "stage": read["stage"],
        "layer": read["layer"],
        "cause": read["cause"],
        "notes": read["notes"],
        "reproducer": read["reproducer"],
        "findings": [
            {key: each.get(key) for key in ("layer", "stage", "cause", "sentence", "words", "error", "floor")}
            | {"residual": each.get("residual"), "facts": each.get("facts") or {}}
            for each in read["findings"]
        ],
        "introduced": {
            each["layer"]: [each["introduced"], each["inherited"], each["floor"], bool(each["differs"])]
            for each in read["introduced"]
        },
    }


def _table(path: Path, columns: Sequence[str] | None) -> dict[str, Any]:
    with open(path, encoding="utf-8", newline="") as file:
        lines = csv.reader(file)
        header = next(lines)
        kept = [name for name in columns or header if name in header]
        places = [header.index(name) for name in kept]
        rows = [
            [
                line[place] if name in _TEXT else _value(line[place])
                for name, place in zip(kept, places, strict=True)
            ]
            for line in lines
        ]
    return {"columns": kept, "rows": rows}


def _value(text: str) -> Any:
    """A cell as the page shows it: a number to five digits, null for one that is not finite, else text."""
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        return _place(text)
    if not math.isfinite(number):
        return None
    return int(number) if number.is_integer() and abs(number) < 1e9 else float(f"{number:.5g}")


def _place(text: str) -> str:
    """``{'batch': 0, 'height': 3}`` as it is read: batch 0, height 3."""
    return text.strip("{}").replace("'", "").replace(":", "") if text.startswith("{") else text


def _zipped(folder: Path, names: Sequence[str], prefix: str) -> str | None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            # Without the time of today.
            facts = zipfile.ZipInfo(f"{Path(prefix).name}/{name[len(prefix) + 1 :]}")
            facts.compress_type = zipfile.ZIP_DEFLATED
            try:
                archive.writestr(facts, (folder / name).read_bytes())
            except OSError:
                return None
    zipped = content.getvalue()
    return base64.b64encode(zipped).decode() if names and len(zipped) <= LARGEST_REPRODUCER else None
