"""What is measured of lxt, and torchvision's vision transformer under its rules."""

from __future__ import annotations

from dataclasses import asdict

import pytest

import harness
from evidence.lxt.cases import BIG, Asked, backend_of, cases, model_of
from evidence.lxt.page import page
from harness.methods import method
from tests.peers.library import needs


def test_every_case_is_a_method_of_ours_and_the_big_network_is_asked_for() -> None:
    for asked in cases(big=True):
        assert method(asked.method).name == asked.method
    assert not [asked for asked in cases(big=False) if asked.network == BIG]


def test_a_row_says_the_call_the_layers_and_the_verdict() -> None:
    asked = Asked("vit-digits", "attnlrp:dialect=lxt", "attnlrp:dialect=lxt", "float64")
    row = asdict(asked) | {"attribution": 1e-15, "verdict": "equivalent", "layers": 78, "furthest": 2e-14}
    plain = asdict(Asked("vit-digits", "attnlrp", "attnlrp:dialect=lxt", "float64", same=False))
    shown = page([row, plain | {"attribution": 0.5}])
    cells = "`lxt.explicit` | float64 | 78 | 2.0e-14 | 1.0e-15 | equivalent |"
    assert f"| `vit-digits` | `attnlrp:dialect=lxt` | {cells}" in shown
    assert "| `vit-digits` | `attnlrp` | `attnlrp:dialect=lxt` | 5.0e-01 |" in shown


@pytest.mark.peer
@pytest.mark.nightly
@pytest.mark.parametrize(
    ("name", "lxt", "bound"),
    [("cp_lrp:dialect=lxt", "explicit", 1e-12), ("cp_lrp:epsilon=0,norm=held", "efficient", 1e-7)],
)
def test_torchvisions_vision_transformer_under_the_cp_rule(name: str, lxt: str, bound: float) -> None:
    """`lxt.efficient` adds 1e-10 to the inputs of GELU."""
    pytest.importorskip("torchvision")
    needs("lxt")
    model, x = model_of("torchvision-vit-small")
    reference = harness.explain(model, x, name, dtype="float64")
    candidate = harness.explain(model, x, name, backend_of(lxt), reference.target, dtype="float64")
    (row,) = harness.compare(reference, candidate).table.itertuples()
    assert row.rel_l2 < bound
