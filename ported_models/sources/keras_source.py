"""Keras models and files as the neutral graph.

A live model is read through its JSON configuration and its variables; an HDF5 file needs h5py only;
a ``.keras`` file is opened by Keras, in safe mode, after its configuration has been found free of code.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import InvalidInputError, MissingFrameworkError, ModelSourceError, UnsupportedLayerError
from harness.graph import Graph, Input, default_axes
from harness.graph.inputs import SIDE_BY_SIDE
from ported_models.build import Builder
from ported_models.endings import ending_notes, input_notes, without_ending
from ported_models.keras_start import start_keras
from ported_models.model import PortedModel
from ported_models.proof import noted, prove, prove_twins
from ported_models.sources.keras_archive import archive_config, archive_generation, open_archive
from ported_models.sources.keras_calls import Call, Network, Weights, read_network
from ported_models.sources.keras_hdf5 import distinct, open_hdf5
from ported_models.sources.keras_layers import require_all, translate
from ported_models.sources.keras_own import KerasSource
from ported_models.sources.names import canonical
from ported_models.sources.steps import Reading

HDF5_SUFFIXES = (".h5", ".hdf5")


def from_model(
    keras_model: Any, name: str | None = None, origin: str = "", output: str | int | None = None
) -> PortedModel:
    """The model of one output of a built Keras model (Sequential or functional, nested or not).

    ``origin``: where it came from, for messages and the record (default: the model's name). ``output``: which of
    several outputs, by the name of its layer, by its key in a dictionary, or by its place. A final
    softmax, log-softmax or sigmoid is taken off and recorded. The model's own output is compared with that of
    both twins (`ported_models.proof`). Raises ModelSourceError for a model without a fixed graph, or one that
    computes something else than was read, UnsupportedLayerError for a layer that the neutral graph cannot express.
    """
    reading = read_model(keras_model, name, origin, _computes_in(keras_model), output)
    what = origin or _origin(keras_model)
    model = model_of(reading, origin)
    return noted(model, prove(model, KerasSource(keras_model, reading, what)))


def from_file(path: str | Path, name: str | None = None, output: str | int | None = None) -> PortedModel:
    """The model of a ``.keras``, ``.h5`` or ``.hdf5`` file of Keras 2 or 3; no code in it is executed.

    A file of Keras 2 is run by tf_keras where that is installed, else by Keras 3. One that none of them opens is read
    all the same; only its twins are then compared, with each other, and a warning says so. Raises ModelSourceError for
    a file that is missing, truncated or no whole model, MissingFrameworkError for a ``.keras`` file of Keras 3 where
    Keras is not installed, and what :func:`from_model` raises.
    """
    path = Path(path)
    _check_file(path)
    if path.suffix.lower() not in HDF5_SUFFIXES and archive_generation(path) == 3:
        return from_model(_open_archive(path, output), name or canonical(path.stem), str(path), output)
    reading = read_file(path, name, output=output)
    model = model_of(reading, str(path))
    own, why = open_model(path)
    if own is None:
        return noted(model, prove_twins(model, reading.graph, str(path), why))
    return noted(model, prove(model, KerasSource(own, reading, str(path))))


def _check_file(path: Path) -> None:
    if not path.is_file():
        raise ModelSourceError(f"{path}: no such file; give the path of a .keras, .h5 or .hdf5 file")


def read_file(
    path: str | Path,
    name: str | None = None,
    constants: str = "float32",
    output: str | int | None = None,
) -> Reading:
    """The graph of a Keras file, with the Keras name of every layer; the rest as in `read_model`."""
    path = Path(path)
    _check_file(path)
    name = name or canonical(path.stem)
    if path.suffix.lower() in HDF5_SUFFIXES:
        with open_hdf5(path) as (config, weights, generation):
            return _read(config, weights, name, str(path), constants, generation, output)
    if archive_generation(path) == 2:
        with open_archive(path) as (config, weights):
            return _read(config, weights, name, str(path), constants, 2, output)
    return read_model(_open_archive(path, output), name, str(path), constants, output)


def read_model(
    keras_model: Any,
    name: str | None = None,
    origin: str = "",
    constants: str = "float32",
    output: str | int | None = None,
) -> Reading:
    """The graph of a live Keras model, with the Keras name of every layer.

    ``constants``: the type of numbers that Keras holds in its configuration, as in Rescaling. ``output``: as in
    :func:`from_model`.
    """
    own = str(getattr(keras_model, "name", "model"))
    origin = origin or _origin(keras_model)
    if not hasattr(keras_model, "to_json") or not hasattr(keras_model, "layers"):
        raise ModelSourceError(
            f"{origin}: found a {type(keras_model).__name__}, expected a built keras.Model"
        )
    try:
        config = json.loads(keras_model.to_json())
    except (NotImplementedError, TypeError, ValueError) as error:
        raise ModelSourceError(
            f"{origin}: Keras cannot describe the model as a configuration "
            f"({str(error).splitlines()[0]}); rebuild it with keras.Model(inputs, outputs)"
        ) from None
    generation = 2 if type(keras_model).__module__.split(".")[0] == "tf_keras" else 3
    return _read(
        config,
        lambda path: _variables(keras_model, path),
        name or canonical(own),
        origin,
        constants,
        generation,
        output,
    )


def _computes_in(keras_model: Any) -> str:
    """The type that Keras makes of numbers of its configuration: "float64" where a layer computes in it."""
    layers = getattr(keras_model, "layers", ())
    double = any(str(getattr(layer, "compute_dtype", "")) == "float64" for layer in layers)
    return "float64" if double else "float32"


def _origin(keras_model: Any) -> str:
    return f"Keras model {getattr(keras_model, 'name', 'model')!r}"


def model_of(reading: Reading, source: str) -> PortedModel:
    """The model of what was read; not proven."""
    return PortedModel.from_graph(
        reading.graph,
        removed=reading.removed,
        notes=(*reading.notes, *input_notes(reading.graph), *ending_notes(reading.removed)),
        source=source or None,
    )


def _variables(keras_model: Any, path: tuple[str, ...]) -> Mapping[str, np.ndarray]:
    """The variables of the layer at ``path`` by their own names (``kernel``, ``moving_mean``, ...)."""
    layer = keras_model
    for part in path:
        layer = layer if hasattr(layer, "layers") else layer.layer  # what a wrapper applies to each step
        # A functional model lists operations such as `x + y` only among its operations.
        members = {member.name: member for member in getattr(layer, "operations", layer.layers)}
        members.update({member.name: member for member in layer.layers})
        layer = members.get(part)
        if layer is None:
            return {}
    # Keras 2 has the layer's name and a number in a variable's: "conv/kernel:0".
    variables = distinct(
        (variable.name.rsplit("/", 1)[-1].split(":")[0], variable.numpy())
        for variable in getattr(layer, "weights", ())
    )
    if getattr(layer, "lora_enabled", False):
        # The kernel that the layer computes with is made of three variables.
        variables["kernel"] = np.asarray(layer.kernel)
    return variables


def open_model(path: Path) -> tuple[Any, str]:
    """The model in a file that was read before, and so found free of code; or None, and why there is none."""
    hdf5 = path.suffix.lower() in HDF5_SUFFIXES
    if not hdf5 and archive_generation(path) == 3:
        return _open_archive(path), ""
    generation = 2
    if hdf5:
        with open_hdf5(path) as (_, _, generation):
            pass
    reasons = []
    for package in ("tf_keras", "keras") if generation == 2 else ("keras",):
        if find_spec(package) is None:
            reasons.append(f"{package} is not installed")
            continue
        start_keras()
        keras = importlib.import_module(package)
        try:
            return keras.models.load_model(path, compile=False), ""
        except Exception as error:  # another Keras' file fails in whatever layer it differs
            lines = str(error).strip().splitlines() or [""]
            reasons.append(f"{package} {keras.__version__} cannot open the file ({lines[0][:200]})")
    return None, ", and ".join(reasons)


def _open_archive(path: Path, output: str | int | None = None) -> Any:
    """The Keras model in a ``.keras`` file of Keras 3, after a look at its configuration; at all layers of it."""
    network = read_network(archive_config(path), lambda _: {}, str(path), chosen=output)
    require_all(call for call in network.all_calls if call.class_name != "InputLayer")
    start_keras()
    try:
        import keras
    except ImportError:
        raise MissingFrameworkError("tensorflow") from None
    try:
        return keras.models.load_model(path, compile=False, safe_mode=True)
    except (ValueError, TypeError, OSError, KeyError) as error:
        raise ModelSourceError(
            f"{path}: Keras {keras.__version__} cannot open it ({str(error).strip().splitlines()[0]}); "
            "is it truncated, or written by a newer Keras?"
        ) from None


def _read(
    config: Mapping[str, Any],
    weights: Weights,
    name: str,
    origin: str,
    constants: str = "float32",
    generation: int = 3,
    chosen: str | int | None = None,
) -> Reading:
    network = read_network(config, weights, origin, generation, chosen)
    graph, origins, log_softmax = _assemble(network, name, origin, constants)
    graph, removed = without_ending(graph, log_softmax)
    inner = next((layer for layer in graph if layer.name in log_softmax), None)
    if inner is not None:
        raise UnsupportedLayerError(
            f"{origin}: layer {origins[inner.name]!r} (log_softmax) stands inside the network; "
            "it is supported at the end only, where it is taken off"
        )
    return Reading(graph, origins, removed, chosen=network.chosen)


def _assemble(
    network: Network, name: str, origin: str, constants: str
) -> tuple[Graph, dict[str, str], set[str]]:
    """The calls as layers of a graph, their origins, and which softmax stands for a log-softmax.

    A layer and its fused activation become two, "conv" and "conv_relu".
    """
    calls = [call for call in network.calls if call.class_name != "InputLayer"]
    require_all(calls)
    builder, outputs = _begun(network, name)
    origins = {outputs[call.name]: call.path for call in network.inputs}
    log_softmax: set[str] = set()
    for call in calls:
        inputs = tuple(outputs[source] for source in call.inputs)
        steps = translate(call, [builder[source].shape for source in inputs])
        outputs[call.name] = inputs[0] if not steps else call.name
        tensors = list(inputs)
        for position, step in enumerate(steps):
            layer = call.name if position == 0 else network.names.free(f"{call.name}_{step.kind}")
            kind, weights = step.kind, step.weights
            if kind == "log_softmax":
                kind = "softmax"
                log_softmax.add(layer)
            if step.kind in ("scale", "affine", "resample"):
                # Keras keeps these numbers in the configuration, not in variables, or works them out.
                weights = {key: np.asarray(array).astype(constants) for key, array in weights.items()}
            reads = inputs if step.reads is None else tuple(tensors[number] for number in step.reads)
            try:
                builder.add(kind, layer, reads, step.attributes, weights)
            except InvalidInputError as error:
                raise UnsupportedLayerError(f"{call.where}: {error}") from None
            origins[layer] = call.path
            tensors.append(layer)
            inputs, outputs[call.name] = (layer,), layer
    return builder.graph(outputs[network.output]), origins, log_softmax


def _begun(network: Network, name: str) -> tuple[Builder, dict[str, str]]:
    """The graph up to its inputs, and by call of an input the layer that gives it."""
    if len(network.inputs) == 1:
        (only,) = network.inputs
        return Builder(name, _input_shape(only), input_name=only.name), {only.name: only.name}
    inputs = [
        Input(call.path, call.name, shape, default_axes(shape))
        for call in network.inputs
        for shape in [_input_shape(call)]
    ]
    builder = Builder.of_several(name, inputs, network.names.free(SIDE_BY_SIDE))
    return builder, {each.layer: each.layer for each in inputs}


def _input_shape(call: Call) -> tuple[int, ...]:
    batch_shape = call.config.get("batch_shape") or call.config.get("batch_input_shape")
    shape = tuple(batch_shape[1:]) if batch_shape else ()
    if not shape or any(side is None for side in shape):
        raise ModelSourceError(
            f"{call.where}: the input shape {shape} is not fixed; "
            "build the model with a number for every axis, as in keras.Input((224, 224, 3))"
        )
    return tuple(int(side) for side in shape)
