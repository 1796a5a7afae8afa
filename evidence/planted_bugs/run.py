"""One mutant on one model with one method: diagnosed: the findings, beside those that are expected."""

from __future__ import annotations

import difflib
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from typing import Any

from evidence.planted_bugs.collection import Collection
from evidence.planted_bugs.mutant import Expected, Mutant
from harness.errors import HarnessError, MethodDoesNotApplyError, UnknownNameError
from harness.methods import method as method_named


@dataclass(frozen=True, eq=False)
class Case:
    """``expected``: what a diagnosis of it must find; empty for a healthy port."""

    mutant: str
    model: str
    method: str
    expected: tuple[Expected, ...]
    hard: bool = False
    first_seen: bool = False

    @property
    def label(self) -> str:
        return f"{self.mutant} / {self.model} / {self.method}"


@dataclass(frozen=True)
class Finding:
    """A finding, as plain values. ``layers``: all that it is about; empty where it is about the whole run.

    ``or_causes``: other names that explain it equally well, of whatever stage.
    """

    stage: str
    layers: tuple[str, ...]
    cause: str
    sentence: str
    first_seen: bool
    or_causes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Result:
    """The findings of a diagnosis, or the ``error`` that ended it. ``seconds``: of the diagnosis alone.

    ``left``: how far the whole case is from the candidate with all causes applied; None where no such run was made.
    ``complete``: whether rounding explains that.
    """

    findings: tuple[Finding, ...]
    seconds: float
    error: str | None = None
    left: float | None = None
    complete: bool = True

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Result:
        lists = ("layers", "or_causes")
        findings = tuple(
            Finding(**{**each, **{name: tuple(each[name]) for name in lists}}) for each in value["findings"]
        )
        return cls(findings, value["seconds"], value["error"], value["left"], value["complete"])


def cases(collection: Collection, patterns: Sequence[str] = (), models: Sequence[str] = ()) -> Iterator[Case]:
    """The cases of the mutants whose names match any glob, model by model; all mutants for no glob.

    ``models``: restricts them. Raises UnknownNameError for a glob that matches nothing.
    """
    chosen = _matching(collection.mutants, patterns)
    named = list(dict.fromkeys(name for mutant in chosen for name in mutant.models))
    for model in (name for name in named if not models or name in models):
        for mutant in chosen:
            if model not in mutant.models:
                continue
            for method in mutant.methods:
                case = case_of(collection, mutant, model, method)
                if case is not None:
                    yield case


def _matching(mutants: Sequence[Mutant], patterns: Sequence[str]) -> list[Mutant]:
    for pattern in patterns:
        if not any(fnmatchcase(mutant.name, pattern) for mutant in mutants):
            names = [mutant.name for mutant in mutants]
            near = difflib.get_close_matches(pattern, names, cutoff=0.4)  # all of them would be a page
            raise UnknownNameError(
                "mutant", pattern, near, f"({len(names)} are listed in reports/mutants.md)"
            )
    return [
        mutant
        for mutant in mutants
        if not patterns or any(fnmatchcase(mutant.name, pattern) for pattern in patterns)
    ]


def case_of(collection: Collection, mutant: Mutant, model: str, method: str) -> Case | None:
    """None where the method, or one of the faults, does not apply to the model."""
    graph, resolved = collection.model(model).graph, method_named(method)
    try:
        resolved.check(graph)
    except MethodDoesNotApplyError:
        return None
    expected = tuple(fault.at(graph, resolved) for fault in mutant.faults)
    if any(each.layers == () for each in expected):
        return None
    return Case(mutant.name, model, method, expected, mutant.hard, mutant.first_seen)


def run_case(collection: Collection, case: Case) -> Result:
    """Diagnose the mutant of ``case``."""
    mutant = collection.named(case.mutant)
    model = collection.model(case.model)
    return diagnosed(model, input_of(mutant, model), case.method, mutant.build(), mutant.dtype)


def input_of(mutant: Mutant, model: Any) -> Any:
    """The input that ``mutant`` is tried on, (batch, *input shape)."""
    from harness.runner import chosen_input

    return mutant.x(model) if mutant.x is not None else chosen_input(model, None)[0]


def diagnosed(model: Any, x: Any, method: str, candidate: Any, dtype: str) -> Result:
    """Diagnose ``candidate`` against the reference; a diagnosis that raises, or warns of its own, is a result too."""
    from harness.diagnosis import diagnose
    from harness.diagnosis.search import SkippedReadingWarning

    start = time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", SkippedReadingWarning)
            diagnosis = diagnose(model, x, method, candidate=candidate, dtype=dtype)
    except HarnessError as error:
        return Result((), time.perf_counter() - start, f"{type(error).__name__}: {error}")
    except Exception as error:  # an error of the diagnosis itself must not end a run of hours
        return Result((), time.perf_counter() - start, f"{type(error).__name__}: {error}")
    findings = tuple(
        Finding(
            stage=each.stage,
            layers=(() if each.layer is None else (each.layer, *each.also)),
            cause=each.cause,
            sentence=each.sentence,
            first_seen=each.first_seen,
            or_causes=each.or_causes,
        )
        for each in diagnosis.findings
    )
    seconds = time.perf_counter() - start
    return Result(findings, seconds, left=diagnosis.left, complete=diagnosis.complete)
