"""Networks to explain: small ones trained here, others fetched when first used, and some of seeded weights."""

from __future__ import annotations

from harness.errors import UnknownNameError
from ported_models.model import PortedModel
from ported_models.zoo.catalogue import ENTRIES, Entry

__all__ = ["Entry", "entries", "load", "names"]


def names() -> tuple[str, ...]:
    """The names that :func:`load` takes, small networks first."""
    return tuple(entry.name for entry in ENTRIES)


def entries() -> tuple[Entry, ...]:
    """What there is to know about each network without loading or fetching it."""
    return ENTRIES


def load(name: str) -> PortedModel:
    """The network ``name``, fetched first if it is neither committed nor cached.

    A download is announced through the logger ``ported_models.zoo.fetch``. Raises `UnknownNameError`,
    and `ModelSourceError` where a network has to be fetched and cannot be.
    """
    for entry in ENTRIES:
        if entry.name == name:
            return entry.load()
    raise UnknownNameError("model", name, names())
