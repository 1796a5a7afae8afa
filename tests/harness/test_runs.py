"""A run leaves a row and files a case, goes on after a failure, and resumes."""

from __future__ import annotations

import gc
import hashlib
import json
import os
import signal
import sys
import time
import weakref
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import EntryPoint

import numpy as np
import pytest

import harness
from harness import files
from harness.backends import backend_named, registry
from harness.case import Case
from harness.engine import Store, engine, result_key
from harness.errors import InvalidInputError, UnknownNameError
from harness.files import source_digest
from harness.methods import method
from harness.runner import (
    Progress,
    Selection,
    Skipped,
    known_methods,
    run,
    run_case,
    select_methods,
    suite_named,
)
from tests.harness.linear_network import GradientBackend, LinearModel, _Prepared, network


def selection(candidate: GradientBackend, reference: GradientBackend | None = None, **changes) -> Selection:
    return Selection(
        models=(network(),),
        methods=("gradient", "input_t_gradient"),
        dtypes=("float64", "float32"),
        reference=reference or GradientBackend("reference"),
        candidate=candidate,
        **changes,
    )


def candidate_runs() -> int:
    return backend_named("two").runs


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
        assert len(row["files"]) == 4
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


@pytest.fixture
def installed(monkeypatch, own_cache) -> Selection:
    """A selection whose backends, ``one`` and ``two``, are an installed package's; results are kept."""
    named = {
        name: EntryPoint(name, "tests.harness.linear_network:GradientBackend", "xai_harness.backends")
        for name in ("one", "two")
    }
    monkeypatch.setattr(registry, "_plugins", lambda group: named)
    monkeypatch.setattr(registry, "_installed", {})
    return replace(selection(GradientBackend()), reference="one", candidate="two")


def test_an_interrupted_run_continues_where_it_stopped(tmp_path, installed) -> None:
    class Stop(Exception):
        pass

    seen: list[str] = []

    def finished(row, reused) -> None:
        seen.append(row["method"])
        if len(seen) == 2:
            raise Stop

    with pytest.raises(Stop):
        run(installed, tmp_path, Progress(finished=finished))
    assert candidate_runs() == 2
    reused: list[bool] = []
    rows = run(installed, tmp_path, Progress(finished=lambda row, old: reused.append(old)))
    assert reused == [True, True, False, False]
    assert candidate_runs() == 4
    assert len(rows) == 4


def other_input(chosen: Selection) -> Selection:
    return replace(chosen, input=np.full((1, 3), 2.0))


def other_weights(chosen: Selection) -> Selection:
    return replace(chosen, models=(network().with_weights(lambda layer, name, array: array * 2),))


@pytest.mark.parametrize("change", [other_input, other_weights])
def test_a_case_of_something_else_runs(tmp_path, installed, change) -> None:
    run(installed, tmp_path)
    run(change(installed), tmp_path)
    assert candidate_runs() == 4 + 4
    run(change(installed), tmp_path / "another folder")
    assert candidate_runs() == 8


def test_every_part_of_a_case_and_both_sides_are_in_its_key(installed) -> None:
    one, two = backend_named("one"), backend_named("two")
    case = Case(network(), np.ones((1, 3)), method("lrp.epsilon"), None, "float64")
    cases = (
        case,
        Case(
            network().with_weights(lambda layer, name, array: array * 2), case.x, case.method, None, "float64"
        ),
        case.with_input(case.x + 1),
        case.with_method(method("lrp.z")),
        # A parameter alone, under the same name.
        case.with_method(replace(method("lrp.epsilon:epsilon=0.2"), name="lrp.epsilon")),
        case.with_target(np.array([0])),
        case.in_dtype("float32"),
        replace(case, layers=False),
    )
    keys = [result_key(each, one, two) for each in cases]
    keys += [result_key(case, two, one), result_key(case, one, one), result_key(case, one, two, "a name")]
    assert len({*keys}) == len(keys) and None not in keys
    assert result_key(replace(case), one, two) == keys[0]
    assert result_key(case, one, GradientBackend("two")) is None


def test_a_case_runs_again_with_another_version_of_a_backend_or_library(
    tmp_path, installed, monkeypatch
) -> None:
    run(installed, tmp_path)
    monkeypatch.setattr(GradientBackend, "version", lambda self: {"library": "2"})
    monkeypatch.setattr(registry, "_installed", {})
    run(installed, tmp_path)
    assert candidate_runs() == 4  # of a new backend: all of its cases
    versions = files.installed_versions
    monkeypatch.setattr(files, "installed_versions", lambda *names: {**versions(*names), "scipy": "2"})
    engine().clear()
    run(installed, tmp_path)
    assert candidate_runs() == 4 + 4


