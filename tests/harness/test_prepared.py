"""What is prepared once is used again, and does not pile up."""

from __future__ import annotations

import gc
import weakref
from typing import Any

from harness.engine import KEPT, Engine


class Model:
    """Stands in for a model, and for what is prepared: something that can be referred to weakly."""

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
        return Model()


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
