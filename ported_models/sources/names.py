"""Canonical layer names: the source's own names, made free of dots and slashes and kept apart."""

from __future__ import annotations

import re
from collections.abc import Iterable


def canonical(name: str) -> str:
    """``name`` with everything but letters, digits, underscores and hyphens replaced by underscores."""
    return re.sub(r"[^0-9A-Za-z_-]", "_", name) or "_"


class Names:
    """Hands out every name once; ``reserved`` names go only to whoever asks for them as their own."""

    def __init__(self, reserved: Iterable[str] = ()) -> None:
        self._reserved = {canonical(name) for name in reserved}
        self._taken: set[str] = set()

    def own(self, name: str) -> str:
        """The canonical form of a reserved name; from its second use on with a suffix, ``dense_use2``."""
        wanted = canonical(name)
        return self._take(wanted) if wanted not in self._taken else self._numbered(wanted)

    def free(self, *candidates: str) -> str:
        """The first candidate that is neither taken nor reserved, else the last one with a suffix."""
        for candidate in map(canonical, candidates):
            if candidate not in self._taken | self._reserved:
                return self._take(candidate)
        return self._numbered(canonical(candidates[-1]))

    def _numbered(self, name: str) -> str:
        number = 2
        while f"{name}_use{number}" in self._taken | self._reserved:
            number += 1
        return self._take(f"{name}_use{number}")

    def _take(self, name: str) -> str:
        self._taken.add(name)
        return name
