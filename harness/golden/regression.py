"""Record goldens from the reference; hold a candidate against them without the reference's framework."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from harness.api import as_model
from harness.backends import Backend, backend_named
from harness.case import Case
from harness.comparison import Comparison, layers_around, verdict_line
from harness.comparison.first_step import BothSteps
from harness.comparison.verdict import doubtful
from harness.engine import engine, floor_of
from harness.errors import (
    CandidateError,
    HarnessError,
    MissingFrameworkError,
    UnknownNameError,
    blamed,
    is_interrupt,
)
from harness.files import write_text
from harness.golden.entry import Golden
from harness.golden.ground import on_the_oracles_ground
from harness.golden.inspect import Root, load_entry
from harness.golden.judge import SKETCHED, against
from harness.golden.order import in_order
from harness.golden.sources import Models, Stale
from harness.golden.store import (
    Provenance,
    harness_version,
    is_selected,
    load_golden,
    place_of_golden,
    save_golden,
)
from harness.methods import method, same_on
from harness.naming import file_name
from harness.plain import json_text
from harness.report import case_view, table_csv
from harness.runner.outcome import Outcome
from harness.runner.run import row_of
from harness.token_texts import token_texts
from harness.trace import Trace

Row = dict[str, Any]
#: What may have become of an entry, in the order of a summary; the first two pass.
STATUSES = ("unchanged", "within the floor", "regressed", "undecided", "missing", "damaged", "stale", "error")
PASSING = frozenset(STATUSES[:2])


@dataclass(frozen=True)
class Recorded:
    """One method of a recording; ``status``: recorded, unchanged, replaced or kept."""

    method: str
    path: Path
    status: str


def record(
    root: Path,
    source: Any,
    x: np.ndarray,
    input_name: str,
    methods: Sequence[str],
    reference: str | Backend,
    dtype: str,
    form: str = "full",
    reason: str = "",
    facts: dict[str, Any] | None = None,
    keep: bool = False,
    target: int | None = None,
) -> Iterator[Recorded]:
    """Explain ``x`` by every method through ``reference`` and store each run with its floor; yields as it goes.

    ``facts``: where the model comes from (`harness.model_sources.Source.facts`); ``form`` and ``reason`` as for
    `save_golden`, which also says what is raised. ``keep``: a golden that is there is left as it is, not computed.
    ``target``: the class to explain; None for that of the largest logit.
    """
    model, backend = as_model(source), backend_named(reference)
    versions = {key: str(value) for key, value in backend.version().items()}
    provenance = Provenance(input_name, facts or {"kind": "object", "name": model.name}, versions)
    for name in methods:
        there = place_of_golden(root, model, method(name).name, dtype) if keep else None
        if there is not None:
            yield Recorded(name, there, "kept")
            continue
        case = Case.checked(model, x, method(name), target, dtype)
        trace = engine().run(case, backend)
        floor = floor_of(engine(), trace)
        path, status = save_golden(root, trace, floor, case.x, provenance, form, reason)
        yield Recorded(name, path, status)


def verify(path: Path, candidate: str | Backend, models: dict[str, Any]) -> Comparison:
    """Run ``candidate`` on the case of a golden and compare it with what is stored.

    ``models``: models that are loaded already. Raises `Stale` where the model or the method is another by now, and
    what `load_golden` and the candidate raise.
    """
    return verified(load_golden(path), backend_named(candidate), Models.given(models.values()))


def verified(golden: Golden, backend: Backend, models: Models) -> Comparison:
    """`verify` for a golden that is read."""
    return _compared(golden, *_ran(golden, backend, models), backend)


def _compared(golden: Golden, case: Case, run: Trace, backend: Backend) -> Comparison:
    return against(
        golden,
        run,
        lambda: _steps(case, backend),
        lambda comparison: on_the_oracles_ground(engine(), comparison, case, run, backend),
    )


def _ran(golden: Golden, backend: Backend, models: Models) -> tuple[Case, Trace]:
    """The case of ``golden``, and what ``backend`` makes of it."""
    model = _checked_model(golden, models)
    case = Case(model, golden.x, golden.method, golden.trace.target, golden.trace.dtype)
    return case, engine().run(case, backend)


def _steps(case: Case, backend: Backend) -> BothSteps | None:
    """The candidate's single steps, and the oracle's, which needs no framework; None where one has none."""
    if case.dtype != "float64":
        return None
    try:
        candidate = engine().offered(case, backend, "steps")
        return (
            None
            if candidate is None
            else BothSteps(case.model.graph, engine().oracle(case.model, case.method, "steps"), candidate)
        )
    except HarnessError:
        return None


def _checked_model(golden: Golden, models: Models) -> Any:
    """The model of ``golden``. Raises `Stale` where it, or what the method does on it, is another by now."""
    facts = golden.facts
    model = models.of(golden.trace.model, str(facts["model_digest"]), facts["source"], golden.example)
    try:
        now = method(golden.method.name)
    except (UnknownNameError, HarnessError):
        return model  # a method that is no name: the stored one is the only definition there is
    if not same_on(model.graph, now, golden.method):
        raise Stale(
            f"recorded for another definition of {golden.method.name}; if that change was meant, remove it with: "
            "xai-harness golden prune --stale, and record it again"
        )
    return model


def verify_all(
    root: Root,
    candidate: str | Backend,
    models: Models,
    selected: Callable[[str], bool] = lambda name: is_selected(name, (), ()),
    folder: Path | None = None,
    started: Callable[[str], None] = lambda name: None,
) -> Iterator[Row]:
    """What is wrong with a root, then `verify` for each entry that is ``selected``: a row each.

    Keys: ``case status verdict passed message layers`` and, where a comparison was made, its figures. Whatever is
    wrong with an entry, or raised by the candidate, is an error of that entry; the others are verified all the same.
    ``folder``: where the tables of each comparison are left. ``started``: is told each entry before it is verified.
    """
    backend = backend_named(candidate)
    for row in problem_rows(root, selected):
        yield row | {"candidate": backend.name}
    names = sorted(name for name in root.entries if selected(name))
    for _, of_model in groupby(names, key=lambda name: name.partition("/")[0]):
        for name in in_order(root, list(of_model), models):
            started(name)
            yield verified_row(root, name, backend, models, folder) | {"candidate": backend.name}


def problem_rows(root: Root, selected: Callable[[str], bool]) -> Iterator[Row]:
    """A row for each thing that is wrong with a root, as far as it is ``selected`` or of no entry."""
    for problem in root.problems:
        entry = problem.name in root.manifest.entries
        if not entry or selected(problem.name):
            status = "missing" if problem.kind == "missing" else "damaged"
            yield failed_row(problem.name, status, problem.message)


def stale_entries(root: Root, models: Models, names: Sequence[str]) -> list[str]:
    """Those of ``names`` whose model or method is another by now; what cannot be read or loaded is none of them."""
    stale = []
    for name in names:
        if name not in root.entries:
            continue
        try:
            golden = load_entry(root.root, name, root.entries[name], root.manifest.files)
            _checked_model(golden, models)
        except Stale:
            stale.append(name)
        except HarnessError:
            continue
    return stale


def verified_row(root: Root, name: str, backend: Backend, models: Models, folder: Path | None) -> Row:
    """The row of one entry; whatever is wrong with it is said there."""
    try:
        golden = load_entry(root.root, name, root.entries[name], root.manifest.files)
    except HarnessError as error:
        return failed_row(name, "damaged", str(error))
    try:
        case, run = _ran(golden, backend, models)
        comparison = _compared(golden, case, run, backend)
    except MissingFrameworkError:  # one sentence for the command, not one an entry
        raise
    except Stale as error:
        return failed_row(name, "stale", f"{name}: {error}")
    except CandidateError as error:
        return failed_row(name, "error", blamed("candidate", backend.name, error))
    except HarnessError as error:
        return failed_row(name, "error", f"{name}: {error}")
    except BaseException as error:  # the candidate is other people's code
        if is_interrupt(error):
            raise
        return failed_row(name, "error", blamed("candidate", backend.name, error))
    row = row_of_golden(name, golden, comparison)
    if folder is not None:
        row["files"] = _files(folder, name, comparison, _view(golden, case, run, bool(row["passed"])))
    engine().forget(case, backend)  # nobody asks for it again
    engine().let_go([run])
    return row


def row_of_golden(name: str, golden: Golden, comparison: Comparison) -> Row:
    """What became of the golden ``name``: status, verdict, message, the layers around a difference, figures."""
    status = {"identical": "unchanged", "equivalent": "within the floor"}.get(comparison.verdict, "regressed")
    message = verdict_line(comparison)
    if (
        golden.trace.dtype == "float32"
        and comparison.first_divergent_forward is None
        and _doubtful(comparison)
    ):
        # In float32 rounding moves units over a kink; what that does to relevance only the reference could say.
        status = "undecided"
        message += "; a float32 golden cannot decide on equal ground: run the case against the reference"
    notes = [note for note in comparison.notes if note != SKETCHED]
    if golden.facts["harness"] != harness_version():
        notes.append(f"recorded by version {golden.facts['harness']}, this is {harness_version()}")
    passed = comparison.passed and status in PASSING
    figures = row_of(Outcome(golden.method, golden.trace.dtype, comparison, golden.trace, None))
    return {
        "case": name,
        "status": status,
        "model": golden.trace.model,
        "input": golden.input_name,
        "method": golden.method.name,
        "dtype": golden.trace.dtype,
        "form": golden.form,
        "reference": golden.trace.backend,
        **figures,
        "passed": passed,
        "message": message,
        "layers": "" if passed else layers_around(comparison),
        "notes": notes,
    }


def _view(golden: Golden, case: Case, run: Trace, passed: bool) -> dict[str, Any]:
    """What the page shows of the case; of a sketch, which has no attribution in full, the network alone."""
    reference = golden.trace.attribution_array if golden.form == "full" else np.zeros(0)
    texts = token_texts(case.model, case.x)
    return case_view(case.model.graph, case.x, reference, run.attribution_array, (), passed, texts)


def _files(folder: Path, name: str, comparison: Comparison, view: dict[str, Any]) -> list[str]:
    """Write the tables of a comparison and what its page shows beside them; names relative to ``folder``."""
    stem = Path(*map(file_name, name.split("/")))
    files = [stem.with_name(f"{stem.name}{suffix}") for suffix in (".csv", ".forward.csv", ".view.json")]
    write_text(folder / files[2], json_text(view))
    table_csv(comparison.table, folder / files[0])
    table_csv(comparison.forward_table, folder / files[1])
    return [file.as_posix() for file in files]


def _doubtful(comparison: Comparison) -> bool:
    """Whether a verdict on relevance would rest on the reference's run on the candidate's activations."""
    return comparison.verdict != "error" and any(map(doubtful, comparison.relevances))


def failed_row(name: str, status: str, message: str) -> Row:
    """The row of an entry that could not be compared."""
    folder, _, rest = name.partition("/")
    stem, _, dtype = rest.rpartition(".")
    return {
        "case": name,
        "status": status,
        "verdict": "error",
        "passed": False,
        "message": message,
        "layers": "",
        "model": folder,
        "method": stem,
        "dtype": dtype,
    }
