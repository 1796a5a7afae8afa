"""The table of ONNX files: an export that rounding moves too far is measured in double precision."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from evidence.models import onnx_table
from evidence.models.rows import Row

REFUSED = "a.onnx: rounding alone changes its output by 0.002 relative; load it in double precision"


@pytest.mark.parametrize(
    ("name", "refusal", "doubles"),
    [
        ("dynamo/timm/convmixer_768_32", REFUSED, [False, True]),
        ("dynamo/timm/convmixer_768_32", "layer 'a' is not supported", [False]),
        ("dynamo/timm/convmixer_768_32", "", [False]),
        ("light/resnet50", REFUSED, [False]),  # a file as it is shipped
    ],
)
def test_an_export_that_rounding_moves_too_far_is_exported_in_double(
    name: str, refusal: str, doubles: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    def measured(name: str, load_only: bool, double: bool) -> Row:
        asked.append(double)
        row = Row(name, 64, double=double)
        return row if double else replace(row, refusal=refusal)

    monkeypatch.setattr(onnx_table, "_measured", measured)
    row = onnx_table.measured(name, False)
    assert asked == doubles
    assert row.double is (len(doubles) == 2)


@pytest.mark.torch
def test_a_network_is_exported_in_the_precision_that_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnx
    import torch

    from evidence.models import onnx_files

    monkeypatch.setattr(onnx_files, "built", lambda network: (torch.nn.Linear(3, 2), torch.zeros(1, 3)))
    for double, kind in ((False, onnx.TensorProto.FLOAT), (True, onnx.TensorProto.DOUBLE)):
        path, _, example = onnx_files.exported("timm/darknet17", "torchscript", tmp_path, double)
        weights = onnx.load(path).graph.initializer
        assert {tensor.data_type for tensor in weights} == {kind}
        assert example.dtype == (torch.float64 if double else torch.float32)
