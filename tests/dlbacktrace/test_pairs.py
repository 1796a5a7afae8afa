"""Single steps of contrast mode: two relevances, in one array where the harness compares them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import harness
from harness.backends import backend_named, repeated, shown_of, steps_of
from harness.errors import InvalidInputError
from harness.methods import method
from ported_models.build import Builder
from ported_models.model import PortedModel

FOR, AGAINST = method("backtrace.contrast"), method("backtrace.contrast:part=against")
BACKENDS = ("backtrace-numpy", "backtrace-torch")


def network() -> PortedModel:
    """One output, ``3 x1 - 1 x2``."""
    builder = Builder("one", (2,))
    builder.add("dense", "logits", weights={"kernel": np.asarray([[3.0], [-1.0]])})
    return PortedModel.from_graph(builder.graph())


def test_the_parts_of_a_method_are_those_whose_relevances_a_step_takes() -> None:
    assert [part.head.part for part in AGAINST.parts] == ["for", "against"]  # type: ignore[union-attr]
    assert AGAINST.parts[1] is AGAINST and FOR.parts[0] is FOR
    default = method("backtrace.default")
    assert default.parts == (default,)
    array = np.asarray([[1.0], [2.0]])
    assert repeated(array, FOR).ravel().tolist() == [1, 2, 1, 2]
    both = np.asarray([1.0, 2.0, 3.0, 4.0])
    assert (shown_of(both, FOR).tolist(), shown_of(both, AGAINST).tolist()) == ([1, 2], [3, 4])


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("wanted", [FOR, AGAINST], ids=["for", "against"])
def test_a_step_of_both_relevances_by_hand(name: str, wanted: Any) -> None:
    # x = (1, 1): P = 3, N = 1, t = 2 > 0. Sample 1 has p = 6 > n = 2: x1 gets p, x2 gets n against the target.
    # Sample 2 has p = 2 < n = 6: x1 gets n against it, x2 gets p for it.
    model = network()
    prepared: Any = backend_named(name).prepare(model, "float64")
    layer, x = model.graph["logits"], np.ones((2, 2))
    favour, against = np.asarray([[6.0], [2.0]]), np.asarray([[2.0], [6.0]])
    ((for_it, against_it),) = prepared.step_pair(layer, (x,), (favour, against), wanted)
    assert (for_it.tolist(), against_it.tolist()) == ([[6, 0], [0, 2]], [[0, 2], [6, 0]])
    steps = steps_of(prepared, wanted)
    assert steps is not None
    (joined,) = steps.step(layer, (repeated(x, wanted),), np.concatenate([favour, against]), wanted)
    assert joined.tolist() == [[6, 0], [0, 2], [0, 2], [6, 0]]
    with pytest.raises(InvalidInputError, match="two relevances for each sample, found 3"):
        steps.step(layer, (np.ones((3, 2)),), np.ones((3, 1)), wanted)


def test_a_backend_with_steps_of_one_relevance_offers_none_in_contrast_mode() -> None:
    class OfOne:
        def step(self, *operands: Any) -> Any:
            raise AssertionError("not asked")

    assert steps_of(OfOne(), FOR) is None
    assert steps_of(OfOne(), method("backtrace.default")) is not None


@pytest.mark.parametrize("wanted", ["backtrace.contrast", "backtrace.contrast:part=against"])
def test_contrast_mode_is_judged_on_equal_ground_too(wanted: str) -> None:
    """The reference's steps on the activations of a run give what that run had, to rounding."""
    from harness.comparison.rerun import walk_back
    from harness.engine import engine
    from tests.models.graphs import branching_graph

    model = PortedModel.from_graph(branching_graph(np.random.default_rng(3)))
    x = np.random.default_rng(4).standard_normal((2, *model.input_shape))
    run = harness.explain(model, x, wanted, dtype="float64")
    steps = engine().steps(run.case, run.executed_by)
    for name, relevance in walk_back(steps, model.graph, run):
        np.testing.assert_array_equal(relevance, run.layers[name].relevance)
