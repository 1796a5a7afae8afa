"""The types that a user's program gets."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import harness

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "tests" / "project" / "typed_program.py"


def checked(program: Path, folder: Path) -> str:
    """What `mypy --strict` says of ``program``, called from ``folder``, which has no configuration of its own."""
    options = [
        "--strict",
        "--python-version",
        "3.11",
        "--follow-imports=silent",
        "--cache-dir",
        str(folder / "cache"),
    ]
    # The program is about the harness: libraries that carry no types are none of its faults.
    options.append("--disable-error-code=import-untyped")
    ended = subprocess.run(
        [sys.executable, "-m", "mypy", *options, "--config-file=", str(program)],
        cwd=folder,
        env={"MYPYPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=600,
    )
    return ended.stdout + ended.stderr


@pytest.mark.nightly
def test_a_typed_program_that_uses_the_api_is_right_and_a_wrong_one_is_not(tmp_path: Path) -> None:
    assert checked(PROGRAM, tmp_path).startswith("Success"), checked(PROGRAM, tmp_path)
    wrong = tmp_path / "wrong.py"
    wrong.write_text(
        "import harness\n"
        "model = harness.load_model('digits-cnn')\n"
        "model.input_shapes\n"
        "harness.compare(harness.explain(model, 0, 'lrp.z'), 'b').verdicts\n"
        "harness.diagnose(model, 0, 3)\n"
    )
    found = checked(wrong, tmp_path)
    for line in (
        'wrong.py:3: error: "LoadedModel" has no attribute',
        "wrong.py:4: error",
        "wrong.py:5: error",
    ):
        assert line in found, found


def test_every_package_that_ships_says_that_it_has_types() -> None:
    for package in ("harness", "reference_impls", "ported_impls", "ported_models"):
        assert (ROOT / package / "py.typed").is_file()
        assert f'"{package}" = ["py.typed"]' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_dir_holds_the_api_and_nothing_else() -> None:
    assert dir(harness) == sorted(harness.__all__)
    assert harness.__version__ == "0.1.0"
