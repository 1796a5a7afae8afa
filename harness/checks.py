"""Checks of what a user hands in; every failure is one sentence with what was found and what to do."""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.backends.protocol import Model
from harness.errors import InvalidInputError
from harness.graph import Input, joined, parted

#: An input as a user gives it: an array, or of a model of several inputs one for each by name.
GivenInput = np.ndarray | Mapping[str, np.ndarray]
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

    ``x``: an array, or for a model of several inputs a mapping of them by name, whose values come to lie side by side
    (`harness.graph.inputs`). The order of the mapping says nothing. An array of that form is taken as it is.

    Raises InvalidInputError for a wrong shape (naming a missing batch axis or a channels-first order
    where that is what it looks like), a non-numeric dtype, an empty batch, NaN or Inf; of several inputs for a name
    that is missing or that no input has, and for batches of different lengths.
    """
    inputs = model.graph.inputs
    if isinstance(x, Mapping):
        if not inputs:
            raise InvalidInputError(
                f"the input is a mapping ({_listed(x)}), but {model.name} has one input; give its array alone"
            )
        return _joined_input(model, inputs, x, dtype)
    array = np.asarray(x)
    expected = tuple(model.input_shape)
    if inputs and array.shape[1:] != expected:
        raise InvalidInputError(
            f"{model.name} has the inputs {_listed(i.name for i in inputs)}, found one array of shape {array.shape}; "
            f"give a mapping by name: {_wanted_inputs(inputs)} (a .npz file on the command line)"
        )
    return _checked_array("the input", model.name, array, expected, dtype)


def _joined_input(model: Model, inputs: Sequence[Input], x: Mapping[Any, Any], dtype: str) -> np.ndarray:
    """The arrays of ``x`` side by side, each checked. Raises InvalidInputError as :func:`checked_input` does."""
    names = [each.name for each in inputs]
    missing = [name for name in names if name not in x]
    unknown = [name for name in x if name not in names]
    if missing or unknown:
        wrong = [f"{_listed(missing)} missing"] if missing else []
        wrong += [f"no input is called {_listed(unknown)}"] if unknown else []
        raise InvalidInputError(
            f"the inputs do not fit {model.name}: {', '.join(wrong)}; expected {_wanted_inputs(inputs)}"
        )
    arrays = {
        each.name: _checked_array(
            f"the input {each.name!r}", model.name, np.asarray(x[each.name]), each.shape, dtype
        )
        for each in inputs
    }
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        raise InvalidInputError(
            f"the inputs of {model.name} have batches of different lengths: "
            f"{', '.join(f'{name!r} {length}' for name, length in lengths.items())}; give the same samples of each"
        )
    return joined(inputs, arrays)


def _checked_array(
    what: str, model: str, array: np.ndarray, expected: tuple[int, ...], dtype: str
) -> np.ndarray:
    if array.dtype.kind not in "fiub":
        raise InvalidInputError(f"{what} must be numeric, found dtype {array.dtype}")
    if array.shape[1:] != expected or array.ndim != len(expected) + 1:
        raise InvalidInputError(_shape_message(what, model, array.shape, expected))
    if array.shape[0] == 0:
        raise InvalidInputError(f"{what} has no samples: its batch axis has length 0")
    array = np.array(array, dtype=dtype, order="C", copy=True)
    finite = np.isfinite(array)
    if not finite.all():
        where = tuple(int(i) for i in np.argwhere(~finite)[0])
        raise InvalidInputError(
            f"{what} has {int((~finite).sum())} NaN or infinite values, the first at index {where}; "
            "remove them first"
        )
    return array


def _listed(names: Iterable[Any]) -> str:
    return ", ".join(repr(name) for name in names)


def _wanted_inputs(inputs: Sequence[Input]) -> str:
    sides = (f"{each.name!r}: (batch, {', '.join(map(str, each.shape))})" for each in inputs)
    return f"{{{', '.join(sides)}}}, batch first and channels last"


def check_rows(model: Model, x: np.ndarray) -> None:
    """Raise InvalidInputError where the input names rows of a table, and one of its numbers is no row's."""
    graph = model.graph
    if graph.rows_at_input is None:
        return
    rows = (
        parted(graph.inputs, graph.rows_at_input[None]) if graph.inputs else {"": graph.rows_at_input[None]}
    )
    given = parted(graph.inputs, x) if graph.inputs else {"": x}
    for name, values in given.items():
        most = int(rows[name].max())
        wrong = (values != np.rint(values)) | (values < 0) | (values >= most)
        if most and wrong.any():
            where = tuple(int(i) for i in np.argwhere(wrong)[0])
            which = f"the input {name!r}" if name else "the input"
            raise InvalidInputError(
                f"{which} of {model.name} is numbers of rows, whole and from 0 to {most - 1}, "
                f"found {values[where]:g} at index {where}; give the numbers of tokens"
            )


def _shape_message(what: str, name: str, shape: tuple[int, ...], expected: tuple[int, ...]) -> str:
    wanted = f"{name} expects (batch, {', '.join(map(str, expected))})"
    found = (
        f"{what.removeprefix('the ')} shape {shape}"
        if what == "the input"
        else f"{what} has shape {shape} and"
    )
    base = f"{found} does not fit: {wanted}, batch first and channels last"
    if shape == expected:
        return f"{found} has no batch axis: {wanted}; use x[None]"
    if len(expected) > 1 and shape[1:] == (expected[-1], *expected[:-1]):
        return f"{found} is channels-first: {wanted}; use numpy.moveaxis(x, 1, -1)"
    if len(expected) > 1 and shape == (expected[-1], *expected[:-1]):
        return f"{found} is channels-first without a batch axis: {wanted}; use numpy.moveaxis(x, 0, -1)[None]"
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


def read_input(path: Path | None) -> GivenInput | None:
    """The array of a ``.npy`` file, or the arrays by name of a ``.npz`` file; None for no path.

    Raises InvalidInputError.
    """
    if path is None or path.suffix.lower() != ".npz":
        return read_array(path)
    try:
        with zipfile.ZipFile(path) as archive:
            return {
                name.removesuffix(".npy"): np.lib.format.read_array(archive.open(name), allow_pickle=False)
                for name in archive.namelist()
            }
    except FileNotFoundError:
        raise InvalidInputError(f"{path} does not exist; save arrays by name with numpy.savez") from None
    except OSError as error:
        raise InvalidInputError(
            f"{path} cannot be read ({error.strerror}); save arrays by name with numpy.savez"
        ) from None
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError):
        raise InvalidInputError(
            f"{path} is no readable .npz file of numbers; save arrays by name with numpy.savez"
        ) from None


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
