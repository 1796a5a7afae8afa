"""``FILE.py:NAME``: a backend in a Python file of the user's own. The file is run."""

from __future__ import annotations

import hashlib
import os
import sys
import sysconfig
from collections.abc import Callable
from importlib.machinery import (
    BYTECODE_SUFFIXES,
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    SourceFileLoader,
    SourcelessFileLoader,
)
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, TypeVar

from harness.backends.contract import checked_backend
from harness.errors import HarnessError, described, is_interrupt

T = TypeVar("T")
#: This project's packages: they change when it is installed anew.
_OWN = ("harness", "reference_impls", "ported_impls", "ported_models")
#: By file of the user's, the modules that were imported while it was loaded.
_imported: dict[Path, set[str]] = {}


def is_user_file(name: Any) -> bool:
    """Whether ``name`` is of the form ``FILE.py:NAME``."""
    return isinstance(name, str) and ".py:" in name


def backend_of_file(name: str) -> Any:
    """The backend ``NAME`` of ``FILE.py``, or what ``NAME()`` returns. The file is run anew for every call.

    Raises HarnessError where there is no such file or name, for whatever the file raises while it is run
    (`sys.exit()` too), and for an object that does not keep to `harness.backends.Backend`.
    """

    def made(value: Any) -> Any:
        # A class, or a function that makes a backend; a backend has these calls itself.
        made_backend = value if hasattr(value, "prepare") and not isinstance(value, type) else value()
        return checked_backend(name, made_backend)

    return from_file(name, "backend", made)


def from_file(name: str, what: str, made: Callable[[Any], T]) -> T:
    """``made`` of the object ``NAME`` of ``FILE.py``; ``what`` it is, for messages. The file is run anew.

    The modules beside it are found, as a script finds them, and are imported anew as well. Raises HarnessError where
    there is no such file or name, and for whatever file or ``made`` raise.
    """
    file, _, attribute = name.rpartition(":")
    path = Path(file)
    if not path.is_file():
        raise HarnessError(f"{what} {name!r}: there is no file {file}")
    folder = str(path.resolve().parent)
    for earlier in _imported:
        for name_of_module, its_file in _users_modules(earlier).items():
            if its_file != earlier:
                del sys.modules[name_of_module]
    sys.path.insert(0, folder)
    before = set(sys.modules)
    try:
        module = _run(path.resolve())
        if not hasattr(module, attribute):
            raise HarnessError(f"{what} {name!r}: {file} defines no {attribute!r}")
        return made(getattr(module, attribute))
    except HarnessError:
        raise
    except BaseException as error:  # the file is the user's; whatever it raises is said in one line
        if is_interrupt(error):
            raise
        raise HarnessError(f"{what} {name!r} cannot be loaded: {described(error)}") from error
    finally:
        _imported[path.resolve()] = set(sys.modules) - before
        sys.path.remove(folder)
        if folder not in sys.path:  # what is imported later is found too, but hides nothing
            sys.path.append(folder)


def modules_of(name: str) -> dict[str, Path]:
    """By name, the file of ``FILE.py:NAME`` and those of every module of the user's that loading it has imported."""
    path = Path(name.rpartition(":")[0]).resolve()
    files = _users_modules(path)
    return {path.name: path, **{module: file for module, file in files.items() if file != path}}


def _users_modules(path: Path) -> dict[str, Path]:
    """By name, the files of the modules that loading ``path`` has imported and that are not installed."""
    installed = _installed()
    files = {module: getattr(sys.modules.get(module), "__file__", None) for module in _imported.get(path, ())}
    return {
        module: Path(file).resolve()
        for module, file in files.items()
        if file and Path(file).is_file() and not os.path.realpath(file).startswith(installed)
    }


def _installed() -> tuple[str, ...]:
    """The folders of what is installed, this project included."""
    here = Path(__file__).parents[2]
    places = (*set(sysconfig.get_paths().values()), *(str(here / name) for name in _OWN))
    return tuple(os.path.realpath(each) + os.sep for each in places)


def _run(path: Path) -> ModuleType:
    """The file as a module, under a name that no other module has."""
    spec = spec_from_file_location(f"user_file_{hashlib.sha256(bytes(path)).hexdigest()[:12]}", path)
    assert spec is not None
    module = module_from_spec(spec)
    sys.modules[module.__name__] = module  # dataclasses look their module up there
    # Not through the loader: its bytecode cache does not see a change within a second that keeps the size.
    exec(compile(path.read_bytes(), str(path), "exec"), module.__dict__)
    return module


class _FromSource(SourceFileLoader):
    """Compiles a module anew: bytecode does not see a change within a second that keeps the size."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        code: CodeType = compile(self.get_data(path), path, "exec", dont_inherit=True)
        return code


def import_from_sources() -> None:
    """From now on, in this process, every module that is not installed is compiled from its source."""
    places = _installed()

    def finder(path: str) -> FileFinder:
        if not os.path.isdir(path) or (os.path.realpath(path) + os.sep).startswith(places):
            raise ImportError(f"{path} is no folder of the user's own")  # the next finder is asked
        return FileFinder(
            path,
            (ExtensionFileLoader, EXTENSION_SUFFIXES),
            (_FromSource, SOURCE_SUFFIXES),
            (SourcelessFileLoader, BYTECODE_SUFFIXES),
        )

    sys.path_hooks.insert(0, finder)
    sys.path_importer_cache.clear()
