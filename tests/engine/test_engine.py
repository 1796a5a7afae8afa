"""A result is computed once, kept while there is room, and never taken from code that is not known."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import EntryPoint

import numpy as np
import pytest

import harness
from harness.backends import Backend, backend_named, registry
from harness.case import Case
from harness.comparison import RUNS
from harness.engine import Engine, Memo, cases, floor_of
from harness.engine.memo import bytes_of
from harness.methods import method
from tests.harness.linear_network import GradientBackend, network

X = np.array([[0.5, -1.0, 2.0]])


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Backend:
    """A backend of an installed package, which counts its runs."""
    point = EntryPoint("one", "tests.harness.linear_network:GradientBackend", "xai_harness.backends")
    monkeypatch.setattr(registry, "_plugins", lambda group: {"one": point})
    monkeypatch.setattr(registry, "_installed", {})
    return backend_named("one")


def case(dtype: str = "float64", name: str = "gradient") -> Case:
    return Case(network(), X, method(name), None, dtype)


def test_an_installed_backend_computes_a_case_once(installed: Backend) -> None:
    engine = Engine()
    first, second = engine.run(case(), installed), engine.run(case(), installed)
    assert installed.runs == 1
    assert second.attribution is first.attribution
    # The same case with its target said is the same result.
    engine.run(first.case, installed)
    assert installed.runs == 1
    engine.run(case(name="input_t_gradient"), installed)
    assert installed.runs == 2


def test_what_is_kept_cannot_be_changed_and_what_one_asker_adds_another_does_not_see(
    installed: Backend,
) -> None:
    engine = Engine()
    first = engine.run(case(), installed)
    with pytest.raises(ValueError, match="read-only"):
        first.attribution[...] = 0
    first.attribution = first.attribution * 2
    first.floor = "mine"
    second = engine.run(case(), installed)
    np.testing.assert_array_equal(second.attribution * 2, first.attribution)
    assert second.floor is None


def test_an_object_of_the_users_is_asked_every_time() -> None:
    engine, own = Engine(), GradientBackend()
    for _ in range(2):
        engine.run(case(), own)
    assert own.runs == 2


def test_a_run_of_the_float64_reference_serves_the_floor_of_the_float32_one(installed: Backend) -> None:
    engine = Engine()
    exact = engine.run(case(), installed)
    coarse = engine.run(case("float32").with_target(exact.target), installed)
    floor_of(engine, coarse)
    # X is the same in both dtypes.
    assert installed.runs == 2
    floor_of(engine, engine.run(case("float32").with_target(exact.target), installed))
    assert installed.runs == 2
    floor_of(engine, exact)
    assert installed.runs == 2 + RUNS


def test_explain_computes_anew_and_its_arrays_are_the_callers(installed: Backend) -> None:
    for _ in range(2):
        trace = harness.explain(network(), X, "gradient", installed, dtype="float64")
        trace.attribution *= 2
    assert installed.runs == 2


def test_memory_is_bounded_and_what_was_not_used_for_longest_goes_first(installed: Backend) -> None:
    size = bytes_of(Engine(Memo(0)).run(case(), installed))
    memo = Memo(2 * size)
    traces = [Engine(Memo(0)).run(case(), GradientBackend()) for _ in range(3)]
    memo.put("a", traces[0])
    memo.put("b", traces[1])
    assert memo.get("a") is traces[0]
    memo.put("c", traces[2])
    assert (memo.get("a"), memo.get("b"), memo.get("c")) == (traces[0], None, traces[2])
    small = Memo(size - 1)
    small.put("a", traces[0])
    assert small.get("a") is None


def test_a_result_that_is_kept_keeps_no_model(installed: Backend) -> None:
    """A model may hold gigabytes, its twins among them."""
    engine = Engine()
    resolved = engine.run(case(), installed).case
    kept = engine.memo.get(engine.key(resolved, installed) or "")
    assert kept is not None and kept.case is None


def test_copies_of_a_large_network_are_made_once_where_that_is_asked_for(
    installed: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cases, "KEPT_MOVED", 0)
    engine, first = Engine(), case()
    second = replace(first, method=method("input_t_gradient"))
    assert next(engine.moved(first, installed)).model is not next(engine.moved(second, installed)).model
    with engine.copies_kept():
        before = [each.model for each in engine.moved(first, installed)]
        again = [each.model for each in engine.moved(second, installed)]
        assert all(one is other for one, other in zip(before, again, strict=True))
    assert next(engine.moved(first, installed)).model is not before[0]


def test_a_network_of_few_weights_and_large_tensors_is_large(
    installed: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its copies keep a forward pass each, which is more than all of its weights."""
    first = case()
    weights = sum(array.nbytes for layer in first.model.graph for array in layer.weights.values())
    monkeypatch.setattr(cases, "KEPT_MOVED", weights)
    engine = Engine()
    assert next(engine.moved(first, installed)).model is not next(engine.moved(first, installed)).model
    monkeypatch.setattr(cases, "KEPT_MOVED", 10 * weights + 2**20)
    engine = Engine()
    assert next(engine.moved(first, installed)).model is next(engine.moved(first, installed)).model


def test_a_cleared_engine_has_backends_let_go_of_their_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is timed after it, as `estimate` times this machine, is computed and not looked up in a backend."""
    known, calls = Engine(), []
    prepared = known.prepared(network(), GradientBackend(), "float64")
    monkeypatch.setattr(prepared, "forget", lambda: calls.append("forget"), raising=False)
    known.clear()
    assert calls == ["forget"]
