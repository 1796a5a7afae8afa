"""Values as JSON can hold them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

import numpy as np


def plain(value: Any) -> Any:
    """``value`` made of dicts, lists, text, numbers, true, false and null alone.

    NaN and infinities become None: JSON has no word for them. Arrays become lists, paths text, keys text; halves of
    pairs in a text (a name made of bytes that are no UTF-8) are written out. Anything else becomes its `str`.
    """
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, Mapping):
        return {plain(str(key)): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(each) for each in value]
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, PurePath):
        return plain(str(value))
    return plain(str(value))


def json_text(value: Any, indent: int | None = None) -> str:
    """``value`` as JSON that every reader takes; see :func:`plain`."""
    return json.dumps(plain(value), indent=indent, allow_nan=False)
