"""Backends and model sources by name: registered in code, or found as entry points and loaded when first used."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, NamedTuple

from harness.backends.contract import checked_backend
from harness.backends.protocol import Backend
from harness.backends.user_file import backend_of_file, is_user_file
from harness.errors import HarnessError, InvalidInputError, UnknownNameError
from harness.methods import Method

_BACKENDS = "xai_harness.backends"
_MODELS = "xai_harness.models"
_ADAPTERS = "xai_harness.adapters"

#: What `register_backend` was given, and the backends of installed packages that were asked for.
_registered: dict[str, Backend] = {}
_installed: dict[str, Backend] = {}


@cache
def _plugins(group: str) -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=group)}


def register_backend(name: str, backend: Backend) -> None:
    """Make ``backend`` available as ``name``; a name that is taken is replaced.

    Raises InvalidInputError where the object does not keep to `harness.backends.Backend`.
    """
    _registered[name] = checked_backend(name, backend)


#: What runs where no backend is named: the reference, the candidate, and the one that is asked for deviations and
#: denominators.
REFERENCE, CANDIDATE, ORACLE = "tensorflow", "torch", "oracle"


class Defaults(NamedTuple):
    """The backends of a method where none is named."""

    reference: str = REFERENCE
    candidate: str = CANDIDATE
    oracle: str = ORACLE


#: Of families that have their own.
_OF_FAMILIES = {"backtrace": Defaults("backtrace-numpy", "backtrace-torch", "backtrace-numpy")}


def defaults_of(method: Method) -> Defaults:
    """The reference, the candidate and the oracle of the family of ``method``."""
    return _OF_FAMILIES.get(method.family, Defaults())


def defaults_of_all(methods: Iterable[Method]) -> Defaults:
    """Those of ``methods``. Raises InvalidInputError where they are of several families."""
    sides = {defaults_of(method): method.name for method in methods}
    if len(sides) > 1:
        one, other = list(sides.values())[:2]
        raise InvalidInputError(
            f"{one} and {other} have other backends; run them apart, or name --reference and --candidate"
        )
    return next(iter(sides), Defaults())


def backend_named(name: str | Backend) -> Backend:
    """The backend of a name, loaded on first use; a backend object is returned as it is, once checked.

    ``FILE.py:NAME`` is the backend ``NAME`` of a Python file of one's own, or what ``NAME()`` returns; such a
    file is run every time it is named, so that what is returned is what it holds now.
    """
    if not isinstance(name, str):
        return checked_backend(str(getattr(name, "name", type(name).__name__)), name)
    if name in _registered:
        return _registered[name]
    if is_user_file(name):
        backend: Backend = backend_of_file(name)
        return backend
    if name not in _installed:
        plugins = _plugins(_BACKENDS)
        if name not in plugins:
            raise UnknownNameError("backend", name, list_backends(), "See: xai-harness backends")
        try:
            _installed[name] = checked_backend(name, plugins[name].load()())
        except HarnessError:
            raise
        except Exception as error:  # a plugin is other people's code; whatever it raises is its fault
            raise HarnessError(
                f"backend {name!r} ({plugins[name].value}) cannot be loaded: {type(error).__name__}: {error}"
            ) from error
    return _installed[name]


def installed_name(backend: Backend) -> str | None:
    """The name under which an installed package declares ``backend``; None for code of the user's own."""
    return next((name for name, each in _installed.items() if backend is each), None)


def packages_of(backend: Backend) -> set[str]:
    """The top-level packages that declare ``backend`` and that it is an object of."""
    name = installed_name(backend)
    declared = () if name is None else (_plugins(_BACKENDS)[name].module,)
    return {module.partition(".")[0] for module in (type(backend).__module__, *declared)}


def is_installed(backend: Backend) -> bool:
    """Whether ``backend`` comes from an installed package, and not from code of the user's own."""
    return installed_name(backend) is not None


def list_backends() -> list[str]:
    """Names of all registered and installed backends, sorted."""
    return sorted({*_registered, *_plugins(_BACKENDS)})


def model_plugin(name: str) -> Any:
    """A function of the installed model package (``load_model``, ``load_pair``, ``zoo``)."""
    return _load(_MODELS, name, "ported_models")


def adapter_plugin(name: str) -> Any:
    """A function that makes a backend of something else (``composite``, ``function``)."""
    return _load(_ADAPTERS, name, "ported_impls")


def _load(group: str, name: str, package: str) -> Any:
    plugins = _plugins(group)
    if name not in plugins:
        raise HarnessError(f"{package} is not installed; install the project with: pip install -e .")
    return plugins[name].load()
