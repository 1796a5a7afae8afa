"""What the training scripts share: the loop, and what a trained network leaves in the data folder."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.files import write_bytes
from ported_models.model import PortedModel
from ported_models.zoo.files import DATA

if TYPE_CHECKING:
    from torch import nn

BATCH = 64
EXAMPLES = 3


@dataclass(frozen=True, eq=False)
class Data:
    """Inputs (n, *input_shape) channels last, and class indices (n,), to train on and held out."""

    inputs: np.ndarray
    labels: np.ndarray
    held_out_inputs: np.ndarray
    held_out_labels: np.ndarray


def train(
    layers: dict[str, nn.Module], data: Data, epochs: int, seed: int, rate: float = 6e-3
) -> nn.Sequential:
    """A sequence of ``layers`` trained with Adam and a one-cycle learning rate up to ``rate``, ready for inference.

    ``layers`` are created by the caller, whose weights are drawn anew here from ``seed``; one thread, so
    that the same machine gives the same weights again.
    """
    import torch
    from torch import nn

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    module = nn.Sequential()
    for name, layer in layers.items():
        if hasattr(layer, "reset_parameters"):
            layer.reset_parameters()
        module.add_module(name, layer)
    inputs, labels = _channels_first(data.inputs), torch.from_numpy(np.asarray(data.labels, np.int64))
    optimizer = torch.optim.Adam(module.parameters(), lr=rate / 2)
    steps = epochs * -(-len(inputs) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=rate, total_steps=steps)
    for _ in range(epochs):
        for batch in torch.randperm(len(inputs)).split(BATCH):
            optimizer.zero_grad()
            nn.functional.cross_entropy(module(inputs[batch]), labels[batch], label_smoothing=0.05).backward()
            optimizer.step()
            schedule.step()
    return module.eval()


def store(
    name: str, module: nn.Module, data: Data, facts: dict[str, Any], model: PortedModel | None = None
) -> None:
    """Write ``<name>.onnx``, ``<name>.json`` and ``<name>-examples.npy`` into the data folder.

    ``model``: the same network; left out, it is read from ``module``. The examples are the first held-out input of each
    of the first classes that the network gets right.
    """
    import torch

    from ported_models.sources.torch_source import from_module

    with torch.no_grad():
        predicted = module(_channels_first(data.held_out_inputs)).argmax(1).numpy()
    right = predicted == data.held_out_labels
    chosen = [int(np.flatnonzero(right & (data.held_out_labels == label))[0]) for label in range(EXAMPLES)]
    if model is None:
        model = from_module(module, _channels_first(data.inputs[:1]), name)
    versions = {"torch": torch.__version__, "numpy": np.__version__, **facts["versions"]}
    facts = facts | {
        "held_out": len(right),
        "held_out_accuracy": float(right.mean()),
        "parameters": sum(parameter.numel() for parameter in module.parameters()),
        "versions": versions,
    }
    examples = io.BytesIO()
    np.save(examples, data.held_out_inputs[chosen])
    write_bytes(DATA / f"{name}.onnx", model.onnx.SerializeToString())
    write_bytes(DATA / f"{name}.json", (json.dumps(facts, indent=2) + "\n").encode())
    write_bytes(DATA / f"{name}-examples.npy", examples.getvalue())
    print(f"{name}: {facts['held_out_accuracy']:.4f} of {len(right)} held-out inputs right")


def _channels_first(inputs: np.ndarray) -> Any:
    """A channels-last batch as the tensor that torch's layers take."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(inputs, -1, 1)))
