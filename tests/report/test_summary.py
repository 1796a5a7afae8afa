"""The written summary: what a reader finds in it, and that the tables keep every row."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from harness.report import ROW_COLUMNS, rows_table, summary_markdown, table_csv, write_summary

PASSED = {
    "model": "digits-cnn",
    "input": "three",
    "method": "lrp.z",
    "dtype": "float64",
    "reference": "tensorflow",
    "candidate": "torch",
    "verdict": "equivalent",
    "passed": True,
    "worst_layer": "conv2d",
    "worst_rel_l2": 1.25e-16,
    "worst_floor": 2.5e-16,
    "worst_ratio": 0.5,
    "attribution_mae": 1e-18,
    "attribution_pearson_r": 1.0,
    "attribution_max_abs": 1e-17,
    "attribution_rel_l2": 1e-16,
    "attribution_floor": 1e-16,
    "first_divergent": None,
    "first_divergent_forward": None,
    "target": [3],
    "seconds_reference": 0.5,
    "seconds_candidate": 0.25,
    "seconds_total": 1.0,
    "message": None,
    "files": ["lrp.z.csv", "lrp.z.png"],
}
DIVERGENT = PASSED | {
    "method": "lrp.flat",
    "dtype": "float32",
    "verdict": "divergent",
    "passed": False,
    "worst_layer": "dense",
    "worst_rel_l2": 0.5,
    "worst_floor": 1e-7,
    "worst_ratio": 5e6,
    "first_divergent": "dense_1",
}
FAILED = {
    "model": "ecg-cnn1d",
    "input": "sinus",
    "method": "lrp.z",
    "dtype": "float64",
    "reference": "tensorflow",
    "candidate": "torch",
    "verdict": "error",
    "passed": False,
    "message": "torch raised: bad | shape\nsecond line",
}


def markdown(*rows, facts=None) -> str:
    return summary_markdown(rows_table(rows), facts or {})


def section(text: str, title: str) -> str:
    return text.split(f"## {title}\n", 1)[1].split("\n## ", 1)[0]


def test_the_first_sentence_counts_what_passed():
    assert "2 of 3 cases passed" in markdown(PASSED, PASSED, DIVERGENT).splitlines()[2]
    assert "1 of 1 case passed (candidate torch against reference tensorflow)" in markdown(PASSED)


def test_the_time_is_the_sum_over_the_cases():
    assert "Time: 2.0 s, of it 1.0 s in the reference and 0.5 s in the candidate" in markdown(
        PASSED, DIVERGENT
    )


def test_each_verdict_is_counted_and_the_absent_ones_are_left_out():
    counts = section(markdown(PASSED, PASSED, DIVERGENT), "Verdicts")
    assert re.search(r"\| equivalent \| 2 \|", counts)
    assert re.search(r"\| divergent \| 1 \|", counts)
    assert "close" not in counts and "error" not in counts


def test_the_matrix_has_a_row_a_method_and_a_column_a_model_with_both_dtypes():
    other = PASSED | {"dtype": "float32", "verdict": "identical"}
    matrix = section(markdown(PASSED, other, DIVERGENT, FAILED), "Methods and models")
    assert "| method | digits-cnn | ecg-cnn1d |" in matrix
    assert "| lrp.z | identical / equivalent | not run / error |" in matrix
    assert "| lrp.flat | divergent / not run | not run / not run |" in matrix


def test_of_several_inputs_the_matrix_shows_the_worst():
    worse = PASSED | {"input": "seven", "verdict": "close", "passed": False}
    for rows in ((PASSED, worse), (worse, PASSED)):
        matrix = section(markdown(*rows), "Methods and models")
        assert "| lrp.z | close |" in matrix
        assert "worst verdict" in matrix


def test_what_did_not_pass_is_listed_with_its_layer_figures_and_command():
    failures = section(markdown(PASSED, DIVERGENT), "What did not pass")
    assert "digits-cnn, lrp.flat, float32, three: **divergent**" in failures
    assert "first divergent layer `dense_1`" in failures
    assert "worst `dense`: relative L2 0.5, 5e+06 times its noise floor of 1e-07" in failures
    assert "xai-harness run --model digits-cnn --method lrp.flat --dtype float32" in failures
    assert "[lrp.z.csv](<lrp.z.csv>), [lrp.z.png](<lrp.z.png>)" in failures
    assert "float64" not in failures


def test_activations_that_part_are_blamed_on_the_model():
    failures = section(markdown(DIVERGENT | {"first_divergent_forward": "conv2d_2"}), "What did not pass")
    assert "activations part first at `conv2d_2`: the two models differ, not the methods" in failures
    assert "activations part" not in section(markdown(DIVERGENT), "What did not pass")


def test_the_advice_is_for_the_verdicts_there_are():
    failures = section(markdown(PASSED, DIVERGENT), "What did not pass")
    assert "- **divergent**: where" in failures
    assert "- **error**" not in failures and "- **close**" not in failures


def test_a_run_that_passed_has_no_list_of_failures():
    assert "What did not pass" not in markdown(PASSED)


def test_a_pass_by_the_callers_tolerance_is_no_failure_but_keeps_its_verdict():
    text = markdown(DIVERGENT | {"passed": True})
    assert "1 of 1 case passed" in text and "| divergent | 1 |" in text and "What did not pass" not in text


def test_a_message_stays_on_one_line_and_cannot_break_a_table():
    assert "  - torch raised: bad \\| shape second line" in markdown(FAILED)


def test_a_run_without_cases_says_so():
    assert "No case was run." in markdown()


def test_the_environment_is_listed_with_nested_facts_by_dotted_name():
    environment = section(
        markdown(PASSED, facts={"python": "3.11.7", "torch": {"version": "2.13.0"}}), "Environment"
    )
    assert "| python | 3.11.7 |" in environment
    assert "| torch.version | 2.13.0 |" in environment


def test_csv_and_parquet_hold_every_row_in_full_precision(tmp_path):
    page = write_summary([PASSED, DIVERGENT, FAILED], tmp_path / "run", {"python": "3.11.7"})
    assert page == tmp_path / "run" / "summary.md"
    assert sorted(file.name for file in page.parent.iterdir()) == [
        "report.html",
        "report.json",
        "summary.csv",
        "summary.md",
        "summary.parquet",
    ]
    csv, parquet = pd.read_csv(page.with_suffix(".csv")), pd.read_parquet(page.with_suffix(".parquet"))
    for table in (csv, parquet):
        assert tuple(table.columns) == ROW_COLUMNS
        assert table["verdict"].tolist() == ["equivalent", "divergent", "error"]
        assert table["worst_rel_l2"].iloc[0] == 1.25e-16
        assert np.isnan(table["worst_rel_l2"].iloc[2])
        assert table["passed"].tolist() == [True, False, False]
    assert parquet["files"].iloc[0] == "lrp.z.csv; lrp.z.png"
    assert parquet["target"].iloc[0] == "3"


@pytest.mark.parametrize("target", [3, [3], np.array([3]), np.int64(3)])
def test_a_target_reads_the_same_however_it_was_given(target):
    assert rows_table([PASSED | {"target": target}])["target"].iloc[0] == "3"


def test_a_further_key_becomes_a_further_column():
    assert rows_table([PASSED | {"device": "cpu"}]).columns[-1] == "device"


def test_a_layer_table_keeps_float64_exactly_and_has_no_index_column(tmp_path):
    table = pd.DataFrame({"layer": ["conv"], "mae": [0.1 + 0.2], "ref_argmax": [{"height": 1, "width": 2}]})
    table_csv(table, tmp_path / "case" / "lrp.z.csv")
    assert (tmp_path / "case" / "lrp.z.csv").read_text() == (
        "layer,mae,ref_argmax\nconv,0.30000000000000004,\"{'height': 1, 'width': 2}\"\n"
    )


def test_a_name_with_a_carriage_return_in_it_is_one_cell_of_one_line(tmp_path):
    table_csv(pd.DataFrame({"layer": ["a\rb", "c"], "mae": [0.5, 1.0]}), tmp_path / "case.csv")
    assert pd.read_csv(tmp_path / "case.csv")["layer"].tolist() == ["a\rb", "c"]


def test_cases_that_rounding_moves_far_and_units_over_a_kink_are_listed(tmp_path: Path) -> None:
    rows = [
        {**PASSED, "method": "lrp.z", "largest_floor": 0.02, "largest_floor_layer": "conv2", "notes": []},
        {
            **PASSED,
            "method": "lrp.flat",
            "largest_floor": 1e-7,
            "largest_floor_layer": "conv2",
            "notes": ["a kink"],
        },
        {**PASSED, "method": "gradient", "largest_floor": 1e-7, "largest_floor_layer": "conv2", "notes": []},
    ]
    section = (
        write_summary(rows, tmp_path).read_text().partition("## Read with care")[2].partition("\n## ")[0]
    )
    assert "lrp.z, float" in section
    assert "by 0.02 (relative L2) at `conv2`" in section
    assert "a kink" in section
    assert "gradient" not in section


def test_what_was_read_otherwise_of_a_model_stands_on_the_page_once():
    noted = PASSED | {"model_notes": ["the final softmax was taken off"]}
    text = section(markdown(noted, noted), "How the models were read")
    assert text.strip() == "- digits-cnn: the final softmax was taken off"
    assert "How the models were read" not in markdown(PASSED)
