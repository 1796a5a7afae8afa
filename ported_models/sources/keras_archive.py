"""Whole models in a ``.keras`` archive of Keras 2 (tf_keras), which Keras 3 does not open: configuration and weights.

An archive is a zip file of ``config.json``, ``metadata.json`` and ``model.weights.h5``. In the last, a model's layers
are groups that are named by their classes and numbered in their order, ``layers/conv2d_1/vars/0``, and a layer's
variables are numbered in the order in which it makes them (tf_keras 2.21, `saving/saving_lib.py`). Opened with h5py
alone, so that no layer is ever built by reading a file.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import ModelSourceError
from ported_models.sources.keras_calls import MODEL_CLASSES, Weights
from ported_models.sources.keras_hdf5 import distinct

_RECURRENT = ("kernel", "recurrent_kernel", "bias")
#: The variables of a layer by class, in the order in which it makes them; those that it does not have are left out.
_VARIABLES: dict[str, tuple[str, ...]] = {
    "BatchNormalization": ("gamma", "beta", "moving_mean", "moving_variance"),
    "LayerNormalization": ("gamma", "beta"),
    "GroupNormalization": ("gamma", "beta"),
    "Normalization": ("mean", "variance", "count"),
    "Embedding": ("embeddings",),
    "PReLU": ("alpha",),
    **dict.fromkeys(("DepthwiseConv1D", "DepthwiseConv2D"), ("depthwise_kernel", "bias")),
    **dict.fromkeys(("SeparableConv1D", "SeparableConv2D"), ("depthwise_kernel", "pointwise_kernel", "bias")),
    **dict.fromkeys(("LSTM", "GRU", "SimpleRNN"), _RECURRENT),
}
#: Which of a configuration's switches leaves a variable out.
_SWITCHES = {"gamma": "scale", "beta": "center", "bias": "use_bias"}


def archive_generation(path: Path) -> int:
    """The generation of Keras that wrote a ``.keras`` file, 2 or 3. Raises ModelSourceError for a file that is none."""
    return 2 if str(_member(path, "metadata.json").get("keras_version", "3")).startswith("2.") else 3


def archive_config(path: Path) -> Mapping[str, Any]:
    """The configuration of the model. Raises ModelSourceError for a file that is no such archive."""
    return _member(path, "config.json")


def _member(path: Path, name: str) -> Mapping[str, Any]:
    try:
        with zipfile.ZipFile(path) as archive:
            content = json.loads(archive.read(name))
    except (zipfile.BadZipFile, KeyError, ValueError, OSError) as error:
        raise ModelSourceError(
            f"{path}: not a .keras file, or a truncated one ({error}); save it again with model.save()"
        ) from None
    if not isinstance(content, Mapping):
        raise ModelSourceError(f"{path}: its {name} is no JSON object; save it again with model.save()")
    return content


@contextmanager
def open_archive(path: Path) -> Iterator[tuple[Mapping[str, Any], Weights]]:
    """``(configuration, weights)`` of an archive of Keras 2; the weights can be read while it is open.

    Raises ModelSourceError for a file that is truncated, or whose weights are not there.
    """
    import h5py

    config = archive_config(path)
    try:
        with (
            zipfile.ZipFile(path) as archive,
            h5py.File(io.BytesIO(archive.read("model.weights.h5")), "r") as file,
        ):
            groups = dict(_groups(config, "", ()))
            yield config, lambda layer: _weights(file, groups.get(layer))
    except (zipfile.BadZipFile, KeyError, OSError) as error:
        raise ModelSourceError(
            f"{path}: its weights cannot be read ({error}); save it again with model.save()"
        ) from None


#: A layer's group, and its entry in the configuration.
_Place = tuple[str, Mapping[str, Any]]


def _groups(
    model: Mapping[str, Any], group: str, path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], _Place]]:
    """Every layer's path of names with its group, models inside after the layers before them."""
    used: dict[str, int] = {}
    for entry in model["config"]["layers"]:
        kind = str(entry["class_name"])
        if model["class_name"] == "Sequential" and kind == "InputLayer":
            continue
        name = _snake_case("Functional" if kind == "Model" else kind)
        used[name] = used.get(name, -1) + 1
        place = f"{group}layers/{name}" + (f"_{used[name]}" if used[name] else "")
        here = (*path, str(entry.get("name") or entry["config"]["name"]))
        if kind in MODEL_CLASSES:
            yield from _groups(entry, f"{place}/", here)
        else:
            yield here, (place, entry)


def _snake_case(name: str) -> str:
    """As tf_keras makes names of classes (`generic_utils.to_snake_case`)."""
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def _weights(file: Any, place: _Place | None) -> dict[str, np.ndarray]:
    return {} if place is None else distinct(_variables(file, *place))


def _variables(file: Any, group: str, entry: Mapping[str, Any]) -> Iterator[tuple[str, np.ndarray]]:
    kind, config = str(entry["class_name"]), entry["config"]
    if kind == "Bidirectional":
        for side in ("forward_layer", "backward_layer"):
            yield from _variables(file, f"{group}/{side}", config["layer"])
        return
    if kind == "TimeDistributed":
        yield from _variables(file, f"{group}/layer", config["layer"])
        return
    names = [
        name for name in _VARIABLES.get(kind, ("kernel", "bias")) if config.get(_SWITCHES.get(name, ""), True)
    ]
    own = f"{group}/cell/vars" if names[:2] == list(_RECURRENT[:2]) else f"{group}/vars"
    stored = file.get(own) or {}
    for place, name in enumerate(names):
        if str(place) in stored:
            yield name, np.asarray(stored[str(place)])
