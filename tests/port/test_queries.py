"""Many targets of one input in the port: what each gives alone, on activations that are computed once."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch

from harness.methods import method
from ported_impls import parts as cut
from ported_impls.backend import TorchBackend
from ported_impls.queries import query_bytes
from ported_impls.sampling import bilinear_weights
from ported_models.model import PortedModel
from tests.models.graphs import branching_graph, random_input, read_twice_graph
from tests.models.transformers import NETWORKS, inputs_for
from tests.port.test_parts import METHODS, chain


@pytest.mark.thinned(0.4)
@pytest.mark.parametrize("limit", ["2000", "512M"])
@pytest.mark.parametrize("net", [*NETWORKS, "branching", "read_twice"])
def test_a_chunk_gives_what_each_target_gives_alone(
    net: str, limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(5)
    own = {"branching": branching_graph, "read_twice": read_twice_graph}
    graph = own[net](rng) if net in own else NETWORKS[net](0)
    x = (random_input(graph, rng) if net in own else inputs_for(graph))[:1]
    prepared: Any = TorchBackend().prepare(PortedModel.from_graph(graph), "float64")
    monkeypatch.setenv(cut.LIMIT_VARIABLE, limit)
    targets = np.array([2, 0, 2, 1, 0])
    for name in (*METHODS, "gradient:postprocess=abs"):
        chunks = list(prepared.run_queries(x, method(name), targets, 2))
        assert [len(chunk.attribution) for chunk in chunks] == [2, 2, 1]
        together = np.concatenate([chunk.attribution for chunk in chunks])
        alone = [prepared.run_alone(x, method(name), target, False) for target in targets[:, None]]
        # Products of several rows at once may be summed in another order.
        np.testing.assert_allclose(
            together,
            np.concatenate([each.attribution for each in alone]),
            rtol=1e-12,
            atol=1e-14,
            err_msg=name,
        )
        assert all(chunk.logits.tobytes() == alone[0].logits.tobytes() for chunk in chunks)


def test_relevance_of_a_dense_layer_by_hand() -> None:
    # Both outputs of the chain are x0 + x1; the shares of either are its inputs.
    prepared: Any = TorchBackend().prepare(PortedModel.from_graph(chain(2, 3)), "float64")
    (found,) = prepared.run_queries(np.array([[1.0, 2.0]]), method("lrp.z"), np.array([0, 2]), 4)
    assert found.logits.tolist() == [[3, 3, 3]]
    assert found.attribution.tolist() == [[1, 2], [1, 2]]


@pytest.mark.parametrize(("limit", "runs"), [("512M", {1}), ("6000", {3, 4})])
def test_modules_run_once_for_all_chunks_or_once_a_chunk_inside_a_part(
    limit: str, runs: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = NETWORKS["decoder"](0)
    prepared: Any = TorchBackend().prepare(PortedModel.from_graph(graph), "float64")
    monkeypatch.setenv(cut.LIMIT_VARIABLE, limit)
    count: Counter[str] = Counter()
    for layer in graph:
        if layer.inputs:
            module = prepared.twin.get_submodule(layer.name)
            module.register_forward_hook(lambda *_, name=layer.name: count.update([name]))
    list(prepared.run_queries(inputs_for(graph)[:1], method("gradient"), np.arange(3), 1))
    # Three chunks; the parts before the last are also run once for what crosses between them, the last one is not.
    assert set(count.values()) == runs


@pytest.mark.parametrize("padding", ["zeros", "border"])
def test_the_weights_of_samples_are_those_that_torch_reads_with(padding: str) -> None:
    torch.manual_seed(0)
    maps = torch.randn(1, 5, 3, 4, dtype=torch.float64)
    places = 3 * torch.rand(2, 50, dtype=torch.float64) - 1.5
    places[:, :4] = torch.tensor([[-1.0, 1.0, 0.0, -0.75], [-1.0, 1.0, 0.0, 1 / 3]])  # edges, middle, a pixel
    read = torch.nn.functional.grid_sample(
        maps, places.T[None, None], padding_mode=padding, align_corners=False
    )
    weights = bilinear_weights(places, 3, 4, padding).to_dense()
    torch.testing.assert_close(maps[0].flatten(1) @ weights, read[0, :, 0], rtol=1e-12, atol=1e-13)


def test_bytes_are_counted_on_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    # d1 (5 numbers, reading 4): 2 copies of 5 and 2 of 4 are held at most, for each query; d0 holds 2 * 4 + 2 * 3.
    # Twice the activations, 3 + 4 + 5, the input, which crosses into the first part, and 64 MiB for torch itself.
    graph = chain(3, 4, 5)
    assert query_bytes(graph, 8, 1) == 2**26 + 8 * (2 * 12 + 18 + 3)
    assert query_bytes(graph, 4, 10) == 2**26 + 4 * (2 * 12 + 180 + 3)
    # Each layer a part: the largest is 5; what crosses is all but the last output.
    monkeypatch.setenv(cut.LIMIT_VARIABLE, "1")
    assert query_bytes(graph, 8, 1) == 2**26 + 8 * (2 * 5 + 18 + 7)
