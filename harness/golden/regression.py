"""Record goldens from the reference; hold a candidate against them without the reference's framework."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.api import as_model
from harness.backends import Backend, backend_named
from harness.case import Case
from harness.comparison import Comparison, layers_around, verdict_line
from harness.engine import compare, engine, floor_of
from harness.errors import CandidateError, HarnessError, ModelSourceError, blamed, is_interrupt
from harness.golden.store import load_golden, save_golden
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

    ``models`` holds the models loaded so far, by what they were loaded from. Raises ModelSourceError where none of
    them has the weights that the golden was recorded with, nor the zoo's model of its name.
    """
    golden = load_golden(path)
    trace = golden.trace
    backend = backend_named(candidate)
    recorded = trace.provenance.get("model_digest")
    named = [model for model in models.values() if model.name == trace.model]
    if not named:
        models[trace.model] = as_model(trace.model)
        named = [models[trace.model]]
    model = next((each for each in named if each.digest == recorded), named[0])
    if model.digest != recorded:
        raise ModelSourceError(
            f"{path} was recorded with other weights or another graph of {trace.model} "
            f"(digest {str(recorded)[:12]}, now {model.digest[:12]}); "
            "remove it and record it again if that change was meant"
        )
    run = engine().run(Case(model, golden.x, trace.method, trace.target, trace.dtype), backend)
    return compare(trace, run, floor=golden.floor)


def verify_all(paths: Iterable[Path], candidate: str | Backend, files: Iterable[str] = ()) -> Iterator[Row]:
    """`verify` for each of ``paths``: a row each, with ``case verdict passed message layers``.

    ``layers``: the layers around the divergence, as text. ``files``: the models that goldens were recorded on, where
    those are not of the zoo. A golden that is damaged, and a candidate that raises, is an error of that entry; the
    others are verified all the same.
    """
    backend, loaded = backend_named(candidate), {file: as_model(file) for file in files}
    for path in paths:
        yield _verified(path, backend, loaded)


def _verified(path: Path, backend: Backend, models: dict[str, Any]) -> Row:
    case = f"{path.parent.name} {path.stem}"
    try:
        return _row(case, verify(path, backend, models))
    except CandidateError as error:
        return _failed(case, blamed("candidate", backend.name, error))
    except HarnessError as error:
        return _failed(case, str(error))
    except BaseException as error:  # the candidate is other people's code
        if is_interrupt(error):
            raise
        return _failed(case, blamed("candidate", backend.name, error))


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
