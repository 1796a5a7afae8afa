"""A network as both frameworks run it: one neutral graph, its ONNX file and its two twins."""

from __future__ import annotations

import gc
import hashlib
import importlib
import importlib.util
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.errors import InvalidInputError, MissingFrameworkError
from harness.graph import Graph, Input, Layer
from harness.state import Part

if TYPE_CHECKING:
    from onnx import ModelProto

TWIN_DTYPES = ("float32", "float64")
#: Bytes of weights up to which the twins that a model was proven with are kept.
KEPT_TWINS = 2**27


@dataclass(frozen=True, eq=False, repr=False)
class PortedModel:
    """A graph and what is known about it; the graph is the truth, everything else is made from it.

    ``removed``: the ending that the source has and the graph no longer ("softmax", "log_softmax", "sigmoid";
    None where there was none). ``notes``: sentences about what was read otherwise than it stands in the source.
    ``labels``: class names in the order of the logits. ``input_range``: the (low, high) that preprocessed values
    lie in. ``examples``: by name, functions that return one preprocessed input, (1, *input_shape) float32.
    ``token_texts``: a function of an input, (batch, token, ...), that returns the text of each token of each sample.
    """

    graph: Graph
    removed: str | None = None
    notes: tuple[str, ...] = ()
    licence: str | None = None
    source: str | None = None
    labels: tuple[str, ...] | None = None
    preprocessing: str | None = None
    input_range: tuple[float, float] | None = None
    examples: Mapping[str, Callable[[], np.ndarray]] = field(default_factory=dict)
    token_texts: Callable[[np.ndarray], Sequence[Sequence[str]]] | None = None
    _twins: dict[tuple[str, str], Any] = field(default_factory=dict, init=False, repr=False)
    _built: dict[tuple[str, str], Any] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.labels is not None:
            object.__setattr__(self, "labels", tuple(self.labels))

    @classmethod
    def from_graph(cls, graph: Graph, **facts: Any) -> PortedModel:
        """A model of ``graph``; ``facts`` are this class's other fields."""
        return cls(graph, **facts)

    @classmethod
    def from_onnx(
        cls, proto: ModelProto, name: str | None = None, file: str | None = None, **facts: Any
    ) -> PortedModel:
        """A model of an ONNX proto: one that :attr:`onnx` made, or an exporter's.

        A final softmax, log-softmax or sigmoid is taken off and recorded. Raises `UnsupportedLayerError` for a
        node that the neutral graph cannot express; ``file`` is what the message calls the source.
        """
        from ported_models.endings import ending_notes
        from ported_models.onnx import read_onnx

        read = read_onnx(proto, name, file)
        return cls(read.graph, removed=read.removed, notes=ending_notes(read.removed), **facts)

    @property
    def name(self) -> str:
        return self.graph.name

    def __repr__(self) -> str:
        several = ", ".join(f"{each.name} {each.shape}" for each in self.inputs)
        of = f"inputs {several}" if several else f"input {self.input_shape}"
        return (
            f"{type(self).__name__}({self.name!r}, {of}, {len(self.layers)} layers, "
            f"{self.weight_count:,} weights, {self.classes} classes)"
        )

    def _repr_html_(self) -> str:
        from harness.notebook import shown

        rows = [
            (
                each.name,
                each.kind,
                each.shape,
                ", ".join(each.inputs),
                sum(w.size for w in each.weights.values()),
            )
            for each in self.layers
        ]
        return shown(repr(self), ("layer", "kind", "shape", "reads", "weights"), rows, self.notes)

    @property
    def weight_count(self) -> int:
        """How many numbers the network has learnt."""
        return sum(array.size for layer in self.layers for array in layer.weights.values())

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers in forward order; each has a ``name`` and a ``kind``."""
        return self.graph.layers

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input, without the batch axis, channels last; several lie side by side: (number,)."""
        return self.graph.input.shape

    @property
    def inputs(self) -> tuple[Input, ...]:
        """Of a model of several inputs each: ``name``, ``layer``, ``shape`` and ``axes``; empty for a model of one."""
        return self.graph.inputs

    @property
    def classes(self) -> int:
        """How many logits the network has."""
        return self.graph[self.graph.output].shape[-1]

    @cached_property
    def onnx(self) -> ModelProto:
        """The graph as ONNX: one node per layer, node names are the canonical layer names."""
        from ported_models.onnx import graph_to_onnx

        return graph_to_onnx(self.graph, self.removed)

    @cached_property
    def digest(self) -> str:
        """sha256 (hex) of structure and weights; the model's name and its facts do not count."""
        digest = hashlib.sha256(json.dumps({"output": self.graph.output}).encode())
        for layer in self.graph:
            digest.update(_structure(layer))
            for key in sorted(layer.weights):
                digest.update(np.ascontiguousarray(layer.weights[key]).data)
        return digest.hexdigest()

    def keras(self, dtype: str = "float32") -> Any:
        """The Keras twin; `get_layer` finds a layer under its canonical name.

        Raises `MissingFrameworkError` where TensorFlow is not installed.
        """
        return self._twin("tensorflow", "keras_twin", dtype)

    def torch(self, dtype: str = "float32") -> Any:
        """The torch twin; `named_modules` holds a layer under its canonical name.

        Raises `MissingFrameworkError` where torch is not installed.
        """
        return self._twin("torch", "torch_twin", dtype)

    def with_weights(self, function: Callable[[Layer, str, np.ndarray], np.ndarray]) -> PortedModel:
        """The same network with every weight array replaced by ``function(layer, weight_name, array)``."""
        layers = tuple(
            replace(layer, weights={key: function(layer, key, array) for key, array in layer.weights.items()})
            for layer in self.graph
        )
        return replace(self, graph=replace(self.graph, layers=layers))

    def _twin(self, framework: str, module: str, dtype: str) -> Any:
        if dtype not in TWIN_DTYPES:
            raise InvalidInputError(
                f"{self.name}: no twin in dtype {dtype!r}; choose one of {', '.join(TWIN_DTYPES)}"
            )
        if importlib.util.find_spec(framework) is None:
            raise MissingFrameworkError(framework)
        if (framework, dtype) not in self._twins:
            twin = importlib.import_module(f"ported_models.twins.{module}")
            self._twins[framework, dtype] = twin.build(self.graph, dtype)
            state = importlib.import_module("ported_models.state")
            self._built[framework, dtype] = state.twin_state(framework, self._twins[framework, dtype])
        return self._twins[framework, dtype]

    def release_twins(self) -> None:
        """Let go of the twins of a large network, which are made anew for whoever asks next."""
        if sum(array.nbytes for layer in self.graph for array in layer.weights.values()) > KEPT_TWINS:
            self._twins.clear()
            self._built.clear()
            gc.collect()  # a Keras model is in a circle with its layers

    def parts(self) -> Iterator[Part]:
        """What code that is given this model may change: its weights, the twins made so far, the frameworks."""
        from ported_models import state

        graph = self.graph
        weights = state.copies_of_weights(graph)

        def put_weights_back(old: Any) -> None:
            for layer in graph:
                for key, array in layer.weights.items():
                    array[...] = weights[f"{layer.name} {key}"]

        yield Part("the weights of the model", lambda: state.graph_state(graph), put_weights_back)
        for (framework, dtype), twin in self._twins.items():
            yield from state.twin_parts(framework, dtype, twin, self._built[framework, dtype], graph)
        yield from state.framework_parts()


def _structure(layer: Layer) -> bytes:
    """Everything of a layer but the values of its weights, in one canonical spelling."""
    return json.dumps(
        [
            layer.name,
            layer.kind,
            layer.inputs,
            layer.input_shapes,
            layer.shape,
            layer.axes,
            dict(layer.attributes),
            {key: [str(array.dtype), array.shape] for key, array in layer.weights.items()},
        ],
        sort_keys=True,
        default=_plain,
    ).encode()


def _plain(value: Any) -> Any:
    """NumPy numbers, which JSON does not know, as Python's."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"an attribute of type {type(value).__name__} is no plain data")
