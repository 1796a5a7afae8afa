"""What computed a result: framework versions and a digest of the code; no framework is imported for it."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import inspect
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.errors import HarnessError, MissingFrameworkError


def distribution_versions(*names: str) -> dict[str, str]:
    """Installed versions by distribution name; ``"not installed"`` where there is none."""
    found = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def package_digest() -> str:
    """sha256 (hex) over this package's source files, names and contents, in the order of their names."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


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
