"""Results that are kept between runs, one JSON line each, so that an interrupted run continues."""

from __future__ import annotations

import hashlib
import json
import os
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import platformdirs

import harness
from evidence.planted_bugs.run import Result
from harness.files import json_digest, source_digest
from harness.peers import CACHE_VARIABLE

#: The packages whose code a diagnosis depends on; of `harness` itself, its modules beside these.
_PACKAGES = (
    "harness.backends",
    "harness.comparison",
    "harness.diagnosis",
    "harness.methods",
    "harness.runner",
    "harness.trace",
    "reference_impls",
    "ported_impls",
    "ported_models",
)
#: Modules of `evidence.planted_bugs` that make a result; the others choose, score and show them.
_RUNNING = ("collection.py", "healthy.py", "mutant.py", "run.py")
#: Modules of `harness` that change no result.
_SHOWING = ("doctor.py", "peers.py", "terminal.py")
_LIBRARIES = ("keras", "numpy", "tensorflow", "torch", "zennit")


class Store:
    """What is known of cases under the present code; other code, another file.

    ``folder``: the user's cache if left out (the variable XAI_HARNESS_CACHE names another).
    """

    def __init__(self, folder: Path | None = None) -> None:
        folder = folder or _cache() / "mutants"
        self.path = folder / f"{code_digest()[:16]}.jsonl"
        self._results: dict[str, Result] = {}
        self._half = False
        if self.path.is_file():
            text = self.path.read_text(encoding="utf-8")
            self._half = bool(text) and not text.endswith("\n")
            for line in text.splitlines():
                try:
                    entry = json.loads(line)
                    self._results[entry["key"]] = Result.from_json(entry["result"])
                except (ValueError, KeyError, TypeError):
                    continue  # the half line of a run that was killed

    def get(self, key: str) -> Result | None:
        return self._results.get(key)

    def add(self, key: str, label: str, result: Result) -> None:
        """Keep ``result``; it is on the disk when this returns."""
        self._results[key] = result
        self.path.parent.mkdir(parents=True, exist_ok=True)
        line = json.dumps({"key": key, "case": label, "result": result.as_json()})
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(("\n" if self._half else "") + line + "\n")
            file.flush()
            os.fsync(file.fileno())
        self._half = False


def key_of(mutant: str, digest: str, model: str, method: str, dtype: str) -> str:
    """What a result is kept under, beside the code of the harness; ``digest``: of the mutant's own code."""
    return json_digest([mutant, digest, model, method, dtype])


def code_digest() -> str:
    """sha256 (hex) over the code that a diagnosis runs through, and the versions of the libraries."""
    digest = hashlib.sha256("".join(source_digest(package) for package in _PACKAGES).encode())
    for path in sorted(Path(harness.__file__ or "").parent.glob("*.py")):
        if path.name not in _SHOWING and not path.name.endswith("cli.py"):
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
    for name in _RUNNING:
        digest.update(name.encode() + b"\0" + Path(__file__).with_name(name).read_bytes())
    digest.update(json.dumps({name: _version(name) for name in _LIBRARIES}).encode())
    return digest.hexdigest()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _cache() -> Path:
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(chosen).expanduser().absolute()
    return Path(platformdirs.user_cache_path("xai-harness", appauthor=False))
