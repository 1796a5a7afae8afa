"""A run leaves a row and files a case, goes on after a failure, and resumes."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from harness.errors import InvalidInputError, UnknownNameError
from harness.runner import (
    Progress,
    Selection,
    Skipped,
    known_methods,
    run,
    select_methods,
    suite_named,
)
from tests.harness.linear_network import GradientBackend, network


def selection(candidate: GradientBackend, reference: GradientBackend | None = None, **changes) -> Selection:
    return Selection(
        models=(network(),),
        methods=("gradient", "input_t_gradient"),
        dtypes=("float64", "float32"),
        reference=reference or GradientBackend("reference"),
        candidate=candidate,
        **changes,
    )


def test_every_case_has_a_row_and_its_files(tmp_path) -> None:
    rows = run(selection(GradientBackend()), tmp_path)
    assert [(row["method"], row["dtype"]) for row in rows] == [
        ("gradient", "float64"),
        ("gradient", "float32"),
        ("input_t_gradient", "float64"),
        ("input_t_gradient", "float32"),
    ]
    assert {row["verdict"] for row in rows} == {"identical"}
    assert all(row["passed"] for row in rows)
    for row in rows:
        assert len(row["files"]) == 3
        assert all((tmp_path / name).stat().st_size > 0 for name in row["files"])


def test_a_method_that_does_not_apply_is_reported_with_its_reason_and_not_run(tmp_path) -> None:
    skipped: list[Skipped] = []
    chosen = selection(GradientBackend())
    chosen = replace(chosen, methods=("gradient", "grad_cam"))
    rows = run(chosen, tmp_path, Progress(skipped=skipped.append))
    assert {row["method"] for row in rows} == {"gradient"}
    (left_out,) = skipped
    assert (left_out.method, left_out.cases) == ("grad_cam", 2)
    assert "inputs with 2 spatial axes" in left_out.reason


def test_a_faulty_candidate_is_found_at_its_layer(tmp_path) -> None:
    # What reaches first is what the step of second hands down.
    faulty = GradientBackend("faulty", lambda layer, r: -r if layer == "first" else r)
    rows = run(selection(faulty), tmp_path)
    assert {row["verdict"] for row in rows} == {"divergent"}
    assert {row["first_divergent"] for row in rows} == {"second"}


def test_a_candidate_that_raises_is_an_error_row_and_the_run_goes_on(tmp_path) -> None:
    calls = []

    def fault(layer: str, relevance: np.ndarray) -> np.ndarray:
        calls.append(layer)
        if len(calls) == 1:
            raise RuntimeError("size mismatch\nat dimension 2")
        return relevance

    rows = run(selection(GradientBackend("shaky", fault)), tmp_path)
    assert [row["verdict"] for row in rows] == ["error", "identical", "identical", "identical"]
    assert rows[0]["message"] == "candidate 'shaky' raised RuntimeError: size mismatch at dimension 2"
    assert not rows[0]["passed"]


def test_a_method_the_candidate_lacks_is_an_error_that_says_so(tmp_path) -> None:
    rows = run(
        Selection((network(),), ("lrp.z",), ("float64",), GradientBackend("a"), GradientBackend("b")),
        tmp_path,
    )
    assert rows[0]["verdict"] == "error"
    assert "does not implement 'lrp.z'" in rows[0]["message"]


def test_an_interrupted_run_continues_where_it_stopped(tmp_path) -> None:
    class Stop(Exception):
        pass

    seen: list[str] = []

    def finished(row, reused) -> None:
        seen.append(row["method"])
        if len(seen) == 2:
            raise Stop

    with pytest.raises(Stop):
        run(selection(GradientBackend()), tmp_path, Progress(finished=finished))
    reused: list[bool] = []
    candidate = GradientBackend()
    rows = run(selection(candidate), tmp_path, Progress(finished=lambda row, old: reused.append(old)))
    assert reused == [True, True, False, False]
    assert candidate.runs == 2
    assert len(rows) == 4


def test_a_case_runs_again_when_its_input_changed_or_a_file_is_gone(tmp_path) -> None:
    rows = run(selection(GradientBackend()), tmp_path)
    (tmp_path / rows[0]["files"][2]).unlink()
    candidate = GradientBackend()
    run(selection(candidate), tmp_path)
    assert candidate.runs == 1
    run(selection(candidate, input=np.full((1, 3), 2.0)), tmp_path)
    assert candidate.runs == 5


def test_figures_that_json_cannot_hold_do_not_break_a_run(tmp_path) -> None:
    blown = GradientBackend("blown", lambda layer, r: r * np.inf if layer == "x" else r)
    rows = run(selection(blown), tmp_path)
    assert {row["verdict"] for row in rows} == {"error"}
    assert json.loads((tmp_path / "linear" / "gradient.float64.json").read_text())["row"] == rows[0]


def test_a_bad_input_stops_before_anything_is_written(tmp_path) -> None:
    with pytest.raises(InvalidInputError, match="no batch axis"):
        run(selection(GradientBackend(), input=np.ones(3)), tmp_path)
    assert not any(tmp_path.iterdir())


def test_globs_select_methods_and_names_may_have_new_values() -> None:
    assert select_methods(["lrp.alpha_?_beta_*_IB"], known_methods()) == (
        "lrp.alpha_1_beta_0_IB",
        "lrp.alpha_2_beta_1_IB",
    )
    assert select_methods(["lrp.epsilon:epsilon=0.33", "gradient"], known_methods()) == (
        "lrp.epsilon:epsilon=0.33",
        "gradient",
    )
    with pytest.raises(InvalidInputError, match="no method matches"):
        select_methods(["lrp.y*"], known_methods())
    with pytest.raises(UnknownNameError, match="did you mean 'gradient'"):
        select_methods(["gradeint"], known_methods())


def test_suites() -> None:
    assert suite_named("quick").models == ("digits-cnn",)
    assert len(suite_named("default").models) == 5
    with pytest.raises(UnknownNameError, match="did you mean 'default'"):
        suite_named("defualt")
