"""The script that runs in the peer's interpreter keeps to what an old interpreter has."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

from harness.backends.worker import worker

SERVE = Path(worker.__file__).with_name("serve.py")


def test_it_parses_as_python_3_8() -> None:
    ast.parse(SERVE.read_text(), feature_version=(3, 8))


def test_it_imports_the_standard_library_numpy_and_safetensors_only() -> None:
    tree = ast.parse(SERVE.read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    packages = {name.split(".")[0] for name in imported}
    assert packages - set(sys.stdlib_module_names) == {"numpy", "safetensors"}
    assert not packages & {"pickle", "marshal", "shelve"}


def test_it_evaluates_nothing() -> None:
    calls = [node.func for node in ast.walk(ast.parse(SERVE.read_text())) if isinstance(node, ast.Call)]
    names = {call.id for call in calls if isinstance(call, ast.Name)}
    assert not names & {"eval", "exec", "compile", "__import__"}
