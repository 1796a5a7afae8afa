"""Importing the harness stays light."""

import os
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


def test_a_model_that_is_loaded_first_brings_the_tensorflow_that_the_reference_asks_for():
    """Plain kernels and no remarks, as `reference_impls.tensorflow.framework` has it; what the user has set stays."""
    names = "'TF_ENABLE_ONEDNN_OPTS', 'TF_CPP_MIN_LOG_LEVEL'"
    program = f"import ported_models, os; print(*(os.environ[name] for name in ({names})))"
    bare = {key: value for key, value in os.environ.items() if not key.startswith("TF_")}
    for given, expected in (({}, ["0", "3"]), ({"TF_ENABLE_ONEDNN_OPTS": "1"}, ["1", "3"])):
        result = subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
            env=bare | given,
        )
        assert result.stdout.split() == expected


def test_the_names_are_loaded_when_first_used():
    loaded = loaded_by("import harness")
    assert "harness" in loaded
    assert "numpy" not in loaded


@pytest.mark.parametrize("package", ["ported_models", "ported_impls", "reference_impls"])
def test_the_other_packages_load_no_framework_either(package):
    assert loaded_by(f"import {package}").isdisjoint({"tensorflow", "keras", "torch", "zennit"})
