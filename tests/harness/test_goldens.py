"""A golden holds what a port is verified against, and notices when it no longer applies."""

from __future__ import annotations

import json

import numpy as np
import pytest

from harness.errors import InvalidInputError, ModelSourceError
from harness.golden import find_goldens, load_golden, record, verify
from tests.harness.linear_network import GradientBackend, network

X = np.array([[0.5, -1.0, 2.0]])


@pytest.fixture
def root(tmp_path):
    for _ in record(
        tmp_path, network(), X, "by-hand", ["gradient", "input_t_gradient"], GradientBackend(), "float64"
    ):
        pass
    return tmp_path


def only(root, method: str):
    return next(find_goldens(root, ["linear"], [method]))


def test_provenance_names_versions_model_input_target_and_method(root) -> None:
    facts = json.loads(only(root, "gradient").with_suffix(".json").read_text())
    assert facts["method"]["is"] == "Method"
    assert facts["dtype"] == "float64"
    assert facts["input"]["name"] == "by-hand"
    assert len(facts["input"]["sha256"]) == 64
    assert facts["provenance"]["model_digest"] == network().digest
    assert facts["floor"]["relevance"]["x"] > 0


def test_a_right_candidate_holds_and_a_wrong_one_does_not(root) -> None:
    models = {"linear": network()}
    assert verify(only(root, "gradient"), GradientBackend(), models).verdict == "identical"
    wrong = GradientBackend("wrong", lambda layer, r: r * 1.001 if layer == "first" else r)
    comparison = verify(only(root, "input_t_gradient"), wrong, models)
    assert not comparison.passed
    assert (comparison.first_divergent, comparison.first_different_relevance) == ("second", "first")


def test_the_stored_floor_is_the_one_applied(root) -> None:
    golden = load_golden(only(root, "gradient"))
    comparison = verify(golden.path, GradientBackend(), {"linear": network()})
    assert comparison.floor == golden.floor


def test_other_weights_make_the_golden_void(root) -> None:
    changed = network().with_weights(lambda layer, name, array: array * 2)
    with pytest.raises(ModelSourceError, match="recorded with other weights"):
        verify(only(root, "gradient"), GradientBackend(), {"linear": changed})


def test_a_changed_input_is_noticed(root) -> None:
    path = only(root, "gradient").with_suffix(".json")
    facts = json.loads(path.read_text())
    facts["input"]["sha256"] = "0" * 64
    path.write_text(json.dumps(facts))
    with pytest.raises(ModelSourceError, match="stored input"):
        load_golden(path.with_suffix(".safetensors"))


def test_nothing_selected_is_an_error_that_says_how_to_record(root) -> None:
    with pytest.raises(InvalidInputError, match=r"no golden for other .* golden record"):
        list(find_goldens(root, ["other"]))
