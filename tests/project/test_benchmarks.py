"""The benchmarks run both sides on one list, and the page says what was measured and what was not."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks.growth import exponent
from benchmarks.names import read_names
from benchmarks.page import page
from benchmarks.whole_catalogue import SIDES, single, warmed, whole
from harness import api
from harness.api import load_model
from harness.backends import backend_named, why_unsupported
from harness.methods import DIALECTS, method
from harness.runner import chosen_input, why_not


@pytest.mark.tensorflow
@pytest.mark.torch
def test_the_list_holds_every_name_of_signxai_that_applies_and_that_signxai_can_do() -> None:
    model = load_model("vgg16-mri")
    listed = read_names()
    published = {entry.name for entry in DIALECTS["signxai"]}
    left_out = published - {name.removesuffix(":dialect=signxai") for name in listed}
    assert len(listed) == len(set(listed)) == 135
    for name in listed:
        assert not why_not(method(name), model)
        for side in ("signxai", "tensorflow", "torch"):
            assert not why_unsupported(backend_named(side), method(name), model.graph), (side, name)
    # "No rule applies to layer": see the list's own first lines.
    sequential = {name for name in left_out if "sequential_composite" in name}
    assert len(sequential) == 12
    assert all(why_not(method(f"{name}:dialect=signxai"), model) for name in left_out - sequential)


@pytest.mark.tensorflow
@pytest.mark.torch
def test_in_what_is_measured_nothing_is_loaded_or_prepared(monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_model("digits-cnn")
    warmed(model, "float32", ("gradient",), np.flip(chosen_input(model, None)[0], 2))

    def never(*args, **kwargs):
        raise AssertionError("loaded or prepared")

    monkeypatch.setattr(api, "load_model", never)
    for side in SIDES:
        monkeypatch.setattr(backend_named(side), "prepare", never)
    names = ("gradient:dialect=signxai", "lrp_z")
    assert whole(model, names, "float32")["passed"] == 2
    assert [case["name"] for case in single(model, names[:1], "float32")["cases"]] == [
        "gradient:dialect=signxai"
    ]


def test_exponents_by_hand() -> None:
    assert exponent({1: 3.0, 10: 30.0, 100: 300.0}) == pytest.approx(1)
    assert exponent({1: 5.0, 4: 10.0}) == pytest.approx(0.5)
    assert exponent({1: 5.0, 4: 10.0, 16: 40.0}, largest=2) == pytest.approx(1)


def test_the_page_holds_ratios_and_says_what_is_missing(tmp_path) -> None:
    peer = {
        "signxai": {"lrp_z": 4.0, "lrpz_epsilon_1": 6.0},
        "reference": {"lrp_z": 1.0, "lrpz_epsilon_1": 1.0},
    }
    whole = {
        "seconds_by_name": {"lrp_z": 1.5, "lrpz_epsilon_1": 2.5},
        "seconds": 4.0,
        "passed": 2,
        "peak_mib": 2048.0,
    }
    (tmp_path / "signxai.json").write_text(json.dumps(peer))
    (tmp_path / "whole.json").write_text(json.dumps(whole))
    found = page(tmp_path)
    assert "| the reference alone | 2.0 | 0.20 (5.0 times faster) |" in found
    assert "| both frameworks, every layer compared | 4.0 | 0.40 (2.5 times faster) |" in found
    assert "Peak memory of the last: 2.00 GiB. Passed: 2." in found
    assert "Not measured: no `growth.json`." in found
    # The machine is the one that measured, not the one that writes the page.
    assert "The machine was not recorded" in found
    versions = {"numpy": "2.4.6"}
    machine = {
        "processors": 8,
        "processor": "a Z80",
        "python": "3.12.1",
        "versions": versions,
        "note": "Loud.",
    }
    (tmp_path / "machine.json").write_text(json.dumps(machine))
    assert "One machine, one run: 8 processors, a Z80; Python 3.12.1, numpy 2.4.6." in page(tmp_path)
    assert "\n\nLoud.\n\n" in page(tmp_path)
    # Other lists on the two sides are no comparison.
    whole["seconds_by_name"] = {"lrp_z": 1.5}
    (tmp_path / "whole.json").write_text(json.dumps(whole))
    with pytest.raises(SystemExit, match="other lists"):
        page(tmp_path)
