"""The walk back, by hand."""

from __future__ import annotations

import numpy as np

from harness.graph import Graph, Layer, Walk, shares_by_source, walk_back


def layer(name: str, kind: str, *inputs: str) -> Layer:
    return Layer(name, kind, inputs, ((2,),) * len(inputs), (2,), ("batch", "feature"))


#: ``y = a + a + x`` with ``a = relu(x)``; ``unused`` leads nowhere.
GRAPH = Graph(
    "twice",
    (
        layer("x", "input"),
        layer("a", "relu", "x"),
        layer("unused", "tanh", "a"),
        layer("y", "add", "a", "a", "x"),
    ),
    "y",
)
START = np.array([[1.0, -2.0]])


def equally(layer: Layer, received: np.ndarray) -> tuple[np.ndarray, ...]:
    """Every input gets what the output received."""
    return (received,) * len(layer.inputs)


def test_a_layer_receives_one_share_of_each_reader() -> None:
    walked = [(each.name, received.tolist()) for each, received in walk_back(GRAPH, START, equally)]
    # a is read twice by y: 1 + 1; x gets y's share and a's: 1 + 2. What leads nowhere is not met.
    assert walked == [("y", [[1.0, -2.0]]), ("a", [[2.0, -4.0]]), ("x", [[3.0, -6.0]])]


def test_a_share_is_rectified_where_it_is_received_once_it_is_complete() -> None:
    walked = {each.name: received.tolist() for each, received in walk_back(GRAPH, START, equally, {"a"})}
    assert walked == {"y": [[1.0, -2.0]], "a": [[2.0, 0.0]], "x": [[3.0, -2.0]]}
    shares = shares_by_source(GRAPH["y"], [np.array([3.0]), np.array([-1.0]), np.array([-5.0])], {"a", "x"})
    assert {name: share.tolist() for name, share in shares.items()} == {"a": [2.0], "x": [0.0]}


def test_what_is_given_is_not_changed() -> None:
    given = START.copy()
    walk = Walk(GRAPH, given)
    received = walk.received(GRAPH["y"])
    walk.pass_down(GRAPH["y"], (received, received, received))
    assert walk.received(GRAPH["a"]).tolist() == [[2.0, -4.0]]
    assert given.tolist() == START.tolist()


def test_the_layers_that_the_output_depends_on() -> None:
    assert [each.name for each in GRAPH.backward()] == ["y", "a", "x"]
