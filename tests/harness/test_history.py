"""`xai-harness history`: the error of a method against date and versions."""

from __future__ import annotations

import json

import pytest

from harness.errors import InvalidInputError
from harness.history import append, read_history, since
from tests.harness.conftest import call as call


def row(night: str, method: str, error: float = 1e-15, verdict: str = "equivalent", torch: str = "2.13.0"):
    return {
        "night": night,
        "step": "goldens",
        "model": "digits-cnn",
        "method": method,
        "dtype": "float64",
        "verdict": verdict,
        "passed": verdict == "equivalent",
        "error": error,
        "floors": error / 1e-15,
        "versions": json.dumps({"torch": torch}),
    }


def test_nights_are_added_to_one_file_and_read_as_they_were_written(tmp_path) -> None:
    path = tmp_path / "reports" / "history.parquet"
    assert len(read_history(path)) == 0
    append(path, [row("2026-01-01", "lrp.z"), row("2026-01-01", "gradient", float("nan"))])
    append(path, [row("2026-01-02", "lrp.z", 2e-15)])
    table = read_history(path)
    assert table["night"].tolist() == ["2026-01-01", "2026-01-01", "2026-01-02"]
    assert table["error"].tolist()[::2] == [1e-15, 2e-15]
    assert table["error"].isna().tolist() == [False, True, False]


def test_since_is_the_first_night_of_the_same_verdict_on_end(tmp_path) -> None:
    verdicts = ["divergent", "equivalent", "divergent", "divergent"]
    rows = [row(f"2026-01-0{day}", "lrp.z", 1.0, each) for day, each in enumerate(verdicts, start=1)]
    table = append(tmp_path / "history.parquet", rows)
    assert since(table, ("goldens", "digits-cnn", "lrp.z", "float64")) == "2026-01-03"


def test_the_command_draws_a_picture_and_prints_the_last_night(call, tmp_path) -> None:
    path = tmp_path / "reports" / "history.parquet"
    append(path, [row("2026-01-01", "lrp.z"), row("2026-01-01", "gradient")])
    append(path, [row("2026-01-02", "lrp.z", 1e-3, "divergent", torch="2.14.0")])
    status, out, err = call("history", "lrp.z")
    assert (status, err) == (0, "")
    assert "divergent" in out and "1.00e-03" in out and "equivalent" not in out
    assert "2 nights, the last 2026-01-02. Picture: reports/runs/history-lrp.z.png" in out
    assert (tmp_path / "reports/runs/history-lrp.z.png").read_bytes().startswith(b"\x89PNG")
    status, out, _ = call("history", "lrp*", "--json", "--out", "mine.png")
    assert [each["error"] for each in json.loads(out)["rows"]] == [1e-15, 1e-3]


def test_a_golden_has_the_name_of_its_file_and_is_found_by_that_of_its_method(call, tmp_path) -> None:
    path = tmp_path / "reports" / "history.parquet"
    append(
        path, [row("2026-01-01", "lrp.epsilon-epsilon_0.25"), row("2026-01-01", "lrp.epsilon:epsilon=0.25")]
    )
    _, out, _ = call("history", "lrp.epsilon:epsilon=0.25", "--json")
    assert len(json.loads(out)["rows"]) == 2


def test_what_there_is_not_is_one_line(call, tmp_path) -> None:
    status, _, err = call("history", "lrp.z")
    assert (status, err) == (
        2,
        "error: reports/history.parquet holds no night yet; make one with: tox -e nightly\n",
    )
    append(tmp_path / "reports" / "history.parquet", [row("2026-01-01", "lrp.z")])
    status, _, err = call("history", "gradeint")
    assert status == 2 and "no night has 'gradeint'; it has: lrp.z" in err
    (tmp_path / "other.parquet").write_text("no")
    status, _, err = call("history", "lrp.z", "--file", "other.parquet")
    assert (status, len(err.splitlines())) == (2, 1)
    with pytest.raises(InvalidInputError, match="no readable Parquet file"):
        read_history(tmp_path / "other.parquet")
