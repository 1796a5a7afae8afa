"""A Keras model's JSON configuration as a flat list of layer calls, in forward order.

Reads what Keras 2 and Keras 3 write for Sequential and functional models (`model.to_json()`, the
``model_config`` of an HDF5 file, ``config.json`` of a ``.keras`` file); nested models are flattened in.
Needs no Keras and executes nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from harness.errors import HarnessError, ModelSourceError, UnsupportedLayerError
from ported_models.outputs import place_of
from ported_models.sources.names import Names

MODEL_CLASSES = ("Sequential", "Functional", "Model")

#: Weights of the layer at a path of layer names (a nested model's name before its layers'), by variable name.
Weights = Callable[[tuple[str, ...]], Mapping[str, np.ndarray]]


@dataclass(frozen=True)
class Tensor:
    """The tensor of this number among those that a call reads."""

    number: int


@dataclass(frozen=True, eq=False)
class Call:
    """One use of one Keras layer. ``inputs`` are the names of the calls whose outputs it reads.

    ``constants`` are the arguments of the call that are no tensors; ``arguments`` and ``keywords`` are all of them,
    each tensor a :class:`Tensor`. ``training``: whether it is called as in training, whatever the model is used for.
    ``path``: the layer's place in the source, ``model/layer`` for a nested one. ``origin``: the file or model, for
    messages. ``keras``: the generation of Keras whose words its configuration is in, 2 or 3.
    """

    name: str
    path: str
    class_name: str
    config: Mapping[str, Any]
    weights: Mapping[str, np.ndarray]
    inputs: tuple[str, ...]
    constants: tuple[Any, ...]
    origin: str
    training: bool = False
    arguments: tuple[Any, ...] = ()
    keywords: Mapping[str, Any] = field(default_factory=dict)
    keras: int = 3

    @property
    def where(self) -> str:
        """The layer, its type and its file, as messages begin."""
        return f"{self.origin}: layer {self.path!r} ({self.class_name})"


@dataclass(frozen=True, eq=False)
class Network:
    """Calls in forward order. ``inputs``: those of the inputs, in the model's order, also of those that nothing reads.

    ``names`` has handed out their names. ``chosen``: the key or place of the output that is read, where the model has
    several. ``all_calls``: also those that only other outputs depend on.
    """

    calls: tuple[Call, ...]
    output: str
    names: Names
    inputs: tuple[Call, ...]
    chosen: str | int | None
    all_calls: tuple[Call, ...]


def refuse_code(value: Any, origin: str) -> None:
    """Raises UnsupportedLayerError where a configuration holds Python code: a Lambda layer or function."""
    if isinstance(value, Mapping):
        if value.get("class_name") in ("Lambda", "__lambda__"):
            config = value.get("config")
            name = config.get("name") if isinstance(config, Mapping) else None
            raise UnsupportedLayerError(
                f"{origin}: layer {name or value['class_name']!r} (Lambda) holds Python code, which is never "
                "executed; replace it by built-in Keras layers and save the model again"
            )
        value = list(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            refuse_code(item, origin)


def read_network(
    model: Mapping[str, Any],
    weights: Weights,
    origin: str,
    keras: int = 3,
    chosen: str | int | None = None,
) -> Network:
    """The calls of a serialised model ``{"class_name": ..., "config": ...}``; ``keras``: the generation that wrote it.

    ``chosen``: which of several outputs is read, by name or place. Raises ModelSourceError for a configuration that is
    no model, is not built, or has several outputs of which none is chosen; UnknownNameError for an output that it has
    not; UnsupportedLayerError where it holds code.
    """
    refuse_code(model, origin)
    if model.get("class_name") not in MODEL_CLASSES:
        raise ModelSourceError(
            f"{origin}: found a {model.get('class_name')!r}, expected a Sequential or functional model; "
            "a subclassed model keeps its graph in Python code: rebuild it with keras.Model(inputs, outputs)"
        )
    try:
        names = Names(_layer_name(entry) for entry in _entries(model))
        flattening = _Flattening(weights, origin, names, keras, chosen)
        output = flattening.expand(model, None, ())
    except HarnessError:
        raise
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise ModelSourceError(
            f"{origin}: the model configuration cannot be read ({type(error).__name__}: {error}); "
            "open the model in Keras and save it again as .keras"
        ) from None
    order = _input_order(model, flattening.calls)
    needed, every = _needed(flattening.calls, output), tuple(flattening.calls)
    return Network(needed, output, flattening.names, order, flattening.chosen, every)


def _input_order(model: Mapping[str, Any], calls: list[Call]) -> tuple[Call, ...]:
    """The calls of the model's own inputs, in the order in which it takes them."""
    own = [call for call in calls if call.class_name == "InputLayer"]
    config = model["config"]
    listed = config.get("input_layers") if isinstance(config, Mapping) else None
    if not listed:
        return tuple(own)
    order = [name for name, _ in _inputs(listed)]
    return tuple(sorted(own, key=lambda call: order.index(call.path) if call.path in order else len(order)))


