"""The table of torch networks: what counts as end to end, and what the page says of what does not load."""

from __future__ import annotations

from dataclasses import replace

import pytest

from evidence.models.rows import METHODS, Row, page
from evidence.models.torch_networks import NETWORKS, TIMM, TORCHVISION
from evidence.models.torch_table import TABLE

ROW = Row(
    "torchvision/resnet18",
    64,
    layers=70,
    twins=1e-6,
    verdicts=dict.fromkeys(METHODS, "equivalent"),
    autograd=1e-14,
    seconds=20.0,
    memory_gb=1.5,
)


@pytest.mark.parametrize(
    ("method", "verdict", "counts"),
    [
        (METHODS[1], "identical", True),
        (METHODS[1], "refused: layer 'x' has no rule", True),
        (METHODS[1], "close", False),
        (METHODS[1], "divergent", False),
        (METHODS[1], "RAW KeyError: 'x'", False),
        ("gradient", "refused: layer 'x' has no rule", False),
    ],
)
def test_end_to_end_is_four_methods_equivalent_or_refused_by_name(
    method: str, verdict: str, counts: bool
) -> None:
    assert replace(ROW, verdicts={**ROW.verdicts, method: verdict}).end_to_end is counts


def test_end_to_end_needs_all_methods_and_the_own_autograd() -> None:
    assert not replace(ROW, verdicts={"gradient": "equivalent"}).end_to_end
    assert not replace(ROW, autograd=None).end_to_end
    assert not replace(ROW, autograd=1e-6).end_to_end
    assert not replace(ROW, refusal="no").end_to_end


def test_the_page_counts_and_gives_each_refusal_its_sentence() -> None:
    refused = Row("torchvision/alexnet", 64, refusal="layer 'a' is not supported")
    text = page(TABLE, {row.network: row for row in (refused, ROW)})
    assert "## torchvision: 1 of 2 load, 1 end to end" in text
    assert "- `torchvision/alexnet`: layer 'a' is not supported" in text


def test_the_list_holds_sixteen_and_forty_families() -> None:
    assert (len(TORCHVISION), len(TIMM), len(NETWORKS)) == (16, 40, 56)
