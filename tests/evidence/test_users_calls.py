"""The calls that users make: every published name has one, the library takes it, and the page says what came of it."""

from __future__ import annotations

import pytest

from evidence.users_calls.__main__ import status
from evidence.users_calls.calls import LIBRARIES, calls, is_chain
from evidence.users_calls.page import EVERY_NAME, FIELDS, Row, page
from harness.backends import backend_named
from harness.methods import DIALECTS, method
from ported_models.build import Builder


@pytest.mark.parametrize("form", ["functional", "sequential"])
@pytest.mark.parametrize("library", LIBRARIES)
def test_every_published_name_is_called_and_leaves_the_class_to_the_library(library: str, form: str) -> None:
    made = list(calls(library, form))
    assert sorted(call.name for call in made) == sorted(entry.name for entry in DIALECTS[library])
    peer = backend_named(library)
    for call in made:
        meant = method(call.method)
        assert peer.supports(meant, None) == "", call.method  # type: ignore[arg-type]
        assert meant.selects_itself or call.name in ("input", "random", "random_uniform")


def test_a_sequential_model_is_asked_for_as_one() -> None:
    (guided,) = (c for c in calls("signxai", "sequential") if c.name == "guided_grad_cam_MNISTCNN")
    assert guided.method == (
        "guided_grad_cam:dialect=signxai,neuron_selection=max_activation,model=sequential"
    )


def test_a_network_that_branches_is_no_chain() -> None:
    b = Builder("residual", (2,))
    b.add("relu", "on")
    assert is_chain(b.graph())
    b.add("add", "sum", ["input", "on"])
    assert not is_chain(b.graph())


def test_the_page_counts_and_lists_with_the_reason() -> None:
    where = ("signxai", "digits-cnn", "functional")
    rows = [
        Row(*where, "gradient", "gradient:a", "agrees", 1e-7),
        Row(*where, "lrp_z", "lrp_z:a", "ill-conditioned", 2e-4, 1e-4, None, "the reference ..."),
        Row(*where, "lrp_w", "lrp_w:a", "agrees in float64", 2e-4, 1e-4, 3e-9, "the reference ..."),
        Row(
            *where,
            "deconvnet",
            "deconvnet:a",
            "the library fails",
            reason="TypeError in deconvnet:a at <Scale object at 0x7f9d>",
        ),
        Row(
            "signxai", "vit-digits", "functional", EVERY_NAME, "", "cannot be hosted", reason="no such layer"
        ),
    ]
    assert [Row.of(dict(zip(FIELDS, row.fields(), strict=True))) for row in rows] == rows
    text = page(rows, 1e-5)
    assert "| signxai | digits-cnn | functional | 1 | 1 | 1 ill-conditioned, 1 the library fails |" in text
    assert "`lrp_z` | ill-conditioned (2.0e-04 to 2.0e-04 in float32): the reference" in text
    assert "as far from itself in float64; the library fails in float64 |" in text
    assert (
        "`lrp_w` | agrees in float64 (2.0e-04 to 2.0e-04 in float32, 3.0e-09 to 3.0e-09 in float64)" in text
    )
    assert "`deconvnet` | the library fails: TypeError in NAME at <Scale> |" in text
    assert "| signxai vit-digits functional | every name | cannot be hosted: no such layer |" in text


@pytest.mark.parametrize(
    "distance, floor, distance64, said",
    [
        (1e-3, 1e-3, 1e-9, "agrees in float64"),
        (1e-3, 1e-3, None, "ill-conditioned"),
        (1e-3, 1e-3, 1e-3, "differs"),
        (1e-3, 1e-6, 1e-9, "differs"),
        (1e-3, 0.0, 1e-3, "differs"),
    ],
)
def test_a_call_agrees_in_float64_where_rounding_alone_keeps_float32_apart(
    distance: float, floor: float, distance64: float | None, said: str
) -> None:
    assert status(distance, floor, distance64) == said
