"""The reports for maintainers."""

from __future__ import annotations

import pytest

from evidence.scoreboard.rows import libraries
from evidence.scoreboard.upstream import FOLDER, HERE, rerun
from tests.peers.library import needs

REPORTS = sorted(FOLDER.glob("*.md"))


def test_there_are_fourteen_of_them():
    assert len(REPORTS) == 14


@pytest.mark.parametrize("path", REPORTS, ids=lambda path: path.stem)
def test_a_report_has_a_title_a_library_versions_a_program_and_what_it_prints(path):
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# ")
    name = text.partition("Runs with: ")[2].split()[0]
    requirement = "torch " if name == HERE else libraries()[name].requirement.replace("==", " ")
    assert f", {requirement}" in text.partition("It prints, with ")[2].partition("\n")[0]
    assert text.count("```python\n") == 1 and text.count("```text\n") == 1


def test_a_text_that_is_no_report_is_refused():
    with pytest.raises(ValueError, match="a report has a line 'Runs with: NAME' and a program"):
        rerun("# A title\n\nRuns with: captum\n")


@pytest.mark.peer
@pytest.mark.parametrize(
    "path", [path for path in REPORTS if path.stem.startswith("captum")], ids=lambda p: p.stem
)
def test_a_report_prints_what_it_says(path):
    needs("captum")
    text = path.read_text(encoding="utf-8")
    assert rerun(text) == text


@pytest.mark.torch
def test_what_torch_itself_does_runs_here():
    text = (FOLDER / "torch-batch-norm-strides.md").read_text(encoding="utf-8")
    assert rerun(text).partition("```text")[2] == text.partition("```text")[2]
