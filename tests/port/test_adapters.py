"""Backends made of a Zennit composite."""

from __future__ import annotations

import numpy as np
import pytest

from harness.methods import method
from ported_impls.adapters import backend_from_composite
from ported_impls.torchvision_shim import zennit
from ported_models.build import Builder
from ported_models.model import PortedModel
from tests.prepared import ready


def dense_model() -> PortedModel:
    """x = (1, 2) has z = (2, -2) + (1, 0) and through the second layer the logit 3 - 2 = 1."""
    b = Builder("dense", (2,))
    b.add("dense", "body", weights={"kernel": np.array([[2.0, 0], [0, -1]]), "bias": np.array([1.0, 0])})
    b.add("dense", "head", weights={"kernel": np.array([[1.0], [1]])})
    return PortedModel.from_graph(b.graph())


def epsilon_composite(model, method):
    assert model.graph.output == "head"
    return zennit.core.Composite(
        module_map=lambda context, name, module: (
            zennit.rules.Epsilon(epsilon=1.0) if name in ("body", "head") else None
        )
    )


def test_a_composite_is_run_and_recorded_layer_by_layer():
    prepared = ready(backend_from_composite("mine", epsilon_composite), dense_model(), "float64")
    trace = prepared.explain(np.array([[1.0, 2]]), method("gradient"))
    # head: S = 1 + 1, R = (3, -2) / 2; body: S = (3 + 1, -2 - 1), R = (1*2 * 1.5/4, 2*-1 * -1/-3).
    assert trace.backend == trace.provenance["backend"] == "mine"
    assert trace.layers["head"].relevance.tolist() == [[1]]
    assert trace.layers["body"].relevance.tolist() == [[1.5, -1]]
    np.testing.assert_allclose(trace.attribution, [[0.75, -2 / 3]], rtol=4 * 2**-52)


def test_a_composite_has_its_own_step_for_each_layer():
    model = dense_model()
    prepared = ready(backend_from_composite("mine", epsilon_composite), model, "float64")
    (found,) = prepared.step(
        model.graph["body"], (np.array([[1.0, 2]]),), np.array([[1.5, -1]]), method("lrp.z")
    )
    np.testing.assert_allclose(found, [[0.75, -2 / 3]], rtol=4 * 2**-52)


@pytest.mark.parametrize(("head", "start"), [("logit", 7.0), ("one", 1.0), (None, 1.0)])
def test_the_head_of_a_composite_backend_is_its_own_unless_left_to_the_method(head, start):
    b = Builder("line", (1,))
    b.add("dense", "head", weights={"kernel": np.array([[7.0]])})
    backend = backend_from_composite("mine", lambda model, method: zennit.core.Composite(), head=head)
    # The method is the gradient, whose head is one.
    trace = ready(backend, PortedModel.from_graph(b.graph()), "float64").explain(
        np.ones((1, 1)), method("gradient")
    )
    assert trace.attribution.tolist() == [[start * 7]]
