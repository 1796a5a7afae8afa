"""`harness.explain_many`: many targets of one input, within memory that is given."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import harness
from harness.errors import HarnessError, InvalidInputError
from harness.queries import planned
from ported_models.zoo import mask_decoder

pytestmark = [pytest.mark.tensorflow, pytest.mark.torch]


@pytest.fixture(scope="module")
def digits() -> tuple[Any, np.ndarray]:
    model = harness.load_model("vit-digits")
    return model, model.examples["two"]()


@pytest.mark.parametrize(("backend", "dtype"), [("torch", "float32"), ("tensorflow", "float64")])
def test_each_is_equivalent_to_the_run_of_its_target_alone(digits, backend: str, dtype: str) -> None:
    model, x = digits
    found = harness.explain_many(model, x, "attnlrp", [7, 2, 7], backend, dtype)
    assert len(found) == 3
    assert found.attributions.shape == (3, *x.shape[1:])
    for place, target in enumerate([7, 2, 7]):
        alone = harness.explain(model, x, "attnlrp", backend, target=target, dtype=dtype, layers=False)
        trace = found.trace(place)
        assert trace.target.tolist() == [target]
        np.testing.assert_allclose(
            trace.attribution, alone.attribution, rtol=1e-5 if dtype == "float32" else 1e-12, atol=1e-7
        )
        assert harness.compare(alone, trace).passed


def test_reference_and_port_are_compared_query_by_query(digits) -> None:
    model, x = digits
    first = harness.explain_many(model, x, "cp_lrp", range(10))
    second = harness.explain_many(model, x, "cp_lrp", range(10), "torch")
    assert first.backend.name == "tensorflow"
    for place in (0, 9):
        assert harness.compare(first.trace(place), second.trace(place)).passed
    # Another query is another result.
    assert np.abs(first.attributions[0] - second.attributions[9]).max() > 1e-3


def test_the_chunk_follows_from_the_memory_and_is_in_the_digest(digits) -> None:
    model, x = digits
    whole = harness.explain_many(model, x, "cp_lrp", range(10), "torch")
    assert whole.plan.chunk == 10
    one = harness.engine.engine().prepared(model, whole.backend, "float32")
    result = 10 * x.nbytes
    least = result + one.query_bytes(whole.case.method, 3)
    few = harness.explain_many(model, x, "cp_lrp", range(10), "torch", memory=least)
    assert (few.plan.chunk, few.plan.memory) == (3, least)
    assert few.trace(0).case.digest != whole.trace(0).case.digest
    alone = harness.explain(model, x, "cp_lrp", "torch", target=0, layers=False)
    assert few.trace(0).case.digest != alone.case.digest
    np.testing.assert_allclose(few.attributions, whole.attributions, rtol=1e-5, atol=1e-7)


def test_too_little_memory_is_refused_in_one_line(digits) -> None:
    model, x = digits
    with pytest.raises(InvalidInputError) as refused:
        harness.explain_many(model, x, "cp_lrp", range(10), "torch", memory="1K")
    assert "10 queries of vit-digits by cp_lrp take" in str(refused.value)
    assert "found memory='1K'; give more memory or fewer targets" in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"targets": []}, "one class index or more in a row"),
        ({"targets": 3}, "one class index or more in a row"),
        ({"targets": [0, 10]}, "target 10 is outside"),
        ({"targets": [-1, 3]}, "target -1 is outside"),
        ({"method": "smoothgrad"}, "more than one pass backwards"),
        ({"method": "lrp.z:neuron_selection_mode=max_activation"}, "leave out the target"),
        ({"backend": "oracle", "dtype": "float64"}, "does not offer 'queries'"),
        ({"x": 2}, "one sample"),
        ({"memory": "lots"}, "memory is 'lots'"),
    ],
)
def test_what_cannot_be_is_one_line(digits, changed: dict, says: str) -> None:
    model, x = digits
    if "x" in changed:
        changed = {"x": np.concatenate([x, x])}
    asked = {"x": x, "method": "cp_lrp", "targets": [0, 1], "backend": "torch", **changed}
    with pytest.raises(HarnessError, match=says):
        harness.explain_many(model, **asked)


def test_it_says_what_it_took_and_how_far_off_that_is(digits) -> None:
    model, x = digits
    found = harness.explain_many(model, x, "cp_lrp", range(10), "torch")
    assert found.seconds_estimated is None
    words = found.report()
    assert words.startswith("10 queries, 10 at a time: ")
    assert "times the bound" in words
    assert "estimated" not in words


def test_methods_of_many_runs_have_no_plan(digits) -> None:
    model, _ = digits
    backend = harness.backends.backend_named("torch")
    with pytest.raises(InvalidInputError, match="Smoothed"):
        planned(model, harness.methods.method("smoothgrad"), backend, 3, "float32", "4G")


@pytest.mark.nightly
def test_queries_of_the_mask_decoder_stay_within_their_bytes_and_give_what_each_gives_alone() -> None:
    model = harness.load_model("mask-decoder-quarter")
    x = model.examples["cat"]()
    targets = [mask_decoder.target(query, 3) for query in range(0, 300, 25)]
    found = harness.explain_many(model, x, "cp_lrp", targets, "torch", memory="1G")
    assert found.taken <= found.plan.memory <= 2**30
    for place in (0, 7):
        alone = harness.explain(model, x, "cp_lrp", "torch", target=targets[place], layers=False)
        assert harness.compare(alone, found.trace(place)).passed
