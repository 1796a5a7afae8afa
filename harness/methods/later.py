"""Fields that methods got after goldens of them had been written."""

from __future__ import annotations

from dataclasses import Field
from typing import Any

#: Metadata of a dataclass field that JSON leaves out at its default: methods that do not use it keep their digests.
LATER = {"later": True}


def is_left_out(of: Field[Any], value: Any) -> bool:
    """Whether JSON leaves out the field ``of`` that has ``value``."""
    return "later" in of.metadata and value == of.default
