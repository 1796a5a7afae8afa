"""Arrays that nobody can write to may be held by several at once."""

from __future__ import annotations

from typing import Any

import numpy as np


def is_frozen(array: np.ndarray) -> bool:
    """Whether nobody can write to ``array``, nor to an array that it is a view of."""
    base: Any = array
    while isinstance(base, np.ndarray):
        if base.flags.writeable:
            return False
        base = base.base
    return True