def test_a_forced_run_computes_all_again_and_keeps_the_result(tmp_path, installed) -> None:
    run(installed, tmp_path)
    run(installed, tmp_path, store=Store(force=True))
    assert candidate_runs() == 4 + 4
    run(installed, tmp_path)
    assert candidate_runs() == 8


@pytest.mark.thinned(0.4)
@pytest.mark.parametrize("suffix", [".png", ".csv", ".forward.csv", ".json"])
@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(b""), lambda path: path.unlink()])
def test_a_file_of_a_case_that_is_not_what_was_written_is_written_again(
    tmp_path, installed, suffix, damage
) -> None:
    run(installed, tmp_path)
    path = tmp_path / "linear" / f"gradient.float64{suffix}"
    written = path.read_bytes()
    damage(path)
    assert {row["verdict"] for row in run(installed, tmp_path)} == {"identical"}
    assert path.read_bytes() == written


def damaged_picture(text: str) -> str:
    entry = json.loads(text.partition("\n")[2])
    entry["files"]["linear/gradient.float64.png"] = ""
    return text.partition("\n")[0] + "\n" + json.dumps(entry)


def contradiction(text: str) -> str:
    """Sealed as if it were right."""
    changed = text.partition("\n")[2].replace('"verdict": "identical"', '"verdict": "divergent"')
    return f"{hashlib.sha256(changed.encode()).hexdigest()}\n{changed}"


