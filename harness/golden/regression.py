"""Record goldens from the reference; hold a candidate against them without the reference's framework."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.api import as_model
from harness.backends import Backend, backend_named, is_user_file
from harness.case import Case
from harness.comparison import Comparison, layers_around, verdict_line
from harness.engine import compare, engine, floor_of
from harness.errors import HarnessError, ModelSourceError, described, is_interrupt
from harness.golden.store import load_golden, save_golden
from harness.isolation import isolated_cases
from harness.methods import method

Row = dict[str, Any]


def record(
    root: Path,
    source: Any,
    x: np.ndarray,
    input_name: str,
    methods: Sequence[str],
    reference: str | Backend,
    dtype: str,
) -> Iterator[tuple[str, Path]]:
    """Explain ``x`` by every method through ``reference`` and store each run with its floor; yields as it goes."""
    model, backend = as_model(source), backend_named(reference)
    for name in methods:
        trace = engine().run(Case.checked(model, x, method(name), None, dtype), backend)
        yield name, save_golden(root, trace, floor_of(engine(), trace), input_name)


def verify(path: Path, candidate: str | Backend, models: dict[str, Any]) -> Comparison:
    """Run ``candidate`` on the case of a golden and compare it with what is stored.

    ``models`` holds the models loaded so far, by name. Raises ModelSourceError where the model's
    weights are no longer those the golden was recorded with.
    """
    golden = load_golden(path)
    trace = golden.trace
    if trace.model not in models:
        models[trace.model] = as_model(trace.model)
    model, backend = models[trace.model], backend_named(candidate)
    recorded = trace.provenance.get("model_digest")
    if model.digest != recorded:
        raise ModelSourceError(
            f"{path} was recorded with other weights or another graph of {trace.model} "
            f"(digest {str(recorded)[:12]}, now {model.digest[:12]}); record it again if that change was meant"
        )
    run = engine().run(Case(model, golden.x, trace.method, trace.target, trace.dtype), backend)
    return compare(trace, run, floor=golden.floor)


def verify_all(paths: Iterable[Path], candidate: str | Backend) -> Iterator[Row]:
    """`verify` for each of ``paths``: a row each, with ``case verdict passed message layers``.

    ``layers``: the layers around the divergence, as text. A golden that is damaged, and a candidate that raises,
    is an error of that entry; the others are verified all the same. A candidate of a user's file runs in a
    process of its own, and a case that ends it is an error too.
    """
    chosen = list(paths)
    if is_user_file(candidate):
        events = isolated_cases(_verifying, chosen, candidate, lost=_failed)
    else:
        events = _verifying(chosen, candidate)
    return (value for kind, value in events if kind == "finished")


def _verifying(paths: Sequence[Path], candidate: str | Backend, passed: int = 0) -> Iterator[tuple[str, Any]]:
    """What is told of each entry but the first ``passed``: its name when it begins, its row when it is done."""
    backend = backend_named(candidate)
    models: dict[str, Any] = {}
    for path in paths[passed:]:
        case = f"{path.parent.name} {path.stem}"
        yield "started", case
        try:
            row = _row(case, verify(path, backend, models))
        except HarnessError as error:
            row = _failed(case, str(error))
        except BaseException as error:  # the candidate is other people's code
            if is_interrupt(error):
                raise
            row = _failed(case, f"candidate {backend.name!r} raised {described(error)}")
        yield "finished", row


def _row(case: str, comparison: Comparison) -> Row:
    return {
        "case": case,
        "verdict": comparison.verdict,
        "passed": comparison.passed,
        "message": verdict_line(comparison),
        "layers": "" if comparison.passed else layers_around(comparison),
    }


def _failed(case: str, message: str) -> Row:
    return {"case": case, "verdict": "error", "passed": False, "message": message, "layers": ""}
