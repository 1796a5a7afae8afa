"""The models of goldens: from what the user named, else from where the golden says that it came from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.api import list_models
from harness.checks import GivenInput
from harness.errors import HarnessError, ModelSourceError
from harness.golden.single_layer import HDF5, imported_model
from harness.model_sources import Source


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

    def of(self, model: str, digest: str, source: Mapping[str, Any], x: GivenInput) -> Any:
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

    def _load(self, source: Source, x: GivenInput) -> Any:
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
