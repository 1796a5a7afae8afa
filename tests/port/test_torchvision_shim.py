"""Zennit can be imported whether torchvision's operators load or not, and healthy ones are left alone."""

from __future__ import annotations

import pytest

from tests.port.interpreter import output_of

#: Makes torchvision's compiled operators fail to load, as beside a torch of another build.
BREAK = """
import torch
load = torch.ops.load_library
def fail(path):
    raise OSError("undefined symbol")
torch.ops.load_library = fail
"""
#: Registers operators as torchvision's compiled library would when it is loaded.
HEAL = """
import torch
calls = []
def register(path):
    if not calls:
        for name in ("nms", "qnms"):
            torch.library.define(
                f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            )
    calls.append(path)
torch.ops.load_library = register
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


def test_a_healthy_torchvision_is_left_alone():
    assert output_of(HEAL + USE) == ["() Epsilon ()"]


@pytest.mark.parametrize("module", ["hooks", "composite", "run", "zennit_candidate"])
def test_every_module_can_be_the_first_to_be_imported(module):
    assert output_of(f"import ported_impls.{module}; print('imported')") == ["imported"]
