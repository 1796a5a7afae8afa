"""Zennit, importable beside a torchvision whose compiled operators do not load.

`zennit/__init__` imports torchvision for its canonizers. A torchvision from the package index is
compiled against the CUDA build of torch; beside a CPU-only torch its extension does not load, no
operator is registered, and `torchvision/_meta_registrations.py` fails on import with "operator
torchvision::nms does not exist" because it declares fake kernels for two operators by name. Their
schemas are all that it misses (torchvision 0.28.0: nms and qnms): declared here, the import goes
through. Nothing of Zennit calls them. Where the extension loads, nothing is declared.

Every import of Zennit in this package goes through this module.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
from pathlib import Path

import torch

_SCHEMAS = {
    "nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}

#: What the library of operators is called: up to torchvision 0.28, and from 0.29 on. To declare an operator that the
#: library declares later ends the process.
_LIBRARIES = ("_C", "_C_stable")


def _extension_loads() -> bool:
    """Whether torchvision's own compiled operators register in this process."""
    spec = importlib.util.find_spec("torchvision")
    folders = spec.submodule_search_locations if spec is not None else None
    names = [f"{stem}{suffix}" for stem in _LIBRARIES for suffix in importlib.machinery.EXTENSION_SUFFIXES]
    for library in (Path(folder) / name for folder in folders or () for name in names):
        if library.exists():
            try:
                torch.ops.load_library(str(library))
            except OSError:
                continue
            return hasattr(torch.ops.torchvision, "nms")
    return False


def declare_missing_operators() -> tuple[str, ...]:
    """Declare those schemas that torchvision needs and did not register; returns their names."""
    if _extension_loads():
        return ()
    missing = tuple(name for name in _SCHEMAS if not hasattr(torch.ops.torchvision, name))
    for name in missing:
        torch.library.define(f"torchvision::{name}", _SCHEMAS[name])
    return missing


#: The operators that this module declared, none where torchvision is healthy.
DECLARED = declare_missing_operators()

import zennit  # noqa: E402  (after the declarations that its import needs)

__all__ = ["DECLARED", "declare_missing_operators", "zennit"]
