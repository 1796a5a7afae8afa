"""Zennit can be imported whether torchvision's operators load or not, and healthy ones are left alone."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import ported_impls
from tests.port.interpreter import output_of

#: Makes torchvision's compiled operators fail to load, as beside a torch of another build.
BREAK = """
import torch
load = torch.ops.load_library
def fail(path):
    raise OSError("undefined symbol")
torch.ops.load_library = fail
"""
#: Registers an operator as torchvision's compiled library does when it is loaded; the rest of a healthy
#: torchvision, and so Zennit, cannot be had beside this torch and is left out.
HEAL = """
import sys, types
import torch
def register(path):
    if not hasattr(torch.ops.torchvision, "nms"):
        torch.library.define(
            "torchvision::nms", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        )
torch.ops.load_library = register
sys.modules["zennit"] = types.ModuleType("zennit")
"""
USE = """
from ported_impls.torchvision_shim import DECLARED, declare_missing_operators, zennit
print(DECLARED, zennit.rules.Epsilon.__name__, declare_missing_operators())
"""


def test_missing_operators_are_declared_once():
    assert output_of(BREAK + USE) == ["('nms', 'qnms') Epsilon ()"]


def test_without_the_shim_the_import_fails():
    lines = output_of(
        BREAK
        + """
try:
    import zennit
except RuntimeError as error:
    print(error)
"""
    )
    assert lines == ["operator torchvision::nms does not exist"]


@pytest.mark.parametrize("name", ["_C", "_C_stable"])
def test_the_library_of_operators_is_loaded_by_each_of_its_names(tmp_path: Path, name: str):
    """That of torchvision 0.28 and that of 0.29; what is declared before it is loaded ends the process."""
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / f"{name}.so").touch()
    prepend = f"import sys; sys.path.insert(0, {str(tmp_path)!r})"
    shim = "from ported_impls.torchvision_shim import DECLARED; print(DECLARED)"
    assert output_of(f"{prepend}\n{HEAL}\n{shim}") == ["()"]


def test_a_healthy_torchvision_is_left_alone():
    shim = "from ported_impls.torchvision_shim import DECLARED; print(DECLARED)"
    undeclared = "print(hasattr(torch.ops.torchvision, 'qnms'))"
    assert output_of(f"{HEAL}\n{shim}\n{undeclared}") == ["()", "False"]


def test_no_module_of_the_package_imports_zennit_past_the_shim():
    package = Path(ported_impls.__file__).parent
    past = [
        (path.name, node.lineno)
        for path in package.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if path.name != "torchvision_shim.py"
        and "zennit" in {name.partition(".")[0] for name in _imported(node)}
    ]
    assert past == []


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module or ""] if isinstance(node, ast.ImportFrom) else []
