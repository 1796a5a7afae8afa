"""What is prepared once is used again, and does not pile up."""

from __future__ import annotations

import gc
import weakref
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from harness.engine import KEPT, Engine
from harness.engine.prepared import KEPT_RUNS, PreparedModels, bytes_of


class Model:
    """Stands in for a model, and for what is prepared: something that can be referred to weakly.

    One layer with ``weights`` weights and an output of 10 values.
    """

    def __init__(self, weights: int = 100) -> None:
        self.graph = [SimpleNamespace(weights={"kernel": np.zeros(weights)}, shape=(10,))]

    def run(self, x: Any, method: Any, target: Any, layers: bool) -> Any: ...


class Counting:
    """Prepares an object of its own each time, and counts."""

    name = "counting"

    def __init__(self) -> None:
        self.times = 0

    def version(self) -> dict[str, str]:
        return {}

    def prepare(self, model: Any, dtype: str, device: str = "cpu") -> Any:
        self.times += 1
        made = Model()
        made.model = model  # type: ignore[attr-defined]  # as every backend does
        return made


class Forgetful(Counting):
    """Prepares an object that notes whether it was asked to let go of its runs."""

    forgotten = False

    def prepare(self, model: Any, dtype: str, device: str = "cpu") -> Any:
        made = super().prepare(model, dtype, device)
        made.forget = lambda: setattr(self, "forgotten", True)
        return made


def test_one_backend_is_prepared_once_for_a_model_and_dtype() -> None:
    known, model, backend = Engine(), Model(), Counting()
    first = known.prepared(model, backend, "float32")  # type: ignore[arg-type]
    assert known.prepared(model, backend, "float32") is first  # type: ignore[arg-type]
    assert known.prepared(model, backend, "float64") is not first  # type: ignore[arg-type]
    assert backend.times == 2


def test_two_backends_of_one_name_are_two() -> None:
    known, model, one, other = Engine(), Model(), Counting(), Counting()
    assert known.prepared(model, one, "float32") is not known.prepared(model, other, "float32")  # type: ignore[arg-type]


def test_the_oldest_is_let_go_and_the_last_used_stays() -> None:
    known, model, often = Engine(), Model(), Counting()
    oldest = weakref.ref(known.prepared(model, Counting(), "float32"))  # type: ignore[arg-type]
    for _ in range(2 * KEPT):
        known.prepared(model, often, "float32")  # type: ignore[arg-type]
        known.prepared(model, Counting(), "float32")  # type: ignore[arg-type]
    gc.collect()
    assert oldest() is None
    assert often.times == 1


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> PreparedModels:
    """Keeps 2000 bytes: four networks of 100 weights in float32, each with a tensor of 10 values twice."""
    monkeypatch.setattr("harness.engine.prepared.LIMIT", 2000)
    return PreparedModels()


def prepare(models: PreparedModels, *those: Any, dtype: str = "float32") -> None:
    for each in those:
        models.ready(each, ONE, dtype, "cpu")  # type: ignore[arg-type]


ONE = Counting()


def test_the_bytes_are_those_of_the_weights_and_of_activations_and_relevances() -> None:
    assert bytes_of(Model(), "float32") == 4 * (100 + 2 * 10)  # type: ignore[arg-type]
    assert bytes_of(Model(), "float64") == 8 * (100 + 2 * 10)  # type: ignore[arg-type]


def test_a_network_goes_when_the_memory_is_needed_for_others_the_last_used_stay(models) -> None:
    first, second, *more = (Model() for _ in range(5))
    gone = weakref.ref(second)
    prepare(models, first, second, *more[:2], first, more[2])
    assert models.models() == [*more[:2], first, more[2]]
    del second
    gc.collect()
    assert gone() is None


def test_the_network_in_use_stays_whatever_it_takes(models) -> None:
    large = Model(10_000)
    prepare(models, Model(), large, large)
    assert models.models() == [large]
    prepare(models, Model())
    assert large not in models.models()


def test_copies_stay_while_their_network_is_used_and_go_with_it(models) -> None:
    network, copies = Model(400), [Model(400), Model(400)]
    prepare(models, network)
    for copy in copies:
        models.copied(copy, network, passing=False)  # type: ignore[arg-type]
        prepare(models, copy, network)
    assert len(models.models()) == 3
    other = Model(400)
    prepare(models, other)
    assert models.models() == [other]


def test_a_passing_copy_goes_once_anything_else_is_asked_for(models) -> None:
    network, copy = Model(), Model()
    gone = weakref.ref(copy)
    prepare(models, network)
    models.copied(copy, network, passing=True)  # type: ignore[arg-type]
    prepare(models, copy)
    prepare(models, copy, dtype="float64")
    assert models.models() == [network, copy]
    prepare(models, network)
    del copy
    gc.collect()
    assert gone() is None


def test_of_passing_copies_one_behind_the_other_the_last_stays(models) -> None:
    """A floor is measured on several copies in a row, and nothing else is asked for between them."""
    network = Model()
    prepare(models, network)
    for _ in range(4):
        copy = Model()
        models.copied(copy, network, passing=True)  # type: ignore[arg-type]
        prepare(models, copy)
        assert models.models() == [network, copy]


def test_who_was_not_asked_for_long_keeps_nothing_of_its_runs(models) -> None:
    network = Model()
    backends = [Forgetful() for _ in range(KEPT_RUNS + 1)]
    for backend in backends:
        models.ready(network, backend, "float32", "cpu")  # type: ignore[arg-type]
    assert [backend.forgotten for backend in backends] == [True, *(False,) * KEPT_RUNS]
