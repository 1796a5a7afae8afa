"""A run: all cases of a selection, one result folder, resumed where it was interrupted."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from harness.api import as_model
from harness.backends import Backend, backend_named, is_installed
from harness.checks import checked_dtype, checked_input
from harness.errors import InvalidInputError, UnknownNameError, described, is_interrupt
from harness.files import array_digest, json_digest, source_digest, write_json
from harness.methods import Method, method, slug, to_json
from harness.runner.bench import Bench, Outcome
from harness.runner.suites import BATCH

Row = dict[str, Any]


@dataclass(frozen=True)
class Selection:
    """What to run. ``models``: zoo names or paths; ``input``: an array for models without examples."""

    models: tuple[str, ...]
    methods: tuple[str, ...]
    dtypes: tuple[str, ...]
    reference: str | Backend = "tensorflow"
    candidate: str | Backend = "torch"
    input: np.ndarray | None = None


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
    """A case has its row; ``reused``: it was done before."""

    row: Row
    reused: bool


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


def run(selection: Selection, folder: Path, progress: Progress | None = None) -> list[Row]:
    """Run every case of ``selection`` and leave its files under ``folder``; return a row a case.

    A method that does not apply to a model is not run and reported as skipped. A case whose files are there
    already, made from the same model, input, method, dtype and code, is not run again; where a side is code of
    the user's own (`harness.backends.is_installed`), nothing can say that it is the same, and all is run.
    The summary is written by the caller (harness.report).
    """
    progress = progress or Progress()
    rows: list[Row] = []
    for event in events(selection, folder):
        progress.tell(event)
        if isinstance(event, Finished):
            rows.append(event.row)
    return rows


def events(selection: Selection, folder: Path, passed: int = 0) -> Iterator[Event]:
    """What `run` does, one thing after the other. The first ``passed`` cases are passed over."""
    reference, candidate = backend_named(selection.reference), backend_named(selection.candidate)
    methods = [method(name) for name in selection.methods]
    dtypes = [checked_dtype(dtype) for dtype in selection.dtypes]
    labels: dict[str, str] = {}
    count = 0
    for source in selection.models:
        model = as_model(source)
        label = _label(model, labels)
        x, input_name = chosen_input(model, selection.input)
        bench: Bench | None = None
        for each in methods:
            reason = why_not(each, model)
            if reason:
                yield Skipped(label, each.name, reason, len(dtypes))
                continue
            for dtype in dtypes:
                count += 1
                if count <= passed:
                    continue
                stem = folder / _file_name(label) / f"{slug(each.name)}.{dtype}"
                key = _key(model, x, each, dtype, reference, candidate)
                row = _finished(stem, key, folder)
                if row is not None:
                    yield Finished(row, True)
                    continue
                row = {"model": label, "input": input_name, "method": each.name, "dtype": dtype}
                row |= {"reference": reference.name, "candidate": candidate.name}
                yield Started(dict(row))
                bench = bench or Bench(model, x, reference, candidate)
                outcome = bench.run(each, dtype)
                row |= row_of(outcome)
                row["files"] = _write_files(outcome, stem, folder, row, model.graph.input.axes)
                row = _plain(row)
                # The result is written last: it vouches for the files beside it.
                write_json(_result_path(stem), {"key": key, "row": row})
                yield Finished(row, False)


def why_not(wanted: Method, model: Any) -> str:
    """Why ``wanted`` does not apply to ``model``; empty where it does."""
    try:
        wanted.check(model.graph)
    except (InvalidInputError, UnknownNameError) as error:
        return str(error)
    return ""


def chosen_input(model: Any, given: np.ndarray | None) -> tuple[np.ndarray, str]:
    """The input of a case: ``given``, or the first examples the model ships with, as one batch."""
    if given is not None:
        return checked_input(model, given, "float32"), "given"
    names = list(model.examples)[: BATCH.get(model.name, 1)]
    if not names:
        raise InvalidInputError(f"{model.name} ships no example input; pass one with --input FILE.npy")
    return checked_input(
        model, np.concatenate([np.asarray(model.examples[name]()) for name in names]), "float32"
    ), "+".join(names)


def failed_row(case: Row, message: str) -> Row:
    """The row of a case that nothing came of; ``case``: as in `Started`."""
    seconds = {f"seconds_{side}": None for side in ("reference", "candidate", "total")}
    return {
        **case,
        "verdict": "error",
        "passed": False,
        "target": None,
        "message": message,
        **seconds,
        "files": [],
    }


def row_of(outcome: Outcome) -> Row:
    """The figures of one outcome, as plain values."""
    row: Row = {
        "verdict": outcome.verdict,
        "passed": outcome.passed,
        "target": outcome.reference.target.tolist() if outcome.reference else None,
        "message": outcome.message,
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
        "attribution_floor": comparison.floor.of_attribution(),
        "first_divergent": comparison.first_divergent,
        "first_divergent_forward": comparison.first_divergent_forward,
        "largest_floor": loosest.floor,
        "largest_floor_layer": loosest.layer,
        "notes": list(comparison.notes),
    }


def environment(backends: Sequence[Backend]) -> dict[str, str]:
    """Name and version of everything that computed."""
    import platform

    facts = {"python": platform.python_version(), "xai-harness": _own_version()}
    for backend in backends:
        try:
            facts |= {f"{backend.name}: {key}": str(value) for key, value in backend.version().items()}
        except BaseException as error:  # a backend's own code; it has computed what it was asked for
            if is_interrupt(error):
                raise
            facts[f"{backend.name}: version"] = f"raised {described(error)}"
    return facts


def _own_version() -> str:
    try:
        return version("xai-harness")
    except PackageNotFoundError:
        return "not installed"


def _label(model: Any, labels: dict[str, str]) -> str:
    """What ``model`` is called in this run: its name, with its digest where another model has that name.

    ``labels``: the digests by name so far; a name that is new is added.
    """
    if labels.setdefault(model.name, model.digest) == model.digest:
        return str(model.name)
    return f"{model.name}-{model.digest[:8]}"


def _file_name(label: str) -> str:
    """``label`` as the name of a folder, never a way out of the one that it is in."""
    return slug(label).replace("\\", "+").replace("\0", "+").lstrip(".") or "model"


def _key(
    model: Any, x: np.ndarray, each: Any, dtype: str, reference: Backend, candidate: Backend
) -> str | None:
    """What a finished case depends on; any change makes it run again. None: it is not known, run it again."""
    if not (is_installed(reference) and is_installed(candidate)):
        return None
    packages = {type(part).__module__.partition(".")[0] for part in (model, reference, candidate)}
    return json_digest(
        {
            "model": model.digest,
            "input": array_digest(x),
            "method": to_json(each),
            "dtype": dtype,
            "reference": reference.version(),
            "candidate": candidate.version(),
            "harness": _own_version(),
            "code": {name: source_digest(name) for name in sorted({"harness", *packages})},
        }
    )


def _result_path(stem: Path) -> Path:
    return stem.parent / f"{stem.name}.json"


def _finished(stem: Path, key: str | None, folder: Path) -> Row | None:
    """The row of a case that is complete on disk under this key, or None."""
    if key is None:
        return None
    path = _result_path(stem)
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError):
        return None
    if document.get("key") != key:
        return None
    row: Row = document["row"]
    return row if all((folder / name).is_file() for name in row["files"]) else None


def _write_files(outcome: Outcome, stem: Path, folder: Path, row: Row, axes: tuple[str, ...]) -> list[str]:
    """The per-layer tables and the picture of one case; ``axes`` are the input's. Names relative to ``folder``."""
    from harness.report import heatmap_figure, table_csv

    if outcome.comparison is None or outcome.reference is None or outcome.candidate is None:
        return []
    written = [stem.parent / f"{stem.name}{suffix}" for suffix in (".csv", ".forward.csv", ".png")]
    table_csv(outcome.comparison.table, written[0])
    table_csv(outcome.comparison.forward_table, written[1])
    heatmap_figure(
        outcome.reference.attribution,
        outcome.candidate.attribution,
        written[2],
        title=(
            f"{row['model']}  {row['method']}  {row['dtype']}: "
            f"{row['reference']} and {row['candidate']}, {row['verdict']}"
        ),
        axes=axes,
    )
    return [path.relative_to(folder).as_posix() for path in written]


def _plain(row: Row) -> Row:
    """``row`` with what JSON cannot hold (NaN, infinities) as None."""
    return {
        key: None if isinstance(value, float) and not np.isfinite(value) else value
        for key, value in row.items()
    }
