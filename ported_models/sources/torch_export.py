"""The way round an operation that is not read: the module's ONNX file, advised only where that is read."""

from __future__ import annotations

import io
import warnings

import onnx
import torch
from torch import nn

from harness.errors import UnsupportedLayerError
from harness.quiet import silent
from ported_models.endings import with_ending
from ported_models.onnx import read_onnx
from ported_models.proof import BOUND
from ported_models.sources.torch_own import evaluation
from ported_models.sources.torch_trace import as_it_was
from ported_models.twins import torch_twin
from ported_models.twins.forward import relative_difference, torch_logits
from ported_models.twins.layout import to_canonical

#: Bytes of weights up to which a module is exported to find out whether that helps.
LARGEST = 2**28
ADVICE = (
    "or export it with torch.onnx.export(module, (example,), 'model.onnx', dynamo=False) and load that file"
)


def with_way_round(
    error: UnsupportedLayerError, module: nn.Module, example: torch.Tensor
) -> UnsupportedLayerError:
    """``error``, which a module raised, with the advice to export it added to each sentence, if that works.

    It does where the file is read and computes what the module does: torch's exporter leaves some arguments out.
    """
    if not _file_is_read(module, example):
        return error
    return UnsupportedLayerError(
        f"{error}; {ADVICE}", tuple(f"{sentence}; {ADVICE}" for sentence in error.unread), error.read
    )


def _file_is_read(module: nn.Module, example: torch.Tensor) -> bool:
    """Whether the module's file, as torch's TorchScript exporter writes it, is read as the module's own network.

    The module stays as it was.
    """
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
            x = torch.randn(example.shape, generator=torch.Generator().manual_seed(0)).to(example)
            own = to_canonical(module(x).numpy())
        read = read_onnx(onnx.load_from_string(file.getvalue()), "exported")
        twin = torch_twin.build(read.graph, "float32")
        for given in (to_canonical(x.numpy()), x.numpy()):
            if given.shape[1:] == read.graph.input.shape:
                found = with_ending(torch_logits(twin, given), read.ending)
                if found.shape == own.shape and relative_difference(found, own) <= BOUND:
                    return True
    except Exception:  # the module is the user's, and the exporter fails in more ways than one
        return False
    return False
