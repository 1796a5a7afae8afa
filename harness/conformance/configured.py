"""What a repository says of its cases in the configuration of pytest: known differences and tolerances, by glob."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from harness.comparison.verdict import Tolerance, tolerance_in
from harness.conformance.known import Known, known_difference
from harness.errors import InvalidInputError


@dataclass(frozen=True)
class Configured:
    """By glob over ids of cases (`digits-cnn-lrp.z-float64`), in the order in which they are written."""

    known: tuple[tuple[str, Known], ...] = ()
    tolerances: tuple[tuple[str, Tolerance], ...] = ()

    def known_of(self, case: str) -> Known | None:
        """The known difference of the case with this id: that of the first glob that matches."""
        return next((each for glob, each in self.known if fnmatchcase(case, glob)), None)

    def tolerance_of(self, case: str) -> Tolerance:
        """What passes in that case beside what rounding explains."""
        return next((each for glob, each in self.tolerances if fnmatchcase(case, glob)), None)


def configured(known: Sequence[str], tolerances: Sequence[str]) -> Configured:
    """What the lines ``GLOB: CAUSE[, CAUSE][: REASON]`` and ``GLOB: close|NUMBER[: REASON]`` say.

    Raises InvalidInputError for another line, UnknownNameError for a cause that is none.
    """
    differences = []
    for glob, causes, reason in _parts(known, "known difference", "GLOB: CAUSE"):
        named = (cause.strip() for cause in causes.split(","))
        differences.append((glob, known_difference(*named, reason=reason)))
    allowed = [
        (glob, tolerance_in(text, f"tolerance of {glob!r}"))
        for glob, text, _ in _parts(tolerances, "tolerance", "GLOB: close, or GLOB: NUMBER")
    ]
    return Configured(tuple(differences), tuple(allowed))


def _parts(lines: Sequence[str], what: str, form: str) -> Iterator[tuple[str, str, str]]:
    for line in lines:
        glob, *rest = (part.strip() for part in line.split(":", 2))
        if not rest:
            raise InvalidInputError(
                f"{what} {line!r}: expected {form}, with a reason behind another colon if there is one"
            )
        yield glob, rest[0], rest[1] if len(rest) > 1 else ""
