"""Who may import whom: the contracts hold, and each of them notices a breach."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("harness", "reference_impls", "ported_impls", "ported_models", "evidence", "benchmarks")
LINT_IMPORTS = Path(sys.executable).with_name("lint-imports")


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [LINT_IMPORTS, "--no-cache"], cwd=folder, capture_output=True, text=True, check=False, timeout=120
    )


@pytest.fixture(scope="module")
def skeleton(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's packages with every module empty: the contracts see nothing but what a test plants."""
    folder = tmp_path_factory.mktemp("skeleton")
    shutil.copy(ROOT / "pyproject.toml", folder)
    for package in PACKAGES:
        for source in (ROOT / package).rglob("*.py"):
            module = folder / source.relative_to(ROOT)
            module.parent.mkdir(parents=True, exist_ok=True)
            module.touch()
    return folder


def test_the_contracts_hold():
    result = lint(ROOT)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "0 broken" in result.stdout


def test_each_breach_breaks_the_contract_that_forbids_it(skeleton):
    breaches = {
        "harness imports no framework": ("harness/files.py", "import torch"),
        "harness reaches the other packages only through its registry": (
            "harness/api.py",
            "import ported_models",
        ),
        "reference and port never import each other": (
            "ported_impls/backend.py",
            "from reference_impls import oracle",
        ),
        "the oracle and the TensorFlow reference are independent": (
            "reference_impls/oracle/backend.py",
            "from reference_impls.tensorflow import backend",
        ),
        "deviations are made of the oracle, not of the TensorFlow reference": (
            "reference_impls/deviations/__init__.py",
            "from reference_impls.tensorflow import backend",
        ),
        "the reference uses no torch": ("reference_impls/tensorflow/backend.py", "import torchvision"),
        "the reference of DLBacktrace and the TensorFlow reference are independent": (
            "reference_impls/dlbacktrace/backend.py",
            "from reference_impls.tensorflow import backend",
        ),
        "the port of DLBacktrace shares no arithmetic with Zennit's hooks": (
            "ported_impls/dlbacktrace/backend.py",
            "import zennit",
        ),
        "the oracles and their deviations use no framework": (
            "reference_impls/oracle/backend.py",
            "import keras",
        ),
        "the port uses no TensorFlow": ("ported_impls/backend.py", "from tensorflow import math"),
        "implementations and models use the harness's data types, not its comparison": (
            "ported_impls/backend.py",
            "from harness.comparison import verdict",
        ),
        "models know no method": ("ported_models/build.py", "from harness.methods import rules"),
        "nothing that ships imports tests, evidence or benchmarks": (
            "harness/files.py",
            "from evidence import certification",
        ),
        "evidence and benchmarks reach the implementations only through the registry": (
            "evidence/certification/page.py",
            "from reference_impls.tensorflow import backend",
        ),
        "evidence and benchmarks are independent": (
            "benchmarks/overhead.py",
            "from evidence.dialects import page",
        ),
    }
    for module, _ in breaches.values():
        (skeleton / module).write_text("")
    for module, statement in breaches.values():
        with (skeleton / module).open("a") as source:
            source.write(f"{statement}\n")
    result = lint(skeleton)
    assert result.returncode == 1
    for contract in breaches:
        assert f"{contract} BROKEN" in result.stdout


def test_without_a_breach_no_contract_is_broken(skeleton):
    for module in skeleton.rglob("*.py"):
        module.write_text("")
    assert lint(skeleton).returncode == 0
