"""A pass backwards in parts: the same bits as one pass, with the activations of one part at a time."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from harness.errors import InvalidInputError
from harness.graph import Graph
from harness.methods import method
from ported_impls import parts as cut
from ported_impls.backend import TorchBackend
from ported_models.build import Builder
from ported_models.model import PortedModel
from tests.models.graphs import branching_graph, random_input, read_twice_graph
from tests.models.transformers import NETWORKS, inputs_for

METHODS = (
    "attnlrp",
    "cp_lrp:residual=sign_split,norm=held",
    "gradient",
    "lrp.epsilon",
    "lrp.alpha_2_beta_1",
    "guided_backprop:dialect=signxai",
    "deconvnet:dialect=signxai",
    "deep_taylor",
)


def chain(*sizes: int) -> Graph:
    """Dense layers of these sizes behind an input of the first."""
    builder = Builder("chain", (sizes[0],))
    for place, size in enumerate(sizes[1:]):
        builder.add("dense", f"d{place}", weights={"kernel": np.ones((builder[builder.last].shape[0], size))})
    return builder.graph()


def lengths(graph: Graph, limit: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Of the parts for one sample of float64, which take ``limit`` numbers at most."""
    monkeypatch.setenv(cut.LIMIT_VARIABLE, str(8 * limit))
    return [len(part) for part in cut.parts_of(graph, np.zeros((1, *graph.input.shape)))]


def test_what_is_within_the_limit_is_one_part(monkeypatch: pytest.MonkeyPatch) -> None:
    assert lengths(chain(3, 3, 3, 3), 12, monkeypatch) == [4]


def test_a_layer_larger_than_the_limit_is_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    assert lengths(chain(3, 9, 9, 3), 8, monkeypatch) == [1, 1, 1, 1]


def test_a_cut_is_where_least_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    # 4 + 4 + 1 + 4 + 4 = 17 numbers are more than 16. Behind the 1 there is one number to keep, elsewhere 4.
    assert lengths(chain(4, 4, 1, 4, 4), 16, monkeypatch) == [3, 2]


@pytest.mark.parametrize("limit", [1, 2_000, 10_000])
@pytest.mark.parametrize("net", [*NETWORKS, "branching", "read_twice"])
def test_parts_give_the_bits_of_one_pass(net: str, limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    own = {"branching": branching_graph, "read_twice": read_twice_graph}
    graph = own[net](rng) if net in own else NETWORKS[net](0)
    x = (random_input(graph, rng) if net in own else inputs_for(graph)).astype(np.float32)
    prepared = TorchBackend().prepare(PortedModel.from_graph(graph), "float32")
    target = prepared.logits(x).argmax(axis=1)
    monkeypatch.setenv(cut.LIMIT_VARIABLE, str(limit))
    for name in METHODS:
        in_parts = prepared.run(x, method(name), target, False)
        whole = prepared.run_alone(x, method(name), target, False)
        assert in_parts.attribution.tobytes() == whole.attribution.tobytes(), name
        assert in_parts.logits.tobytes() == whole.logits.tobytes()
        assert in_parts.relevances is None or not in_parts.relevances


def test_a_part_behind_the_output_gets_no_relevance(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = replace(chain(2, 2, 2, 2), output="d0")
    prepared = TorchBackend().prepare(PortedModel.from_graph(graph), "float64")
    monkeypatch.setenv(cut.LIMIT_VARIABLE, "1")
    found = prepared.run(np.array([[1.0, 2.0]]), method("lrp.z"), np.array([1]), False)
    # Both outputs are 3; the shares of the second are its inputs.
    assert found.logits.tolist() == [[3, 3]]
    assert found.attribution.tolist() == [[1, 2]]


def test_each_part_is_run_right_before_relevance_goes_through_it(monkeypatch: pytest.MonkeyPatch) -> None:
    graph, limit = NETWORKS["decoder"](0), 6_000
    x = inputs_for(graph)
    prepared = TorchBackend().prepare(PortedModel.from_graph(graph), "float64")
    target = prepared.logits(x).argmax(axis=1)
    monkeypatch.setenv(cut.LIMIT_VARIABLE, str(limit))
    run: list[list[str]] = []

    def watched(twin: Any, layers: Any, outputs: dict[str, Any]) -> Any:
        # What a part is given is no more than what it reads.
        assert set(outputs) <= {name for layer in layers for name in layer.inputs} | {"input"}
        assert sum(math.prod(layer.shape) for layer in layers) * x.itemsize * len(x) <= limit
        run.append([layer.name for layer in layers])
        return run_layers(twin, layers, outputs)

    run_layers = cut.run_layers
    monkeypatch.setattr(cut, "run_layers", watched)
    prepared.run(x, method("attnlrp"), target, False)
    assert len(run) > 5
    assert [name for part in reversed(run) for name in part] == [layer.name for layer in graph]


def test_a_size_that_is_none_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cut.LIMIT_VARIABLE, "lots")
    with pytest.raises(InvalidInputError, match="XAI_HARNESS_ACTIVATION_BYTES is 'lots'"):
        cut.parts_of(chain(2, 3), np.zeros((1, 2)))
