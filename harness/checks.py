"""Checks of what a user hands in; every failure is one sentence with what was found and what to do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.backends.protocol import Model
from harness.errors import InvalidInputError

DTYPES = ("float32", "float64")
#: "cpu", or a GPU, by number or not, and with or without reduced precision of float32.
_DEVICE = re.compile(r"cpu|cuda(:\d+)?(\+tf32)?")


def checked_dtype(dtype: str) -> str:
    """``dtype`` if it is one the harness computes in; raises InvalidInputError otherwise."""
    if dtype not in DTYPES:
        raise InvalidInputError(f"dtype must be one of {', '.join(DTYPES)}, found {dtype!r}")
    return dtype


def checked_device(device: str) -> str:
    """``device`` if there are such devices; whether a backend computes on it, `require_device` says."""
    if not isinstance(device, str) or not _DEVICE.fullmatch(device):
        raise InvalidInputError(
            f"device must be cpu, cuda or cuda:NUMBER, found {device!r} (behind a GPU +tf32 allows reduced precision)"
        )
    return device


def require_device(backend: str, device: str, devices: Sequence[str] = ("cpu",)) -> None:
    """Raise InvalidInputError where ``device`` is none of those that the backend of that name computes on here."""
    if checked_device(device) not in devices:
        raise InvalidInputError(
            f"backend {backend!r} computes on {' and '.join(devices)} here, found device {device!r}"
        )


def checked_input(model: Model, x: Any, dtype: str) -> np.ndarray:
    """``x`` as a contiguous (batch, *input_shape) array of ``dtype``, in memory of its own.

    Raises InvalidInputError for a wrong shape (naming a missing batch axis or a channels-first order
    where that is what it looks like), a non-numeric dtype, an empty batch, NaN or Inf.
    """
    array = np.asarray(x)
    expected = tuple(model.input_shape)
    if array.dtype.kind not in "fiub":
        raise InvalidInputError(f"the input must be numeric, found dtype {array.dtype}")
    if array.shape[1:] != expected or array.ndim != len(expected) + 1:
        raise InvalidInputError(_shape_message(model.name, array.shape, expected))
    if array.shape[0] == 0:
        raise InvalidInputError("the input has no samples: its batch axis has length 0")
    array = np.array(array, dtype=dtype, order="C", copy=True)
    finite = np.isfinite(array)
    if not finite.all():
        where = tuple(int(i) for i in np.argwhere(~finite)[0])
        raise InvalidInputError(
            f"the input has {int((~finite).sum())} NaN or infinite values, the first at index {where}; "
            "remove them first"
        )
    return array


def check_rows(model: Model, x: np.ndarray) -> None:
    """Raise InvalidInputError where the input names rows of a table, and one of its numbers is no row's."""
    rows = model.graph.rows_of_input
    if rows is None:
        return
    wrong = (x != np.rint(x)) | (x < 0) | (x >= rows)
    if wrong.any():
        where = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise InvalidInputError(
            f"the input of {model.name} is numbers of rows, whole and from 0 to {rows - 1}, found {x[where]:g} at "
            f"index {where}; give the numbers of tokens"
        )


def _shape_message(name: str, shape: tuple[int, ...], expected: tuple[int, ...]) -> str:
    wanted = f"{name} expects (batch, {', '.join(map(str, expected))})"
    base = f"input shape {shape} does not fit: {wanted}, batch first and channels last"
    if shape == expected:
        return f"input shape {shape} has no batch axis: {wanted}; use x[None]"
    if len(expected) > 1 and shape[1:] == (expected[-1], *expected[:-1]):
        return f"input shape {shape} is channels-first: {wanted}; use numpy.moveaxis(x, 1, -1)"
    if len(expected) > 1 and shape == (expected[-1], *expected[:-1]):
        return (
            f"input shape {shape} is channels-first without a batch axis: {wanted}; "
            "use numpy.moveaxis(x, 0, -1)[None]"
        )
    return base


def checked_target(
    target: int | Sequence[int] | np.ndarray | None, batch: int, classes: int
) -> np.ndarray | None:
    """``target`` as (batch,) int64, or None; raises InvalidInputError outside 0..classes-1 or for a wrong length."""
    if target is None:
        return None
    array = np.asarray(target)
    if array.dtype.kind not in "iu":
        raise InvalidInputError(f"target must be a class index or one per sample, found {target!r}")
    if array.ndim == 0:
        array = np.full(batch, array)
    if array.shape != (batch,):
        raise InvalidInputError(
            f"target must be one index or {batch} of them (one per sample), found shape {array.shape}"
        )
    if array.min() < 0 or array.max() >= classes:
        bad = int(array[(array < 0) | (array >= classes)][0])
        raise InvalidInputError(f"target {bad} is outside the model's classes 0..{classes - 1}")
    return array.astype(np.int64)


def read_array(path: Path | None) -> np.ndarray | None:
    """The array of a ``.npy`` file; None for no path. Raises InvalidInputError."""
    if path is None:
        return None
    try:
        # Not numpy.load, which takes whatever it does not know for a pickle, and advises to load that.
        with path.open("rb") as file:
            array: np.ndarray = np.lib.format.read_array(file, allow_pickle=False)
    except FileNotFoundError:
        raise InvalidInputError(f"{path} does not exist; save an array with numpy.save") from None
    except OSError as error:
        raise InvalidInputError(
            f"{path} cannot be read ({error.strerror}); save an array with numpy.save"
        ) from None
    except (ValueError, EOFError):
        raise InvalidInputError(
            f"{path} is no readable .npy file of numbers; save an array with numpy.save"
        ) from None
    return array
