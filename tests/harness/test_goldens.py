"""A golden holds what a port is verified against, and notices when it no longer applies."""

from __future__ import annotations

import json

import numpy as np
import pytest

from harness.errors import InvalidInputError, ModelSourceError
from harness.golden import find_goldens, load_golden, record, verify, verify_all
from harness.trace.files import sealed
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
    path.write_text(sealed(facts))
    with pytest.raises(ModelSourceError, match="stored input"):
        load_golden(path.with_suffix(".safetensors"))


def test_every_flipped_bit_is_noticed(root) -> None:
    """Of each byte of both files one bit, the next one for the next byte; white space counts too."""
    arrays = only(root, "gradient")
    noticed = 0
    for path in (arrays, arrays.with_suffix(".json")):
        whole = path.read_bytes()
        for place in range(len(whole)):
            flipped = bytearray(whole)
            flipped[place] ^= 1 << place % 8
            path.write_bytes(flipped)
            with pytest.raises(ModelSourceError, match="restore it from version control"):
                load_golden(arrays)
            noticed += 1
        path.write_bytes(whole)
    load_golden(arrays)
    assert noticed == sum(file.stat().st_size for file in (arrays, arrays.with_suffix(".json"))) > 2500


def test_a_floor_that_was_edited_lets_no_wrong_candidate_pass(root) -> None:
    path = only(root, "gradient")
    wrong = GradientBackend("wrong", lambda layer, r: r * (1 + 1e-9) if layer == "first" else r)
    models = {"linear": network()}
    assert not verify(path, wrong, models).passed
    sidecar = path.with_suffix(".json")
    facts = json.loads(sidecar.read_text())
    for floors in (facts["floor"]["relevance"], facts["floor"]["activation"]):
        floors.update(dict.fromkeys(floors, 1e-3))
    sidecar.write_text(json.dumps(facts, indent=1) + "\n")
    with pytest.raises(ModelSourceError, match=r"gradient\.float64\.json is damaged"):
        verify(path, wrong, models)


def test_a_golden_in_the_place_of_another_is_noticed(root) -> None:
    here, there = only(root, "gradient"), only(root, "input_t_gradient")
    for suffix in (".safetensors", ".json"):
        there.with_suffix(suffix).write_bytes(here.with_suffix(suffix).read_bytes())
    with pytest.raises(ModelSourceError, match=r"holds the golden that belongs in .*/gradient\.float64\.saf"):
        load_golden(there)


def test_an_entry_without_the_hash_of_its_facts_says_what_to_do(root) -> None:
    path = only(root, "gradient").with_suffix(".json")
    facts = json.loads(path.read_text())
    del facts["facts_sha256"]
    path.write_text(json.dumps(facts | {"format": 1}, indent=1) + "\n")
    with pytest.raises(ModelSourceError, match=r"format 1, which has no hash .* record it again") as caught:
        load_golden(path.with_suffix(".safetensors"))
    assert "\n" not in str(caught.value)


DEEP = b"[" * 100_000
DAMAGES = {
    "arrays missing": (".safetensors", lambda path: path.unlink()),
    "facts missing": (".json", lambda path: path.unlink()),
    "arrays empty": (".safetensors", lambda path: path.write_bytes(b"")),
    "facts empty": (".json", lambda path: path.write_bytes(b"")),
    "arrays cut": (".safetensors", lambda path: path.write_bytes(path.read_bytes()[:-3])),
    "facts cut": (".json", lambda path: path.write_bytes(path.read_bytes()[:200])),
    "no JSON": (".json", lambda path: path.write_bytes(b"\x93NUMPY")),
    "no UTF-8": (".json", lambda path: path.write_bytes(path.read_bytes().replace(b"linear", b"lin\xe9ar"))),
    "a list": (".json", lambda path: path.write_text("[1, 2]")),
    "nested without end": (".json", lambda path: path.write_bytes(DEEP)),
    "a folder": (".json", lambda path: (path.unlink(), path.mkdir())),
    "sealed, but a list of layers of another type": (".json", lambda path: reseal(path, layers={"x": 1})),
    "sealed, but no floor": (".json", lambda path: reseal(path, floor=None)),
    "sealed, but an unknown method": (".json", lambda path: reseal(path, method={"is": "Method"})),
    "sealed, but of no format": (".json", lambda path: reseal(path, format=[2])),
    "sealed, but no model": (".json", lambda path: reseal(path, model=None)),
}


def reseal(path, **changes) -> None:
    facts = json.loads(path.read_text())
    del facts["facts_sha256"]
    path.write_text(sealed(facts | changes))


@pytest.mark.parametrize(("suffix", "damage"), DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_entry_is_named_and_the_others_are_verified(root, monkeypatch, suffix: str, damage) -> None:
    monkeypatch.setattr("harness.golden.regression.as_model", lambda name: network())
    damage(only(root, "gradient").with_suffix(suffix))
    bad, good = verify_all(find_goldens(root), GradientBackend())
    assert (bad["case"], bad["verdict"], bad["passed"]) == ("linear gradient.float64", "error", False)
    assert "gradient.float64" in bad["message"]
    assert "restore it from version control" in bad["message"]
    assert "\n" not in bad["message"]
    assert (good["case"], good["verdict"]) == ("linear input_t_gradient.float64", "identical")


def test_what_a_candidate_raises_is_an_error_of_its_entry(root, monkeypatch) -> None:
    monkeypatch.setattr("harness.golden.regression.as_model", lambda name: network())
    raised: list[str] = []

    def fault(layer: str, relevance: np.ndarray) -> np.ndarray:
        if not raised:
            raised.append(layer)
            raise SystemExit(0)
        return relevance

    bad, good = verify_all(find_goldens(root), GradientBackend("shaky", fault))
    assert bad["message"] == "candidate 'shaky' raised SystemExit: 0"
    assert good["passed"]


def test_what_a_killed_recording_has_left_is_no_golden(root) -> None:
    before = list(find_goldens(root))
    (root / "linear" / ".lrp.z.float64.safetensors.x1y2.safetensors").touch()
    assert list(find_goldens(root)) == before


def test_nothing_selected_is_an_error_that_says_how_to_record(root) -> None:
    with pytest.raises(InvalidInputError, match=r"no golden for other .* golden record"):
        list(find_goldens(root, ["other"]))
