"""A golden holds what a candidate is verified against, and notices when it no longer applies."""

from __future__ import annotations

import errno
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import harness
import harness.golden.manifest
import harness.golden.regression as regression
from harness.backends import backend_named
from harness.engine import engine
from harness.errors import InvalidInputError, ModelSourceError
from harness.golden import (
    Models,
    Stale,
    find_goldens,
    inspect,
    load_golden,
    read_manifest,
    record,
    remove,
    verify,
    verify_all,
)
from harness.golden.causes import name_causes
from harness.golden.sketch import BUCKETS, ROWS
from harness.golden.summary import not_held
from harness.trace.files import sealed
from tests.golden.conftest import METHODS, X, make, only, rows
from tests.harness.linear_network import GradientBackend, network


def test_provenance_names_versions_model_input_target_and_method(root) -> None:
    facts = load_golden(only(root, "gradient")).facts
    assert facts["method"]["is"] == "Method"
    assert facts["dtype"] == "float64"
    assert facts["input"]["name"] == "by-hand"
    assert len(facts["input"]["sha256"]) == 64
    assert facts["model_digest"] == network().digest
    assert facts["source"] == {"kind": "object", "name": "linear"}
    assert facts["backend"] == "plain"
    assert facts["versions"]["numpy"] == np.__version__
    assert facts["target"] == [0]
    assert {"harness", "time"} <= set(facts)


def test_a_right_candidate_holds_and_a_wrong_one_does_not(root) -> None:
    models = {"linear": network()}
    assert verify(only(root, "gradient"), GradientBackend(), models).verdict == "identical"
    wrong = GradientBackend("wrong", lambda layer, r: r * 1.001 if layer == "first" else r)
    comparison = verify(only(root, "input_t_gradient"), wrong, models)
    assert not comparison.passed
    assert (comparison.first_divergent, comparison.first_different_relevance) == ("second", "first")


def test_a_summary_says_unchanged_and_within_the_floor_and_regressed(root) -> None:
    assert [row["status"] for row in rows(root)] == ["unchanged", "unchanged"]
    near = GradientBackend("near", lambda layer, r: r * (1 + 4e-16) if layer == "first" else r)
    assert [row["status"] for row in rows(root, near)] == ["within the floor", "within the floor"]
    wrong = GradientBackend("wrong", lambda layer, r: r * 1.001 if layer == "first" else r)
    bad = rows(root, wrong)
    assert [(row["status"], row["passed"]) for row in bad] == [("regressed", False)] * 2
    assert "in the step of second" in bad[0]["message"]
    assert "1.00e-03" in bad[0]["message"]


def test_other_weights_make_the_golden_stale(root) -> None:
    changed = network().with_weights(lambda layer, name, array: array * 2)
    with pytest.raises(Stale, match="recorded with other weights"):
        verify(only(root, "gradient"), GradientBackend(), {"linear": changed})
    assert [row["status"] for row in rows(root, model=changed)] == ["stale", "stale"]


def test_another_definition_of_the_method_makes_the_golden_stale(root, monkeypatch) -> None:
    from harness.methods import method

    monkeypatch.setattr("harness.golden.regression.method", lambda name: method("lrp.z"))
    assert [row["status"] for row in rows(root)] == ["stale", "stale"]


def test_a_method_that_learns_of_a_kind_that_the_network_has_not_is_the_method_it_was(
    root, monkeypatch
) -> None:
    from harness.methods import Assignment, Composite, Gradient, Pass, method

    def now(name: str):
        # A volume and a dense layer: what the composite says of the first is not asked on this network.
        volumes = Assignment(Pass(), kinds=("conv3d",))
        others = Assignment(Gradient(), kinds=("dense", "conv3d"))
        return replace(method(name), composite=Composite((volumes, others)))

    monkeypatch.setattr("harness.golden.regression.method", now)
    assert [row["status"] for row in rows(root)] == ["unchanged", "unchanged"]
    again = record(root, network(), X, "by-hand", ["gradient"], GradientBackend(), "float64", form_of(root))
    assert [each.status for each in again] == ["unchanged"]


def form_of(root: Path) -> str:
    return load_golden(only(root, "gradient")).form


def test_the_cause_of_a_regression_is_named_without_the_reference_that_recorded_it(root) -> None:
    wrong = GradientBackend("wrong", lambda layer, r: r * 2 if layer == "x" else r)
    models, found = Models.given([network()]), inspect(root)
    bad = list(verify_all(found, wrong, models))
    name_causes(bad, found, wrong, models, limit=1)
    # Both regressed in the same step; with one cause to be looked for, one is named.
    assert [row.get("causes") for row in bad] == [["scale"], None]
    lines = not_held(bad)
    assert lines[0] == "regressed:"
    # What reaches x is twice what it was: as far from it as it is long.
    assert lines[1].startswith("  linear/gradient.float64: step of first; at ")
    assert "relative L2 1.0e+00, " in lines[1]
    assert lines[2] == f"    {bad[0]['diagnosis'][0]}" and "2" in lines[2]
    assert lines[3].startswith("  linear/input_t_gradient.float64: step of first; ") and len(lines) == 4


