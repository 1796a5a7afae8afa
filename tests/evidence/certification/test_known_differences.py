"""Which behaviour of a library is known where."""

from __future__ import annotations

import dataclasses

from evidence.certification.known_differences import known_difference
from harness.methods import method
from tests.evidence.certification.scripted import two_layers


def test_a_variance_on_a_linear_network_is_known_to_be_rounding() -> None:
    graph = two_layers().graph
    assert all(layer.kind in ("input", "dense") for layer in graph)
    reason = known_difference("signxai", method("vargrad"), graph, "attribution")
    assert reason is not None
    assert "variance zero" in reason.text
    # the mean of equal gradients is the gradient: nothing to excuse
    assert known_difference("signxai", method("smoothgrad:dialect=signxai"), graph, "attribution") is None


def test_behind_a_relu_gradients_differ_and_nothing_is_excused() -> None:
    graph = two_layers().graph
    first, second, *rest = graph.layers
    bent = dataclasses.replace(graph, layers=(first, dataclasses.replace(second, kind="relu"), *rest))
    assert known_difference("signxai", method("vargrad"), bent, "attribution") is None
