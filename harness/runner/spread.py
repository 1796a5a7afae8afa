"""A run whose cases an executor computes: planned here, done elsewhere, kept here.

The model is loaded on both sides, and what a result depends on (model, input, method, code, versions) is digested on
both: an answer that is of anything else is an error, not a row.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from harness.backends import Backend, backend_named, installed_name, is_user_file, versions_of
from harness.backends.candidate import WorkerBackend
from harness.case import Case
from harness.checks import GivenInput
from harness.engine import Store, engine, result_key
from harness.engine.executors import Begun, Done, Executor, Job, Json, Task, Work
from harness.errors import HarnessError, InvalidInputError
from harness.estimate import expectation
from harness.files import code_digest, json_digest, source_digest, write_bytes
from harness.methods import method
from harness.model_sources import Source
from harness.runner.outcome import Outcome
from harness.runner.run import (
    Event,
    Finished,
    Planned,
    Row,
    Selection,
    Started,
    case_of,
    chosen_input,
    events,
    keep_row,
    label_of,
    parts_of_key,
    plain_row,
    plain_source,
    planned,
    row_of,
)
from harness.sides import Sides

_OPENER = "harness.runner.spread:opened"


def spread(selection: Selection, folder: Path, store: Store, executor: Executor) -> Generator[Event]:
    """What `harness.runner.run.events` does, the cases computed by ``executor``.

    A case that was lost has a row with the verdict "error". Raises InvalidInputError for models and backends that are
    objects of this process: others cannot be handed them.
    """
    reference, candidate = backend_named(selection.reference), backend_named(selection.candidate)
    job = Job(_OPENER, _settings(selection, reference, candidate, store.force))
    cases: dict[int, Planned] = {}
    met: list[Event] = []
    groups = _groups(selection, folder, store, cases, met.append)
    expected = expectation(reference, candidate, store)
    for event in executor.results(job, groups):
        # What the plan has met meanwhile: methods that do not apply, cases that were done before.
        while met:
            yield met.pop(0)
        each = cases[event.task.place]
        if isinstance(event, Begun):
            yield Started(dict(each.head))
            continue
        if isinstance(event, Done):
            identity = identity_of(each.case, reference, candidate, *each.parts)
            row = _received(each, identity, event.answer, folder)
        else:
            row = _without(each, event.why)
        row |= {"seconds_estimated": expected(each.case)}
        row.pop("source", None)
        keep_row(store, each.key, row, each.stem, folder)
        yield Finished(row | {"source": plain_source(each.source)}, False, each.place)
        del cases[event.task.place]
    yield from met


def _groups(
    selection: Selection,
    folder: Path,
    store: Store,
    cases: dict[int, Planned],
    meet: Callable[[Event], None],
) -> Iterator[list[Task]]:
    """The cases of each model that are to be computed, filled into ``cases``; everything else is met."""
    for source in selection.models:
        if not isinstance(source, str | Source):
            raise InvalidInputError(
                f"the model {source.name!r} is an object of this process; other processes need its name or its file"
            )
    labels: dict[str, str] = {}
    tasks: list[Task] = []
    for each in planned(selection, folder, store, labels):
        if not isinstance(each, Planned):
            meet(each)
            continue
        if tasks and cases[tasks[-1].place].source is not each.source:
            yield tasks
            tasks = []
        cases[each.place] = each
        head = each.head
        what = {
            "model": asdict(resolved(each.source)),
            "labels": dict(labels),
            "method": head["method"],
            "dtype": head["dtype"],
        }
        tasks.append(Task(f"{head['model']} {head['method']} {head['dtype']}", each.place, what))
    if tasks:
        yield tasks


def resolved(source: str | Source) -> Source:
    """``source`` with its files wherever a process stands."""

    def where(name: str) -> str:
        file, colon, attribute = name.rpartition(":") if is_user_file(name) else (name, "", "")
        return f"{Path(file).resolve()}{colon}{attribute}" if file and Path(file).exists() else name

    given = Source(source) if isinstance(source, str) else source
    return Source(*map(where, (given.model, given.keras, given.torch)))


def identity_of(case: Case, reference: Backend, candidate: Backend, *more: Any) -> str:
    """A digest of all that the row of ``case`` depends on, as far as this process can say it.

    That of the kept result, and for code of the user's own that of its files, beside that of everything else.
    """
    key = result_key(case, reference, candidate, *more)
    if key is not None:
        return key
    sides = [code_of(side) for side in (reference, candidate)]
    package = type(case.model).__module__.partition(".")[0]
    return json_digest([case.digest, sides, code_digest("harness"), source_digest(package), *more])


def code_of(side: Backend) -> list[Any]:
    """What is asked under the name of ``side``: name and versions, which have the digest of an installed one's source.

    Of a user's file its digest as its process has it, and those of the user's modules that it imports.
    """
    modules = side.modules if isinstance(side, WorkerBackend) else {}
    return [side.name, versions_of(side), modules]


def spec_of(backend: Backend) -> str:
    """The name under which another process finds ``backend``. Raises InvalidInputError where there is none."""
    name = backend.spec if isinstance(backend, WorkerBackend) else installed_name(backend)
    if name is None:
        raise InvalidInputError(
            f"backend {backend.name!r} is an object of this process; other processes need the name of an installed "
            "one, or FILE.py:NAME without --in-process"
        )
    return name


def _settings(selection: Selection, reference: Backend, candidate: Backend, force: bool) -> Json:
    return {
        "sides": [spec_of(reference), spec_of(candidate)],
        "timeout_s": min(
            (each.timeout_s for each in (reference, candidate) if isinstance(each, WorkerBackend)),
            default=None,
        ),
        "input": None if selection.input is None else input_to_json(selection.input),
        "force": force,
        "device": selection.device,
        "target": selection.target,
        "tolerance": selection.tolerance,
    }


def _received(case: Planned, identity: str, answer: Json, folder: Path) -> Row:
    """The row of an answer, its files written; an error where it is of another case than was asked for."""
    if answer["identity"] != identity:
        return _without(
            case,
            f"{answer['where']} computes with another model, other code or other versions than this process; "
            "install the same there and start it again",
        )
    row: Row = answer["row"]
    for name, content in answer["files"].items():
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            return _without(case, f"{answer['where']} answers with a file outside its folder: {name!r}")
        write_bytes(folder / name, base64.b64decode(content))
    return row


def _without(case: Planned, why: str) -> Row:
    """The row of a case that nothing came of."""
    outcome = Outcome(case.case.method, str(case.head["dtype"]), None, None, None, why)
    return plain_row(case.head | row_of(outcome) | {"files": []})


# In the process that computes --------------------------------------------------------------------------------


@contextmanager
def opened(settings: Json) -> Iterator[Work]:
    """Does one case: the backends are made ready once, the last model stays loaded."""
    import socket

    if settings["force"]:
        engine().clear()
    given = None if settings["input"] is None else input_from_json(settings["input"])
    named = Sides(False, settings["timeout_s"], per_case=True).named(*settings["sides"])
    with named as (reference, candidate), TemporaryDirectory(prefix="xai-harness-run-") as place:
        loaded: dict[Source, Any] = {}

        def work(what: Json) -> Json:
            source = Source(**what["model"])
            if source not in loaded:
                loaded.clear()
                loaded[source] = source.load(given)
            model = loaded[source]
            selection = Selection(
                (model,),
                (what["method"],),
                (what["dtype"],),
                reference,
                candidate,
                given,
                settings["device"],
                settings["target"],
                settings["tolerance"],
            )
            labels = dict(what["labels"])
            met = list(events(selection, Path(place), Store(limit=0), labels))
            row = next((event.row for event in met if isinstance(event, Finished)), None)
            if row is None:
                raise HarnessError(
                    f"{what['method']} does not apply to {model.name} here; it does where it was asked for"
                )
            files = {name: Path(place, name) for name in row["files"]}
            content = {name: base64.b64encode(file.read_bytes()).decode() for name, file in files.items()}
            for file in files.values():
                file.unlink()
            x, input_name = chosen_input(model, given)
            case = case_of(model, x, method(what["method"]), what["dtype"], selection.target)
            label = label_of(model, labels)
            parts = parts_of_key(label, input_name, selection, source.code_digest())
            identity = identity_of(case, reference, candidate, *parts)
            return {"row": row, "files": content, "identity": identity, "where": socket.gethostname()}

        yield work


def input_to_json(given: GivenInput) -> Json | str:
    """An input as JSON can hold it, several by name."""
    if isinstance(given, Mapping):
        return {name: array_to_text(array) for name, array in given.items()}
    return array_to_text(given)


def input_from_json(text: Json | str) -> GivenInput:
    """The inverse of :func:`input_to_json`."""
    if isinstance(text, str):
        return array_from_text(text)
    return {name: array_from_text(array) for name, array in text.items()}


def array_to_text(array: np.ndarray) -> str:
    """``array`` as text that JSON can hold."""
    content = io.BytesIO()
    np.save(content, array, allow_pickle=False)
    return base64.b64encode(content.getvalue()).decode()


def array_from_text(text: str) -> np.ndarray:
    """The inverse of :func:`array_to_text`."""
    array: np.ndarray = np.load(io.BytesIO(base64.b64decode(text)), allow_pickle=False)
    return array
