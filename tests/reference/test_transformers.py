"""Small transformers: the reference beside the oracle at every layer; what its runs share is what each gives alone."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

import harness
from harness.backends import backend_named
from harness.case import Case
from harness.comparison import MULTIPLE, layers_around, verdict_line
from harness.comparison.floor import RUNS, moved_by_units, movement
from harness.methods import method
from harness.runner import run_case
from harness.trace import Trace
from ported_models import PortedModel
from reference_impls.tensorflow import TensorFlowBackend
from tests.models.transformers import NETWORKS, WIDTH, inputs_for
from tests.reference.test_shared import assert_same

#: Every reading of norms and additions, with and without biases, and others for comparison.
READINGS = (
    *(
        f"{name}:norm={norm},residual={residual}"
        for name in ("attnlrp", "cp_lrp")
        for norm in ("identity", "held", "differentiated")
        for residual in ("epsilon", "identity", "sign_split")
    ),
    "attnlrp:epsilon=0,bias=false",
    "cp_lrp:epsilon=0.25,bias=false,norm=held",
    "gradient",
    "input_t_gradient",
    "lrp.epsilon",
)


@cache
def network(name: str) -> PortedModel:
    return PortedModel.from_graph(NETWORKS[name](0))


@pytest.mark.thinned(0.5)
@pytest.mark.parametrize("name", NETWORKS)
def test_every_reading_is_the_oracles_at_every_layer(name: str) -> None:
    model = network(name)
    x = inputs_for(model.graph)
    for reading in READINGS:
        case = Case(model, x, method(reading), None, "float64")
        outcome = run_case(case, backend_named("oracle"), backend_named("tensorflow"))
        comparison = outcome.comparison
        assert comparison is not None, f"{reading}: {outcome.message}"
        assert outcome.passed, f"{verdict_line(comparison)}\n{layers_around(comparison)}"


@pytest.mark.thinned(0.2)
@pytest.mark.parametrize("name", NETWORKS)
def test_float32_is_as_far_from_the_oracle_as_weights_moved_by_a_unit_in_the_last_place(name: str) -> None:
    """The oracle computes in float64 on the float32 weights and, for the floor, on their neighbours in float32."""
    rng = np.random.default_rng(1)
    rounded = network(name).with_weights(lambda layer, key, array: array.astype(np.float32))
    x = inputs_for(rounded.graph).astype(np.float32)
    words = rounded.graph.rows_of_input is not None
    neighbours = [
        (
            rounded.with_weights(lambda layer, key, array: moved_by_units(array, rng)),
            x if words else moved_by_units(x, rng),
        )
        for _ in range(RUNS)
    ]
    for reading in READINGS:
        exact, coarse = explained(rounded, x, reading, "oracle"), explained(rounded, x, reading, "tensorflow")
        moved = [explained(model, at, reading, "oracle") for model, at in neighbours]
        floor = replace(movement(exact, moved, rounded.graph, "moved"), dtype="float32")
        for layer in rounded.graph:
            one, other = (run.layers[layer.name].relevance for run in (exact, coarse))
            # What a word gets is the sum of what its numbers get. An RMS norm does not see their common length: where
            # it is differentiated the sum is next to nothing, and rounding is that of its terms.
            terms = "embedded" if words and not layer.inputs else layer.name
            count = 1 if terms == layer.name else WIDTH
            size = np.sqrt(count) * np.linalg.norm(exact.layers[terms].relevance)
            distance = np.linalg.norm(one - other.astype(np.float64))
            assert distance <= MULTIPLE * floor.of_relevance(terms) * size, (reading, layer.name)


def explained(model: PortedModel, x: np.ndarray, reading: str, backend: str) -> Trace:
    """In float64 by the oracle, in float32 by the reference."""
    dtype = "float64" if backend == "oracle" else "float32"
    return harness.explain(model, x.astype(dtype), reading, backend, target=np.array([0, 2]), dtype=dtype)


@pytest.mark.thinned(0.2)
@pytest.mark.parametrize("name", ["encoder", "deformable_border"])
def test_what_runs_share_is_what_each_gives_alone(name: str) -> None:
    model = network(name)
    prepared = TensorFlowBackend().prepare(model, "float32")
    x, target = inputs_for(model.graph).astype(np.float32), np.array([0, 2])
    for reading in READINGS[::3]:
        shared = prepared.run(x, method(reading), target, True)
        assert_same(shared, prepared.run_alone(x, method(reading), target, True), reading)
