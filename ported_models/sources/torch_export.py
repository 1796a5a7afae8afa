"""The way round an operation that is not read: the module's ONNX file, advised only where that is read."""

from __future__ import annotations

import io
import warnings

import onnx
import torch
from torch import nn

from harness.errors import UnsupportedLayerError
from harness.quiet import silent
from ported_models.onnx import read_onnx
from ported_models.sources.torch_own import evaluation
from ported_models.sources.torch_trace import as_it_was

#: Bytes of weights up to which a module is exported to find out whether that helps.
LARGEST = 2**28
ADVICE = (
    "or export it with torch.onnx.export(module, (example,), 'model.onnx', dynamo=False) and load that file"
)


def with_way_round(
    error: UnsupportedLayerError, module: nn.Module, example: torch.Tensor
) -> UnsupportedLayerError:
    """``error``, which a module raised, with the advice to export it added to each sentence, if that works."""
    if not _file_is_read(module, example):
        return error
    return UnsupportedLayerError(
        f"{error}; {ADVICE}", tuple(f"{sentence}; {ADVICE}" for sentence in error.unread), error.read
    )


def _file_is_read(module: nn.Module, example: torch.Tensor) -> bool:
    """Whether the module's file, as torch's TorchScript exporter writes it, is read. The module stays as it was."""
    if sum(tensor.nbytes for tensor in module.state_dict().values()) > LARGEST:
        return False
    file = io.BytesIO()
    try:
        with (
            evaluation(module),
            as_it_was(module),
            torch.no_grad(),
            warnings.catch_warnings(),
            silent(),
        ):
            warnings.simplefilter("ignore")
            torch.onnx.export(module, (example,), file, dynamo=False)
        read_onnx(onnx.load_from_string(file.getvalue()), "exported")
    except Exception:  # the module is the user's, and the exporter fails in more ways than one
        return False
    return True
