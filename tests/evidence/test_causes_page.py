"""The page of causes is the one that its command writes."""

from __future__ import annotations

from evidence.causes import PAGE, page


def test_the_page_is_that_of_the_names() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "write it anew: python -m evidence.causes"
