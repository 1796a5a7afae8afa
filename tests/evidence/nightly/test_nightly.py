"""A night: what moved, since when, which version moved; and what is computed again."""

from __future__ import annotations

from pathlib import Path

import pytest

from evidence.nightly.__main__ import night_of
from evidence.nightly.page import page, verdict
from evidence.nightly.steps import Resampled, Step, all_steps, goldens, scoreboard_rows, timed
from harness.engine import Store
from harness.errors import HarnessError
from harness.golden import Models
from harness.history import read_history
from tests.golden.conftest import make
from tests.harness.linear_network import GradientBackend, network

OLD, NEW = {"torch": "2.13.0", "commit": "aaa"}, {"torch": "2.14.0", "commit": "aaa"}


def row(method: str, floors: float = 0.5, verdict: str = "within the floor", step: str = "goldens"):
    passed = verdict in ("within the floor", "unchanged", "named")
    return {
        "step": step,
        "model": "linear",
        "method": method,
        "dtype": "float64",
        "verdict": verdict,
        "passed": passed,
        "error": floors * 1e-15,
        "floors": floors,
    }


@pytest.fixture
def night(tmp_path: Path):
    """Add a night with these rows to the history."""
    path = tmp_path / "history.parquet"

    def add(date: str, *rows, versions=OLD, problem: str = "", left_out: tuple[str, ...] = ()):
        steps = [Step("goldens", rows, computed=len(rows), problem=problem)]
        return night_of(date, steps, read_history(path), versions, path, left_out)

    return add


def test_on_an_unchanged_tree_nothing_moved(night) -> None:
    first = night("2026-01-01", row("a"), row("b"))
    assert verdict(first) == "the first night: there is nothing to compare with"
    # Less than a noise floor may be rounding.
    second = night("2026-01-02", row("a", 1.4), row("b"))
    assert (verdict(second), second.moves, second.red) == ("nothing moved", (), ())
    assert "**Nothing moved.** 2026-01-02, compared with 2026-01-01." in page(second)
    assert "No version moved." in page(second)


def test_what_moved_is_named_with_since_when_and_with_the_version_that_moved(night) -> None:
    night("2026-01-01", row("a"), row("b"), row("c"))
    night("2026-01-02", row("a"), row("b", 9e9, "regressed"), row("c"))
    third = night("2026-01-03", row("a", 3.0), row("b", 9e9, "regressed"), row("d"), versions=NEW)
    found = {move.case[2]: (move.was, move.now, move.worse) for move in third.moves}
    assert found == {
        "a": ("within the floor, 0.5 noise floors", "within the floor, 3 noise floors", False),
        "c": ("within the floor, 0.5 noise floors", "not there", False),
        "d": ("not there", "within the floor, 0.5 noise floors", False),
    }
    assert third.versions == ("torch 2.13.0 -> 2.14.0",)
    assert third.red == (("goldens", "linear", "b", "float64"),)
    text = page(third)
    assert "| goldens | linear | b | float64 | regressed | 2026-01-02 |" in text
    assert "torch 2.13.0 -&gt; 2.14.0" in text
    assert verdict(third) == "1 cases do not pass; 3 cases moved"


def test_a_known_miss_is_not_red_and_a_new_one_is(night) -> None:
    missed = row("a", float("nan"), "not named", "planted bugs")
    named = row("b", float("nan"), "named", "planted bugs")
    assert night("2026-01-01", missed, named).red == ()
    assert night("2026-01-02", missed, named).red == ()
    third = night("2026-01-03", missed, row("b", float("nan"), "not named", "planted bugs"))
    assert [case[2] for case in third.red] == ["b"]
    assert [move.worse for move in third.moves] == [True]


def test_cases_of_a_step_that_was_not_carried_out_are_not_gone(night) -> None:
    night("2026-01-01", row("a"), row("b", step="runs"))
    second = night("2026-01-02", row("a"), problem="the disk is full")
    assert second.moves == ()
    assert verdict(second) == "not carried out: goldens; nothing moved"
    assert "the disk is full" in page(second)


def test_a_night_of_a_few_steps_says_which_it_leaves_out(night) -> None:
    night("2026-01-01", row("a"))
    partial = night("2026-01-02", row("a"), left_out=("planted bugs", "scoreboard"))
    assert verdict(partial) == "1 of 3 steps; nothing moved"
    assert "This night was not asked for planted bugs, scoreboard (`--only`)" in page(partial)


