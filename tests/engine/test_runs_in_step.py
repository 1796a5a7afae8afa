"""The runs of both sides in step: the bits of each alone, none made twice, the reference beside its own pass."""

from __future__ import annotations

import gc
import importlib
import weakref
from dataclasses import replace

import numpy as np
import pytest

import harness
from harness.arrays import is_frozen
from harness.backends import backend_named
from harness.backends.handing import runs_on_copies
from harness.case import Case
from harness.comparison.rerun import walk_back
from harness.engine import Engine
from harness.engine.many_runs import run_ahead
from harness.methods import Method, method
from harness.runner import chosen_input
from harness.runner import outcome as runner
from harness.trace import LayerTrace

pytestmark = [pytest.mark.tensorflow, pytest.mark.torch]

SIDES = tuple(map(backend_named, ("tensorflow", "torch")))


@pytest.fixture(scope="module")
def model():
    return harness.load_model("digits-cnn")


def short(name: str) -> Method:
    """Four runs in place of 50."""
    wanted = method(name)
    changed = {"steps": 4} if "integrated" in name else {"samples": 4}
    return replace(wanted, procedure=replace(wanted.procedure, **changed))


def case_of(model, wanted: Method) -> Case:
    return Case(model, chosen_input(model, None)[0], wanted, None, "float32")


def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A letter a backward pass: of the reference, of the port."""
    from ported_impls import procedures
    from reference_impls.tensorflow import sampling

    made: list[str] = []
    for module, call, letter in ((sampling, "run_forward", "r"), (procedures, "relevance_of", "p")):
        inner = getattr(module, call)

        def count(*args, inner=inner, letter=letter, **kwargs):
            made.append(letter)
            return inner(*args, **kwargs)

        monkeypatch.setattr(module, call, count)
    return made


@pytest.mark.parametrize("name", ["smoothgrad:dialect=signxai", "integrated_gradients:dialect=captum"])
def test_in_step_and_alone_give_the_same_bits(model, name: str) -> None:
    together, apart = Engine(), Engine()
    case = case_of(model, short(name))
    assert run_ahead(together, case, *SIDES).keys() == {"reference", "candidate"}
    for side in SIDES:
        case = together.resolved(case, SIDES[0])
        one, other = (each.run(case, side) for each in (together, apart))
        assert one.attribution.tobytes() == other.attribution.tobytes()
        for layer, trace in one.layers.items():
            for what in ("activation", "relevance"):
                assert np.array_equal(getattr(trace, what), getattr(other.layers[layer], what)), layer


def test_no_run_is_made_twice_and_statistics_share_them(model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mean, mean times sign, and variance of one side's four samples: four passes of each side."""
    fresh = Engine()
    monkeypatch.setattr(runner, "engine", lambda: fresh)
    monkeypatch.setattr(importlib.import_module("harness.engine.compare"), "engine", lambda: fresh)
    made = counted(monkeypatch)
    wanted = [short(name) for name in ("smoothgrad:dialect=signxai", "smoothgrad_x_sign", "vargrad")]
    fresh.expect(model, wanted)
    for each in wanted:
        assert runner.run_case(case_of(model, each), *SIDES).passed
    assert made == ["p", "r"] * 4


def test_what_runs_came_to_goes_with_their_network(model) -> None:
    fresh = Engine()
    run_ahead(fresh, case_of(model, short("vargrad")), *SIDES)
    assert fresh.in_step
    run_ahead(fresh, case_of(model, method("gradient")), *SIDES)
    assert fresh.in_step
    other = model.with_weights(lambda layer, name, array: 2 * array)
    run_ahead(fresh, replace(case_of(model, method("gradient")), model=other), *SIDES)
    assert not fresh.in_step


@pytest.mark.parametrize("side", SIDES, ids=lambda side: side.name)
def test_a_run_that_was_handed_out_is_held_by_nobody_else(model, side) -> None:
    """A forward pass of a large network: there is none of a run that is done with while the next is made."""
    from reference_impls.tensorflow.run import Forward

    fresh = Engine()
    case = fresh.resolved(case_of(model, short("vargrad")), side)
    runs = runs_on_copies(fresh.prepared(model, side, "float32"), case)
    gc.collect()
    before = sum(type(each) is Forward for each in gc.get_objects())
    one = next(runs)
    arrays = [weakref.ref(array) for array in one.activations.values()]
    assert len(arrays) == len(model.graph.layers)
    del one
    gc.collect()
    assert not any(array() is not None for array in arrays)
    assert sum(type(each) is Forward for each in gc.get_objects()) <= before
    assert len(list(runs)) == 3


