"""The NumPy reference and the PyTorch port on layers of every kind with any attributes, and on small networks."""

from __future__ import annotations

import numpy as np
import pytest

import harness
from harness.backends import backend_named
from harness.errors import InvalidInputError
from harness.graph import KINDS
from harness.methods import Method, method
from ported_models.model import PortedModel
from tests.dlbacktrace.sides import on_port, on_reference
from tests.models.graphs import branching_graph, random_input, single_layer_graph

METHODS = (
    "backtrace.default",
    "backtrace.default:activation=relu,zero=bound",
    "backtrace.default:activation=tanh",
    "backtrace.default:activation=swish,padding=lowest",
    "backtrace.default:saturation=mono,high=1,add=magnitude",
    "backtrace.contrast",
)
#: No reading, and refused by name.
REFUSED = {"gru", "simple_rnn", "upsample", "resample", "lrn", "rms_norm", "matmul", "grid_sample"}


def far(reference: np.ndarray, candidate: np.ndarray) -> float:
    """Largest difference, relative to the largest value."""
    assert reference.shape == candidate.shape
    return float(np.abs(reference - candidate).max(initial=0) / max(np.abs(reference).max(initial=0), 1e-300))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("input", *REFUSED)])
def test_a_layer_of_any_kind_gives_the_same_on_both_sides(kind: str) -> None:
    rng = np.random.default_rng(sum(kind.encode()))
    for number in range(8):
        graph = single_layer_graph(kind, rng)
        layer, x = graph["layer"], random_input(graph, rng)
        inputs = tuple(
            np.maximum(rng.standard_normal((2, *shape)), 0) if place else x
            for place, shape in enumerate(layer.input_shapes)
        )
        wanted = method(METHODS[number % len(METHODS)])
        try:
            rule = wanted.composite.rule_for(layer, graph)
        except InvalidInputError:
            assert kind == "lstm" and not wanted.stepwise, "only an LSTM has no reading, in contrast mode"
            continue
        received = tuple(
            np.abs(rng.standard_normal((2, *layer.shape))) for _ in range(1 if wanted.stepwise else 2)
        )
        found = zip(
            on_reference(layer, inputs, received, rule), on_port(layer, inputs, received, rule), strict=True
        )
        for reference, candidate in found:
            for one, other in zip(reference, candidate, strict=True):
                assert far(one, other) < 1e-12, (number, wanted.name, layer.attributes)


@pytest.mark.parametrize("kind", sorted(REFUSED))
def test_a_kind_without_a_reading_is_refused_by_name(kind: str) -> None:
    graph = single_layer_graph(kind, np.random.default_rng(0))
    with pytest.raises(InvalidInputError, match=rf"no rule for layer 'layer' \({kind}\)"):
        method("backtrace.default").composite.assign(graph)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", [*METHODS, "backtrace.contrast:part=against"])
def test_branching_networks_are_equivalent(name: str, dtype: str) -> None:
    model = PortedModel.from_graph(branching_graph(np.random.default_rng(3)))
    x = np.random.default_rng(4).standard_normal((3, *model.input_shape)).astype(dtype)
    reference = harness.explain(model, x, name, dtype=dtype)
    assert reference.backend == "backtrace-numpy"
    candidate = harness.explain(
        model, x, name, backend="backtrace-torch", target=reference.target, dtype=dtype
    )
    compared = harness.compare(reference, candidate)
    assert compared.passed, compared.table[["layer", "verdict", "floors"]]
    assert len(compared.table) >= len(model.layers)


def test_the_backends_of_other_families_say_that_they_do_not_have_it() -> None:
    graph = branching_graph(np.random.default_rng(3))
    for name in ("tensorflow", "oracle", "torch", "zennit"):
        assert backend_named(name).supports(method("backtrace.default"), graph)
    for name in ("backtrace-numpy", "backtrace-torch"):
        assert backend_named(name).supports(method("lrp.epsilon"), graph)
        assert not backend_named(name).supports(method("backtrace.contrast"), graph)


def test_a_rule_of_another_family_is_refused_by_the_reference() -> None:
    wanted = method("backtrace.default")
    other = Method("mixed", method("lrp.z").composite, wanted.head)
    graph = branching_graph(np.random.default_rng(3))
    assert "no rule Z" in backend_named("backtrace-numpy").supports(other, graph)
