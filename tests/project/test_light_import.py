"""Importing the harness stays light."""

import subprocess
import sys

import pytest

HEAVY = ("tensorflow", "keras", "torch", "zennit", "pandas", "matplotlib", "onnx", "onnxruntime", "rich")


def loaded_by(statement: str) -> set[str]:
    """The top-level packages in a fresh interpreter after ``statement``."""
    program = f"import sys; {statement}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    return set(result.stdout.split())


@pytest.mark.parametrize(
    "statement",
    [
        "import harness",
        "import harness; harness.load_trace",
        "import harness; harness.list_methods()",
        "import harness; harness.list_backends()",
        "import harness; harness.compare",
    ],
)
def test_no_framework_and_nothing_heavy_is_loaded(statement):
    assert loaded_by(statement).isdisjoint(HEAVY)


def test_the_names_are_loaded_when_first_used():
    loaded = loaded_by("import harness")
    assert "harness" in loaded
    assert "numpy" not in loaded


@pytest.mark.parametrize("package", ["ported_models", "ported_impls", "reference_impls"])
def test_the_other_packages_load_no_framework_either(package):
    assert loaded_by(f"import {package}").isdisjoint({"tensorflow", "keras", "torch", "zennit"})
