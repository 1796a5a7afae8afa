"""Backends and model sources by name: registered in code, or found as entry points and loaded when first used."""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from harness.backends.protocol import Backend
from harness.errors import HarnessError, InvalidInputError, UnknownNameError

_BACKENDS = "xai_harness.backends"
_MODELS = "xai_harness.models"
_ADAPTERS = "xai_harness.adapters"

_registered: dict[str, Backend] = {}


@cache
def _plugins(group: str) -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=group)}


def register_backend(name: str, backend: Backend) -> None:
    """Make ``backend`` available as ``name``; a name that is taken is replaced.

    Raises InvalidInputError where the object lacks one of `version`, `supports` and `prepare`.
    """
    missing = [
        call for call in ("version", "supports", "prepare") if not callable(getattr(backend, call, None))
    ]
    if missing:
        raise InvalidInputError(
            f"backend {name!r} has no method {missing[0]!r}; see harness.backends.Backend"
        )
    _registered[name] = backend


def backend_named(name: str | Backend) -> Backend:
    """The backend of a name, loaded on first use; a backend object is returned as it is.

    ``FILE.py:NAME`` is the backend ``NAME`` of a Python file of one's own, or what ``NAME()`` returns.
    """
    if not isinstance(name, str):
        return name
    if name not in _registered and ".py:" in name:
        register_backend(name, _from_file(name))
    if name not in _registered:
        plugins = _plugins(_BACKENDS)
        if name not in plugins:
            raise UnknownNameError("backend", name, list_backends(), "See: xai-harness backends")
        try:
            _registered[name] = plugins[name].load()()
        except HarnessError:
            raise
        except Exception as error:  # a plugin is other people's code; whatever it raises is its fault
            raise HarnessError(
                f"backend {name!r} ({plugins[name].value}) cannot be loaded: {type(error).__name__}: {error}"
            ) from error
    return _registered[name]


def _from_file(name: str) -> Backend:
    """The backend ``NAME`` of ``FILE.py``; the file is run. Raises HarnessError."""
    file, _, attribute = name.rpartition(":")
    path = Path(file)
    if not path.is_file():
        raise HarnessError(f"backend {name!r}: there is no file {file}")
    spec = spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        found = getattr(module, attribute)
        # A class, or a function that makes a backend; a backend has these calls itself.
        backend: Backend = found if hasattr(found, "prepare") and not isinstance(found, type) else found()
    except AttributeError as error:
        raise HarnessError(f"backend {name!r}: {error}") from error
    except Exception as error:  # the file is the user's; whatever it raises is said in one line
        raise HarnessError(f"backend {name!r} cannot be loaded: {type(error).__name__}: {error}") from error
    return backend


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
