"""Networks small enough to take apart by hand, run by the oracle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.graph import ACTIVATION_KINDS, Graph, Layer
from harness.methods import Assignment, Composite, Gradient, Head, Method, Pass, Rule
from harness.stability import LayerStability, LedgerEntry, Stability, analyse
from tests.oracle.layers import dense, graph


@dataclass(eq=False)
class SmallModel:
    """What a backend gets to see of a model, around a graph; the oracle needs no twin."""

    graph: Graph
    digest: str = "small"

    @property
    def name(self) -> str:
        return self.graph.name

    @property
    def input_shape(self) -> tuple[int, ...]:
        return self.graph.input.shape

    def keras(self, dtype: str = "float32") -> Any:
        raise NotImplementedError

    torch = with_weights = keras


def chain(*layers: Layer, inputs: int) -> SmallModel:
    """Layers one after the other behind an input of that many features."""
    return SmallModel(graph(*layers, input_shape=(inputs,)))


def one_rule(rule: Rule, *by_name: tuple[str, Rule], head: Head = "logit") -> Method:
    """``rule`` at dense layers, others by name; activations pass, the rest has the gradient."""
    named = tuple(Assignment(other, names=(name,)) for name, other in by_name)
    return Method(
        "by hand",
        Composite(
            (
                *named,
                Assignment(rule, kinds=("dense",)),
                Assignment(Pass(), kinds=ACTIVATION_KINDS),
                Assignment(Gradient()),
            )
        ),
        head=head,
    )


def two_layers() -> tuple[SmallModel, np.ndarray]:
    """x = (1, 2) -> a: z = (1 + 2 + 1, -1 + 2) = (4, 1) -> relu -> out: (4 + 2*1 + 2, 1) = (8, 1)."""
    a = dense([[1.0, -1.0], [1.0, 1.0]], [1.0, 0.0], name="a", inputs=("x",))
    relu = Layer("relu", "relu", ("a",), ((2,),), (2,), ("batch", "axis_0"))
    out = dense([[1.0, 0.0], [2.0, 1.0]], [2.0, 0.0], name="out", inputs=("relu",))
    return chain(a, relu, out, inputs=2), np.array([[1.0, 2.0]])


def analysed(model: SmallModel, x: Any, method: Method, **options: Any) -> Stability:
    return analyse(model, np.asarray(x, np.float64), method, backend="oracle", dtype="float64", **options)


def at(found: Stability, layer: str) -> LayerStability:
    return next(row for row in found.layers if row.layer == layer)


def entry(found: Stability, layer: str, sample: int = 0) -> LedgerEntry:
    return next(each for each in found.ledger if (each.layer, each.sample) == (layer, sample))
