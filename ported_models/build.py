"""Graphs written layer by layer: defaults filled in, weights checked, shapes and axes worked out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from harness.errors import InvalidInputError, UnknownNameError, UnsupportedLayerError
from harness.graph import KINDS, Axes, Graph, Input, Kind, Layer, default_axes
from harness.graph.inputs import INPUTS, SIDE_BY_SIDE, as_attribute, side_by_side
from ported_models.shapes import output_shape, resolve_target, same_padding, same_transposed

Attributes = dict[str, Any]
Shapes = tuple[tuple[int, ...], ...]


class Builder:
    """Collects the layers of a :class:`~harness.graph.Graph`; ``input_shape`` leaves the batch axis out.

    >>> b = Builder("tiny", (8, 8, 3))
    >>> b.add("conv2d", "conv", attributes={"padding": "same"}, weights={"kernel": np.ones((3, 3, 3, 4))})
    'conv'
    >>> b.add("relu", "conv_relu")
    'conv_relu'
    >>> b.graph()["conv"].shape
    (8, 8, 4)
    """

    def __init__(
        self,
        name: str,
        input_shape: Sequence[int],
        axes: Sequence[str] | None = None,
        input_name: str = "input",
    ) -> None:
        self.name = name
        shape = tuple(int(side) for side in input_shape)
        names = tuple(axes) if axes is not None else default_axes(shape)
        _check_name(input_name)
        self._layers = {input_name: Layer(input_name, "input", (), (), shape, names)}

    @classmethod
    def of_several(cls, name: str, inputs: Sequence[Input], input_name: str = SIDE_BY_SIDE) -> Builder:
        """One of a network of several inputs, with the layer of each; where they begin is worked out here.

        Raises InvalidInputError for names that are not different.
        """
        placed = side_by_side(inputs)
        if len({each.name for each in placed}) < len(placed):
            raise InvalidInputError(
                f"two inputs of {name} have one name: {', '.join(i.name for i in placed)}"
            )
        builder = cls(name, (sum(each.size for each in placed),), None, input_name)
        attributes = {INPUTS: as_attribute(placed)}
        builder._layers[input_name] = replace(builder._layers[input_name], attributes=attributes)
        for each in placed:
            given = {"start": each.start, "target": each.shape}
            builder.add("part", each.layer, input_name, given, axes=each.axes)
        return builder

    @classmethod
    def from_input(cls, graph: Graph) -> Builder:
        """One that begins with the input layer of ``graph``, and nothing behind it."""
        source = graph.input
        builder = cls(graph.name, source.shape, source.axes, source.name)
        builder._layers = {source.name: source}
        return builder

    @classmethod
    def of(cls, graph: Graph) -> Builder:
        """One that goes on behind ``graph``."""
        builder = cls.from_input(graph)
        builder._layers = {layer.name: layer for layer in graph}
        return builder

    def __contains__(self, name: str) -> bool:
        return name in self._layers

    def __getitem__(self, name: str) -> Layer:
        return self._layers[name]

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers so far."""
        return tuple(self._layers.values())

    @property
    def last(self) -> str:
        """Name of the layer added last."""
        return next(reversed(self._layers))

    def add(
        self,
        kind: str,
        name: str,
        inputs: str | Sequence[str] | None = None,
        attributes: Mapping[str, Any] | None = None,
        weights: Mapping[str, np.ndarray] | None = None,
        axes: Sequence[str] | None = None,
    ) -> str:
        """Append a layer that reads ``inputs`` (default: the layer added last); returns ``name``.

        ``axes`` names the output's, "batch" first; left out, they are the input's where the layer keeps them.

        Attributes as in :class:`~harness.graph.Layer`. What is left out gets Keras' default (strides 1,
        pools their own size, no padding). ``padding`` may be ``"same"`` or ``"valid"``: it becomes
        numbers, as TensorFlow has them. A ``reshape`` target may hold one ``-1``.

        Raises UnsupportedLayerError for an unknown kind, InvalidInputError for attributes, weights or
        inputs that do not fit together.
        """
        if kind not in KINDS or kind == "input":
            raise UnsupportedLayerError(
                f"layer {name!r}: the graph has no kind {kind!r}; it has: {', '.join(KINDS)}"
            )
        _check_name(name)
        if name in self._layers:
            raise InvalidInputError(
                f"layer {name!r}: the graph {self.name!r} has a layer of this name already; rename one"
            )
        sources = (self.last,) if inputs is None else (inputs,) if isinstance(inputs, str) else tuple(inputs)
        for source in sources:
            if source not in self._layers:
                raise UnknownNameError(f"input of layer {name!r}", source, self._layers)
        shapes = tuple(self._layers[source].shape for source in sources)
        arrays = {key: np.asarray(value) for key, value in (weights or {}).items() if value is not None}
        _check_inputs(name, kind, shapes)
        slope = (attributes or {}).get("alpha", 0.0)
        if kind == "leaky_relu" and slope < 0:
            # It falls below zero, which the kind says it never does: one slope a channel, all alike.
            kind, attributes, arrays = "prelu", {}, {"alpha": np.full(shapes[0][-1:], slope)}
        _check_counts(name, kind, attributes or {})
        _check_weights(name, kind, shapes, arrays, attributes or {})
        complete = _complete(name, kind, shapes, dict(attributes or {}), arrays)
        shape = tuple(int(side) for side in output_shape(kind, shapes, complete, arrays))
        if any(side < 1 for side in shape):
            raise InvalidInputError(
                f"layer {name!r} ({kind}): input {shapes[0]} leaves an empty output {shape}"
            )
        first = self._layers[sources[0]]
        names = _axes(KINDS[kind], first, shape, complete) if axes is None else tuple(axes)
        _check_axes(name, kind, names, shape)
        self._layers[name] = Layer(name, kind, sources, shapes, shape, names, complete, arrays)
        return name

    def stand_in(self, name: str, shape: Sequence[int]) -> str:
        """Append a layer for one that cannot be read, so that what reads it can be looked at; returns ``name``.

        A graph with one in it is no network.
        """
        sides = tuple(int(side) for side in shape)
        self._layers[name] = Layer(name, "input", (), (), sides, default_axes(sides))
        return name

    def graph(self, output: str | None = None) -> Graph:
        """The graph that ends in ``output`` (default: the layer added last), of the layers that it needs."""
        output = self.last if output is None else output
        if output not in self._layers:
            raise UnknownNameError("output layer", output, self._layers)
        input_name = next(iter(self._layers))
        needed, pending = {input_name}, [output]
        while pending:
            name = pending.pop()
            if name not in needed:
                needed.add(name)
                pending.extend(self._layers[name].inputs)
        return Graph(
            self.name, tuple(layer for name, layer in self._layers.items() if name in needed), output
        )


