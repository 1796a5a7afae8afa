"""What a library answered, kept on disk: a certification is repeated without asking it again."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from harness.backends import Backend, Prepared
from harness.errors import ModelSourceError, PeerError, UnsupportedMethodError
from harness.files import array_digest, json_digest, write_json
from harness.methods import Method, slug, to_json
from harness.trace import Trace, load_trace


@dataclass(frozen=True, eq=False)
class Answer:
    """A trace, or why there is none. ``late``: the library was stopped at its limit of ``seconds``.

    ``digest`` changes with the answer. ``reused``: it was on disk. ``current``: by the present adapter.
    """

    trace: Trace | None
    message: str
    late: bool
    seconds: float
    digest: str
    reused: bool
    current: bool = True


class Recordings:
    """Answers of one library, under ``folder``/library/model/method-key.

    The key is made of the model, the input, the method's name and procedure, the target and the versions of
    the library and its framework. An answer that an earlier state of the adapter recorded is asked for again,
    unless ``trust``. One that came too late is asked for again where ``limit_s`` is now higher, a failure where
    ``retry``. With ``kept_only`` the library is not asked at all.
    """

    def __init__(
        self,
        folder: Path,
        backend: Backend,
        limit_s: float,
        trust: bool = False,
        retry: bool = False,
        kept_only: bool = False,
    ) -> None:
        self._folder = folder / backend.name
        self._backend = backend
        self._limit_s = limit_s
        self._trust = trust
        self._retry = retry
        self._kept_only = kept_only
        self._prepared: tuple[Any, Prepared] | None = None
        self.versions = backend.version()

    def answer(self, model: Any, x: np.ndarray, method: Method, target: np.ndarray) -> Answer | None:
        """The library's answer, kept or fresh; None where it is not kept and the library may not be asked."""
        path = self._path(model, x, method, target)
        kept = self._kept(path, method)
        if kept is not None:
            return kept
        if self._kept_only:
            return None
        started = time.perf_counter()
        try:
            trace = self._asked_twice(model, x, method, target)
        except (PeerError, UnsupportedMethodError) as error:
            seconds = time.perf_counter() - started
            facts = {
                "message": str(error),
                "late": isinstance(error, PeerError) and seconds >= self._limit_s,
                "seconds": seconds,
                "limit_s": self._limit_s,
                "source": self.versions.get("source"),
            }
            write_json(_failure_path(path), facts)
            return _failed(facts, reused=False, current=True)
        trace.provenance["seconds"] = time.perf_counter() - started
        trace.save(path)
        return _came(trace, reused=False, current=True)

    def _asked_twice(self, model: Any, x: np.ndarray, method: Method, target: np.ndarray) -> Trace:
        """The library's answer; asked again where it fails before its limit, for a process may die by chance."""
        started = time.perf_counter()
        prepared = self._prepare(model)
        try:
            return prepared.explain(x, method, target)
        except PeerError:
            if time.perf_counter() - started >= self._limit_s:
                raise
            return prepared.explain(x, method, target)

    def _prepare(self, model: Any) -> Prepared:
        if self._prepared is None or self._prepared[0] is not model:
            self._prepared = (model, self._backend.prepare(model, "float32"))
        return self._prepared[1]

    def _path(self, model: Any, x: np.ndarray, method: Method, target: np.ndarray) -> Path:
        key = json_digest(
            {
                "model": model.digest,
                "input": array_digest(x),
                "target": target.tolist(),
                # The library goes by the name; how we read it may change without its answer changing.
                "method": [method.name, to_json(method.procedure)],
                "versions": {name: value for name, value in self.versions.items() if name != "source"},
            }
        )
        return self._folder / model.name / f"{slug(method.name)}-{key[:16]}.safetensors"

    def _kept(self, path: Path, method: Method) -> Answer | None:
        """The answer on disk, if it still counts."""
        try:
            facts = json.loads(_failure_path(path).read_text(encoding="utf-8"))
        except (OSError, json.JSONDecodeError):
            facts = None
        if facts is not None:
            current = facts["source"] == self.versions.get("source")
            again = facts["limit_s"] < self._limit_s if facts["late"] else self._retry
            if (current or self._trust) and not again:
                return _failed(facts, reused=True, current=current)
            _failure_path(path).unlink()
            return None
        try:
            trace = replace(load_trace(path), method=method)
        except ModelSourceError:
            return None
        current = trace.provenance["versions"].get("source") == self.versions.get("source")
        return _came(trace, reused=True, current=current) if current or self._trust else None


def _failure_path(path: Path) -> Path:
    return path.with_suffix(".failure.json")


def _failed(facts: dict[str, Any], reused: bool, current: bool) -> Answer:
    return Answer(
        None, facts["message"], facts["late"], facts["seconds"], json_digest(facts), reused, current
    )


def _came(trace: Trace, reused: bool, current: bool) -> Answer:
    digest = json_digest([array_digest(trace.attribution), array_digest(trace.logits), trace.provenance])
    return Answer(trace, "", False, trace.provenance["seconds"], digest, reused, current)
