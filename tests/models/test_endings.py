"""Endings: what is taken off, and put back to compare with the source."""

from __future__ import annotations

import numpy as np
import pytest

from ported_models.build import Builder
from ported_models.endings import with_ending, without_ending
from ported_models.model import PortedModel


def test_endings_have_the_values_of_their_definitions() -> None:
    """softmax(0, ln 3) = (1/4, 3/4); sigmoid(ln 3) = 3/4, sigmoid(-ln 3) = 1/4."""
    z = np.array([[0.0, np.log(3.0)]])
    np.testing.assert_allclose(with_ending(z, "softmax"), [[0.25, 0.75]], rtol=1e-15)
    np.testing.assert_allclose(with_ending(z, "log_softmax"), np.log([[0.25, 0.75]]), rtol=1e-15)
    np.testing.assert_allclose(with_ending(z, "sigmoid"), [[0.5, 0.75]], rtol=1e-15)
    np.testing.assert_allclose(with_ending(-z, "sigmoid"), [[0.5, 0.25]], rtol=1e-15)
    assert with_ending(z, None) is z


@pytest.mark.parametrize("removed", ["softmax", "log_softmax", "sigmoid"])
def test_large_values_give_no_nan(removed: str) -> None:
    assert np.isfinite(with_ending(np.array([[-1e4, 0.0, 1e4]]), removed)).all()


def test_a_softmax_over_another_axis_and_one_that_reads_the_input_stay() -> None:
    other = Builder("m", (4, 3))
    other.add("dense", "fc", weights={"kernel": np.ones((3, 2))})
    other.add("softmax", "ending", attributes={"axis": -2})
    alone = Builder("m", (3,))
    alone.add("sigmoid", "ending")
    for graph in (other.graph(), alone.graph()):
        assert without_ending(graph) == (graph, None)


def test_a_dropout_behind_an_ending_goes_with_it() -> None:
    builder = Builder("m", (3,))
    builder.add("dense", "fc", weights={"kernel": np.ones((3, 2))})
    before = builder.graph()
    builder.add("softmax", "ending", attributes={"axis": -1})
    builder.add("dropout", "drop", attributes={"rate": 0.5})
    graph, removed = without_ending(builder.graph(), {"ending"})
    assert ([layer.name for layer in graph], graph.output) == ([layer.name for layer in before], "fc")
    assert removed == "log_softmax"


def test_a_dropout_behind_a_layer_that_is_no_ending_stays() -> None:
    builder = Builder("m", (3,))
    builder.add("dense", "fc", weights={"kernel": np.ones((3, 2))})
    builder.add("dropout", "drop", attributes={"rate": 0.5})
    graph = builder.graph()
    assert without_ending(graph) == (graph, None)


def test_a_file_of_the_first_format_still_says_that_a_softmax_was_removed() -> None:
    builder = Builder("m", (3,))
    builder.add("dense", "fc", weights={"kernel": np.ones((3, 2), np.float32)})
    proto = PortedModel(builder.graph()).onnx
    del proto.metadata_props[:]
    for key, value in (("xai_harness.format", "1"), ("xai_harness.removed_softmax", "true")):
        proto.metadata_props.add(key=key, value=value)
    assert PortedModel.from_onnx(proto).removed == "softmax"
