"""The mutants of a folder: every module of it that has a tuple ``MUTANTS``."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from evidence.planted_bugs.mutant import Mutant
from harness.api import load_model
from harness.errors import HarnessError, UnknownNameError


@dataclass(frozen=True, eq=False)
class Collection:
    """The mutants of a folder, in the order of its modules' names.

    ``networks``: by name, functions that make the small networks of the folder. ``digests``: by mutant, the
    sha256 of its module and of all other modules in and below the folder that hold no mutants.
    """

    folder: Path
    mutants: tuple[Mutant, ...]
    networks: Mapping[str, Callable[[], Any]]
    digests: Mapping[str, str]
    _loaded: dict[str, Any] = field(default_factory=dict, repr=False)

    def model(self, name: str) -> Any:
        """The network of the folder, or the model of the zoo, that has this name; the last one is kept.

        Raises what `harness.load_model` raises.
        """
        if name not in self._loaded:
            self._loaded.clear()  # twins of several large networks would not fit into memory side by side
            self._loaded[name] = self.networks[name]() if name in self.networks else load_model(name)
        return self._loaded[name]

    def named(self, name: str) -> Mutant:
        """Raises UnknownNameError."""
        by_name = {mutant.name: mutant for mutant in self.mutants}
        if name not in by_name:
            raise UnknownNameError("mutant", name, by_name)
        return by_name[name]


def collect(folder: Path | str) -> Collection:
    """Import the modules of ``folder`` as one package and gather their mutants.

    A module ``networks`` may have ``NETWORKS``, functions by name that make models. Test modules are left
    alone. Raises HarnessError for a folder without mutants and for two mutants of one name.
    """
    folder = Path(folder).resolve()
    if not folder.is_dir():
        raise HarnessError(f"{folder}: no such folder; name the one with the mutants by --folder")
    modules = _modules(folder)
    own = {folder / f"{name}.py" for name, module in modules.items() if hasattr(module, "MUTANTS")}
    shared = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        if path not in own and not path.name.startswith("test_"):
            shared.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    mutants: dict[str, Mutant] = {}
    digests: dict[str, str] = {}
    for name, module in modules.items():
        for mutant in getattr(module, "MUTANTS", ()):
            if mutant.name in mutants:
                raise HarnessError(f"{folder}: two mutants have the name {mutant.name!r}; rename one")
            mutants[mutant.name] = mutant
            digests[mutant.name] = hashlib.sha256(
                shared.digest() + (folder / f"{name}.py").read_bytes()
            ).hexdigest()
    if not mutants:
        raise HarnessError(
            f"{folder}: no module there has a tuple MUTANTS; see evidence/planted_bugs/README.md"
        )
    networks = getattr(modules.get("networks"), "NETWORKS", {})
    return Collection(folder, tuple(mutants.values()), networks, digests)


def _modules(folder: Path) -> dict[str, ModuleType]:
    """The modules of the folder by name, imported as a package whose name is its own."""
    package = f"mutants_{hashlib.sha256(str(folder).encode()).hexdigest()[:12]}"
    if package not in sys.modules:
        parent = ModuleType(package)
        parent.__path__ = [str(folder)]
        sys.modules[package] = parent
    names = sorted(path.stem for path in folder.glob("*.py") if not path.name.startswith(("test_", "_")))
    try:
        return {name: importlib.import_module(f"{package}.{name}") for name in names}
    except HarnessError:
        raise
    except Exception as error:  # the folder is the user's; whatever its modules raise becomes one line
        raise HarnessError(f"{folder}: cannot be imported: {type(error).__name__}: {error}") from error
