"""Whether a backend keeps to the contract of `harness.backends.protocol`, said in one line; and what else it offers."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import FunctionType
from typing import Any

from harness.backends.protocol import Backend
from harness.errors import HarnessError, InvalidInputError, described, is_interrupt
from harness.graph import Graph
from harness.methods import Method

#: What a prepared backend may offer beside `run`, by name: the calls that it then has.
CAPABILITIES = {
    "logits": ("logits",),
    "activations": ("activations",),
    "steps": ("step",),
    "pairs": ("step_pair",),
    "alone": ("run_alone",),
    "expects": ("expect",),
    "forgets": ("forget",),
    "queries": ("run_queries", "query_bytes"),
    "walks": ("walk_back",),
    "runs": ("runs",),
    "programs": ("step_program", "forward_program"),
    "denominators": ("divisions",),
    "deviations": (
        "carry_out",
        "deviations",
        "deviations_of_places",
        "carry_forward",
        "forward_deviations",
        "input_deviations",
        "formula",
    ),
}
#: The calls of a backend, and what they are called with.
_CALLS = {"version": (), "supports": ("method", "graph"), "prepare": ("model", "dtype", "device")}
_PAGE = "see docs/add-a-backend.md"


def capability(prepared: Any, name: str) -> Any:
    """``prepared``, where it offers what is called ``name`` in :data:`CAPABILITIES`; else None.

    What an object has the calls for it offers; one that has calls which it cannot always answer says in an attribute
    ``capabilities`` what it offers.
    """
    offered = getattr(prepared, "capabilities", CAPABILITIES)
    return prepared if name in offered and all(_can(prepared, call) for call in CAPABILITIES[name]) else None


def required(prepared: Any, name: str, backend: Backend) -> Any:
    """``prepared``, or InvalidInputError where that of ``backend`` does not offer ``name``."""
    if capability(prepared, name) is None:
        calls = ", ".join(CAPABILITIES[name])
        raise InvalidInputError(
            f"backend {backend.name!r} does not offer {name!r} (what it prepares has no {calls}); "
            "choose a backend that does, or add it to this one"
        )
    return prepared


def why_unsupported(backend: Backend, method: Method, graph: Graph) -> str:
    """What `supports` says. Raises HarnessError for what is no sentence."""
    reason: Any = backend.supports(method, graph)
    if isinstance(reason, str):
        return reason
    raise HarnessError(
        f"backend {backend.name!r}: supports(method, graph) returned {reason!r}, expected an empty string, "
        f"or why the method cannot be run; {_PAGE}"
    )


def versions_of(backend: Backend) -> dict[str, str]:
    """What `version` says; or, where it raises, that it did: the backend may compute all the same."""
    try:
        return {str(key): str(value) for key, value in backend.version().items()}
    except BaseException as error:  # a backend's own code
        if is_interrupt(error):
            raise
        return {"version": f"raised {described(error)}"}


def checked_backend(name: str, backend: Any) -> Backend:
    """``backend``; raises InvalidInputError where it lacks a part of the contract, or takes other arguments."""
    if isinstance(backend, FunctionType):
        raise InvalidInputError(
            f"{backend.__name__} is a function: harness.backend_from_function(name, {backend.__name__}, 'torch') "
            f"makes a backend of it, or 'tensorflow' in place of 'torch'; {_PAGE}"
        )
    if not isinstance(getattr(backend, "name", None), str):
        raise InvalidInputError(f"backend {name!r} has no name that is a string; {_PAGE}")
    for call, takes in _CALLS.items():
        _require(f"backend {name!r}", backend, call, takes)
    checked: Backend = backend
    return checked


def checked_prepared(backend: Backend, prepared: Any) -> Any:
    """``prepared``; raises InvalidInputError where it has no `run`."""
    what = f"backend {backend.name!r}: what prepare returned ({type(prepared).__name__})"
    if not _can(prepared, "run") and _can(prepared, "explain"):
        raise InvalidInputError(
            f"{what} has explain and no run: write run(x, method, target, layers), which returns "
            f"harness.backends.Arrays in place of a Trace, and step in place of propagate; {_PAGE}"
        )
    _require(what, prepared, "run", ("x", "method", "target", "layers"))
    return prepared


def _can(thing: Any, call: str) -> bool:
    return callable(getattr(thing, call, None))


def _require(what: str, thing: Any, call: str, takes: tuple[str, ...]) -> None:
    if not _can(thing, call):
        raise InvalidInputError(f"{what} has no method {call!r}; {_PAGE}")
    called: Callable[..., Any] = getattr(thing, call)
    try:
        signature = inspect.signature(called)
    except (TypeError, ValueError):  # a call that cannot say what it takes
        return
    try:
        signature.bind(*takes)
    except TypeError:
        inner = f"({', '.join(signature.parameters)})"
        raise InvalidInputError(
            f"{what}: {call} takes {inner}, expected ({', '.join(takes)}); {_PAGE}"
        ) from None
