"""Attention and feed-forward blocks: by hand, reference against port, and against the package itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from harness.methods import Backtrace
from ported_impls.dlbacktrace.attention import attention as ported
from reference_impls.dlbacktrace.attention import attention, feed_forward, reshared
from reference_impls.peers.backtrace_package import original
from tests.dlbacktrace.sides import layer_of, on_port
from tests.peers.library import needs


def operands(seed: int = 5) -> list[np.ndarray]:
    """Relevance, query, key, value: two samples, three heads, four queries, five keys, six features."""
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((2, 3, length, 6)) for length in (4, 4, 5, 5)]


def test_one_query_one_key_and_one_feature_share_in_halves() -> None:
    # A = 1 / (1 + 1e-9), O = A * v: of R = 8, half goes to v and half to the scores, and a quarter to q and to k.
    ones = [np.full((1, 1, 1, 1), value) for value in (8.0, 2.0, 3.0, -5.0)]
    found = attention(*ones)
    assert [float(each.squeeze()) for each in found] == pytest.approx([2, 2, 4], rel=1e-8)


def test_sums_of_both_signs_are_shared_by_size() -> None:
    relevance = np.asarray([[[[3.0, -1.0], [2.0, 0.0]]]])
    values = np.asarray([[[[1.0, -1.0], [2.0, 0.0]]]])
    # 5 - 1 = 4 by sizes 1, 1, 2, 0.
    assert reshared(relevance, values)[0, 0] == pytest.approx(np.asarray([[1, 1], [2, 0]]))


@pytest.mark.parametrize("scale", [None, 0.5])
def test_reference_and_port_agree(scale: float | None) -> None:
    given = operands()
    expected = attention(*given, scale)
    found = ported(*(torch.from_numpy(each) for each in given), scale)
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_allclose(other.numpy(), one, rtol=1e-9, atol=1e-12 * np.abs(one).max())


def test_a_feed_forward_block_is_two_dense_layers() -> None:
    rng = np.random.default_rng(6)
    first = layer_of(
        "dense", [(3, 4)], weights={"kernel": rng.standard_normal((4, 7)), "bias": rng.random(7)}
    )
    second = layer_of(
        "dense", [(3, 7)], weights={"kernel": rng.standard_normal((7, 4)), "bias": rng.random(4)}
    )
    x, relevance = rng.standard_normal((2, 3, 4)), rng.standard_normal((2, 3, 4))
    hidden = np.maximum(x @ first.weights["kernel"] + first.weights["bias"], 0)
    ((between,),) = on_port(second, (hidden,), (relevance,), Backtrace("linear"))
    ((expected,),) = on_port(first, (x,), (between,), Backtrace("linear"))
    np.testing.assert_allclose(
        feed_forward(relevance, x, first, second, hidden), expected, rtol=1e-11, atol=1e-12
    )


@pytest.mark.peer
def test_attention_equals_the_original_handler() -> None:
    needs("dl-backtrace")
    relevance, query, key, value = operands(7)
    backend = original()
    payload = {"handler": "attention", "version": "original", "arguments": {}}
    arrays = {"relevance": relevance, "input/0": query, "input/1": key, "input/2": value}
    _, found = backend.worker.request("step", payload, arrays)
    for place, share in enumerate(attention(relevance, query, key, value)):
        of_package = found[f"share/{place}"]
        assert np.linalg.norm(share - of_package) < 1e-12 * np.linalg.norm(of_package)
    backend.worker.close()
