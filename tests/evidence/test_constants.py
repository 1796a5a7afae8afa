"""Which constants of a package's source the harness reads out of its maps."""

from __future__ import annotations

import ast

import numpy as np
import pytest

from evidence.case_studies.constants import beside, constants, constants_table
from evidence.case_studies.executed import numbers

MAP = np.zeros((1, 2, 3))
KNOWN = {"result": MAP, "small": np.zeros(2), "FACTOR": 30.0, "name": "lrp", "flag": True}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("result = result * 0.7167", [("*", 0.7167)]),
        ("result = FACTOR * result", [("*", 30.0)]),
        ("result *= 10", [("*", 10.0)]),
        ("result = result / 4", [("/", 4.0)]),
        ("result = result + (-0.5)", [("+", -0.5)]),
        ("result = 2 * result * FACTOR", [("*", 30.0), ("*", 2.0)]),
        ("result = small * 3", []),  # no map: its size is another
        ("result = result * small", []),
        ("result = result * flag", []),
        ("result = unknown * 3", []),
    ],
)
def test_a_line_counts_where_it_does_something_to_a_map_with_a_number(line, expected):
    (statement,) = ast.parse(line).body
    assert list(numbers(statement, KNOWN, MAP.size)) == expected


def facts(*factors):
    return {
        "digits-cnn": {
            "state": "several",
            "causes": [{"cause": "output-seed"}]
            + [{"cause": "scale", "parameters": {"factor": factor}} for factor in factors],
        }
    }


EXECUTED = {
    "found": [["wrappers.py:1", "*", 0.5], ["wrappers.py:2", "*", 10.0]],
    "another": [["wrappers.py:3", "*", 30.0]],
    "unseen": [["wrappers.py:4", "/", 4.0]],
    "raised": "TypeError: no",
    "plain": [],
    "no change": [["wrappers.py:5", "*", 1.0]],
}
ROWS = {
    "found": facts(5.0000001),
    "another": facts(29.0),
    "unseen": facts(),
    "raised": facts(),
    "plain": facts(2.0),
    "no change": facts(),
}


def test_a_constant_is_found_where_the_harness_says_the_product_of_what_the_source_multiplies_by():
    every = {each.name: (each.source, each.read, each.was_read) for each in constants(EXECUTED, ROWS)}
    assert every == {
        "found": (5.0, 5.0000001, True),
        "another": (30.0, 29.0, False),
        "unseen": (0.25, None, False),
    }
    assert beside(EXECUTED, ROWS) == ["plain"]


def test_the_table_has_what_was_found_and_what_was_missed():
    shown = constants_table({"executed": EXECUTED, "rows": ROWS})
    assert "| `found` | 5 | `wrappers.py:1`, `wrappers.py:2` | 5.0000001 | found |" in shown
    assert "| `unseen` | 0.25 | `wrappers.py:4` | nothing | missed |" in shown
