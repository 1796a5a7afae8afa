"""Networks of one layer and a flatten, as a library's published references are made of; read from HDF5 files.

The layout is that of test-data-innvestigate (iNNvestigate 1.0.9): a file for each analyzer with the dataset ``input``,
(batch, *space, channel), and for each layer a group with ``weights`` (a group of arrays in Keras' order: kernel, bias),
``output``, (batch, ...) or flattened, and ``attribution``, the input's shape. What a group does not hold stands in a
description of its own:

    {"Conv2D": {"kind": "conv2d", "kernel": [3, 3], "strides": [1, 1], "padding": "valid"},
     "MaxPooling2D": {"kind": "max_pool2d", "pool": [2, 2]}}
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.api import load_model
from harness.errors import InvalidInputError, ModelSourceError, UnknownNameError
from harness.graph import Graph, Layer, default_axes

#: What a golden calls this kind of source of a model.
HDF5 = "hdf5"
#: How the kinds are called there and here, and by what their size is named.
KINDS = {
    "dense": ("dense", ""),
    "conv1d": ("conv1d", "kernel"),
    "conv2d": ("conv2d", "kernel"),
    "maxpooling1d": ("max_pool1d", "pool"),
    "maxpooling2d": ("max_pool2d", "pool"),
    "averagepooling1d": ("average_pool1d", "pool"),
    "averagepooling2d": ("average_pool2d", "pool"),
}
_KNOWN = frozenset({"kind", "kernel", "pool", "strides", "padding", "activation"})
#: Above so many values a dataset is none of a single layer.
_LARGEST = 1 << 26


@dataclass(frozen=True, eq=False)
class Reference:
    """What a group of a file says. ``description``: of its layer, from the JSON. Arrays are as they are stored."""

    group: str
    analyzer: str
    description: Mapping[str, Any]
    x: np.ndarray
    weights: tuple[np.ndarray, ...]
    output: np.ndarray
    attribution: np.ndarray

    def graph(self, activation: str | None = None) -> Graph:
        """The network: the layer, ``activation`` (the description's where none is named), a flatten.

        Raises InvalidInputError for a description that does not fit the arrays.
        """
        return _graph(self, activation or self.description.get("activation", "linear"))


def read_descriptions(path: Path) -> dict[str, dict[str, Any]]:
    """The layers of a JSON file, by group. Raises InvalidInputError for what is none."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InvalidInputError(f"{path} does not exist; write one: see docs/goldens.md") from None
    except (OSError, ValueError) as error:
        raise InvalidInputError(
            f"{path} is no readable JSON file ({error}); how to write one: docs/goldens.md"
        ) from None
    if not isinstance(document, dict) or not all(isinstance(each, dict) for each in document.values()):
        raise InvalidInputError(f'{path}: expected {{group: {{"kind": ...}}}}, a layer for each group')
    for group, description in document.items():
        unknown = sorted(set(description) - _KNOWN)
        if unknown:
            raise UnknownNameError(f"key of layer {group!r}", unknown[0], _KNOWN, f"(in {path})")
        _, size_key = _kind(group, description)
        for key in sorted({"kernel", "pool"} & set(description) - {size_key}):
            raise InvalidInputError(
                f'{path}: layer {group!r} is of the kind {description["kind"]!r}, which has no "{key}"; leave that out'
            )
    if not document:
        raise InvalidInputError(f'{path} describes no layer; expected {{group: {{"kind": ...}}}}')
    return document


def read_references(path: Path, descriptions: Mapping[str, Mapping[str, Any]]) -> dict[str, Reference]:
    """The groups of a file that are described, by name. Raises ModelSourceError for a file of another layout."""
    import h5py

    if not path.is_file():
        raise ModelSourceError(
            f"{path} {'is no file' if path.exists() else 'does not exist'}; name an HDF5 file"
        )
    try:
        with h5py.File(path, "r") as file:
            analyzer = file.attrs.get("analyzer_name", path.stem)
            named = analyzer.decode() if isinstance(analyzer, bytes) else str(analyzer)
            groups = [name for name in file if name in descriptions and _has_group(file, name)]
            if not groups:
                raise ModelSourceError(
                    f"{path}: none of the groups {', '.join(descriptions)} is in it; it has: {', '.join(file)}"
                )
            x = _array(file, "input")
            return {
                name: Reference(
                    name,
                    named,
                    descriptions[name],
                    x,
                    tuple(_array(file[name]["weights"], key) for key in file[name].get("weights", ())),
                    _array(file[name], "output"),
                    _array(file[name], "attribution"),
                )
                for name in groups
            }
    except KeyError as error:
        raise ModelSourceError(f"{path}: not of the layout that is expected: {error.args[0]}") from None
    except (OSError, RuntimeError, ValueError, TypeError) as error:
        raise ModelSourceError(
            f"{path} is no readable HDF5 file ({' '.join(str(error).split())[:200]})"
        ) from None


def imported_model(source: Mapping[str, Any]) -> Any:
    """The network of a golden that was imported, from its file. Raises ModelSourceError where that is not there.

    ``source``: what the golden says of it, file, group, layer and activation.
    """
    file = Path(source["file"])
    if not file.is_file():
        raise ModelSourceError(
            f"was imported from {file}, which is not there; put it back, or import it again"
        )
    reference = read_references(file, {source["group"]: source["layer"]})[source["group"]]
    return load_model(reference.graph(source["activation"]))


def _has_group(file: Any, name: str) -> bool:
    import h5py

    # A link may lead to another file, which nobody has named.
    return isinstance(file.get(name, getlink=True), h5py.HardLink) and isinstance(file[name], h5py.Group)


def _array(group: Any, name: str) -> np.ndarray:
    import h5py

    if name not in group:
        raise KeyError(f"{group.name} has no dataset {name!r}")
    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise KeyError(f"{group.name}/{name} is a link, expected a dataset")
    dataset = group[name]
    if not isinstance(dataset, h5py.Dataset) or dataset.external or dataset.is_virtual:
        raise KeyError(f"{group.name}/{name} is no dataset of this file")
    if dataset.dtype.kind != "f" or dataset.size > _LARGEST:
        raise KeyError(
            f"{group.name}/{name} has {dataset.size} values of {dataset.dtype}, expected floats, fewer"
        )
    return np.asarray(dataset[()])


def _kind(group: str, description: Mapping[str, Any]) -> tuple[str, str]:
    """The kind here, and the key that holds its size. Raises UnknownNameError, InvalidInputError."""
    kind = description.get("kind")
    if not isinstance(kind, str):
        raise InvalidInputError(f"layer {group!r} has no kind; it is one of {', '.join(KINDS)}")
    plain = kind.lower().replace("_", "").removesuffix("relu")
    plain = plain.replace("pool1d", "pooling1d").replace("pool2d", "pooling2d")
    if plain not in KINDS:
        raise UnknownNameError(f"kind of layer {group!r}", kind, KINDS)
    return KINDS[plain]


def _graph(of: Reference, activation: str) -> Graph:
    kind, size_key = _kind(of.group, of.description)
    if activation not in ("linear", "relu"):
        raise InvalidInputError(f"layer {of.group!r}: activation is {activation!r}, expected linear or relu")
    shape = of.x.shape[1:]
    layers = [Layer("input", "input", (), (), shape, default_axes(shape))]
    layers.append(_layer(of, kind, size_key, shape))
    if activation == "relu":
        layers.append(_behind(layers[-1], "layer_relu", "relu", layers[-1].shape))
    flat = (int(np.prod(layers[-1].shape)),)
    layers.append(_behind(layers[-1], "flatten", "flatten", flat, {"order": "channels_last"}))
    return Graph(of.group, tuple(layers), "flatten")


def _behind(
    before: Layer, name: str, kind: str, shape: tuple[int, ...], attributes: Mapping[str, Any] | None = None
) -> Layer:
    return Layer(
        name, kind, (before.name,), (before.shape,), shape, default_axes(shape), dict(attributes or {})
    )


def _layer(of: Reference, kind: str, size_key: str, shape: tuple[int, ...]) -> Layer:
    def refuse(what: str) -> InvalidInputError:
        return InvalidInputError(f"layer {of.group!r} ({kind}): {what}")

    weights = dict(zip(("kernel", "bias"), of.weights, strict=False))
    if (size_key == "pool") != (not weights):
        raise refuse(
            f"has {len(of.weights)} arrays of weights, expected {'none' if size_key == 'pool' else 'some'}"
        )
    if kind == "dense":
        kernel = weights["kernel"]
        if kernel.ndim != 2 or kernel.shape[0] != shape[-1]:
            raise refuse(f"its kernel has shape {kernel.shape}, expected ({shape[-1]}, units)")
        output = (*shape[:-1], kernel.shape[1])
        return Layer("layer", kind, ("input",), (shape,), output, default_axes(output), {}, weights)
    rank = len(shape) - 1
    if f"{rank}d" != kind[-2:]:
        raise refuse(f"the input has shape {shape}, expected {kind[-2]} axes of space and one of channels")
    if size_key == "kernel":
        kernel = weights["kernel"]
        size, channels = kernel.shape[:-2], kernel.shape[-1]
        if kernel.ndim != rank + 2 or kernel.shape[-2] != shape[-1]:
            raise refuse(f"its kernel has shape {kernel.shape}, expected (*space, {shape[-1]}, filters)")
        named = _numbers(of.description.get("kernel", size), rank, refuse)
        if named != size:
            raise refuse(f"its kernel has size {size}, the description says {named}")
        steps = of.description.get("strides", 1)
        attributes: dict[str, Any] = {"dilations": (1,) * rank, "groups": 1}
    else:
        if "pool" not in of.description:
            raise refuse('the description has no "pool"')
        size, channels = _numbers(of.description["pool"], rank, refuse), shape[-1]
        steps = of.description.get("strides", size)
        attributes = {"pool_size": size} | ({"count_include_pad": False} if kind[0] == "a" else {})
    strides = _numbers(steps, rank, refuse)
    padding = of.description.get("padding", "valid")
    if padding not in ("valid", "same"):
        raise refuse(f"padding is {padding!r}, expected valid or same")
    pads = tuple(
        _same(*each) if padding == "same" else (0, 0) for each in zip(shape, size, strides, strict=False)
    )
    space = tuple(
        (length + sum(pad) - window) // stride + 1
        for length, pad, window, stride in zip(shape, pads, size, strides, strict=False)
    )
    output = (*space, channels)
    attributes |= {"strides": strides, "padding": pads}
    return Layer("layer", kind, ("input",), (shape,), output, default_axes(output), attributes, weights)


def _same(length: int, window: int, stride: int) -> tuple[int, int]:
    """Keras' padding "same": so much that ceil(length / stride) windows fit, the odd one behind."""
    total = max((-(-length // stride) - 1) * stride + window - length, 0)
    return total // 2, total - total // 2


def _numbers(value: Any, rank: int, refuse: Any) -> tuple[int, ...]:
    numbers = (
        [value] * rank if isinstance(value, int) else list(value) if isinstance(value, list | tuple) else []
    )
    if len(numbers) != rank or not all(isinstance(each, int) and each > 0 for each in numbers):
        raise refuse(f"expected a whole number above 0, or {rank} of them, found {value!r}")
    return tuple(numbers)
