"""Findings on disk: a case is judged again only where the library's answer or the reference has changed."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from evidence.certification.docket import Trial
from evidence.certification.recordings import Recordings
from evidence.certification.trial import Court, Finding
from harness.backends import Backend
from harness.files import json_digest, source_digest, write_json

#: Seconds between two writes of a trial's findings.
_SAVE_EVERY_S = 10.0
#: The modules of this package that a finding depends on.
_JUDGING = ("measure.py", "reasons.py", "sides.py", "trial.py")


class Kept:
    """The findings of one trial, by name, in one file; written now and then, and when the block ends."""

    def __init__(self, path: Path, key: str) -> None:
        self._path = path
        self._key = key
        self._saved = time.monotonic()
        self._by_name: dict[str, dict[str, object]] = {}
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, json.JSONDecodeError):
            return
        if document.get("key") == key:
            self._by_name = document["findings"]

    def __enter__(self) -> Kept:
        return self

    def __exit__(self, *_: object) -> None:
        self._save()

    def get(self, name: str, answer: str) -> Finding | None:
        """The finding on ``name``, if it was reached on this answer (its digest)."""
        found = self._by_name.get(name)
        return Finding.from_json(found["finding"]) if found and found["answer"] == answer else None  # type: ignore[arg-type]

    def put(self, finding: Finding, answer: str) -> None:
        """Keep ``finding``, reached on ``answer``."""
        self._by_name[finding.method] = {"answer": answer, "finding": finding.to_json()}
        if time.monotonic() - self._saved > _SAVE_EVERY_S:
            self._save()

    def _save(self) -> None:
        write_json(self._path, {"key": self._key, "findings": self._by_name})
        self._saved = time.monotonic()


def hear_all(
    trial: Trial, recordings: Recordings, reference: Backend, versions: Mapping[str, str], folder: Path
) -> Iterator[tuple[Finding, bool]]:
    """The finding on each name of ``trial``, and whether nothing had to be run for it.

    ``versions``: the reference's, as they were when this process began; its source may change while it runs.
    """
    court = Court(trial, reference)
    code = [source_digest(package) for package in ("harness.comparison", "harness.methods", "ported_models")]
    key = json_digest([trial.model.digest, dict(versions), _judging_digest(), *code])
    with Kept(folder / trial.library / f"{trial.model.name}.json", key) as kept:
        for name in trial.names:
            refusal = court.refused(name)
            if refusal is not None:
                yield refusal, False
                continue
            answer = court.ask(name, recordings)
            if answer is None:
                continue
            finding = kept.get(name, answer.digest)
            if finding is None:
                finding = court.judge(name, answer)
                kept.put(finding, answer.digest)
                yield finding, False
            else:
                yield finding, answer.reused


def _judging_digest() -> str:
    digest = hashlib.sha256()
    for name in _JUDGING:
        digest.update((Path(__file__).parent / name).read_bytes())
    return digest.hexdigest()
