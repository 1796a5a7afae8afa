"""The report: counts that add up, every case in a list, the verdict of the whole."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace

from evidence.certification.page import Facts, certified, page, table
from evidence.certification.results import Result, Status


def result(method: str, status: Status, group: str = "digits-cnn", **facts: object) -> Result:
    model = facts.pop("model", group)
    return Result("signxai", group, model, method, status, **facts)  # type: ignore[arg-type]


def facts(cases: int) -> Facts:
    return Facts(
        "python -m ...", {"reference": {}}, ("signxai",), ("digits-cnn",), {("signxai", "digits-cnn"): cases}
    )


AGREES = result("lrp_z", Status.AGREES, error=1e-7, worst=2e-7)
ILL = result(
    "lrp_epsilon_1",
    Status.ILL_CONDITIONED,
    worst=3e-3,
    begins="conv1",
    begins_kind="conv2d",
    begins_error=2e-5,
    begins_floor=1e-5,
    reason="the reference in float32 is up to 1e-3 from the reference in float64 (conv1)",
)
FAILED = result("grad_cam", Status.LIBRARY_FAILED, reason="signxai: KeyError: grad_cam of digits-cnn")
REFUSED = result("vargrad", Status.NOT_APPLICABLE, reason="vargrad is for others")
WRONG = result(
    "deconvnet",
    Status.UNEXPLAINED,
    worst=0.5,
    begins="conv1",
    begins_error=0.5,
    begins_floor=0.0,
    reason="0.5",
)


def test_every_row_of_the_counts_adds_up_to_its_cases() -> None:
    written = page([AGREES, ILL, FAILED, REFUSED], facts(6))
    (row,) = re.findall(r"^\| signxai \| digits-cnn \| .*$", written.split("## Worst")[0], re.MULTILINE)
    names, models, cases, *counts = map(int, row.split("|")[3:-1])
    assert (names, models, cases) == (4, 1, 6)
    assert sum(counts) == cases
    # two of the six cases were not run
    assert counts[-1] == 2


def test_certified_is_what_was_run_whole_and_explained() -> None:
    assert certified([AGREES, ILL, FAILED, REFUSED], facts(4))
    assert "**Certified**" in page([AGREES, ILL], facts(2))


def test_an_unexplained_difference_a_missing_case_or_no_comparison_at_all_fails() -> None:
    assert not certified([AGREES, WRONG], facts(2))
    assert not certified([AGREES], facts(2))
    assert not certified([FAILED], facts(1))
    assert "**Not certified** (1 unexplained)" in page([AGREES, WRONG], facts(2))


def test_a_name_that_got_no_answer_is_not_certified() -> None:
    assert not certified([AGREES, result("vargrad", Status.NO_ANSWER)], facts(2))


def test_what_is_above_the_bound_is_listed_with_its_place_and_reason() -> None:
    listed = page([AGREES, ILL], facts(2)).split("## Above 1e-05")[1]
    assert "conv1 (conv2d) | 2.0e-05 | 1.0e-05 | 3.0e-03 | the reference in float32 is up to" in listed
    assert "lrp_z" not in listed


def test_names_that_part_at_the_same_place_share_a_row_with_the_range_of_their_errors() -> None:
    other = replace(ILL, method="lrp_epsilon_5", worst=4e-3)
    listed = page([ILL, other], facts(2)).split("## Above 1e-05")[1]
    assert "`lrp_epsilon_1`, `lrp_epsilon_5`" in listed
    assert "3.0e-03 to 4.0e-03" in listed


def test_single_layers_at_which_the_same_names_part_share_a_row() -> None:
    layers = [replace(ILL, group="single layers", model=model, begins="layer") for model in ("add", "concat")]
    listed = page(layers, facts(2)).split("## Above 1e-05")[1]
    assert "| add, concat | `lrp_epsilon_1` | layer (conv2d) |" in listed


def test_what_the_library_says_of_several_names_is_said_once() -> None:
    failures = [
        result(name, Status.LIBRARY_FAILED, reason=f"signxai: {name} has no <Layer at 0x7f{at}>")
        for at, name in enumerate(("a_1", "b_2"))
    ]
    listed = page([AGREES, *failures], facts(3)).split("## Failed in the library")[1]
    assert "| signxai | 2 | `a_1`, `b_2` | digits-cnn | signxai: NAME has no <Layer> |" in listed


def test_the_table_has_a_row_a_case() -> None:
    rows = list(csv.DictReader(io.StringIO(table([AGREES, ILL]))))
    assert [(row["method"], row["status"]) for row in rows] == [
        ("lrp_z", "agrees"),
        ("lrp_epsilon_1", "ill-conditioned"),
    ]