def _needed(calls: list[Call], output: str) -> tuple[Call, ...]:
    """The calls that ``output`` depends on."""
    by_name = {call.name: call for call in calls}
    needed: set[str] = set()
    pending = [output]
    while pending:
        name = pending.pop()
        if name not in needed:
            needed.add(name)
            pending.extend(by_name[name].inputs)
    return tuple(call for call in calls if call.name in needed)


def _entries(model: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The serialised layers of a model (Keras 2.0 keeps a Sequential's as a bare list)."""
    config = model["config"]
    return config if isinstance(config, list) else config["layers"]


def _layer_name(entry: Mapping[str, Any]) -> str:
    return str(entry.get("name") or entry["config"]["name"])


class _Flattening:
    """Collects calls while it walks a model and the models nested in it."""

    def __init__(
        self, weights: Weights, origin: str, names: Names, keras: int, chosen: str | int | None
    ) -> None:
        self.calls: list[Call] = []
        self.names = names
        self.chosen = chosen
        self._weights = weights
        self._origin = origin
        self._keras = keras

    def expand(
        self,
        model: Mapping[str, Any],
        sources: tuple[str, ...] | None,
        path: tuple[str, ...],
        training: bool = False,
    ) -> str:
        """Append the calls of ``model`` applied to ``sources`` (None: its own inputs); returns its output.

        ``training``: whether the model is called as in training, which its layers then are too.
        """
        if model["class_name"] == "Sequential":
            if not path and _entries(model):
                place_of([_layer_name(_entries(model)[-1])], self.chosen, self._origin, "the model has")
                self.chosen = None
            if sources is not None and len(sources) != 1:
                raise ModelSourceError(
                    f"{self._origin}: the nested model {path[-1]!r} is given {len(sources)} tensors, and has one input"
                )
            return self._sequential(model, None if sources is None else sources[0], path, training)
        return self._functional(model["config"], sources, path, training)

    def _sequential(
        self, model: Mapping[str, Any], source: str | None, path: tuple[str, ...], training: bool
    ) -> str:
        entries = _entries(model)
        if source is None and entries and entries[0]["class_name"] != "InputLayer":
            entries = [self._implied_input(model, entries[0]), *entries]
        if not entries:
            raise ModelSourceError(f"{self._origin}: the Sequential model has no layers")
        for entry in entries:
            if entry["class_name"] == "InputLayer" and source is not None:
                continue
            source = self._apply(entry, () if source is None else (source,), None, path, training)
        return str(source)

    def _implied_input(self, model: Mapping[str, Any], first: Mapping[str, Any]) -> Mapping[str, Any]:
        """The input layer of a Sequential model that has its input shape on the first layer only."""
        config = model["config"]
        built = config.get("build_input_shape") if isinstance(config, Mapping) else None
        shape = first["config"].get("batch_input_shape") or first["config"].get("batch_shape") or built
        if shape is None and first["class_name"] in MODEL_CLASSES:
            return self._implied_input(first, _entries(first)[0])
        if shape is None:
            raise ModelSourceError(
                f"{self._origin}: the model has no input shape; begin it with keras.Input(shape)"
            )
        name = f"{_layer_name(first)}_input"
        return {"class_name": "InputLayer", "config": {"name": name, "batch_shape": shape}}

    def _functional(
        self,
        config: Mapping[str, Any],
        sources: tuple[str, ...] | None,
        path: tuple[str, ...],
        training: bool,
    ) -> str:
        inputs = _inputs(config["input_layers"])
        outputs, place = self._outputs(config["output_layers"], path)
        if sources is not None and len(sources) != len(inputs):
            raise ModelSourceError(
                f"{self._origin}: the nested model {path[-1]!r} is given {len(sources)} tensors, "
                f"and has {len(inputs)} inputs"
            )
        given = {} if sources is None else {name: one for (name, _), one in zip(inputs, sources, strict=True)}
        done: dict[tuple[str, int], str] = {}
        first, first_as_output = _first_calls(config, outputs)
        # Keras lists layers by depth, so one pass is nearly always enough; a shared layer may need another.
        pending = [
            (entry, index, node)
            for entry in config["layers"]
            for index, node in enumerate(entry["inbound_nodes"] or [None])
        ]
        while pending:
            waiting = []
            for entry, index, node in pending:
                key = (_layer_name(entry), index)
                tensors, _ = _arguments(node)
                tensors = [(name, index - first.get(name, 0)) for name, index in tensors]
                if any(tensor not in done for tensor in tensors):
                    waiting.append((entry, index, node))
                elif entry["class_name"] == "InputLayer" and sources is not None:
                    done[key] = given[_layer_name(entry)]
                else:
                    mode = _training(node)
                    done[key] = self._apply(
                        entry,
                        tuple(done[tensor] for tensor in tensors),
                        node,
                        path,
                        training if mode is None else mode,
                    )
            if len(waiting) == len(pending):
                raise ModelSourceError(
                    f"{self._origin}: layer {_layer_name(waiting[0][0])!r} reads a layer that is not there; "
                    "save the model again"
                )
            pending = waiting
        name, index = outputs[place]
        return done[name, index - first_as_output.get(name, 0)]

    def _outputs(self, listed: Any, path: tuple[str, ...]) -> tuple[list[tuple[str, int]], int]:
        """The ``output_layers`` of a model, which may have them by name, and the place of the one that is read.

        Raises ModelSourceError for a nested model of several, and what `place_of` raises.
        """
        by_name = isinstance(listed, Mapping)
        tensors = [_tensors(each)[0] for each in listed.values()] if by_name else _tensors(listed)
        names = [str(key) for key in listed] if by_name else [name for name, _ in tensors]
        if path and (by_name or len(tensors) != 1):
            raise ModelSourceError(
                f"{self._origin}: the nested model {path[-1]!r} has its outputs ({', '.join(names)}) in a "
                f"{'dictionary' if by_name else 'list'}, expected one output; make a model of one with "
                "keras.Model(inputs, outputs)"
            )
        if path:
            return tensors, 0
        place = place_of(names, self.chosen, self._origin, "the model has")
        self.chosen = names[place] if by_name else place if len(names) > 1 else None
        return tensors, place

    def _apply(
        self,
        entry: Mapping[str, Any],
        inputs: tuple[str, ...],
        node: Any,
        path: tuple[str, ...],
        training: bool,
    ) -> str:
        """Append the call of a layer, ``node`` its arguments as the configuration has them."""
        class_name, own = str(entry["class_name"]), _layer_name(entry)
        here = (*path, own)
        if class_name in MODEL_CLASSES:
            return self.expand(entry, self._in_order(entry, inputs, node), here, training)
        if class_name == "TimeDistributed" and entry["config"]["layer"]["class_name"] == "Sequential":
            return self._at_each_step(entry["config"]["layer"], inputs, here, training)
        name = self.names.free(own, "_".join(here)) if path else self.names.own(own)
        self.calls.append(
            Call(
                name,
                "/".join(here),
                _builtin_class(entry),
                entry["config"],
                self._weights(here),
                inputs,
                _arguments(node)[1],
                self._origin,
                training,
                *_structured(node),
                self._keras,
            )
        )
        return name

    def _in_order(self, model: Mapping[str, Any], inputs: tuple[str, ...], node: Any) -> tuple[str, ...]:
        """What a nested model is given, in the order of its inputs: it may be given them by name."""
        config = model["config"]
        listed = config.get("input_layers") if isinstance(config, Mapping) else None
        given = _parsed(node)[0]
        if len(given) != 1 or not isinstance(given[0], Mapping) or not listed:
            return inputs
        by_name = dict(zip(given[0], inputs, strict=True))
        keys = list(listed) if isinstance(listed, Mapping) else [name for name, _ in _tensors(listed)]
        if set(keys) != set(by_name):
            raise ModelSourceError(
                f"{self._origin}: the nested model {_layer_name(model)!r} is given {', '.join(map(repr, by_name))}, "
                f"and has the inputs {', '.join(map(repr, keys))}"
            )
        return tuple(by_name[key] for key in keys)

    def _at_each_step(
        self, model: Mapping[str, Any], inputs: tuple[str, ...], path: tuple[str, ...], training: bool
    ) -> str:
        """Append the layers of a Sequential model that is applied to each step, each of them applied so."""
        for entry in _entries(model):
            if entry["class_name"] != "InputLayer":
                config = {"name": _layer_name(entry), "layer": entry}
                each = {"class_name": "TimeDistributed", "config": config}
                inputs = (self._apply(each, inputs, None, path, training),)
        return inputs[0]


def _builtin_class(entry: Mapping[str, Any]) -> str:
    """The class name; ``ops.`` before an operation's, and a remark where the class is a user's own.

    A user's class may be named like one of Keras'. An HDF5 file of Keras 2 does not say whose a class is; there a
    user's own "Dense" cannot be told from Keras', as which Keras opens it too.
    """
    name, module = str(entry["class_name"]), str(entry.get("module", "keras"))
    if module.startswith("keras.src.ops."):
        return f"ops.{name}"
    return name if module.split(".")[0] in ("keras", "tf_keras") else f"{name}, a class of your own"


def _first_calls(
    config: Mapping[str, Any], outputs: list[tuple[str, int]]
) -> tuple[dict[str, int], dict[str, int]]:
    """By nested model, the number of its first call where layers refer to it, and where ``output_layers`` does.

    Any other layer's is 0. A functional model's own graph counts as its first call in all references of Keras 2
    (`get_network_config`; a Sequential is one too), and in the ``output_layers`` of Keras 3
    (`keras/src/models/functional.py`, `get_tensor_config`), not in what its layers refer to.
    """
    nested = {
        _layer_name(entry): entry["class_name"]
        for entry in config["layers"]
        if entry["class_name"] in MODEL_CLASSES
    }
    nodes = [node for entry in config["layers"] for node in entry["inbound_nodes"] or []]
    if any(isinstance(node, Mapping) for node in nodes):
        return {}, {name: 1 for name, class_name in nested.items() if class_name != "Sequential"}
    referred = [tensor for node in nodes for tensor in _arguments(node)[0]] + outputs
    # Every call is referred to.
    least = {name: min((index for own, index in referred if own == name), default=0) for name in nested}
    return least, least


def _inputs(listed: Any) -> list[tuple[str, int]]:
    """The ``input_layers`` of a model, which may have them by name, as ``(layer, use)`` pairs."""
    if isinstance(listed, Mapping):
        return [_tensors(reference)[0] for reference in listed.values()]
    if any(
        reference and not isinstance(reference[0], str) for reference in listed if isinstance(reference, list)
    ):
        listed = [one for reference in listed for one in _nested(reference)]
    return _tensors(listed)


def _nested(reference: Any) -> list[Any]:
    """The references in a list of them, or in lists within it."""
    if _is_reference(reference):
        return [reference]
    return [one for part in reference for one in _nested(part)]


def _tensors(references: Any) -> list[tuple[str, int]]:
    """``["x", 0, 0]`` or a list of such triples as ``(layer, use)`` pairs."""
    if references and isinstance(references[0], str):
        references = [references]
    return [(str(reference[0]), int(reference[1])) for reference in references]


@dataclass(frozen=True)
class _Reference:
    """A layer's output among the arguments of a call: the layer, and the number of its call."""

    layer: str
    use: int


def _parsed(node: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """``(arguments, keywords)`` of a call as Keras 2 (a list of references) or Keras 3 writes it."""
    if node is None:
        return (), {}
    if isinstance(node, Mapping):
        arguments = tuple(_plain(value) for value in node.get("args", []))
        return arguments, {key: _plain(value) for key, value in (node.get("kwargs") or {}).items()}
    references = [node] if node and isinstance(node[0], str) else node
    given = [part for reference in references for part in reference[3:] if isinstance(part, Mapping)]
    keywords = {key: _plain(value) for part in given for key, value in part.items()}
    return tuple(_plain_2(reference) for reference in references), keywords


def _plain(value: Any) -> Any:
    """An argument: references, slices and arrays as what they are."""
    if isinstance(value, Mapping):
        config = value.get("config")
        match value.get("class_name"):
            case "__keras_tensor__":
                return _Reference(*_tensors(value["config"]["keras_history"])[0])
            case "__slice__" if isinstance(config, Mapping):
                return slice(*(config[key] for key in ("start", "stop", "step")))
            case "__numpy__" | "__tensor__" if isinstance(config, Mapping):
                return np.asarray(config["value"], config["dtype"])
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return _plain_2(value) if _is_reference(value) else [_plain(item) for item in value]
    return value


def _plain_2(reference: Any) -> Any:
    """A reference of Keras 2, which may stand for a constant."""
    return reference[2] if reference[0] == "_CONSTANT_VALUE" else _Reference(*_tensors(reference)[0])


def _is_reference(value: Any) -> bool:
    return len(value) in (3, 4) and list(map(type, value[:3])) == [str, int, int]


def _arguments(node: Any) -> tuple[list[tuple[str, int]], tuple[Any, ...]]:
    """``(tensors, constants)`` of one call, in their order, without mode (see :func:`_training`) and masks, which only
    masking layers make."""
    arguments, keywords = _parsed(node)
    given = {key: value for key, value in keywords.items() if key not in ("training", "mask")}
    leaves = list(_leaves([*arguments, given]))
    tensors = [(leaf.layer, leaf.use) for leaf in leaves if isinstance(leaf, _Reference)]
    return tensors, tuple(leaf for leaf in leaves if leaf is not None and not isinstance(leaf, _Reference))


def _structured(node: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """``(arguments, keywords)`` as they stand in the call, each tensor a :class:`Tensor`, in the order of
    :func:`_arguments`."""
    count = itertools.count()

    def numbered(value: Any) -> Any:
        if isinstance(value, _Reference):
            return Tensor(next(count))
        if isinstance(value, Mapping):
            return {key: numbered(item) for key, item in value.items()}
        return [numbered(item) for item in value] if isinstance(value, list) else value

    arguments, keywords = _parsed(node)
    return tuple(numbered(value) for value in arguments), numbered(keywords)


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _leaves(item)
    else:
        yield value


def _training(node: Any) -> bool | None:
    """What a call, as :func:`_parsed` takes it, says of ``training``; None where it says nothing."""
    mode = _parsed(node)[1].get("training")
    return None if mode is None else bool(mode)
