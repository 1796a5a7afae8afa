"""A candidate's file, run again at every save: what is found now, beside what was found before."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError, MissingFrameworkError, described, is_interrupt

if TYPE_CHECKING:
    from harness.backends import Backend
    from harness.backends.candidate import WorkerBackend

#: Milliseconds without a further change after which a save is over; an editor may write a file in several steps.
_QUIET_MS = 50


@dataclass(frozen=True)
class Seen:
    """What one run of the case has shown.

    ``verdict``: that of the comparison; "error" where the candidate could not be run, and ``message`` says why.
    ``findings``: by place (layer and stage), the cause and what is done differently. ``seconds``: from the save on.
    """

    verdict: str
    passed: bool
    findings: dict[str, str] = field(default_factory=dict)
    message: str = ""
    seconds: float = 0.0

    def beside(self, before: Seen | None) -> list[dict[str, str]]:
        """A row a place where something is found now or was before: ``layer``, ``before``, ``now``."""
        earlier = before.findings if before is not None else {}
        places = [*self.findings, *(place for place in earlier if place not in self.findings)]
        gone = "gone" if not self.message else "not run"
        return [
            {
                "layer": place,
                "before": earlier.get(place, "" if before is None else "-"),
                "now": "the same"
                if self.findings.get(place) == earlier.get(place)
                else self.findings.get(place, gone),
            }
            for place in places
        ]


@dataclass
class Watched:
    """A case whose candidate is mended meanwhile. ``spec``: FILE.py:NAME."""

    model: Any
    x: Any
    method: str
    reference: Backend
    spec: str
    dtype: str
    target: int | None
    timeout_s: float
    loaded: bool = False
    _candidate: WorkerBackend | None = None

    def counts(self, path: Path) -> bool:
        """Whether the candidate is made of this file; where it could not be loaded, any beside it may be missing."""
        file = Path(self.spec.rpartition(":")[0]).resolve()
        known = self._candidate.files if self._candidate is not None and self.loaded else ()
        return (
            path == file
            or path in known
            or (not known and path.suffix == ".py" and path.parent == file.parent)
        )

    def close(self) -> None:
        """End the candidate's process."""
        if self._candidate is not None:
            self._candidate.close()

    def look(self, begun: float) -> Seen:
        """Load the file as it is now, run the case, and diagnose it. ``begun``: when the save was, monotonic."""
        from harness.api import explain
        from harness.backends.candidate import WorkerBackend
        from harness.diagnosis import diagnose
        from harness.engine import compare

        self.loaded = False
        try:
            if self._candidate is None:
                self._candidate = WorkerBackend(self.spec, self.timeout_s)
            else:
                self._candidate = self._candidate.reloaded()
            self.loaded = True
            reference = explain(self.model, self.x, self.method, self.reference, self.target, self.dtype)
            candidate = explain(
                self.model, self.x, self.method, self._candidate, reference.target, self.dtype
            )
            comparison = compare(reference, candidate)
            findings: dict[str, str] = {}
            if not comparison.passed:
                diagnosis = diagnose(
                    self.model,
                    self.x,
                    self.method,
                    self.reference,
                    self._candidate,
                    target=self.target,
                    dtype=self.dtype,
                )
                findings = {
                    f"{each.layer or 'the whole run'} ({each.stage})": f"{each.cause}: {each.words}"
                    for each in diagnosis.findings
                }
        except BaseException as error:  # whatever a file that is being mended does is said
            if is_interrupt(error):
                raise
            message = str(error) if isinstance(error, HarnessError) else described(error)
            return Seen("error", False, {}, message, time.monotonic() - begun)
        return Seen(comparison.verdict, comparison.passed, findings, "", time.monotonic() - begun)


def saves(file: Path, counts: Callable[[Path], bool]) -> Generator[float]:
    """When a file in the folder of ``file`` or below that ``counts`` was saved, monotonic; never ends by itself.

    Raises MissingFrameworkError where watchfiles is not installed.
    """
    try:
        from watchfiles import watch
    except ImportError:
        raise MissingFrameworkError("watch") from None

    changes = watch(
        file.resolve().parent,
        watch_filter=lambda _, path: counts(Path(path)),
        debounce=400,
        step=_QUIET_MS,
        raise_interrupt=True,
    )
    with closing(changes):
        for _ in changes:
            yield time.monotonic() - _QUIET_MS / 1000
