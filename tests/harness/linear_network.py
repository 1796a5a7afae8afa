"""A two-layer linear network with backends in plain NumPy: enough to run the harness without any framework."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from harness.backends import Arrays
from harness.files import array_digest
from harness.graph import Graph, Layer
from harness.methods import Method


def network() -> LinearModel:
    """x (3) -> first (2) -> second (2), kernels chosen by hand."""
    axes = ("batch", "feature")
    first = np.array([[1.0, -2.0], [0.5, 3.0], [-1.0, 0.25]], dtype=np.float32)
    second = np.array([[2.0, 1.0], [-1.0, 0.5]], dtype=np.float32)
    return LinearModel(
        Graph(
            "linear",
            (
                Layer("x", "input", (), (), (3,), axes),
                Layer("first", "dense", ("x",), ((3,),), (2,), axes, {}, {"kernel": first}),
                Layer("second", "dense", ("first",), ((2,),), (2,), axes, {}, {"kernel": second}),
            ),
            "second",
        )
    )


@dataclass(eq=False)
class LinearModel:
    graph: Graph

    @property
    def name(self) -> str:
        return self.graph.name

    @property
    def input_shape(self) -> tuple[int, ...]:
        return self.graph.input.shape

    @property
    def digest(self) -> str:
        return "".join(array_digest(layer.weights["kernel"]) for layer in self.graph.layers[1:])

    @property
    def notes(self) -> tuple[str, ...]:
        return ()

    @property
    def examples(self) -> dict[str, Callable[[], np.ndarray]]:
        return {"ones": lambda: np.ones((1, 3), np.float32)}

    def keras(self, dtype: str = "float32") -> object:
        raise NotImplementedError

    torch = keras

    def with_weights(self, function: Callable[[Layer, str, np.ndarray], np.ndarray]) -> LinearModel:
        layers = tuple(
            replace(
                layer, weights={name: function(layer, name, array) for name, array in layer.weights.items()}
            )
            for layer in self.graph
        )
        return LinearModel(Graph(self.graph.name, layers, self.graph.output))


class GradientBackend:
    """The gradient, layer by layer; ``fault(layer name, relevance)`` alters what a layer passes down."""

    def __init__(
        self, name: str = "plain", fault: Callable[[str, np.ndarray], np.ndarray] | None = None
    ) -> None:
        self.name = name
        self.runs = 0
        self._fault = fault or (lambda layer, relevance: relevance)

    def version(self) -> dict[str, str]:
        return {"numpy": np.__version__}

    def supports(self, method: Method, graph: Graph) -> str:
        return "" if method.name in ("gradient", "input_t_gradient") else "it has the gradient alone"

    def prepare(self, model: LinearModel, dtype: str, device: str = "cpu") -> _Prepared:
        return _Prepared(self, model, dtype, self._fault)


@dataclass
class _Prepared:
    backend: GradientBackend
    model: LinearModel
    dtype: str
    fault: Callable[[str, np.ndarray], np.ndarray]

    def run(self, x: np.ndarray, method: Method, target: np.ndarray, layers: bool) -> Arrays:
        self.backend.runs += 1
        x = x.astype(self.dtype)
        first, second = (layer.weights["kernel"].astype(self.dtype) for layer in self.model.graph.layers[1:])
        hidden = x @ first
        logits = hidden @ second
        seed = np.eye(2, dtype=self.dtype)[target]
        relevance = {"second": seed}
        relevance["first"] = self.fault("first", seed @ second.T)
        relevance["x"] = self.fault("x", relevance["first"] @ first.T)
        activation = {"x": x, "first": hidden, "second": logits}
        attribution = relevance["x"] * x if method.postprocess == "times_input" else relevance["x"]
        return Arrays(logits, attribution, activation, relevance)

    def logits(self, x: np.ndarray) -> np.ndarray:
        first, second = (layer.weights["kernel"].astype(self.dtype) for layer in self.model.graph.layers[1:])
        return x @ first @ second
