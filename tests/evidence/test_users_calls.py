"""The calls that users make: every published name has one, the library takes it, and the page says what came of it."""

from __future__ import annotations

import pytest

from evidence.users_calls.calls import LIBRARIES, calls, is_chain
from evidence.users_calls.page import FIELDS, Row, page
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
        Row(*where, "gradient", "gradient:a", "agrees", 1e-7, 1e-8, ""),
        Row(*where, "lrp_z", "lrp_z:a", "ill-conditioned", 2e-4, 1e-4, "the reference ..."),
        Row(*where, "deconvnet", "deconvnet:a", "the library fails", None, 1e-8, "TypeError in deconvnet:a"),
    ]
    assert [Row.of(dict(zip(FIELDS, row.fields(), strict=True))) for row in rows] == rows
    text = page(rows, 1e-5)
    assert "| signxai | digits-cnn | functional | 1 | 1 ill-conditioned, 1 the library fails |" in text
    assert "`lrp_z` | ill-conditioned (2.0e-04 to 2.0e-04)" in text
    assert "`deconvnet` | the library fails: TypeError in NAME |" in text