def test_a_regression_in_which_the_oracle_has_a_part_says_so(root) -> None:
    wrong = GradientBackend("wrong", lambda layer, r: r * 2 if layer == "first" else r)
    other = list(
        record(
            root, network(), X, "by-hand", ["gradient"], wrong, "float64", form_of(root), reason="a mistake"
        )
    )
    assert [each.status for each in other] == ["replaced"]
    models, found = Models.given([network()]), inspect(root)
    right = GradientBackend()
    bad = [row for row in verify_all(found, right, models) if not row["passed"]]
    name_causes(bad, found, right, models, limit=5)
    assert [row["causes"] for row in bad] == [[]]
    assert "the reference that recorded did otherwise" in bad[0]["diagnosis"][0]


def test_recording_the_same_again_changes_no_byte(root) -> None:
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    form = load_golden(only(root, "gradient")).form
    done = list(record(root, network(), X, "by-hand", METHODS, GradientBackend(), "float64", form))
    assert [each.status for each in done] == ["unchanged", "unchanged"]
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before


def test_a_floor_that_was_measured_otherwise_is_replaced_for_a_reason(root, monkeypatch) -> None:
    form, measured = load_golden(only(root, "gradient")).form, regression.floor_of
    monkeypatch.setattr(regression, "floor_of", lambda *case: replace(measured(*case), how="by other means"))
    again = (root, network(), X, "by-hand", ["gradient"], GradientBackend(), "float64", form)
    with pytest.raises(
        InvalidInputError, match=r"has the same tensors, but another floor \(largest of 3 .* --reason"
    ):
        list(record(*again))
    (done,) = record(*again, reason="measured anew")
    assert done.status == "replaced"
    (kept,) = (each for each in read_manifest(root).replaced if each["entry"])
    assert (kept["moved"], kept["was"]["floor"][:14]) == ({}, "largest of 3 r")
    assert load_golden(done.path).floor.how == "by other means"


def test_a_replacement_needs_a_reason_and_keeps_a_record(root) -> None:
    form = load_golden(only(root, "gradient")).form
    old = only(root, "gradient")
    other = GradientBackend("other", lambda layer, r: r * 1.5 if layer == "first" else r)
    with pytest.raises(InvalidInputError, match=r"there already and differs .* relevance .* --reason"):
        list(record(root, network(), X, "by-hand", ["gradient"], other, "float64", form))
    assert only(root, "gradient") == old
    (done,) = record(
        root, network(), X, "by-hand", ["gradient"], other, "float64", form, reason="was wrong by a half"
    )
    assert (done.status, old.exists()) == ("replaced", False)
    (kept,) = (each for each in read_manifest(root).replaced if each["entry"])
    assert (kept["entry"], kept["reason"]) == ("linear/gradient.float64", "was wrong by a half")
    # A sketch estimates a distance, with a standard error of 1 / sqrt(2 ROWS BUCKETS); the record has four digits.
    allowed = 5 / np.sqrt(2 * ROWS * BUCKETS) if form == "sketch" else 1e-3
    assert float(kept["moved"]["relevance first"]) == pytest.approx(0.5, rel=allowed)
    assert kept["was"]["backend"] == "plain"
    assert [row["status"] for row in rows(root, other)] == ["unchanged", "regressed"]


def test_a_removed_golden_is_not_missing_and_its_record_is_kept(root) -> None:
    with pytest.raises(InvalidInputError, match="say why: --reason"):
        remove(root, ["linear/gradient.float64"], "")
    remove(root, ["linear/gradient.float64"], "the method is gone")
    assert [row["case"] for row in rows(root)] == ["linear/input_t_gradient.float64"]
    assert read_manifest(root).replaced[0]["reason"] == "the method is gone"
    assert not inspect(root).problems


def test_nan_in_relevance_is_stored_and_compared_beside_the_floor_of_the_rest(tmp_path: Path) -> None:
    for form in ("full", "sketch"):
        broken = GradientBackend(
            "nan", lambda layer, r: r * np.array([1.0, np.nan]) if layer == "first" else r
        )
        root = tmp_path / form
        list(record(root, network(), X, "x", ["gradient"], broken, "float64", form))
        assert 0 < load_golden(only(root, "gradient")).floor.relevance["first"] < 8 * np.finfo(np.float64).eps
        assert [row["status"] for row in rows(root, broken)] == ["unchanged"]
        assert [row["verdict"] for row in rows(root)] == ["error"]
        elsewhere = GradientBackend(
            "nan", lambda layer, r: r * np.array([np.nan, 1.0]) if layer == "first" else r
        )
        assert [row["verdict"] for row in rows(root, elsewhere)] == ["error"]


