"""Goldens verified by other processes have the rows of a verification in this one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest

from harness.api import load_model
from harness.backends import backend_named
from harness.backends.candidate import WorkerBackend
from harness.engine.executors import (
    Done,
    Event,
    Executor,
    Group,
    InProcess,
    Job,
    LocalProcesses,
    Lost,
    Task,
)
from harness.golden import Models, inspect, record, verify_all, verify_spread
from harness.model_sources import Source

pytestmark = [pytest.mark.tensorflow, pytest.mark.torch]  # what loads a model proves its twins

NAMES = ("gradient", "lrp.z", "lrp.epsilon")


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """Goldens of the oracle, one of them damaged."""
    folder = tmp_path_factory.mktemp("goldens")
    x = np.random.default_rng(0).random((1, 8, 8, 1), dtype=np.float32)
    facts = {"kind": "zoo", "name": "digits-cnn"}
    for name in NAMES:
        (done,) = record(
            folder, load_model("digits-cnn"), x, "random", [name], "oracle", "float64", facts=facts
        )
    done.path.write_bytes(done.path.read_bytes()[:-1])
    return folder


def rows_by(root: Path, executor: Executor, folder: Path, candidate: str = "oracle") -> dict[str, dict]:
    found = verify_spread(
        inspect(root), backend_named(candidate), [Source("digits-cnn")], executor, lambda name: True, folder
    )
    rows = {row["case"]: row for row in found}
    assert all(not key.startswith("/") for key in rows)
    return rows


def without_seconds(rows: dict[str, dict]) -> dict[str, dict]:
    return {
        name: {key: repr(value) for key, value in row.items() if not key.startswith("seconds")}
        for name, row in rows.items()
    }


@pytest.mark.parametrize("executor", [InProcess(), LocalProcesses(2)], ids=["here", "processes"])
def test_rows_and_tables_are_those_of_this_process(executor, root, tmp_path) -> None:
    models = Models((Source("digits-cnn"),))
    here = {row["case"]: row for row in verify_all(inspect(root), "oracle", models, folder=tmp_path / "here")}
    there = rows_by(root, executor, tmp_path / "there")
    assert len(here) == 3
    assert {row["status"] for row in here.values()} == {"unchanged", "damaged"}
    assert without_seconds(there) == without_seconds(here)
    tables = {
        path.relative_to(tmp_path / "here"): path.read_bytes() for path in (tmp_path / "here").rglob("*.csv")
    }
    assert len(tables) == 4
    assert tables == {
        path.relative_to(tmp_path / "there"): path.read_bytes()
        for path in (tmp_path / "there").rglob("*.csv")
    }


class Asks:
    """An executor that remembers what it is asked for, and does nothing."""

    def __init__(self) -> None:
        self.groups: list[list[Task]] = []

    def results(self, job: Job, groups: Iterable[Group]) -> Iterator[Event]:
        self.groups += map(list, groups)
        return iter(())


def test_the_largest_network_is_begun_first_and_large_ones_are_done_one_at_a_time() -> None:
    committed, asked = inspect(Path(__file__).parents[2] / "golden"), Asks()
    list(verify_spread(committed, backend_named("torch"), [], asked, lambda name: True))
    found = [(group[0].name.partition("/")[0], {task.large for task in group}) for group in asked.groups]
    assert found == [
        ("vgg16-mri", {True}),
        ("efficientnet-lite0", {True}),
        ("fer-xception", {False}),
        ("ecg-cnn1d", {False}),
        ("digits-cnn", {False}),
    ]
    assert sum(map(len, asked.groups)) == len(committed.entries)


class Spoils:
    """An executor that loses a task, or that answers of another golden."""

    def __init__(self, loses: bool) -> None:
        self.loses = loses

    def results(self, job: Job, groups: Iterable[Group]) -> Iterator[Event]:
        for event in InProcess().results(job, groups):
            if isinstance(event, Done):
                event = (
                    Lost(event.task, "gone")
                    if self.loses
                    else Done(event.task, {**event.answer, "identity": ""})
                )
            yield event


@pytest.mark.parametrize(("loses", "words"), [(True, "gone"), (False, "another golden of this name")])
def test_what_is_lost_or_of_something_else_is_an_error_of_its_entry(loses, words, root, tmp_path) -> None:
    rows = rows_by(root, Spoils(loses), tmp_path)
    errors = [row for row in rows.values() if row["status"] == "error"]
    assert len(errors) == 2
    assert all(words in row["message"] and not row["passed"] for row in errors)


class Edits:
    """An executor whose processes have another candidate than the one that was asked for."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def results(self, job: Job, groups: Iterable[Group]) -> Iterator[Event]:
        self.file.write_text(self.file.read_text() + "# edited\n")
        yield from InProcess().results(job, groups)


def test_a_candidate_of_other_code_where_it_runs_is_an_error_of_every_entry(root, tmp_path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from harness.backends import backend_named\n\noracle = lambda: backend_named('oracle')\n"
    )
    candidate = WorkerBackend(f"{file}:oracle")
    try:
        rows = list(
            verify_spread(inspect(root), candidate, [Source("digits-cnn")], Edits(file), lambda name: True)
        )
    finally:
        candidate.close()
    assert len(rows) == 3
    assert all(row["status"] != "unchanged" and not row["passed"] for row in rows)
    assert sum("other code" in row["message"] for row in rows) == 2
