"""What computed a result, and whether all it needs is installed; no framework is imported for it."""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.errors import HarnessError, MissingFrameworkError


def function_digest(function: Callable[..., Any]) -> str:
    """sha256 (hex) of a function's name, defaults, captured values and the file that it stands in.

    Random where there is no file: then two runs cannot be known to be of the same code.
    """
    try:
        file = inspect.getsourcefile(function)
        source = Path(file or "").read_bytes()
    except (OSError, TypeError):
        return uuid.uuid4().hex
    name = getattr(function, "__qualname__", type(function).__qualname__)
    captured = [cell.cell_contents for cell in getattr(function, "__closure__", None) or ()]
    defaults = getattr(function, "__defaults__", None), getattr(function, "__kwdefaults__", None)
    return hashlib.sha256(source + repr((name, defaults, captured)).encode()).hexdigest()


def require_torch_and_zennit() -> None:
    """Raises MissingFrameworkError without torch, HarnessError without what the hooks need beside it."""
    if importlib.util.find_spec("torch") is None:
        raise MissingFrameworkError("torch")
    for name in ("zennit", "torchvision"):
        if importlib.util.find_spec(name) is None:
            raise HarnessError(
                f"{name} is not installed, which the torch hooks need beside torch; "
                "install it with: pip install 'xai-harness[torch]'"
            )
