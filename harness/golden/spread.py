"""Goldens verified by an executor: the candidate runs elsewhere, the rows come back."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from itertools import groupby
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

from harness.backends import Backend
from harness.backends.candidate import WorkerBackend
from harness.engine.executors import Begun, Done, Executor, Job, Json, Task, Work
from harness.errors import HarnessError
from harness.files import code_digest, json_digest, write_bytes
from harness.golden.inspect import Root, inspect, load_entry
from harness.golden.regression import Row, failed_row, problem_rows, verified_row
from harness.golden.sources import Models
from harness.model_sources import Source
from harness.runner.spread import code_of, resolved, spec_of
from harness.sides import Sides

_OPENER = "harness.golden.spread:opened"
#: Bytes of the tensors of one run above which a machine does one such at a time. In float64 a run takes twice its
#: tensors while the next begins, and as much again for what the rules compute in between.
_LARGE_RUN = 2**28


def verify_spread(
    root: Root,
    candidate: Backend,
    sources: Sequence[Source],
    executor: Executor,
    selected: Callable[[str], bool],
    folder: Path | None = None,
    started: Callable[[str], None] = lambda name: None,
) -> Iterator[Row]:
    """What `harness.golden.verify_all` does, each entry by ``executor``; rows in the order in which they come.

    Entries of one model stay together. An entry that was lost is an error of that entry. Raises InvalidInputError for a
    candidate that is an object of this process.
    """
    named = {"candidate": candidate.name}
    for row in problem_rows(root, selected):
        yield row | named
    settings = {
        "root": str(root.root.resolve()),
        "candidate": spec_of(candidate),
        "timeout_s": candidate.timeout_s if isinstance(candidate, WorkerBackend) else None,
        "sources": [asdict(resolved(source)) for source in sources],
        "tables": folder is not None,
    }
    names = [name for name in sorted(root.entries) if selected(name)]
    groups = _groups(root, names)
    code = code_of(candidate)
    for event in executor.results(Job(_OPENER, settings), groups):
        name = event.task.name
        if isinstance(event, Begun):
            started(name)
        elif isinstance(event, Done):
            yield _received(_identity(root, name, code), name, event.answer, folder) | named
        else:
            yield failed_row(name, "error", f"{name}: {event.why}") | named


def _groups(root: Root, names: Sequence[str]) -> list[list[Task]]:
    """The tasks of ``names``, those of a model together, the largest first: what is begun last ends last."""
    sized: list[tuple[int, list[Task]]] = []
    for _, group in groupby(enumerate(names), key=lambda each: each[1].partition("/")[0]):
        of_model = list(group)
        size = _run_bytes(root, [name for _, name in of_model])
        sized.append(
            (size, [Task(name, place, {"name": name}, size > _LARGE_RUN) for place, name in of_model])
        )
    return [tasks for _, tasks in sorted(sized, key=lambda each: -each[0])]


def _run_bytes(root: Root, names: Sequence[str]) -> int:
    """The memory of a run of ``names``, goldens of one model, by the first of them that can be read; 0 for none."""
    for name in names:
        try:
            return load_entry(root.root, name, root.entries[name], root.manifest.files).run_bytes
        except HarnessError:
            continue
    return 0


def _received(identity: str, name: str, answer: Json, folder: Path | None) -> Row:
    if answer["identity"] != identity:
        return failed_row(
            name,
            "error",
            f"{name}: a worker has another golden of this name, other code or other versions than this process; "
            "give it the same and start it again",
        )
    row: Row = answer["row"]
    for file, content in answer["files"].items():
        inside = not PurePosixPath(file).is_absolute() and ".." not in PurePosixPath(file).parts
        if folder is not None and inside:
            write_bytes(folder / file, base64.b64decode(content))
    return row


def _identity(root: Root, name: str, code: list[Any]) -> str:
    """A digest of the golden ``name``, of the candidate's ``code``, and of the code that judges the candidate by it."""
    entry: Mapping[str, Any] = root.entries.get(name, {})
    files = {key: root.manifest.files.get(entry.get(key, "")) for key in ("file", "shared")}
    return json_digest([dict(entry), files, code, code_digest("harness")])


# In the process that computes --------------------------------------------------------------------------------


@contextmanager
def opened(settings: Json) -> Iterator[Work]:
    """Verifies one golden: the candidate is made ready once, models stay loaded."""
    root = inspect(Path(settings["root"]))
    models = Models(tuple(Source(**source) for source in settings["sources"]))
    named = Sides(False, settings["timeout_s"], per_case=True).named(settings["candidate"])
    with named as (candidate,), TemporaryDirectory(prefix="xai-harness-verify-") as place:

        def work(what: Json) -> Json:
            name = what["name"]
            row = verified_row(root, name, candidate, models, Path(place) if settings["tables"] else None)
            files = {file: Path(place, file) for file in row.get("files", [])}
            content = {file: base64.b64encode(path.read_bytes()).decode() for file, path in files.items()}
            for path in files.values():
                path.unlink()
            return {"row": row, "files": content, "identity": _identity(root, name, code_of(candidate))}

        yield work
