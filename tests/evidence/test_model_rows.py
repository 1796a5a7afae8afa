"""The rows of a table of networks: two runs keep each other's, and what had no time says nothing about its network."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import harness
from evidence.models import rows as tables
from evidence.models.rows import (
    METHODS,
    THREADS,
    Row,
    Table,
    in_a_process,
    keep,
    kept_rows,
    page,
    verdicts_on,
)

GOOD = Row("b", 8, twins=1e-7, verdicts=dict.fromkeys(METHODS, "equivalent"), autograd=0.0, seconds=3.0)
LATE = Row("b", 8, seconds=900.0, finished=False)


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Table]:
    monkeypatch.setenv("XAI_HARNESS_CACHE", str(tmp_path / "cache"))
    yield Table(
        module="none",
        groups=dict.fromkeys("abc", "networks"),
        pixels=dict.fromkeys("abc", 8),
        measured=lambda name, load_only: Row(name, 8),
        kept=tmp_path / "rows.json",
        page=tmp_path / "rows.md",
        intro=("# Networks", ""),
    )


def run(table: Table, monkeypatch: pytest.MonkeyPatch, measured: Any, *words: str) -> None:
    monkeypatch.setattr(tables, "in_a_process", measured)
    monkeypatch.setattr("sys.argv", ["rows", *words])
    assert tables.run(table, None) == 0


def test_a_run_keeps_the_rows_that_another_has_added_meanwhile(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measured(table: Table, name: str, load_only: bool, limit_s: int) -> Row:
        keep(table, Row("c", 8, refusal="another run says why"))
        return Row(name, 8, refusal="no")

    run(table, monkeypatch, measured, "--only", "a")
    assert list(kept_rows(table)) == ["a", "c"]
    assert "another run says why" in table.page.read_text()


def test_a_process_that_has_no_answer_in_time_is_not_finished(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    def late(command: list[str], timeout: float, **options: object) -> None:
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(subprocess, "run", late)
    row = in_a_process(table, "a", False, 5)
    assert (row.finished, row.refusal, row.loads, row.end_to_end, row.seconds) == (False, "", False, False, 5)


def test_a_row_computes_with_one_thread_unless_another_number_is_given(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[dict[str, str]] = []

    def ended(command: list[str], env: dict[str, str], **options: object) -> SimpleNamespace:
        given.append(env)
        return SimpleNamespace(returncode=1, stdout="", stderr="no")

    monkeypatch.setattr(subprocess, "run", ended)
    for name in THREADS:
        monkeypatch.delenv(name, raising=False)
    in_a_process(table, "a", False)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    in_a_process(table, "a", False)
    assert [[env[name] for name in THREADS] for env in given] == [["1", "1", "1"], ["3", "1", "1"]]


def test_what_is_not_finished_is_said_so_and_run_again(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(table, LATE)
    text = page(table, kept_rows(table))
    assert "| 8 |  | not finished in time |" in text
    assert "- `b` is not finished within 900 s, and is run again" in text
    assert "does not load" not in text
    run(table, monkeypatch, lambda table, name, load_only, limit_s: GOOD, "--only", "b")
    assert kept_rows(table) == {"b": GOOD}


def test_a_derivative_that_cannot_be_measured_is_said_so(table: Table) -> None:
    keep(table, replace(GOOD, autograd=None, remark="its own slope cannot be measured"))
    text = page(table, kept_rows(table))
    assert "## networks: 1 of 1 load, 0 end to end" in text
    assert "- `b`: its own slope cannot be measured" in text


def test_what_is_done_is_not_run_again_and_not_lost_to_a_lack_of_time(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(table, GOOD)
    run(table, monkeypatch, lambda *given: pytest.fail("is run again"), "--only", "b")
    run(table, monkeypatch, lambda table, name, load_only, limit_s: LATE, "--only", "b", "--again")
    assert kept_rows(table) == {"b": GOOD}


def test_both_sides_explain_the_target_of_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def explain(model: object, x: object, method: str, target: object = None, **options: object) -> object:
        asked.append(target)
        return SimpleNamespace(target=[7])

    monkeypatch.setattr(harness, "explain", explain)
    monkeypatch.setattr(harness, "compare", lambda *traces: SimpleNamespace(verdict="equivalent"))
    assert verdicts_on(None, None, "float32") == dict.fromkeys(METHODS, "equivalent")
    assert asked == [None, [7]] * len(METHODS)


def test_the_seconds_for_a_network_can_be_given(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[int] = []

    def measured(table: Table, name: str, load_only: bool, limit_s: int) -> Row:
        limits.append(limit_s)
        return GOOD

    run(table, monkeypatch, measured, "--only", "b", "--limit", "1800")
    assert limits == [1800]