def test_what_is_kept_of_other_runs_goes_before_many_are_made(model, monkeypatch: pytest.MonkeyPatch) -> None:
    from ported_impls.run import HookedTwin
    from reference_impls.tensorflow.prepared import PreparedTensorFlow

    fresh, forgotten = Engine(), []
    for kind in (HookedTwin, PreparedTensorFlow):
        monkeypatch.setattr(
            kind, "forget", lambda self, inner=kind.forget: (forgotten.append(self), inner(self))
        )
    case = case_of(model, method("gradient"))
    others = [(SIDES[0], "float64"), *((side, "float32") for side in SIDES)]
    for side, dtype in others:
        fresh.run(case.in_dtype(dtype), side)
    assert not forgotten
    run_ahead(fresh, case_of(model, short("vargrad")), *SIDES)
    for side, dtype in others:
        assert any(each is fresh.prepared(model, side, dtype) for each in forgotten), (side.name, dtype)
    # Nothing comes out otherwise for it.
    once, again = (engine.run(case, SIDES[0]) for engine in (Engine(), fresh))
    assert once.attribution.tobytes() == again.attribution.tobytes()


@pytest.mark.parametrize("side", SIDES, ids=lambda side: side.name)
def test_arrays_of_a_run_that_shares_nothing_need_no_copy_either(model, side) -> None:
    prepared = Engine().prepared(model, side, "float32")
    case = case_of(model, method("grad_cam"))
    arrays = prepared.run(case.x, case.method, np.zeros(len(case.x), np.int64), True)
    for shown in (arrays.activations, arrays.relevances):
        assert len(shown) == len(model.graph.layers)
        assert [name for name, array in shown.items() if not is_frozen(array)] == []


def test_a_walk_beside_another_is_that_of_single_steps(model) -> None:
    """Activations moved over kinks: what is below them is computed, bit for bit as the steps alone have it."""
    case = Engine().resolved(case_of(model, short("smoothgrad:dialect=signxai")), SIDES[0])
    fresh = Engine()
    prepared = fresh.prepared(model, SIDES[0], "float32")
    run = next(iter(runs_on_copies(prepared, case)))
    generator = np.random.default_rng(0)
    moved = {
        name: (values + generator.standard_normal(values.shape).astype("f4") * 0.01 * (values > 0))
        for name, values in run.activations.items()
    }
    assert run.walk_back is not None
    for activations in (dict(run.activations), moved):
        beside = dict(run.walk_back(activations))
        layers = {
            layer.name: LayerTrace(layer.name, layer.kind, layer.axes, activations[layer.name])
            for layer in model.graph
        }
        trace = replace(fresh.run(case, SIDES[0]), layers=layers)
        for name, relevance in walk_back(prepared, model.graph, trace):
            assert np.array_equal(beside[name], relevance), name
    first = model.graph.input.name
    own = dict(run.walk_back(dict(run.activations)))
    assert not np.array_equal(beside[first], own[first])


def test_a_side_that_raises_is_left_to_who_asks_for_its_result(
    model, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ported_impls import procedures

    def broken(*args, **kwargs):
        raise RuntimeError("no memory on this side")

    monkeypatch.setattr(procedures, "relevance_of", broken)
    fresh = Engine()
    monkeypatch.setattr(runner, "engine", lambda: fresh)
    outcome = runner.run_case(case_of(model, short("smoothgrad:dialect=signxai")), *SIDES)
    assert outcome.verdict == "error"
    assert "candidate 'torch' raised RuntimeError: no memory on this side" in outcome.message


@pytest.mark.parametrize("name", ["integrated_gradients", "smoothgrad"])
def test_a_diagnosis_makes_the_runs_of_the_reference_once(model, monkeypatch, name: str) -> None:
    """Where both agree run by run nothing else is measured, but whether the candidate repeats itself."""
    made = counted(monkeypatch)
    wanted = replace(short(name), name=f"{name}-of-four-runs")
    diagnosis = harness.diagnose(model, chosen_input(model, None)[0], wanted, dtype="float32")
    assert diagnosis.findings == ()
    assert sorted(made) == ["p"] * 8 + ["r"] * 4
