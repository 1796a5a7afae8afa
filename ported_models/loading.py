"""One door for every model source; each source's own reader stands behind it."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError, InvalidInputError, ModelSourceError, UnknownNameError, described
from harness.graph import Graph
from ported_models.model import PortedModel

if TYPE_CHECKING:
    from ported_models.maps import Output

SUFFIXES = (".onnx", ".keras", ".h5", ".hdf5")
#: Files of weights alone, and what reads them.
_WEIGHTS = {
    ".pt": "torch.load(path, weights_only=True)",
    ".pth": "torch.load(path, weights_only=True)",
    ".safetensors": "safetensors.torch.load_file(path)",
}


def load_model(
    source: Any,
    name: str | None = None,
    example: Any = None,
    axes: Sequence[str] | Mapping[str, Sequence[str]] | None = None,
    output: Output = None,
) -> PortedModel:
    """The model that ``source`` is: a zoo name, a file, a Keras model, a torch module, an ONNX proto or a graph.

    ``name`` is the model's own by default (the file's stem, the class's name). ``example`` is one input for
    a torch module, batch first: a torch tensor in torch's own layout, a NumPy array channels-last; for an ONNX file
    that leaves sizes open an array of the size that is wanted, channels-last or, where only that fits, in the file's
    order. Other sources know their input and take none. ``axes``: the names of the axes of an ONNX file's input, in
    the file's order, where they are not to be read off its operators; or of a torch module's input, in the module's
    own order, for one that takes features last, e.g. ``("batch", "time", "feature")``: the example then has that order.
    Of a source of several inputs ``example`` is a tuple in their order or a dict by name, ``axes`` a dict by name.
    ``output``: which output is explained, by name or place, of a file, Keras model or torch module of several (those of
    a tuple have no names); of an output that is a map ``"mean"`` or one place, ``(row, column)``; or both,
    ``("scores", "mean")``.

    No framework is imported to find out what the source is. A model that is not the zoo's (whose files are
    pinned, and proven by the tests) proves itself: its own output is compared with that of both twins, see
    `ported_models.proof`. Raises `UnknownNameError` for a name that is
    no zoo model, `ModelSourceError` for a file or object that is no model or that computes something else
    than was read, `UnsupportedLayerError` for a
    layer that the neutral graph cannot express, `MissingFrameworkError` where a framework is absent.
    """
    from ported_models import maps

    chosen, places = maps.parts(output)
    return maps.reduced(_whole(source, name, example, axes, chosen), places)


def _whole(source: Any, name: str | None, example: Any, axes: Any, output: str | int | None) -> PortedModel:
    """`load_model`, an output that is a map as it is."""
    if _is_onnx(source):
        from ported_models import onnx_files

        return onnx_files.load(source, name, example, axes, output)
    if example is not None and not _is_torch(source):
        raise InvalidInputError(
            f"example= was given with {_described(source)}, which knows its input; it is for torch modules and for "
            "ONNX files with open sizes"
        )
    if axes is not None and not _is_torch(source):
        raise InvalidInputError(
            f"axes= was given with {_described(source)}, whose axes are known; it is for torch modules and ONNX files"
        )
    if output is not None and not (_is_torch(source) or _is_keras(source) or _is_keras_file(source)):
        raise InvalidInputError(
            f"output={output!r} was given with {_described(source)}, which has one output; it is for files, Keras "
            "models and torch modules of several, and 'mean' or (row, column) for an output that is a map"
        )
    if isinstance(source, PortedModel):
        return _renamed(source, name)
    if isinstance(
        source, Graph
    ):  # what every other source is read as: there is nothing else to hold it against
        return _renamed(PortedModel.from_graph(source), name)
    if isinstance(source, (str, Path)):
        return _from_path_or_name(source, name, output)
    if _is_torch(source):
        from ported_models.sources import torch_source

        if example is None:
            raise ModelSourceError(
                f"a torch module ({type(source).__name__}) does not know its input; "
                "pass one with example=, e.g. example=torch.zeros(1, 3, 224, 224); of several inputs a tuple or a dict"
            )
        return torch_source.from_module(source, example, name or type(source).__name__, axes, output)
    if _is_keras(source):
        from ported_models.sources import keras_source

        origin = f"the Keras model {source.name!r}"
        return keras_source.from_model(source, name or source.name, origin, output)
    raise ModelSourceError(
        f"cannot load a model from {_described(source)}; expected a zoo name, a path ending in "
        f"{', '.join(SUFFIXES)}, a keras.Model, a torch.nn.Module or an onnx.ModelProto"
    )


def _from_path_or_name(source: str | Path, name: str | None, output: str | int | None) -> PortedModel:
    from ported_models import zoo

    path = Path(source)
    if isinstance(source, str) and source in zoo.names():
        return _renamed(zoo.load(source), name)
    if isinstance(source, str) and not path.suffix and path.name == source and not path.exists():
        raise UnknownNameError(
            "model", source, zoo.names(), f"(a file's path ends in one of {', '.join(SUFFIXES)})"
        )
    check_file(path)
    name = name or path.stem
    from ported_models.sources import keras_guard, keras_source

    with errors_in_one_line(str(path)):
        keras_guard.check_file(path)
        return keras_source.from_file(path, name, output)


@contextmanager
def errors_in_one_line(file: str) -> Iterator[None]:
    """Raise ModelSourceError for whatever a library raises on a file that it was not written for."""
    try:
        yield
    except HarnessError:
        raise
    except Exception as error:
        raise ModelSourceError(
            f"{file}: cannot be read ({described(error)}); fetch or export it again, and if it is a good file report it"
        ) from error


def check_file(path: Path) -> None:
    """Raise `ModelSourceError` where ``path`` is no file of a kind that can be read."""
    suffix = path.suffix.lower()
    if path.is_dir():
        raise ModelSourceError(f"{path}: {_of_a_folder(path)}")
    if suffix in _WEIGHTS:
        raise ModelSourceError(
            f"{path}: a {suffix} file holds weights without a network; build the module, load them with "
            f"module.load_state_dict({_WEIGHTS[suffix]}), and pass the module with example="
        )
    if suffix not in SUFFIXES:
        raise ModelSourceError(
            f"{path}: a file ending in {suffix or 'nothing'}, expected {', '.join(SUFFIXES)}; "
            "export the model to ONNX or save it from Keras"
        )
    if not path.exists():
        raise ModelSourceError(f"{path}: no such file; check the path (working folder: {Path.cwd()})")
    if path.is_file() and not path.stat().st_size:
        raise ModelSourceError(f"{path}: an empty file; fetch or export it again")


def _of_a_folder(path: Path) -> str:
    """What is said of a folder: a SavedModel has no layers, unless Keras 2 wrote down which they are."""
    if not (path / "saved_model.pb").exists():
        return f"a folder, expected a file ending in {', '.join(SUFFIXES)}"
    if (path / "keras_metadata.pb").exists():
        return (
            "a SavedModel of Keras 2, expected a file; save it as one with "
            "tf_keras.models.load_model(folder).save('model.keras')"
        )
    return (
        "a SavedModel, which holds a function without layers; save the Keras model that it was exported from with "
        "model.save('model.keras'), or convert the folder with tf2onnx and load the .onnx file"
    )


def _is_onnx(source: Any) -> bool:
    if isinstance(source, (str, Path)):
        return Path(source).suffix.lower() == ".onnx"
    return type(source).__name__ == "ModelProto"


def _is_torch(source: Any) -> bool:
    """Whether ``source`` is a torch module; if torch was never imported, nothing is one."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(source, torch.nn.Module)


def _is_keras(source: Any) -> bool:
    packages = (sys.modules.get(name) for name in ("keras", "tf_keras"))
    return any(package is not None and isinstance(source, package.Model) for package in packages)


def _is_keras_file(source: Any) -> bool:
    return isinstance(source, str | Path) and Path(source).suffix.lower() in (".keras", ".h5", ".hdf5")


def _renamed(model: PortedModel, name: str | None) -> PortedModel:
    return model if name in (None, model.name) else replace(model, graph=replace(model.graph, name=name))


def _described(source: Any) -> str:
    if isinstance(source, (str, Path)):
        return repr(str(source))
    return f"a {type(source).__module__}.{type(source).__name__}"
