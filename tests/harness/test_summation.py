"""The order of summation is rounding too, and the floor leaves room for it and for nothing more."""

from __future__ import annotations

import math

import numpy as np

from harness.comparison import NoiseFloor, compare_arrays, verdict_of
from harness.comparison.floor import unit_roundoff
from harness.comparison.summation import backward_terms, forward_terms, longest_forward_sums, longest_sum
from harness.graph import Graph, Layer

IMAGE = ("batch", "height", "width", "channel")


def network() -> Graph:
    kernel = np.ones((3, 3, 2, 8), np.float32)
    dense = np.ones((8, 100), np.float32)
    pool = {"pool_size": (2, 2), "strides": (2, 2), "padding": ((0, 0), (0, 0))}
    return Graph(
        "net",
        (
            Layer("x", "input", (), (), (4, 4, 2), IMAGE),
            Layer("conv", "conv2d", ("x",), ((4, 4, 2),), (2, 2, 8), IMAGE, {}, {"kernel": kernel}),
            Layer("pool", "average_pool2d", ("conv",), ((2, 2, 8),), (1, 1, 8), IMAGE, pool),
            Layer("mean", "global_average_pool", ("conv",), ((2, 2, 8),), (8,), ("batch", "feature")),
            Layer("dense", "dense", ("mean",), ((8,),), (100,), ("batch", "feature"), {}, {"kernel": dense}),
        ),
        "dense",
    )


def test_terms_are_counted_by_hand() -> None:
    graph = network()
    # conv: 3*3*2 inputs into an output, 3*3*8 outputs back into an input; dense: 8 and 100.
    assert [forward_terms(graph[name]) for name in ("conv", "pool", "mean", "dense")] == [18, 4, 4, 8]
    assert [backward_terms(graph[name]) for name in ("conv", "dense")] == [72, 100]
    assert longest_forward_sums(graph) == {"x": 1, "conv": 18, "pool": 18, "mean": 18, "dense": 18}
    assert longest_sum(graph) == 100


def test_sums_of_attention_run_along_their_own_axes() -> None:
    """Two heads of 5 queries, 7 tokens and 3 channels; maps of 2 heads read by 5 queries at 4 points each."""
    heads = ("batch", "axis_1", "axis_2", "channel")
    scores = Layer("scores", "softmax", ("x",), ((2, 5, 7),), (2, 5, 7), heads, {"axis": -1})
    norm = Layer("norm", "layer_norm", ("x",), ((5, 6),), (5, 6), heads[:3], {"axes_count": 1})
    both = Layer("both", "rms_norm", ("x",), ((5, 6),), (5, 6), heads[:3], {"axes_count": 2})
    query = Layer(
        "query", "matmul", ("x", "y"), ((2, 5, 3), (2, 7, 3)), (2, 5, 7), heads, {"transposed": True}
    )
    maps = Layer("maps", "grid_sample", ("x", "y"), ((2, 9, 9, 3), (2, 5, 4, 2)), (2, 5, 4, 3), heads)
    layers = (scores, norm, both, query, maps)
    # A bilinear value is a sum of four; back to a pixel may come all 5 * 4 places of its head.
    assert [forward_terms(layer) for layer in layers] == [7, 6, 30, 3, 4]
    assert [backward_terms(layer) for layer in layers] == [7, 6, 30, 7, 20]


def test_two_orders_of_one_long_sum_are_equivalent_and_a_missing_term_is_not() -> None:
    n = 25088
    weights = np.random.default_rng(0).random((n, 64)) ** 2
    exact = np.array([math.fsum(column) for column in weights.T])
    running = np.add.accumulate(weights, axis=0)[-1]
    floor = NoiseFloor("float64", "given", 0.0, {"z": 0.0}, terms=n).of_relevance("z")
    assert floor == unit_roundoff("float64") * math.sqrt(n)
    # A running sum is past ten plain roundoffs, and inside ten floors.
    assert compare_arrays(exact, running)[0].rel_l2 > 10 * unit_roundoff("float64")
    assert verdict_of(compare_arrays(exact, running)[0], floor) == "equivalent"
    without = exact - weights[np.argsort(weights[:, 0])[1]]
    assert verdict_of(compare_arrays(exact, without)[0], floor) != "equivalent"
