"""Where a model comes from: the zoo, a file, a torch module of a file of the user's, or a pair ported by hand."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.api import as_model, list_models, load_model, load_pair
from harness.backends import is_user_file
from harness.backends.user_file import from_file, modules_of
from harness.checks import GivenInput
from harness.errors import InvalidInputError, ModelSourceError, UnknownNameError
from harness.files import json_digest


@dataclass(frozen=True)
class Source:
    """``model``: zoo name, file, or FILE.py:NAME of a torch module. ``keras`` and ``torch``: the two of a pair."""

    model: str = ""
    keras: str = ""
    torch: str = ""

    @property
    def words(self) -> str:
        return self.model or f"{self.keras} with {self.torch}"

    @property
    def needs_example(self) -> bool:
        return is_user_file(self.model)

    @property
    def code(self) -> str:
        """The user's file that is run, FILE.py:NAME; empty where none is."""
        return self.torch or (self.model if self.needs_example else "")

    def check(self) -> None:
        """Raise UnknownNameError for no zoo name, InvalidInputError for a torch side that names no object."""
        name = self.model
        if name and not Path(name).suffix and not Path(name).exists() and name not in list_models():
            raise UnknownNameError("model", name, list_models(), "See: xai-harness models")
        if self.torch and not is_user_file(self.torch):
            raise InvalidInputError(
                f"--model-torch is {self.torch!r}, expected FILE.py:NAME of a torch module or of what makes one"
            )

    def load(self, example: GivenInput | None = None) -> Any:
        """The model. ``example``: an input, for a torch module, which does not know its own; a pair is compared on it.

        An ONNX file that leaves sizes open takes them from it. Raises what `harness.load_model` and
        `harness.load_pair` raise, and InvalidInputError for a torch module without an example.
        """
        if not self.model:
            return load_pair(self.keras, object_of_file(self.torch), example=example)
        if not self.needs_example:
            open_sizes = example is not None and Path(self.model).suffix.lower() == ".onnx"
            return load_model(self.model, example=example) if open_sizes else as_model(self.model)
        if example is None:
            raise InvalidInputError(
                f"{self.model}: a torch module does not know its input; pass one with --input FILE.npy (of several "
                "inputs FILE.npz, an array for each by the name that forward has)"
            )
        name = self.model.rpartition(":")[2]
        return load_model(object_of_file(self.model), name=name, example=example)

    def facts(self) -> dict[str, Any]:
        """What a golden says of it: kind, names, and the digests of files, those of the user's modules included."""
        if not self.model:
            return {"kind": "pair", "keras": _file_facts(self.keras), "torch": _file_facts(self.torch)}
        if self.model in list_models():
            return {"kind": "zoo", "name": self.model}
        return {"kind": "torch" if self.needs_example else "file", **_file_facts(self.model)}

    def code_digest(self) -> str:
        """A digest of the user's code that has made this model since it was loaded; empty where none has."""
        return json_digest(_modules(self.code)) if self.code else ""


def object_of_file(name: str) -> Any:
    """``NAME`` of ``FILE.py``, or what ``NAME()`` returns where that is a function or a class. The file is run.

    Raises HarnessError where there is no such file or name, and for whatever the file raises.
    """

    def made(value: Any) -> Any:
        # A module is called too, but with an input; a class or function is what makes one.
        return value() if isinstance(value, type) or type(value).__name__ == "function" else value

    return from_file(name, "model", made)


def _file_facts(name: str) -> dict[str, Any]:
    file, _, attribute = name.rpartition(":") if is_user_file(name) else (name, "", "")
    facts: dict[str, Any] = {"file": file, "sha256": _sha256(Path(file))}
    if attribute:
        facts["object"] = attribute
    modules = _modules(name) if attribute else {}
    return facts | ({"modules": modules} if len(modules) > 1 else {})


def _modules(name: str) -> Mapping[str, str]:
    """By name, the sha256 of the file that ``FILE.py:NAME`` stands in and of each of the user's that it imported."""
    return {module: _sha256(path) for module, path in sorted(modules_of(name).items())}


def _sha256(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ModelSourceError(f"{path} cannot be read ({error.strerror}); check the path") from None
