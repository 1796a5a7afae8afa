"""What is on the scoreboard."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from evidence.scoreboard.rows import MODELS, Row, calls_of, libraries, library_named, rows
from harness.errors import HarnessError
from harness.methods import method
from harness.runner import suite_named


def test_every_library_is_on_it_on_every_network_of_the_zoo():
    assert set(MODELS) == set(suite_named("default").models)
    names = tuple(libraries())
    found = {(row.library, row.model) for row in rows(names, MODELS)}
    assert found == {(name, model) for name in names for model in MODELS}


def test_the_make_target_installs_every_library():
    text = (Path(__file__).parents[3] / "Makefile").read_text(encoding="utf-8")
    listed = re.search(r"^LIBRARIES := (.*)$", text, re.MULTILINE)
    assert listed is not None
    assert set(listed[1].split()) == set(libraries())


@pytest.mark.parametrize("library", libraries().values(), ids=lambda each: each.name)
def test_every_row_names_a_method_of_ours_and_says_what_a_user_writes(library):
    x = np.array([-0.5, 1.5])
    for name, says in calls_of(library).items():
        assert method(Row(library.name, name, says, "digits-cnn").method_for(x)).name
        assert says


def test_bounds_are_the_whole_numbers_that_the_input_lies_between():
    row = Row("zennit-0.5", "epsilon_plus_box:{bounds}", "", "digits-cnn")
    assert row.method_for(np.array([-0.2, 0.3, 1.1])) == "epsilon_plus_box:low=-1,high=2"


def test_a_library_that_is_not_on_it_is_an_error_that_names_those_that_are():
    with pytest.raises(HarnessError, match=r"numpy is not on the scoreboard; there are captum, .*zennit-crp"):
        library_named("numpy")
