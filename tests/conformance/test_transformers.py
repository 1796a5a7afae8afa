"""Transformers: the TensorFlow reference and the port on every layer, the oracle's steps beside them."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

import harness
from harness.backends import backend_named
from harness.methods import method
from ported_impls.backend import TorchBackend
from ported_models import PortedModel
from tests.models.transformers import NETWORKS, inputs_for
from tests.port.test_shared import assert_same

pytestmark = [pytest.mark.tensorflow, pytest.mark.torch]

#: Every reading of both methods, and what attention does where it has no rule.
METHODS = (
    "attnlrp",
    "attnlrp:epsilon=0,bias=false",
    "attnlrp:residual=identity,norm=held",
    "attnlrp:residual=sign_split,norm=differentiated",
    "attnlrp:residual=sign_split,norm=held,epsilon=0,bias=false",
    "cp_lrp",
    "cp_lrp:residual=identity,norm=differentiated",
    "cp_lrp:residual=sign_split,norm=held,epsilon=0,bias=false",
    "gradient",
    "input_t_gradient",
    "lrp.epsilon",
)


@cache
def network(name: str) -> PortedModel:
    return PortedModel.from_graph(NETWORKS[name](0))


@pytest.mark.thinned(0.1)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("net", NETWORKS)
def test_reference_and_port_agree_at_every_layer(net: str, name: str, dtype: str) -> None:
    model = network(net)
    x = inputs_for(model.graph).astype(dtype)
    reference = harness.explain(model, x, name, dtype=dtype)
    candidate = harness.explain(model, x, name, "torch", target=reference.target, dtype=dtype)
    compared = harness.compare(reference, candidate)
    assert compared.passed, [row for row in compared.rows if row.verdict not in ("identical", "equivalent")]
    assert {row.layer for row in compared.rows} == {layer.name for layer in model.graph}
    assert all(np.isfinite(layer.relevance).all() for layer in candidate.layers.values())


@pytest.mark.parametrize("net", NETWORKS)
def test_each_step_of_both_is_the_oracles(net: str) -> None:
    """On the oracle's own activations and relevances, so that no layer inherits anything."""
    model, chosen = network(net), method("attnlrp:residual=sign_split,norm=held")
    run = harness.explain(model, inputs_for(model.graph), chosen, "oracle", dtype="float64")
    exact, *sides = (
        backend_named(name).prepare(model, "float64") for name in ("oracle", "tensorflow", "torch")
    )
    for layer in model.graph:
        if not layer.inputs:
            continue
        inputs = tuple(run.layers[source].activation for source in layer.inputs)
        step = layer, inputs, run.layers[layer.name].relevance, chosen
        expected = exact.step(*step)
        for side in sides:
            for one, other in zip(side.step(*step), expected, strict=True):
                assert np.abs(one - other).max() <= 1e-12 * max(1.0, np.abs(other).max()), layer.name


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("net", NETWORKS)
def test_what_runs_of_the_port_share_is_what_each_gives_alone(net: str, dtype: str) -> None:
    model = network(net)
    x = inputs_for(model.graph).astype(dtype)
    prepared = TorchBackend().prepare(model, dtype)
    target = prepared.logits(x).argmax(axis=1)
    for name in METHODS:
        shared = prepared.run(x, method(name), target, True)
        assert_same(shared, prepared.run_alone(x, method(name), target, True), name)


@pytest.mark.parametrize("net", NETWORKS)
def test_attention_weights_that_are_held_fixed_get_no_relevance(net: str) -> None:
    model = network(net)
    trace = harness.explain(model, inputs_for(model.graph), "cp_lrp", "torch", dtype="float64")
    softmaxes = [layer.name for layer in model.graph if layer.kind == "softmax"]
    assert softmaxes
    for name in softmaxes:
        assert not trace.layers[name].relevance.any()


@pytest.mark.parametrize("residual", ["epsilon", "sign_split"])
@pytest.mark.parametrize("net", NETWORKS)
def test_relevance_is_conserved_where_the_rules_say_so(net: str, residual: str) -> None:
    """Without biases and stabilizer, with attention weights held: what starts at the output reaches the tokens.

    What the class token gets is part of that, and does not come from the input.
    """
    model = network(net)
    name = f"cp_lrp:residual={residual},epsilon=0,bias=false"
    trace = harness.explain(model, inputs_for(model.graph), name, "torch", dtype="float64")
    start = trace.layers[model.graph.output].relevance.sum(axis=1)
    tokens = "with_class_token" if net == "encoder" else "input"
    reached = trace.layers[tokens].relevance.reshape(len(start), -1).sum(axis=1)
    np.testing.assert_allclose(reached, start, rtol=1e-9)
