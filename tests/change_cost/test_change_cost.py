"""The example additions still apply, work, and touch no more files than the goals allow."""

from __future__ import annotations

import pytest

from tests.change_cost import count

pytestmark = pytest.mark.skipif(
    not (count.ROOT / ".git").exists(), reason="the tree is copied from a git checkout"
)


@pytest.mark.parametrize("what", count.GOALS)
def test_the_patch_applies_and_touches_no_more_files_than_its_goal(what: str) -> None:
    files = count.touched(what)
    assert len(count.counted(files)) <= count.GOALS[what], count.counted(files)
    assert count.tests_of(files), "the patch has no test"
    with count.applied(what) as tree:
        assert all((tree / file).is_file() for file in files)


@pytest.mark.tensorflow
@pytest.mark.torch
@pytest.mark.parametrize(
    "what", [*(pytest.param(each, marks=pytest.mark.nightly) for each in ("candidate", "cause")), "column"]
)
def test_the_patch_passes_its_own_tests(what: str) -> None:
    _, ended = count.measure(what)
    assert ended == "passed", ended


def test_a_patch_that_does_not_apply_names_the_file(tmp_path, monkeypatch) -> None:
    patch = "--- a/README.md\n+++ b/README.md\n@@ -1 +1 @@\n-not what stands there\n+nothing\n"
    (tmp_path / "cause.patch").write_text(patch)
    monkeypatch.setattr(count, "FOLDER", tmp_path)
    files, ended = count.measure("cause")
    assert files == ["README.md"]
    assert "README.md: patch does not apply" in ended


def test_pages_count_and_tests_and_what_a_command_writes_do_not() -> None:
    files = ["docs/verdicts.md", "docs/causes.md", "reports/mutants.md", "tests/a/test_b.py", "harness/c.py"]
    assert count.counted(files) == ["docs/verdicts.md", "harness/c.py"]
