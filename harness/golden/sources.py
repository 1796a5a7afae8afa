"""Where the model of a golden comes from: the zoo, a file, a torch module of a file, or a pair of both."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from harness.api import as_model, list_models, load_model, load_pair
from harness.backends import is_user_file
from harness.backends.user_file import from_file
from harness.errors import HarnessError, InvalidInputError, ModelSourceError
from harness.golden.single_layer import HDF5, imported_model


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

    def load(self, example: np.ndarray | None = None) -> Any:
        """The model. ``example``: an input, for a torch module, which does not know its own.

        Raises what `harness.load_model` and `harness.load_pair` raise, and InvalidInputError without an example.
        """
        if not self.model:
            return load_pair(self.keras, object_of_file(self.torch), example=example)
        if not self.needs_example:
            return as_model(self.model)
        if example is None:
            raise InvalidInputError(
                f"{self.model}: a torch module does not know its input; pass one with --input FILE.npy"
            )
        name = self.model.rpartition(":")[2]
        return load_model(object_of_file(self.model), name=name, example=example)

    def facts(self) -> dict[str, Any]:
        """What a golden says of it: kind, names, and the digests of files."""
        if not self.model:
            return {"kind": "pair", "keras": _file_facts(self.keras), "torch": _file_facts(self.torch)}
        if self.model in list_models():
            return {"kind": "zoo", "name": self.model}
        return {"kind": "torch" if self.needs_example else "file", **_file_facts(self.model)}


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
    try:
        digest = hashlib.sha256(Path(file).read_bytes()).hexdigest()
    except OSError as error:
        raise ModelSourceError(f"{file} cannot be read ({error.strerror}); check the path") from None
    return {"file": file, "sha256": digest} | ({"object": attribute} if attribute else {})


@dataclass
class Models:
    """The models of goldens, each loaded once. ``sources``: those that the user named, which alone may run code."""

    sources: tuple[Source, ...] = ()
    _loaded: dict[str, Any] = field(default_factory=dict)
    _given: tuple[Any, ...] = ()

    @classmethod
    def given(cls, models: Iterable[Any]) -> Models:
        """Models that are loaded already."""
        return cls(_given=tuple(models))

    def of(self, model: str, digest: str, source: Mapping[str, Any], x: np.ndarray) -> Any:
        """The model of this digest, from what the user named, else from where the golden says it came from.

        Raises ModelSourceError where it is not to be had; `Stale` where what is there computes something else.
        """
        candidates = [each for each in self._given if each.name == model]
        candidates += [self._load(each, x) for each in self.sources]
        if not any(each.name == model for each in candidates):
            imported = source.get("kind") == HDF5
            candidates.append(
                imported_model(source) if imported else self._load(self._recorded(model, source), x)
            )
        same = next((each for each in candidates if each.digest == digest), None)
        if same is not None:
            return same
        now = next((each.digest for each in candidates if each.name == model), "of another name")
        raise Stale(
            f"recorded with other weights or another graph of {model} (digest {digest[:12]}, now {now[:12]}); "
            "if that change was meant, remove it with: xai-harness golden prune --stale, and record it again"
        )

    def _load(self, source: Source, x: np.ndarray) -> Any:
        if source.words not in self._loaded:
            self._loaded[source.words] = source.load(x if source.needs_example or not source.model else None)
        return self._loaded[source.words]

    def _recorded(self, model: str, source: Mapping[str, Any]) -> Source:
        kind = source.get("kind")
        if kind == "zoo":
            return Source(str(source["name"]))
        if kind == "file":
            if not Path(source["file"]).is_file():
                raise ModelSourceError(
                    f"was recorded on the file {source['file']}, which is not there; name it with --model FILE"
                )
            return Source(str(source["file"]))
        if kind == "torch":
            raise ModelSourceError(
                f"was recorded on the torch module {source['file']}:{source['object']}, which is code and is run only "
                "where it is named: --model FILE.py:NAME"
            )
        if kind == "pair":
            raise ModelSourceError(
                "was recorded on a pair, whose torch side is code and is run only where it is named: "
                "--model-keras FILE --model-torch FILE.py:NAME"
            )
        if kind == "object" and model not in list_models():
            raise ModelSourceError(
                "was recorded by a test on a model that the test made; run that test, or name the model's file: "
                "--model FILE"
            )
        return Source(model)


class Stale(HarnessError):
    """What a golden was recorded with is another by now."""