def _check_name(name: str) -> None:
    if not name or "." in name or "/" in name:
        raise InvalidInputError(
            f"layer name {name!r} is empty or holds a dot or slash; replace them, e.g. by an underscore"
        )


def _check_axes(name: str, kind: str, axes: Axes, shape: tuple[int, ...]) -> None:
    """Raise InvalidInputError unless there is a name for each axis of the output, the batch's first."""
    if len(axes) != len(shape) + 1 or axes[0] != "batch":
        raise InvalidInputError(
            f"layer {name!r} ({kind}): axes are {', '.join(axes)}, expected batch and {len(shape)} more names for "
            f"its output {shape} (batch axis left out)"
        )


def _check_inputs(name: str, kind: str, shapes: Shapes) -> None:
    """Number and ranks of the inputs."""
    least, most = KINDS[kind].inputs
    if not least <= len(shapes) <= (most or len(shapes)):
        wanted = {1: "takes one input", 2: "takes two inputs"}.get(most or 0, "needs two or more inputs")
        raise InvalidInputError(f"layer {name!r} ({kind}): {wanted}, found {len(shapes)}")
    if len({len(shape) for shape in shapes}) > 1:
        raise InvalidInputError(
            f"layer {name!r} ({kind}): inputs have different ranks {shapes}; reshape them first"
        )
    space = KINDS[kind].space
    if space and len(shapes[0]) - 1 not in space:
        raise InvalidInputError(
            f"layer {name!r} ({kind}): needs {' or '.join(map(str, space))} spatial axes and a channel axis, "
            f"found input shape {shapes[0]} (batch axis left out)"
        )


def _check_counts(name: str, kind: str, attributes: Mapping[str, Any]) -> None:
    """Raise InvalidInputError for what is counted and is no number of 1 or more."""
    for key in ("strides", "dilations", "pool_size", "size", "groups", "window"):
        given = attributes.get(key, 1)
        counts = given if isinstance(given, Sequence) else (given,)
        if any(int(count) < 1 for count in counts):
            raise InvalidInputError(f"layer {name!r} ({kind}): {key} is {given}, expected 1 or more")


