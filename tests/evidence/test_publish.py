"""`reports/` from what is kept in it: what is committed is current, nothing is lost, what was not run is said."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from evidence.publish import conformance
from evidence.publish.index import publish
from evidence.publish.parts import FURTHER, PARTS
from harness.errors import InvalidInputError
from harness.report.document import Document

ROOT = Path(__file__).parents[2]
REPORTS = ROOT / "reports"


def row(model: str, method: str, verdict: str, **more: object) -> dict[str, object]:
    return {
        "model": model,
        "input": "made",
        "method": method,
        "dtype": "float64",
        "reference": "tensorflow",
        "candidate": "torch",
        "verdict": verdict,
        "passed": verdict in ("identical", "equivalent"),
        "message": "",
        "worst_layer": "conv1",
        "worst_rel_l2": 2e-16,
        "worst_ratio": 0.5,
        "attribution_rel_l2": 1e-16,
    } | more


@pytest.mark.torch
def test_what_is_committed_is_what_is_kept(tmp_path: Path) -> None:
    """Pages and index alike; the pictures are drawn, but other versions of matplotlib draw other bytes."""
    shutil.copytree(REPORTS, tmp_path / "reports", ignore=shutil.ignore_patterns("runs", "pictures"))
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    assert publish(tmp_path / "reports") == []
    for name in ("README", *(part.name for part in PARTS)):
        committed = (REPORTS / f"{name}.md").read_text(encoding="utf-8")
        assert (tmp_path / "reports" / f"{name}.md").read_text(encoding="utf-8") == committed, name
        assert (
            name == "README" or (tmp_path / "reports" / "pictures" / f"{name}.png").stat().st_size < 100_000
        )


def test_every_page_is_in_the_index() -> None:
    listed = {f"{part.name}.md" for part in PARTS} | {name for name, *_ in FURTHER}
    assert {path.name for path in REPORTS.glob("*.md")} - {"README.md", "nightly.md"} <= listed


def test_every_make_command_of_the_index_is_a_target() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    commands = [part.command for part in PARTS] + [command for *_, command in FURTHER]
    assert {command.split()[1] for command in commands if command.startswith("make ")} <= targets


def test_a_part_that_was_not_run_says_so_and_one_that_is_damaged_keeps_its_page(tmp_path: Path) -> None:
    (tmp_path / "mutants.md").write_text("the page of before")
    (tmp_path / "mutants.json").write_text("{")
    kept = {"facts": {"numpy": "2"}, "skipped": [], "cases": [row("digits-cnn", "lrp.z", "equivalent")]}
    (tmp_path / "conformance.json").write_text(json.dumps(kept))
    (problem,) = publish(tmp_path)
    assert problem.startswith("Planted bugs: mutants.json cannot be read (JSONDecodeError")
    assert (tmp_path / "mutants.md").read_text() == "the page of before"
    index = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert (
        "1 of 1 cases pass on 1 networks, candidate torch against reference tensorflow: 1 equivalent."
        in index
    )
    assert (
        "**Not run yet** (certification.csv, certification.json is not there). `make scores` runs it."
        in index
    )
    assert "ONNX files that people have: not run yet" in index
    assert (tmp_path / "pictures" / "conformance.png").read_bytes().startswith(b"\x89PNG")


def test_the_page_of_conformance_shows_each_case_and_what_fails() -> None:
    kept = {
        "facts": {"numpy": "2"},
        "skipped": [{"model": "digits-cnn", "method": "cam", "reason": "it is for others"}],
        "cases": [
            row("digits-cnn", "lrp.z", "equivalent"),
            row("digits-cnn", "lrp.flat", "error", worst_rel_l2=None, worst_ratio=None, message="NaN."),
        ],
    }
    page = conformance.page(kept)
    assert "| `lrp.z` | ≈ equivalent 2.0e-16 (0.5) |" in page
    assert "| `lrp.flat` | ! error |" in page
    assert "- digits-cnn, `lrp.flat`, float64: error, furthest at conv1. NaN." in page
    assert "- digits-cnn, `cam`: it is for others" in page


def test_half_a_run_replaces_nothing(tmp_path: Path) -> None:
    selection = {"models": [{"model": "a"}], "methods": ["lrp.z", "lrp.flat", "cam"], "dtypes": ["float64"]}
    skipped = ({"model": "a", "method": "cam", "reason": "none"},)
    Document((row("a", "lrp.z", "equivalent"),), {}, skipped, (), selection).write(tmp_path)
    with pytest.raises(InvalidInputError, match=r"lacks 1 of 3 cases, a lrp\.flat float64 first"):
        conformance.kept_of(tmp_path)
    both = (row("a", "lrp.z", "equivalent"), row("a", "lrp.flat", "divergent"))
    Document(both, {"source": "x" * 64, "numpy": "2"}, skipped, (), selection).write(tmp_path)
    kept = conformance.kept_of(tmp_path)
    assert kept["facts"] == {"numpy": "2"}
    assert [each["verdict"] for each in kept["cases"]] == ["equivalent", "divergent"]
