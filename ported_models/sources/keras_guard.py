"""Keras files from strangers: looked at in a process of its own before Keras or this process opens them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from math import prod
from pathlib import Path
from typing import Any

from harness.errors import ModelSourceError
from ported_models.keras_start import start_keras
from ported_models.limits import check_layers, check_numbers

_LOOK = Path(__file__).with_name("keras_look.py")
#: Seconds of processor time for a file, and for each hundred million bytes of it; and the bytes that reading may take
#: beside the file's. On a busy machine that may last so many times as long.
_SECONDS, _SECONDS_FOR_100MB, _ROOM = 12, 10, 2**30
_LONGER = 10
#: A configuration may ask for this many more numbers than the file holds, and this many times as many; and one array
#: of the file may have so many more than all weights that the configuration asks for.
_MORE, _TIMES = 2**20, 2


def check_file(path: Path) -> None:
    """Raise ModelSourceError for a Keras file that is damaged, larger inside than it may be, or reads other files.

    Neither are its layers built nor is its code run: sizes, links and the shapes that its configuration asks for are
    compared with what it holds.
    """
    seen = _looked_at(path)
    config = _config(path)
    if config is None or find_spec("keras") is None or find_spec("tensorflow") is None:
        return
    check_layers(_layer_count(config), str(path))
    asked = _asked_for(config, path.suffix.lower() != ".keras")
    if asked.weights > _TIMES * seen.values + _MORE:
        raise ModelSourceError(
            f"{path}: its configuration asks for {asked.weights} weights, and the file holds {seen.values}; save it "
            "again"
        )
    if asked.complete and seen.largest > asked.weights + _MORE:
        raise ModelSourceError(
            f"{path}: {seen.name} holds {seen.largest} numbers, and its configuration asks for {asked.weights} weights "
            "in all; save it again"
        )
    check_numbers(str(path), asked.weights, asked.sizes, asked.products)


@dataclass(frozen=True)
class _Seen:
    """How many numbers a file holds, and of its largest array how many, and its name."""

    values: int
    largest: int
    name: str


@dataclass(frozen=True)
class _Asked:
    """How many weights a configuration asks for, the sizes of the layers, and the multiply-adds of one sample.

    ``complete``: whether Keras could make the whole model of it.
    """

    weights: int
    sizes: list[int]
    products: int
    complete: bool


def _looked_at(path: Path) -> _Seen:
    """What the file holds."""
    if not path.is_file():
        raise ModelSourceError(f"{path} is no regular file; name a file that model.save() wrote")
    size = path.stat().st_size
    seconds = _SECONDS + _SECONDS_FOR_100MB * size // 10**8
    command = [sys.executable, "-I", str(_LOOK), str(path), str(seconds), str(_ROOM + 4 * size)]
    try:
        ended = subprocess.run(
            command, capture_output=True, text=True, timeout=_LONGER * seconds, check=False
        )
    except subprocess.TimeoutExpired:
        raise ModelSourceError(f"{path}: {_unread(f'within {_LONGER * seconds} seconds')}") from None
    if -ended.returncode in (signal.SIGXCPU, signal.SIGKILL):
        raise ModelSourceError(f"{path}: {_unread(f'within {seconds} seconds of processor time')}")
    try:
        answer: dict[str, Any] = json.loads(ended.stdout)
    except ValueError:
        raise ModelSourceError(f"{path}: {_unread('without ending the process that reads it')}") from None
    if "refused" in answer:
        raise ModelSourceError(
            f"{path}: {answer['refused']}; fetch the file again, or save it with model.save()"
        )
    largest, name = answer["largest"]
    return _Seen(int(answer["values"]), int(largest), str(name))


def _unread(how: str) -> str:
    return f"cannot be read {how}, so that it is damaged; fetch the file again"


def _config(path: Path) -> dict[str, Any] | None:
    """The model's configuration; None where the file has none that can be read, which its reader says."""
    try:
        text = _text_of_archive(path) if path.suffix.lower() == ".keras" else _text_of_hdf5(path)
        config = json.loads(text)
    except (ValueError, KeyError, OSError, RecursionError):
        return None
    return config if isinstance(config, dict) else None


def _text_of_archive(path: Path) -> str | bytes:
    import zipfile

    with zipfile.ZipFile(path) as archive:
        return archive.read("config.json")


def _text_of_hdf5(path: Path) -> str | bytes:
    import h5py

    with h5py.File(path, "r") as file:
        text: str | bytes = file.attrs["model_config"]
        return text


def _layer_count(config: dict[str, Any]) -> int:
    """How many layers ``config`` names, those of models inside included."""
    pending: list[Any] = [config]
    count = 0
    while pending:
        each = pending.pop()
        if isinstance(each, dict):
            layers = each.get("layers")
            count += len(layers) if isinstance(layers, list) else 0
            pending += each.values()
        elif isinstance(each, list):
            pending += each
    return count


def _asked_for(config: dict[str, Any], hdf5: bool) -> _Asked:
    """What the model takes that ``config`` asks for; it is made without the values of its weights.

    Nothing where Keras cannot make it: then it makes no weights later either.
    """
    start_keras()
    import keras
    from keras.src.backend.common import global_state
    from keras.src.legacy.saving import saving_utils

    known = global_state.get_global_attribute("uninitialized_variables", [], set_to_default=True)
    before = len(known)
    sizes, products, complete = [], 0, False
    try:
        with keras.StatelessScope(initialize_variables=False):
            if hdf5:
                model = saving_utils.model_from_config(config)
            else:
                model = keras.saving.deserialize_keras_object(config, safe_mode=True)
            for layer in model._flatten_layers(include_self=False, recursive=True):
                shape = [int(side or 1) for side in getattr(layer.output, "shape", ())[1:]]
                sizes.append(prod(shape))
                kernels = [variable for variable in layer.weights if "kernel" in variable.name]
                products += prod(shape[:-1]) * sum(prod(variable.shape) for variable in kernels)
            complete = model.built
    except Exception:  # whatever a configuration makes Keras raise; the reader says what is wrong with it
        pass
    weights = sum(prod(variable.shape) for variable in known[before:])
    del known[before:]
    return _Asked(weights, sizes, products, complete)
