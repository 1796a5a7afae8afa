"""`examples/port-your-own`, as the project of somebody who installed the built wheel."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "port-your-own"
pytestmark = [pytest.mark.tensorflow, pytest.mark.torch]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this tree, built without a network."""
    pytest.importorskip(
        "setuptools", minversion="77", reason="the wheel is built with the setuptools that is installed"
    )
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    # A copy: what building leaves in a tree would be packed into the next wheel.
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        source.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    for package in ("harness", "reference_impls", "ported_impls", "ported_models"):
        shutil.copytree(ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    options = [
        "--no-deps",
        "--no-build-isolation",
        "--quiet",
        "--disable-pip-version-check",
        "-w",
        str(folder),
    ]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(source)], check=True, timeout=300)
    return next(folder.glob("*.whl"))


def run_example(python: str, folder: Path, environment: dict[str, str]) -> str:
    """What its tests print; run in ``folder``."""
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    result = subprocess.run(
        [python, "-m", "pytest", "-p", "no:cacheprovider", "--color=no"],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert result.returncode == pytest.ExitCode.TESTS_FAILED, result.stdout + result.stderr
    return result.stdout


def check_report(text: str) -> None:
    """One pass; two failures, each with its causes as they were built in, and nothing else."""
    assert "2 failed, 1 passed" in text
    guided, lrp = text.split("[network-guided_backprop-float64] ___")[1].split(
        "[network-lrp.epsilon-epsilon_0.25"
    )[:2]
    seed, relus = diagnoses(guided)
    assert (
        seed.startswith("diagnosis: classes: the backward pass starts from one") and "(output-seed)" in seed
    )
    assert "hidden_relu: it has the rule Deconvolution() instead of GuidedReLU()" in relus
    assert "(rule-mapping); the same at 2 more: conv2_relu, conv1_relu" in relus
    assert "repeat: pytest 'test_port.py::test_port[network-guided_backprop-float64]'" in guided
    (bias,) = diagnoses(lrp)
    assert bias.startswith("diagnosis: classes: the bias is left out of the denominator")
    assert "(bias-handling)" in bias
    assert "Traceback" not in text and "oneDNN" not in text


def diagnoses(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("diagnosis: ")]


@pytest.mark.nightly
def test_the_built_wheel_gives_the_example_one_pass_and_two_failures_with_causes(wheel, tmp_path) -> None:
    installed = tmp_path / "installed"
    options = [
        "--no-deps",
        "--no-index",
        "--quiet",
        "--disable-pip-version-check",
        "--target",
        str(installed),
    ]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(wheel)], check=True, timeout=300)
    # Frameworks are this environment's, the harness and its plugin are the wheel's.
    text = run_example(sys.executable, tmp_path / "mine", {"PYTHONPATH": str(installed)})
    check_report(text)


@pytest.mark.nightly
def test_the_wheel_says_that_it_has_types_and_knows_no_source_tree(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = archive.read(next(name for name in names if name.endswith("/METADATA"))).decode()
    for package in ("harness", "reference_impls", "ported_impls", "ported_models"):
        assert f"{package}/py.typed" in names
    assert {name.partition("/")[0] for name in names if not name.startswith("xai_harness-")} == {
        *("harness", "reference_impls", "ported_impls", "ported_models")
    }
    assert str(ROOT) not in metadata


@pytest.mark.nightly
def test_the_example_runs_in_an_empty_environment(wheel, tmp_path) -> None:
    venv.create(tmp_path / "env", with_pip=True)
    python = str(tmp_path / "env" / "bin" / "python")
    options = ["--quiet", "--disable-pip-version-check", "-c", str(ROOT / "constraints.txt")]
    wanted = [f"xai-harness[tensorflow,torch] @ {wheel.as_uri()}", "pytest"]
    subprocess.run([python, "-m", "pip", "install", *options, *wanted], check=True, timeout=1800)
    check_report(run_example(python, tmp_path / "mine", {"PYTHONPATH": ""}))


def test_the_test_of_the_example_has_at_most_fifteen_lines() -> None:
    assert len((EXAMPLE / "test_port.py").read_text(encoding="utf-8").splitlines()) <= 15
