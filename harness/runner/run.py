"""A run: all cases of a selection, one result folder, resumed where it was interrupted."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.api import as_model
from harness.backends import Backend, backend_named, versions_of
from harness.case import Case, class_count
from harness.checks import GivenInput, checked_dtype, checked_input, checked_target
from harness.comparison import PASSING, Tolerance
from harness.comparison.verdict import out_of_range
from harness.engine import Store, engine, in_shared_order, result_key
from harness.engine.executors import Executor
from harness.errors import InvalidInputError, UnknownNameError
from harness.files import installed_versions, write_json, write_text
from harness.methods import Method, method, slug
from harness.model_sources import Source
from harness.naming import file_name
from harness.pairs import check_applies
from harness.plain import json_text, plain
from harness.runner.outcome import Outcome, run_case
from harness.runner.suites import BATCH
from harness.token_texts import token_texts

Row = dict[str, Any]


@dataclass(frozen=True)
class Selection:
    """What to run. ``models``: zoo names, paths, or their sources; ``input``: for models without examples.

    ``device``: what the candidate computes on; the reference computes on the CPU. ``target``: the class that is
    explained, None for each sample's largest logit. ``tolerance``: what passes beside what rounding explains.
    """

    models: tuple[str | Source, ...]
    methods: tuple[str, ...]
    dtypes: tuple[str, ...]
    reference: str | Backend = "tensorflow"
    candidate: str | Backend = "torch"
    input: GivenInput | None = None
    device: str = "cpu"
    target: int | None = None
    tolerance: Tolerance = None


@dataclass(frozen=True)
class Skipped:
    """A method that does not apply to a model; ``cases`` of them were not run."""

    model: str
    method: str
    reason: str
    cases: int


@dataclass(frozen=True)
class Started:
    """A case begins; ``case``: what is known of its row (model, input, method, dtype, the names of the sides)."""

    case: Row


@dataclass(frozen=True)
class Finished:
    """A case has its row; ``reused``: it was done before. ``place``: in the table, where cases end in any order."""

    row: Row
    reused: bool
    place: int = 0


Event = Started | Finished | Skipped


@dataclass(frozen=True)
class Progress:
    """How a run tells where it is: ``started`` before each case, ``finished`` with its row after it.

    ``skipped``: a method that does not apply to a model, and why.
    """

    started: Callable[[str], None] = lambda case: None
    finished: Callable[[Row, bool], None] = lambda row, reused: None
    skipped: Callable[[Skipped], None] = lambda skipped: None

    def tell(self, event: Event) -> None:
        if isinstance(event, Started):
            self.started(" ".join(event.case[key] for key in ("model", "method", "dtype")))
        elif isinstance(event, Finished):
            self.finished(event.row, event.reused)
        else:
            self.skipped(event)


def run(
    selection: Selection,
    folder: Path,
    progress: Progress | None = None,
    store: Store | None = None,
    executor: Executor | None = None,
    fail_fast: bool = False,
) -> list[Row]:
    """Run every case of ``selection`` and leave its files under ``folder``; return a row a case.

    ``executor``: who computes the cases (see `harness.runner.spread`); left out, this process does.

    A method that does not apply to a model is not run and reported as skipped. A case that ``store`` (left out: the
    user's) has under its key (`harness.engine.result_key`) is not run again. ``fail_fast``: the first case that does
    not pass is the last. The report is written by the caller (harness.report).
    """
    progress = progress or Progress()
    from harness.runner.spread import spread

    store = Store() if store is None else store
    all_events = (
        events(selection, folder, store) if executor is None else spread(selection, folder, store, executor)
    )
    finished: list[Finished] = []
    with closing(all_events):
        for event in all_events:
            if isinstance(event, Finished):
                finished.append(event)
            progress.tell(event)
            if fail_fast and isinstance(event, Finished) and not event.row["passed"]:
                break
    return [event.row for event in sorted(finished, key=lambda event: event.place)]


@dataclass(frozen=True)
class Planned:
    """A case that is to be computed. ``head``: what is known of its row; ``key``: see `harness.engine.result_key`.

    ``stem``: the names of its files but for their endings; ``parts``: what its key counts beside case and sides.
    """

    source: Any
    case: Case
    head: Row
    key: str | None
    stem: Path
    place: int
    parts: tuple[str, ...]


def planned(
    selection: Selection, folder: Path, store: Store, labels: dict[str, str] | None = None
) -> Iterator[Planned | Finished | Skipped]:
    """What is to be computed, what was done before, and what does not apply; methods that share work side by side.

    ``labels``: of models met before; see `label_of`.
    """
    reference, candidate = backend_named(selection.reference), backend_named(selection.candidate)
    methods = [method(name) for name in selection.methods]
    dtypes = [checked_dtype(dtype) for dtype in selection.dtypes]
    labels = {} if labels is None else labels
    place = 0
    for source in selection.models:
        model = source.load(selection.input) if isinstance(source, Source) else as_model(source)
        code = source.code_digest() if isinstance(source, Source) else ""
        label = label_of(model, labels)
        if selection.device != "cpu" and dtypes:  # one sentence, not one a case, where it is not here
            engine().prepared(model, candidate, dtypes[0], selection.device)
        x, input_name = chosen_input(model, selection.input)
        parts = parts_of_key(label, input_name, selection, code)
        places: dict[tuple[str, str], int] = {}
        applying = []
        for each in methods:
            reason = why_not(each, model)
            if reason:
                yield Skipped(label, each.name, reason, len(dtypes))
                continue
            applying.append(each)
            for dtype in dtypes:
                places.setdefault((each.name, dtype), place)
                place += 1
        ordered = in_shared_order(applying, model.graph)
        engine().expect(model, applying)
        for dtype in dtypes:
            for each in ordered:
                stem = folder / file_name(label) / f"{file_name(slug(each.name))}.{dtype}"
                case = case_of(model, x, each, dtype, selection.target)
                key = result_key(case, reference, candidate, *parts)
                row = kept_row(store, key, folder, selection.tolerance)
                if row is not None:
                    yield Finished(row | {"source": plain_source(source)}, True, places[each.name, dtype])
                    continue
                row = {"model": label, "input": input_name, "method": each.name, "dtype": dtype}
                row |= {"reference": reference.name, "candidate": candidate.name, "device": selection.device}
                row["model_notes"] = list(model.notes)
                yield Planned(source, case, row, key, stem, places[each.name, dtype], parts)


def events(
    selection: Selection, folder: Path, store: Store, labels: dict[str, str] | None = None
) -> Generator[Event]:
    """What `run` does in this process, one thing after the other. ``labels``: of models met before; see `label_of`."""
    from harness.estimate import expectation

    if store.force:
        engine().clear()
    reference, candidate = backend_named(selection.reference), backend_named(selection.candidate)
    expected = expectation(reference, candidate, store)
    for each in planned(selection, folder, store, labels):
        if not isinstance(each, Planned):
            yield each
            continue
        yield Started(dict(each.head))
        row = _computed(each, selection, reference, candidate, folder, expected(each.case))
        keep_row(store, each.key, row, each.stem, folder)
        yield Finished(row | {"source": plain_source(each.source)}, False, each.place)


def _computed(
    each: Planned,
    selection: Selection,
    reference: Backend,
    candidate: Backend,
    folder: Path,
    estimated: float | None,
) -> Row:
    """The row of a case, its files written. Its traces go with this call: the next case needs the memory."""
    begun = time.perf_counter()
    outcome = run_case(each.case, reference, candidate, selection.device, selection.tolerance)
    row = each.head | row_of(outcome) | {"seconds_estimated": estimated}
    engine().let_go(trace for trace in (outcome.reference, outcome.candidate) if trace is not None)
    row["files"] = write_files(outcome, each.stem, folder, row, each.case)
    row["seconds_with_files"] = time.perf_counter() - begun
    return plain_row(row)


def parts_of_key(label: str, input_name: str, selection: Selection, code: str) -> tuple[str, ...]:
    """What the key of a row counts beside the case and the sides; ``code``: of the user's that made the model."""
    tolerance = [] if selection.tolerance is None else [f"tolerance {selection.tolerance}"]
    return (label, input_name, selection.device, *tolerance, *([code] if code else []))


def case_of(model: Any, x: np.ndarray, wanted: Method, dtype: str, target: int | None) -> Case:
    """The case as it is asked for. Raises InvalidInputError for a target that the model has not."""
    return Case(model, x, wanted, checked_target(target, len(x), class_count(model)), dtype)


def plain_source(source: Any) -> dict[str, str] | None:
    """Where a model comes from, as plain data; None for an object of this process."""
    if isinstance(source, str):
        source = Source(source)
    return asdict(source) if isinstance(source, Source) else None


def kept_row(store: Store, key: str | None, folder: Path, tolerance: Tolerance = None) -> Row | None:
    """The row that ``store`` has under ``key``, if any; its files are put under ``folder``.

    Without a ``tolerance``, which is part of the key, no row that passed has another verdict than those that pass.
    """
    row: Row | None = store.get(key, folder)
    if row is not None and tolerance is None and row["passed"] and row["verdict"] not in PASSING:
        store.refuse(str(key), f"says {row['verdict']} and passed")
        return None
    return row


def keep_row(store: Store, key: str | None, row: Row, stem: Path, folder: Path) -> None:
    """Leave ``row`` beside its files, which are under ``folder``, and in ``store`` unless no comparison was made."""
    written = Path(f"{stem}.json")
    write_json(written, {"key": key, "row": row})
    # What a side or the disk could not do this time, it may do the next.
    if row["files"]:
        files = (*row["files"], written.relative_to(folder).as_posix())
        store.put(key, f"run: {row['model']} {row['method']} {row['dtype']}", row, files, folder)


def label_of(model: Any, labels: dict[str, str]) -> str:
    """What ``model`` is called in this run: its name, with its digest where another model has that name.

    ``labels``: the digests by label so far; a label that is new is added.
    """
    label = str(model.name)
    while labels.setdefault(label, model.digest) != model.digest:
        label += f"-{model.digest[:8]}"
    return label


def why_not(wanted: Method, model: Any) -> str:
    """Why ``wanted`` does not apply to ``model``; empty where it does."""
    try:
        check_applies(wanted, model)
    except (InvalidInputError, UnknownNameError) as error:
        return str(error)
    return ""


def chosen_input(model: Any, given: GivenInput | None) -> tuple[np.ndarray, str]:
    """The input of a case: ``given``, or the first examples the model ships with, as one batch."""
    if given is not None:
        return checked_input(model, given, "float32"), "given"
    names = list(model.examples)[: BATCH.get(model.name, 1)]
    if not names:
        file = "FILE.npz, an array for each input by name" if model.graph.inputs else "FILE.npy"
        raise InvalidInputError(f"{model.name} ships no example input; pass one with --input {file}")
    return checked_input(
        model, np.concatenate([np.asarray(model.examples[name]()) for name in names]), "float32"
    ), "+".join(names)


def row_of(outcome: Outcome) -> Row:
    """The figures of one outcome, as plain values."""
    row: Row = {
        "verdict": outcome.verdict,
        "passed": outcome.passed,
        "alone": list(outcome.alone),
        "target": outcome.reference.target.tolist() if outcome.reference else None,
        "message": outcome.message or _why_no_verdict(outcome) or "",
        **{f"seconds_{side}": outcome.seconds.get(side) for side in ("reference", "candidate", "total")},
    }
    comparison = outcome.comparison
    if comparison is None:
        return row
    worst, attribution = comparison.worst, comparison.attribution.distance
    loosest = max(comparison.rows, key=lambda row: row.floor)
    return row | {
        "worst_layer": worst.layer,
        "worst_rel_l2": worst.rel_l2,
        "worst_floor": worst.floor,
        "worst_ratio": worst.ratio,
        "attribution_mae": attribution.mae,
        "attribution_max_abs": attribution.max_abs,
        "attribution_rel_l2": attribution.rel_l2,
        "attribution_pearson_r": attribution.pearson_r,
        "attribution_floor": comparison.attribution.floor,
        "decided_by": sorted({row.decided_by for row in comparison.relevances}),
        "floor_from": comparison.floor.how,
        "first_divergent": comparison.first_divergent,
        "first_divergent_forward": comparison.first_divergent_forward,
        "largest_floor": loosest.floor,
        "largest_floor_layer": loosest.layer,
        "notes": list(comparison.notes),
    }


def _why_no_verdict(outcome: Outcome) -> str | None:
    """What kept two runs from being judged by their numbers, as a sentence; None where nothing did."""
    comparison, reference = outcome.comparison, outcome.reference
    if comparison is None or reference is None:
        return None
    return comparison.state or out_of_range(comparison, reference.dtype)


def environment(backends: Sequence[Backend]) -> dict[str, str]:
    """Name and version of everything that computed."""
    import platform

    facts = {"python": platform.python_version(), **installed_versions("xai-harness")}
    facts["machine"] = f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors"
    for backend in backends:
        facts |= {f"{backend.name}: {key}": value for key, value in versions_of(backend).items()}
    return facts


def write_files(outcome: Outcome, stem: Path, folder: Path, row: Row, case: Case) -> list[str]:
    """The per-layer tables, the picture and the maps of one case. Names relative to ``folder``."""
    from harness.report import case_view, heatmap_figure, table_csv

    if outcome.comparison is None or outcome.reference is None or outcome.candidate is None:
        return []
    reference, candidate = outcome.reference.attribution_array, outcome.candidate.attribution_array
    texts = token_texts(case.model, case.x)
    written = [
        stem.parent / f"{stem.name}{suffix}" for suffix in (".csv", ".forward.csv", ".png", ".view.json")
    ]
    table_csv(outcome.comparison.table, written[0])
    table_csv(outcome.comparison.forward_table, written[1])
    heatmap_figure(
        reference,
        candidate,
        written[2],
        title=(
            f"{row['model']}  {row['method']}  {row['dtype']}: "
            f"{row['reference']} and {row['candidate']}, {row['verdict']}"
        ),
        axes=case.model.graph.input.axes,
        tokens=texts[0] if texts else (),
        inputs=case.model.graph.inputs,
    )
    names = str(row["input"]).split("+")
    view = case_view(case.model.graph, case.x, reference, candidate, names, outcome.passed, texts)
    write_text(written[3], json_text(view))
    return [path.relative_to(folder).as_posix() for path in written]


def plain_row(row: Row) -> Row:
    """``row`` with what JSON cannot hold (NaN, infinities) as None, and names as text that a file can hold."""
    return {key: plain(value) for key, value in row.items()}
