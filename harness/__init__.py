"""XAI Harness: do two implementations of an explanation method compute the same thing, and if not, where do they part?

Importing this loads no framework; what a call needs is loaded by the call.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.api import (
        backend_from_composite,
        backend_from_function,
        explain,
        list_backends,
        list_methods,
        list_models,
        load_model,
        load_pair,
        register_backend,
    )
    from harness.comparison import Comparison, NoiseFloor
    from harness.conformance import parametrize_with_methods
    from harness.diagnosis import Diagnosis, Finding, diagnose
    from harness.engine import compare
    from harness.errors import HarnessError
    from harness.loaded import LoadedModel, LoadedPair
    from harness.queries import Queries, explain_many
    from harness.trace import Trace, load_trace

_HOME = {
    "harness.api": (
        "backend_from_composite",
        "backend_from_function",
        "explain",
        "list_backends",
        "list_methods",
        "list_models",
        "load_model",
        "load_pair",
        "register_backend",
    ),
    "harness.comparison": ("Comparison", "NoiseFloor"),
    "harness.conformance": ("parametrize_with_methods",),
    "harness.engine": ("compare",),
    "harness.diagnosis": ("Diagnosis", "Finding", "diagnose"),
    "harness.errors": ("HarnessError",),
    "harness.queries": ("Queries", "explain_many"),
    "harness.loaded": ("LoadedModel", "LoadedPair"),
    "harness.trace": ("Trace", "load_trace"),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "Comparison",
    "Diagnosis",
    "Finding",
    "HarnessError",
    "LoadedModel",
    "LoadedPair",
    "NoiseFloor",
    "Queries",
    "Trace",
    "backend_from_composite",
    "backend_from_function",
    "compare",
    "diagnose",
    "explain",
    "explain_many",
    "list_backends",
    "list_methods",
    "list_models",
    "load_model",
    "load_pair",
    "load_trace",
    "parametrize_with_methods",
    "register_backend",
]


def __getattr__(name: str) -> Any:
    """Load a public name on first use (PEP 562)."""
    if name == "__version__":
        from importlib.metadata import version

        return version("xai-harness")
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'harness' has no attribute {name!r}")
    value = getattr(import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names alone: what completion in a notebook shows."""
    return sorted(__all__)