def _axes(kind: Kind, source: Layer, shape: tuple[int, ...], attributes: Attributes) -> Axes:
    """The names of the output's axes: those of the input, where the layer does not make others of them."""
    if kind.name == "permute":
        return ("batch", *(source.axes[axis] for axis in attributes["dims"]))
    kept = shape == source.shape if kind.family == "shape" else len(shape) == len(source.shape)
    return source.axes if kept else default_axes(shape)


def _check_weights(
    name: str, kind: str, shapes: Shapes, weights: Mapping[str, np.ndarray], attributes: Mapping[str, Any]
) -> None:
    """Which weights there are, and whether their shapes fit the input."""
    traits = KINDS[kind]
    required, optional = traits.weights, traits.optional_weights
    for key in required:
        if key not in weights:
            raise InvalidInputError(f"layer {name!r} ({kind}): weight {key!r} is missing")
    for key in weights:
        if key not in required + optional:
            raise UnknownNameError(f"weight of layer {name!r} ({kind})", key, required + optional)
    channels, groups, places = shapes[0][-1], attributes.get("groups", 1), (None,) * max((0, *traits.space))
    expected: dict[str, tuple[int | None, ...]] = {}
    if traits.plain_convolution:
        expected["kernel"] = (*places, channels // groups, None)
        outputs = weights["kernel"].shape[-1]
        if channels % groups or outputs % groups:
            raise InvalidInputError(
                f"layer {name!r} ({kind}): {groups} groups must divide the channels, "
                f"found {channels} in and {outputs} out"
            )
    elif traits.transposed:
        expected["kernel"] = (*places, channels, None)
        outputs = weights["kernel"].shape[-1] * groups
        if channels % groups:
            raise InvalidInputError(
                f"layer {name!r} ({kind}): {groups} groups do not divide {channels} channels"
            )
    elif traits.convolution:
        depthwise = weights["depthwise_kernel"].shape
        expected["depthwise_kernel"] = (*places, channels, None)
        expected["pointwise_kernel"] = (channels * depthwise[-1], None)
        outputs = weights["pointwise_kernel"].shape[-1]
    elif kind == "dense":
        expected["kernel"] = (channels, None)
        outputs = weights["kernel"].shape[-1]
    elif kind == "resample":
        axis = attributes.get("axis", -1)
        expected["matrix"] = (None, shapes[0][axis if axis < 0 else axis - 1])
        outputs = channels
    elif traits.family == "recurrent":
        units = weights["recurrent_kernel"].shape[0]
        outputs = {"lstm": 4, "gru": 3}.get(kind, 1) * units
        expected = {"kernel": (channels, outputs), "recurrent_kernel": (units, outputs)}
        if "recurrent_bias" in weights:
            expected["recurrent_bias"] = (outputs,)
    elif kind == "embedding":
        expected["kernel"] = (None, None)
        outputs = weights["kernel"].shape[-1]
    elif kind == "affine":
        expected = dict.fromkeys(weights, shapes[0])
        outputs = channels
    elif traits.along == "axes_count":
        normalised = shapes[0][-attributes.get("axes_count", 1) :]
        expected = dict.fromkeys(weights, normalised)
        outputs = channels
    else:
        expected = dict.fromkeys(weights, (channels,))
        outputs = channels
    if "bias" in weights and not traits.placed:
        expected["bias"] = (outputs,)
    for key, sides in expected.items():
        shape = weights[key].shape
        if len(shape) != len(sides) or any(
            want not in (None, side) for want, side in zip(sides, shape, strict=True)
        ):
            wanted = ", ".join("any" if side is None else str(side) for side in sides)
            raise InvalidInputError(
                f"layer {name!r} ({kind}): {key} has shape {shape}, expected ({wanted}) "
                f"for input shape {shapes[0]} (batch axis left out)"
            )


def _complete(
    name: str, kind: str, shapes: Shapes, given: Attributes, weights: Mapping[str, np.ndarray]
) -> Attributes:
    """All attributes of the kind, as numbers and tuples."""
    defaults = _space_defaults(kind, shapes[0], given, weights) | dict(KINDS[kind].defaults)
    known = {*defaults, *KINDS[kind].attributes}
    for key in KINDS[kind].attributes:
        if key not in given:
            raise InvalidInputError(f"layer {name!r} ({kind}): attribute {key!r} is missing")
    for key in given:
        if key not in known:
            raise UnknownNameError(f"attribute of layer {name!r} ({kind})", key, known)
    complete = {**defaults, **given}
    for key in ("strides", "dilations", "pool_size", "size", "output_padding", "dims"):
        if key in complete:
            complete[key] = tuple(int(value) for value in complete[key])
    if "indices" in complete:
        length = shapes[0][complete["axis"]] if complete["axis"] < 0 else shapes[0][complete["axis"] - 1]
        complete["indices"] = tuple(int(index) for index in complete["indices"])
        if not all(0 <= index < length for index in complete["indices"]):
            raise InvalidInputError(
                f"layer {name!r} ({kind}): an index is outside of 0 to {length - 1}, the axis that it takes from"
            )
    if kind == "lrn" and complete["window"] % 2 == 0:
        raise InvalidInputError(
            f"layer {name!r} (lrn): its window is {complete['window']}, expected an odd number"
        )
    if kind == "group_norm" and shapes[0][-1] % complete["groups"]:
        raise InvalidInputError(
            f"layer {name!r} ({kind}): {complete['groups']} groups do not divide {shapes[0][-1]} channels"
        )
    if "recurrent_bias" in weights and not complete["reset_after"]:
        raise InvalidInputError(
            f"layer {name!r} (gru): has a recurrent_bias, which is the bias of reset_after=True alone; "
            "add it to the bias"
        )
    if complete.get("activation", "tanh") not in ("tanh", "relu"):
        raise InvalidInputError(
            f"layer {name!r} ({kind}): activation is {complete['activation']!r}, expected 'tanh' or 'relu'"
        )
    if kind == "grid_sample":
        if complete["padding"] not in ("zeros", "border"):
            raise UnknownNameError(
                f"padding of layer {name!r} ({kind})", str(complete["padding"]), ("zeros", "border")
            )
    elif "padding" in complete:
        complete["padding"] = tuple((int(before), int(after)) for before, after in complete["padding"])
    if kind == "part":
        complete["start"] = int(complete["start"])
        complete["target"] = tuple(int(side) for side in complete["target"])
    if kind == "reshape":
        target = resolve_target(tuple(complete["target"]), int(np.prod(shapes[0])))
        complete["target"] = tuple(int(side) for side in target)
    if "axis" in complete and complete["axis"] >= 0:
        complete["axis"] -= len(shapes[0]) + 1
    if "pool_size" in complete:
        for (before, after), window in zip(complete["padding"], complete["pool_size"], strict=True):
            if max(before, after) >= window and not complete.get("count_include_pad", False):
                raise InvalidInputError(
                    f"layer {name!r} ({kind}): padding {(before, after)} leaves windows of {window} "
                    "with nothing to pool; pad less than the pool size"
                )
    return complete


def _space_defaults(
    kind: str, shape: tuple[int, ...], given: Attributes, weights: Mapping[str, np.ndarray]
) -> Attributes:
    """Strides, dilations, groups and padding; replaces a padding name in ``given`` by its numbers."""
    traits = KINDS[kind]
    if traits.places != "window" and not traits.transposed:
        return {}
    (space,) = traits.space
    ones = (1,) * space
    if traits.pooling:
        window: tuple[int, ...] = tuple(given.get("pool_size", ones))
        defaults: Attributes = {"strides": window}
    else:
        window = weights[traits.weights[0]].shape[:space]
        defaults = {"strides": ones, "dilations": ones}
        if traits.one_kernel:
            defaults["groups"] = 1
    strides = tuple(given["strides"] if "strides" in given else defaults["strides"])
    dilations = tuple(given.get("dilations", ones))
    transposed = traits.transposed
    named = str(given.pop("padding")) if isinstance(given.get("padding"), str) else None
    if named not in (None, "same", "valid"):
        raise UnknownNameError(f"padding of a {kind}", named, ("same", "valid"))
    if transposed:
        defaults["output_padding"] = (0,) * space
    if transposed and named == "same":
        defaults["padding"], defaults["output_padding"] = same_transposed(window, strides, dilations)
    elif named == "same":
        defaults["padding"] = same_padding(shape[:-1], window, strides, dilations)
    else:
        defaults["padding"] = ((0, 0),) * space
    if transposed and named == "valid":
        # Keras: a kernel shorter than its stride still gives size * stride values.
        defaults["output_padding"] = same_transposed(window, strides, dilations)[1]
    return defaults
