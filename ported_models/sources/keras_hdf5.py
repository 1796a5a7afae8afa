"""Whole models in HDF5, as Keras 2 and Keras 3 write them: the configuration and a way to the weights.

Opened with h5py alone, so that no layer is ever built, let alone run, by reading a file.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import ModelSourceError
from ported_models.sources.keras_calls import Weights


@contextmanager
def open_hdf5(path: Path) -> Iterator[tuple[Mapping[str, Any], Weights, int]]:
    """``(configuration, weights, generation of Keras)`` of the model in the file; the weights while it is open.

    Raises ModelSourceError for a file that is no HDF5, is truncated, holds weights only, or is Keras 1's.
    """
    import h5py

    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise ModelSourceError(
            f"{path}: not an HDF5 file, or a truncated one ({error}); fetch or save it again"
        ) from None
    with file:
        if "model_config" not in file.attrs or "model_weights" not in file:
            raise ModelSourceError(
                f"{path}: holds no whole Keras model (no model_config), perhaps weights only; "
                "save the model itself with model.save()"
            )
        version = _text(file.attrs.get("keras_version", ""))
        if version.startswith("1."):
            raise ModelSourceError(
                f"{path}: written by Keras {version}, expected 2 or later; save it with Keras 2 first"
            )
        try:
            config = json.loads(_text(file.attrs["model_config"]))
        except ValueError as error:
            raise ModelSourceError(f"{path}: its model_config is no JSON ({error}); fetch it again") from None
        group = file["model_weights"]
        try:
            keras = 3 if version.startswith("3") else 2
            yield config, lambda layer: _layer_weights(group, layer, str(path)), keras
        except OSError as error:
            raise ModelSourceError(
                f"{path}: a weight cannot be read ({error}); fetch the file again"
            ) from None


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _layer_weights(group: Any, path: tuple[str, ...], origin: str) -> dict[str, np.ndarray]:
    """The weights of the layer at ``path`` by variable name.

    A group holds all weights of one top-level layer. For a layer of a nested model they are the ones whose
    name has the layer's as its last part but one: ``inner/conv/kernel:0``.
    """
    if path[0] not in group:
        return {}
    names = _weight_names(group[path[0]])
    if len(path) > 1:
        owners = {name: tuple(name.split("/")[:-1]) for name in names}
        names = [name for name, owner in owners.items() if path[-1] in owner]
        # What a layer is made of has names of its own, behind the layer's.
        owners = {name: owner[: owner.index(path[-1]) + 1] for name, owner in owners.items() if name in names}
        prefixes = set(owners.values())
        if len(prefixes) > 1:
            prefixes = {owner for owner in prefixes if path[-len(owner) :] == owner}
            names = [name for name in names if owners[name] in prefixes]
        if len(prefixes) > 1:
            raise ModelSourceError(
                f"{origin}: several nested layers are called {path[-1]!r}; "
                "save the model as .keras, which keeps them apart"
            )
    return distinct((_variable(name), np.asarray(group[path[0]][name])) for name in names)


def distinct(weights: Iterable[tuple[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Weights by name; of those of the second of several layers in one, as in a bidirectional one, ``kernel_2``."""
    arrays: dict[str, np.ndarray] = {}
    for name, array in weights:
        number, own = 1, name
        while own in arrays:
            number += 1
            own = f"{name}_{number}"
        arrays[own] = array
    return arrays


def _variable(name: str) -> str:
    """``conv/kernel:0`` -> ``kernel``."""
    return name.rsplit("/", 1)[-1].split(":")[0]


def _weight_names(group: Any) -> list[str]:
    """The group's ``weight_names``; Keras splits a list that is too long for one attribute."""
    attributes = group.attrs
    if "weight_names" in attributes:
        return [_text(name) for name in attributes["weight_names"]]
    chunks = [key for key in attributes if key.startswith("weight_names")]
    chunks.sort(key=lambda key: int(key.removeprefix("weight_names")))
    return [_text(name) for key in chunks for name in attributes[key]]