def test_activations_are_stored_once(root) -> None:
    shared = {entry["shared"] for entry in read_manifest(root).entries.values()}
    assert len(shared) == 1
    assert len(list((root / "linear").iterdir())) == len(METHODS) + 1


def test_a_sketch_of_float32_is_refused_and_a_golden_of_it_says_where_it_cannot_decide(tmp_path) -> None:
    with pytest.raises(InvalidInputError, match="a sketch of float32 cannot decide"):
        make(tmp_path / "sketch", "sketch", "float32")
    root = make(tmp_path / "full", "full", "float32")
    wrong = GradientBackend("wrong", lambda layer, r: r * np.float32(1.001) if layer == "first" else r)
    row = rows(root, wrong)[0]
    assert (row["status"], row["passed"]) == ("undecided", False)
    assert "cannot decide on equal ground" in row["message"]


def test_a_full_disk_leaves_the_old_goldens_and_one_line(root, monkeypatch, capsys) -> None:
    from pathlib import Path as Written

    from harness import cli

    before = inspect(root).manifest

    def full(self, content):
        raise OSError(errno.ENOSPC, "No space left on device", str(self))

    monkeypatch.setattr(Written, "write_bytes", full)
    other = network().with_weights(lambda layer, name, array: array * 2)
    with pytest.raises(OSError, match="No space left"):
        list(record(root, other, X, "x", ["gradient"], GradientBackend(), "float64"))
    monkeypatch.undo()
    assert inspect(root).manifest == before
    assert not inspect(root).problems

    monkeypatch.setattr(cli, "app", lambda **options: full("here", b""))
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_format_2_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "gradient.float64.json").write_text(json.dumps({"format": 2}))
    (problem,) = [each for each in inspect(tmp_path).problems if each.kind == "foreign"]
    assert "gradient.float64.json" in problem.message
    assert "format 2" in problem.message
    text = sealed({"format": 4, "entries": {}, "files": {}, "replaced": []})
    (tmp_path / harness.golden.manifest.MANIFEST).write_text(text)
    with pytest.raises(ModelSourceError, match="has format 4, this version reads 3"):
        read_manifest(tmp_path)


def test_what_a_candidate_raises_is_an_error_of_its_entry(root) -> None:
    raised: list[str] = []

    def fault(layer: str, relevance: np.ndarray) -> np.ndarray:
        if not raised:
            raised.append(layer)
            raise SystemExit(0)
        return relevance

    bad, good = rows(root, GradientBackend("shaky", fault))
    assert (bad["message"], bad["status"]) == ("candidate 'shaky' raised SystemExit: 0", "error")
    assert good["passed"]


def test_nothing_selected_is_an_error_that_says_how_to_record(root) -> None:
    with pytest.raises(InvalidInputError, match=r"no golden for other .* golden record"):
        list(find_goldens(root, ["other"]))


def test_goldens_that_share_most_are_verified_one_after_the_other(tmp_path: Path) -> None:
    names = ("lrp.z", "lrp.z_plus", "lrpsign_z")
    list(record(tmp_path, network(), X, "by-hand", names, backend_named("oracle"), "float64"))
    found, begun = inspect(tmp_path), []
    rows = list(verify_all(found, "oracle", Models.given([network()]), started=begun.append))
    assert [row["status"] for row in rows] == ["unchanged"] * 3
    # They part at the first layer, which the way back reaches last.
    places = [begun.index(f"linear/{name}.float64") for name in ("lrp.z", "lrpsign_z")]
    assert abs(places[0] - places[1]) == 1
    # Where no model is to be had, each entry says so itself.
    assert [row["status"] for row in verify_all(found, "oracle", Models())] == ["error"] * 3


def test_the_memory_that_a_run_takes_is_known_from_a_sketch_as_from_the_tensors(tmp_path) -> None:
    # Activations of 3, 2 and 2 values and relevances of as many, 8 bytes each; in full, the attribution, the logits
    # and the target (8 bytes) as well.
    assert load_golden(only(make(tmp_path / "sketch", "sketch"), "gradient")).run_bytes == 2 * 7 * 8
    assert load_golden(only(make(tmp_path / "full"), "gradient")).run_bytes == 2 * 7 * 8 + (3 + 2 + 1) * 8


@pytest.mark.torch
def test_a_verification_keeps_no_run_in_memory(tmp_path) -> None:
    model, root = harness.load_model("digits-cnn"), tmp_path / "root"
    x = np.random.default_rng(0).random((1, *model.input_shape), dtype=np.float32)
    list(record(root, model, x, "random", ["gradient", "lrp.z"], "oracle", "float64"))
    engine().clear()
    found = list(verify_all(inspect(root), "torch", Models.given([model])))
    assert [row["passed"] for row in found] == [True, True]
    assert engine().memo._bytes == 0