@pytest.mark.thinned(0.4)
@pytest.mark.parametrize(
    ("damage", "notice"),
    [
        (damaged_picture, "is not what was written there; it is computed again"),
        (lambda text: text.replace("identical", "divergent"), "is not what was written there"),
        (lambda text: text[: len(text) // 2], "is not what was written there"),
        (lambda text: "", "is not what was written there"),
        (contradiction, "says divergent and passed; it is computed again"),
    ],
    ids=["emptied picture", "edited", "half", "emptied", "contradiction"],
)
def test_a_kept_result_that_is_not_what_was_written_is_computed_again(
    tmp_path, installed, caplog, damage, notice
) -> None:
    run(installed, tmp_path)
    (entry,) = (
        each
        for each in Store().entries()
        if "gradient.float64.png" in each.path.read_text() and "input_t" not in each.path.read_text()
    )
    entry.path.write_text(damage(entry.path.read_text()))
    engine().clear()  # as in another process
    assert {(row["verdict"], row["passed"]) for row in run(installed, tmp_path)} == {("identical", True)}
    assert candidate_runs() == 4 + 1
    (message,) = caplog.messages
    assert notice in message
    run(installed, tmp_path)
    assert candidate_runs() == 5


def test_an_error_is_not_kept(tmp_path, installed, monkeypatch) -> None:
    def full(*asked) -> None:
        raise MemoryError("no room")

    with monkeypatch.context() as patch:
        patch.setattr(_Prepared, "run", full)
        assert {row["verdict"] for row in run(installed, tmp_path)} == {"error"}
    assert {row["verdict"] for row in run(installed, tmp_path)} == {"identical"}


@pytest.mark.parametrize("package", ["harness", "tests"])
def test_a_case_runs_again_when_the_code_of_a_package_changed(
    tmp_path, installed, monkeypatch, package
) -> None:
    """``harness`` compares; the model and the backends here are of the package ``tests``."""
    run(installed, tmp_path)
    digest = source_digest
    monkeypatch.setattr(
        "harness.files.source_digest",
        lambda name, without=(): "changed" if name == package else digest(name, without),
    )
    engine().clear()  # as in another process
    run(installed, tmp_path)
    assert candidate_runs() == 8


def test_what_is_not_of_an_installed_package_always_runs_again(tmp_path, installed) -> None:
    run(installed, tmp_path)
    for sides in ({"candidate": GradientBackend("two")}, {"reference": GradientBackend("one")}):
        reused: list[bool] = []
        progress = Progress(finished=lambda row, old, told=reused: told.append(old))
        for _ in range(2):
            run(replace(installed, methods=("gradient",), **sides), tmp_path, progress)
        assert reused == [False] * 4


def test_a_case_of_the_users_own_candidate_is_not_taken_for_one_of_the_installed_one(
    tmp_path, installed
) -> None:
    wrong = GradientBackend("two", lambda layer, r: -r)
    assert {row["verdict"] for row in run(replace(installed, candidate=wrong), tmp_path)} == {"divergent"}
    assert {row["verdict"] for row in run(installed, tmp_path)} == {"identical"}


def test_two_models_of_one_name_have_rows_and_files_of_their_own(tmp_path) -> None:
    other = network().with_weights(lambda layer, name, array: array * 2)
    rows = run(replace(selection(GradientBackend()), models=(network(), other)), tmp_path)
    assert [row["model"] for row in rows[::4]] == ["linear", f"linear-{other.digest[:8]}"]
    files = [name for row in rows for name in row["files"]]
    assert len(files) == len(set(files)) == 8 * 4
    assert all((tmp_path / name).is_file() for name in files)


def test_the_name_of_a_model_is_no_way_out_of_the_result_folder(tmp_path) -> None:
    model = network()
    model = LinearModel(replace(model.graph, name="../../up"))
    (row, *_) = run(replace(selection(GradientBackend()), models=(model,)), tmp_path / "results")
    assert row["model"] == "../../up"
    assert [path.name for path in tmp_path.iterdir()] == ["results"]


class OwnException(BaseException):
    pass


@pytest.mark.parametrize("error", [SystemExit(0), GeneratorExit(), OwnException(), MemoryError("no room")])
def test_what_a_candidate_raises_is_an_error_of_its_case_whatever_it_is(
    tmp_path, error: BaseException
) -> None:
    calls = []

    def fault(layer: str, relevance: np.ndarray) -> np.ndarray:
        calls.append(layer)
        if len(calls) == 1:
            raise error
        return relevance

    rows = run(selection(GradientBackend("shaky", fault)), tmp_path)
    assert [row["verdict"] for row in rows] == ["error", "identical", "identical", "identical"]
    assert f"raised {type(error).__name__}" in rows[0]["message"]


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C arrives, also where the tests were started in the background, which ignores it."""
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, former)


def test_an_interrupt_by_the_user_ends_a_run(tmp_path, interruptible) -> None:
    def interrupted(layer: str, relevance: np.ndarray) -> np.ndarray:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(10)
        return relevance

    with pytest.raises(KeyboardInterrupt):
        run(selection(GradientBackend("slow", interrupted)), tmp_path)


class Destructive(GradientBackend):
    """Writes into what it is given, once it has used it."""

    def prepare(self, model, dtype, device="cpu"):
        inner = super().prepare(model, dtype)

        class Prepared:
            def run(self, x, method, target, layers):
                found = inner.run(x.copy(), method, target, layers)
                x[:] = 7.0
                target[:] = 1
                return found

        return Prepared()


def test_what_a_candidate_does_to_its_arrays_reaches_nobody_else(tmp_path) -> None:
    given = np.array([[0.5, -1.0, 2.0]], np.float32)
    rows = run(selection(Destructive("destructive"), input=given), tmp_path)
    assert {row["verdict"] for row in rows} == {"error"}
    assert {row["message"] for row in rows} == {"candidate 'destructive' leaves changed: its input (state)"}
    assert {row["attribution_mae"] for row in rows} == {0.0}
    assert given.tolist() == [[0.5, -1.0, 2.0]]
    # (0.5 - 0.5 - 2, -1 - 3 + 0.5) @ ((2, 1), (-1, 0.5)) = (-4 + 3.5, -2 - 1.75): the first logit is larger
    assert {tuple(row["target"]) for row in rows} == {(0,)}
    target = np.array([0])
    harness.explain(network(), given, "gradient", Destructive(), target)
    assert (given.tolist(), target.tolist()) == ([[0.5, -1.0, 2.0]], [0])


def test_figures_that_json_cannot_hold_do_not_break_a_run(tmp_path) -> None:
    blown = GradientBackend("blown", lambda layer, r: r * np.inf if layer == "x" else r)
    rows = run(selection(blown), tmp_path)
    assert {row["verdict"] for row in rows} == {"error"}
    assert (
        json.loads((tmp_path / "linear" / "gradient.float64.json").read_text())["row"] | {"source": None}
        == rows[0]
    )


def test_nothing_of_a_case_is_there_while_the_next_is_computed(tmp_path, monkeypatch) -> None:
    kept: list[weakref.ref] = []

    def watched(*args):
        gc.collect()
        assert not [outcome for outcome in kept if outcome() is not None]
        outcome = run_case(*args)
        kept.append(weakref.ref(outcome))
        return outcome

    monkeypatch.setattr(sys.modules["harness.runner.run"], "run_case", watched)
    run(selection(GradientBackend()), tmp_path)
    assert len(kept) == 4


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
