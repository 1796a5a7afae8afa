"""Recordings: what a library computed, kept on disk, so that a certification is repeated without running it again."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from harness.backends import Backend
from harness.case import Case
from harness.engine import Engine
from harness.errors import ModelSourceError, PeerError, UnsupportedMethodError
from harness.files import array_digest, json_digest, write_json
from harness.methods import Method, slug, to_json
from harness.trace import Trace, load_trace

#: What the library's versions are kept in, beside its recordings.
_VERSIONS = "versions.json"


@dataclass(frozen=True, eq=False)
class Recording:
    """The trace of one case by a library, or why there is none. ``late``: it was stopped at its limit of ``seconds``.

    ``digest`` changes with what was recorded. ``reused``: it was on disk. ``current``: by the present adapter.
    """

    trace: Trace | None
    message: str
    late: bool
    seconds: float
    digest: str
    reused: bool
    current: bool = True


class Recordings:
    """The recordings of one library, under ``folder``/library/model/method-key.

    The key is made of the model, the input, the method's name and procedure, the target and the versions of
    the library and its framework. One that an earlier state of the adapter made is made again, unless
    ``trust``; one that came too late, where ``limit_s`` is now higher; a failure, where ``retry``. With
    ``kept_only`` the library is not run at all, and need not be installed: its versions are then those that
    `versions.json` in the folder names, of when it was last recorded, and no recording counts as the present
    adapter's.

    Raises PeerError where the library is not installed, but for that.
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
        self._engine = Engine()
        self.versions = self._versions()

    def of(self, model: Any, x: np.ndarray, method: Method, target: np.ndarray) -> Recording | None:
        """The recording of one case, kept or made now; None where it is not kept and the library may not be run."""
        path = self._path(model, x, method, target)
        kept = self._kept(path, method)
        if kept is not None:
            return kept
        if self._kept_only:
            return None
        started = time.perf_counter()
        try:
            trace = self._explained(model, x, method, target)
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
        return _recorded(trace, reused=False, current=True)

    def once(self, model: Any, x: np.ndarray, method: Method, target: np.ndarray) -> Trace | None:
        """The library's trace, which is not kept; None where it may not be run, or fails."""
        if self._kept_only:
            return None
        try:
            return self._explained(model, x, method, target)
        except (PeerError, UnsupportedMethodError):
            return None

    def _versions(self) -> dict[str, str]:
        """The library's, or those in the folder where it is not installed and need not be, without the adapter's."""
        try:
            return self._backend.version()
        except PeerError:
            try:
                there = json.loads((self._folder / _VERSIONS).read_text(encoding="utf-8"))
            except (OSError, json.JSONDecodeError):
                there = None
            if not self._kept_only or there is None:
                raise
            return {name: version for name, version in there.items() if name != "source"}

    def _explained(self, model: Any, x: np.ndarray, method: Method, target: np.ndarray) -> Trace:
        """The library's trace; run again where it fails before its limit, for a process may die by chance."""
        started = time.perf_counter()
        write_json(self._folder / _VERSIONS, self.versions)
        case = Case(model, x, method, target, "float32")
        try:
            return self._engine.run(case, self._backend, again=True, keep=False)
        except PeerError:
            if time.perf_counter() - started >= self._limit_s:
                raise
            return self._engine.run(case, self._backend, again=True, keep=False)

    def _path(self, model: Any, x: np.ndarray, method: Method, target: np.ndarray) -> Path:
        key = json_digest(
            {
                "model": model.digest,
                "input": array_digest(x),
                "target": target.tolist(),
                # The library goes by the name: how the harness reads it may change, and what is recorded does not.
                "method": [method.name, to_json(method.procedure)],
                "versions": {name: value for name, value in self.versions.items() if name != "source"},
            }
        )
        return self._folder / model.name / f"{slug(method.name)}-{key[:16]}.safetensors"

    def _kept(self, path: Path, method: Method) -> Recording | None:
        """The recording on disk, if it still counts."""
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
        return _recorded(trace, reused=True, current=current) if current or self._trust else None


def _failure_path(path: Path) -> Path:
    return path.with_suffix(".failure.json")


def _failed(facts: dict[str, Any], reused: bool, current: bool) -> Recording:
    return Recording(
        None, facts["message"], facts["late"], facts["seconds"], json_digest(facts), reused, current
    )


def _recorded(trace: Trace, reused: bool, current: bool) -> Recording:
    arrays = [trace.attribution, trace.logits]
    for layer in trace.layers.values():
        arrays += [array for array in (layer.activation, layer.relevance) if array is not None]
    digest = json_digest([list(trace.layers), [array_digest(array) for array in arrays], trace.provenance])
    return Recording(trace, "", False, trace.provenance["seconds"], digest, reused, current)