def test_a_step_is_held_against_the_last_night_that_had_it(night) -> None:
    night("2026-01-01", row("a"), row("b", step="runs"))
    night("2026-01-02", row("a"), left_out=("runs",))
    third = night("2026-01-03", row("a"), row("b", 9.0, step="runs"))
    assert [(move.case[2], move.was) for move in third.moves] == [("b", "within the floor, 0.5 noise floors")]


def test_names_of_cases_are_text_on_the_page(night) -> None:
    text = page(night("2026-01-01", row("<b>*a*|", 9e9, "regressed")))
    assert "<b>" not in text and "&lt;b&gt;\\*a\\*\\|" in text


def test_what_a_step_raises_is_its_problem_and_the_night_goes_on() -> None:
    def raises(error: Exception):
        def step() -> Step:
            raise error

        return step

    assert timed("one", raises(HarnessError("peers are not installed"))).problem == "peers are not installed"
    assert timed("two", raises(ValueError("x"))).problem == "ValueError: x"


def test_goldens_are_verified_and_what_is_wrong_with_the_folder_is_a_row(tmp_path) -> None:
    root = make(tmp_path / "golden", "sketch")
    models = Models.given([network()])
    right = goldens(root, tmp_path / "out", GradientBackend(), models)
    assert [(each["method"], each["verdict"], each["passed"]) for each in right.rows] == [
        ("gradient", "unchanged", True),
        ("input_t_gradient", "unchanged", True),
    ]
    assert (right.computed, right.looked_up) == (2, 0)
    next(root.glob("linear/gradient.*")).unlink()
    rows = goldens(root, tmp_path / "out", GradientBackend(), models).rows
    assert (rows[0]["method"], rows[0]["verdict"], rows[0]["passed"]) == ("gradient", "missing", False)


def test_a_sample_is_computed_again_another_one_each_night_and_held_against_what_was_kept(own_cache) -> None:
    store, keys = Store(), [f"{number:064x}" for number in range(400)]
    for key in keys:
        store.put(key, "a case", {"verdict": "equivalent"})
    nights = [Resampled(f"2026-01-{day:02}") for day in (1, 2)]
    again = [{key for key in keys if each.get(key) is None} for each in nights]
    # 400 draws of a twentieth: 20, with a standard deviation of 4.4.
    assert all(5 < len(each) < 40 for each in again) and again[0] != again[1]
    store.put("f" * 64, "what is no result", {"seconds": 1.0})
    assert all(Resampled(f"2026-02-{day:02}", 1.0).get("f" * 64) == {"seconds": 1.0} for day in (1, 2))
    one, other, *_ = sorted(again[0])
    nights[0].put(one, "a case", {"verdict": "equivalent"})
    nights[0].put(other, "another", {"verdict": "divergent"})
    assert nights[0].moved == ["another: was kept as equivalent, is divergent"]


def test_every_step_of_a_night_is_there() -> None:
    expected = ["goldens", "quick suite", "default suite", "planted bugs", "certification", "scoreboard"]
    assert list(all_steps("2026-01-01", Path("golden"), Path("out"))) == expected


def test_a_library_that_differs_without_a_cause_is_a_row_that_does_not_pass() -> None:
    def facts(state: str, apart: float | None) -> dict[str, object]:
        return {"state": state, "apart": apart}

    rows = {
        "gradient": {"says": "f(x)", "digits-cnn": facts("agree", 1e-7), "vgg16-mri": facts("unknown", 0.5)},
        "lrp.z": {"says": "g(x)", "digits-cnn": facts("none", None)},
    }
    made = scoreboard_rows({"captum": {"rows": rows}, "lxt": {"refused": "not installed"}})
    assert [(each["method"], each["model"], each["verdict"], each["passed"]) for each in made] == [
        ("gradient", "digits-cnn", "agree", True),
        ("gradient", "vgg16-mri", "unknown", False),
        ("lrp.z", "digits-cnn", "none", True),
    ]
    assert {each["step"] for each in made} == {"scoreboard captum"}
    assert made[0]["error"] == 1e-7
