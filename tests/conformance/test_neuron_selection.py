"""Methods that select their own output, as the libraries do where their users name no class: numbers by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import harness
from harness.backends import backend_named
from harness.errors import InvalidInputError, UnknownNameError
from harness.methods import AlphaBeta, AlphaBetaOfMaxima, from_json, method, to_json
from harness.methods.dialects import signxai
from ported_models import PortedModel
from ported_models.build import Builder
from reference_impls.peers.innvestigate_calls import call as innvestigate_call
from reference_impls.peers.signxai import call_of
from tests.prepared import ready

BACKENDS = ("oracle", "tensorflow", "torch")


def one_layer() -> PortedModel:
    """Kernel (3 3 / -5 2), bias (1, 4). At (2, -1) the logits are (12, 8)."""
    b = Builder("one_layer", (2,))
    weights = {"kernel": np.array([[3.0, 3], [-5, 2]]), "bias": np.array([1.0, 4])}
    b.add("dense", "logits", weights=weights)
    return PortedModel.from_graph(b.graph())


X = np.array([[2.0, -1.0]])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # x+ W+ + b+ = (7, 10), x- W- + b- = (5, 0): 10 of class 1, 5 of class 0; s = 12 / 15:
        # x+ * W+ of class 1 is 2*3, x- * W- of class 0 is -1*-5.
        ("lrp_alpha_1_beta_0:neuron_selection=max_activation", (6 * 0.8, 5 * 0.8)),
        # x+ W- + b- = (0, 0), x- W+ + b+ = (1, 2): 0, shared by equal ones, and 2 of class 1; t = 12 / 2: -1*2*6.
        ("lrp_alpha_2_beta_1:neuron_selection=max_activation", (2 * 6 * 0.8, 2 * 5 * 0.8 + 12)),
        # With the class given: 7 + 5 = 12 of class 0, s = 1.
        ("lrp_alpha_1_beta_0", (6, 5)),
        ("lrp_alpha_1_beta_0:neuron_selection=index", (6, 5)),
        # Z divides by the largest logit itself, whoever selects it.
        ("lrp_z:neuron_selection=max_activation", (6, 5)),
        ("lrp.alpha_1_beta_0:neuron_selection=max_activation", (6, 5)),
        ("gradient:neuron_selection_mode=max_activation", (3, -5)),
        # Nothing selected: R = (12, 8) is the output itself, R / z is one at both classes, the kernel's rows add up.
        ("lrp.z:neuron_selection_mode=all", (2 * 6, -1 * -3)),
        ("gradient:neuron_selection_mode=all", (6, -3)),
    ],
)
def test_alpha_beta_of_maxima(backend: str, name: str, expected: tuple[float, float]) -> None:
    trace = ready(backend_named(backend), one_layer()).explain(X, method(name))
    assert trace.target.tolist() == [0]
    np.testing.assert_allclose(trace.attribution, [expected], rtol=1e-14)


def two_lines() -> PortedModel:
    """Logits 2 x and 3."""
    b = Builder("two_lines", (1,))
    b.add("dense", "logits", weights={"kernel": np.array([[2.0, 0]]), "bias": np.array([0.0, 3])})
    return PortedModel.from_graph(b.graph())


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # x = 4, at 0, 2 and 4: at 0 the second logit is larger, whose gradient is zero.
        ("integrated_gradients:dialect=signxai,steps=3,neuron_selection=max_activation", 4 * (0 + 2 + 2) / 3),
        ("integrated_gradients:dialect=signxai,steps=3", 4 * 2),
        # iNNvestigate looks up the largest logit of the input and explains that one at 0 and 2.
        ("integrated_gradients:steps=2,neuron_selection_mode=max_activation", 4 * 2),
    ],
)
def test_along_a_path(backend: str, name: str, expected: float) -> None:
    trace = ready(backend_named(backend), two_lines()).explain(np.array([[4.0]]), method(name))
    assert trace.target.tolist() == [0]
    np.testing.assert_allclose(trace.attribution, [[expected]], rtol=1e-14)


def test_a_target_beside_it_is_an_error() -> None:
    name = "lrp_z:neuron_selection=max_activation"
    with pytest.raises(InvalidInputError, match="explains the largest logit, found a target of 1 beside it"):
        harness.explain(one_layer(), X, name, backend="oracle", target=1, dtype="float64")
    trace = harness.explain(one_layer(), X, name, backend="oracle", dtype="float64")
    assert trace.target.tolist() == [0]


@pytest.mark.parametrize("backend", BACKENDS)
def test_without_a_selection_every_output_starts_with_what_the_target_would_have(backend: str) -> None:
    # Logits (8, -4) at 2. Deep Taylor starts with (8, 0), its rule for a dense layer is z+: all of it goes to x.
    b = Builder("signs", (1,))
    b.add("dense", "logits", weights={"kernel": np.array([[4.0, -2]])})
    run = ready(backend_named(backend), PortedModel.from_graph(b.graph()))
    starts = {
        name: run.explain(np.array([[2.0]]), method(f"{name}:neuron_selection=all"))
        .layers["logits"]
        .relevance
        for name in ("lrp.z", "gradient", "deep_taylor")
    }
    assert {name: start.tolist() for name, start in starts.items()} == {
        "lrp.z": [[8, -4]],
        "gradient": [[1, 1]],
        "deep_taylor": [[8, 0]],
    }


def test_every_output_takes_no_target() -> None:
    with pytest.raises(InvalidInputError, match="explains every output, found a target of 1 beside it"):
        harness.explain(one_layer(), X, "lrp.z:neuron_selection=all", backend="oracle", target=1)


def test_a_candidate_that_selects_one_where_all_are_explained_is_named() -> None:
    chosen = harness.backend_from_function(
        "one", lambda twin, x, target, method: first_class(twin, x), "torch", layers="gradient"
    )
    diagnosis = harness.diagnose(one_layer(), X, "gradient:neuron_selection=all", candidate=chosen)
    assert (diagnosis.stage, diagnosis.cause) == ("head", "output-seed")
    assert "starts from one instead of one at every class" in diagnosis.explanation


def first_class(twin: Any, x: Any) -> Any:
    x.requires_grad_()
    twin(x)[:, 0].sum().backward()
    return x.grad


def test_only_the_output_layer_takes_maxima_and_json_keeps_it() -> None:
    plain, chosen = (
        method(f"lrpz_alpha_2_beta_1{tail}") for tail in ("", ":neuron_selection=max_activation")
    )
    assert signxai.unselected(chosen).composite == plain.composite
    b = Builder("three", (2,))
    for name in ("first", "second", "logits"):
        b.add("dense", name, weights={"kernel": np.eye(2)})
    rules = chosen.composite.assign(b.graph())
    assert rules["second"] == AlphaBeta(2, 1)
    assert rules["logits"] == AlphaBetaOfMaxima(2, 1)
    assert from_json(to_json(chosen)) == chosen
    assert "selection" not in to_json(plain)


@pytest.mark.parametrize(
    ("name", "error", "text"),
    [
        ("lrp_z:neuron_selection=largest", UnknownNameError, "neuron_selection"),
        ("lrp_z:neuron_selection=all", UnknownNameError, "neuron_selection"),
        ("epsilon_plus:neuron_selection=max_activation", InvalidInputError, "not of Zennit"),
        ("lrp.z:neuron_selection=index,neuron_selection_mode=index", InvalidInputError, "one parameter"),
    ],
)
def test_what_is_no_selection(name: str, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        method(name)


def test_the_libraries_are_called_without_a_class() -> None:
    assert not call_of(method("lrp_alpha_1_beta_0:neuron_selection=max_activation")).class_given
    assert call_of(method("lrp_alpha_1_beta_0")).class_given
    graph = one_layer().graph
    named = method("lrp.z:neuron_selection_mode=max_activation")
    assert innvestigate_call(named, graph, (1, 2), "float32").payload["selects_itself"]
    assert "selects_itself" not in innvestigate_call(method("lrp.z"), graph, (1, 2), "float32").payload
