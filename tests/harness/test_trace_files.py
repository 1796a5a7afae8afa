"""A trace on disk comes back whole, or the reading says what is wrong."""

from __future__ import annotations

import json

import numpy as np
import pytest

import harness
from harness.errors import ModelSourceError
from harness.files import replacing, write_json
from harness.methods import method
from tests.harness.linear_network import GradientBackend, network
from tests.prepared import ready


@pytest.fixture
def trace():
    x = np.array([[0.5, -1.0, 2.0]])
    return ready(GradientBackend(), network(), "float64").explain(x, method("input_t_gradient"))


def test_a_trace_comes_back_bit_for_bit(trace, tmp_path) -> None:
    trace.save(tmp_path / "t.safetensors")
    back = harness.load_trace(tmp_path / "t.safetensors")
    assert list(back.layers) == list(trace.layers)
    for name, layer in trace.layers.items():
        assert back.layers[name].axes == layer.axes
        np.testing.assert_array_equal(back.layers[name].activation, layer.activation)
        np.testing.assert_array_equal(back.layers[name].relevance, layer.relevance)
    np.testing.assert_array_equal(back.attribution, trace.attribution)
    assert (back.method, back.model, back.backend, back.dtype) == (trace.method, "linear", "plain", "float64")
    assert back.target.tolist() == trace.target.tolist()
    assert back.provenance == trace.provenance


def test_missing_truncated_foreign_and_mixed_files_are_named(trace, tmp_path) -> None:
    path = tmp_path / "t.safetensors"
    with pytest.raises(ModelSourceError, match=r"t\.safetensors does not exist"):
        harness.load_trace(path)
    trace.save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-8])
    with pytest.raises(ModelSourceError, match="is damaged"):
        harness.load_trace(path)
    path.write_bytes(whole)
    facts = json.loads(path.with_suffix(".json").read_text())
    path.with_suffix(".json").write_text(json.dumps(facts | {"format": 99}))
    with pytest.raises(ModelSourceError, match="has format 99"):
        harness.load_trace(path)
    path.with_suffix(".json").write_text(json.dumps(facts | {"model": "another"}))
    with pytest.raises(ModelSourceError, match=r"t\.json is damaged: .*; record the trace again"):
        harness.load_trace(path)
    path.with_suffix(".json").write_text("{")
    with pytest.raises(ModelSourceError, match="no readable trace"):
        harness.load_trace(path)


def test_an_error_while_writing_leaves_the_old_file_and_nothing_else(tmp_path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"old": 1})
    with pytest.raises(OSError, match="full"), replacing(path) as temporary:
        temporary.write_text("half")
        raise OSError("disk full")
    assert json.loads(path.read_text()) == {"old": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]
