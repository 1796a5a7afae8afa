"""Rules that rectify each reader's share: only where there are several readers, and share by share."""

from __future__ import annotations

import numpy as np
import pytest

from harness.methods import Assignment, Composite, Deconvolution, Gradient, GuidedReLU, Method, Pass
from ported_impls.backend import TorchBackend
from ported_models.build import Builder
from ported_models.model import PortedModel
from tests.prepared import ready

DECONVOLUTION, GUIDED = Deconvolution(per_edge=True), GuidedReLU(per_edge=True)


def relevances(builder: Builder, rule, x, **rules) -> dict[str, list]:
    """By layer, for relevance one at the only output; ``rule`` at the ReLUs, ``rules`` by layer."""
    named = tuple(Assignment(each, names=(name,)) for name, each in rules.items())
    composite = Composite((*named, Assignment(rule, kinds=("relu",)), Assignment(Gradient())))
    prepared = ready(TorchBackend(), PortedModel.from_graph(builder.graph()), "float64")
    trace = prepared.explain(np.array([x], float), Method("test", composite, head="one"))
    return {name: layer.relevance[0].tolist() for name, layer in trace.layers.items()}


def two_readers() -> Builder:
    """A ReLU read by two dense layers with the kernels 2 and -5, whose outputs are added."""
    b = Builder("two_readers", (1,))
    b.add("relu", "relu")
    b.add("dense", "up", "relu", weights={"kernel": np.array([[2.0]])})
    b.add("dense", "down", "relu", weights={"kernel": np.array([[-5.0]])})
    b.add("add", "sum", ["up", "down"])
    return b


@pytest.mark.parametrize(
    ("rule", "x", "at_relu", "at_input"),
    [
        (DECONVOLUTION, [3], 2 + 0, 2),
        (DECONVOLUTION, [-3], 2 + 0, 2),
        (GUIDED, [3], 2 + 0, 2),
        (GUIDED, [-3], 2 + 0, 0),
        (Deconvolution(), [3], 2 - 5, 0),
        (GuidedReLU(), [3], 2 - 5, 0),
    ],
)
def test_the_shares_of_two_readers(rule, x, at_relu, at_input):
    found = relevances(two_readers(), rule, x)
    assert (found["relu"], found["input"]) == ([at_relu], [at_input])
    assert (found["up"], found["down"]) == ([1], [1])


def test_the_share_of_a_single_reader_is_added_as_it_is():
    b = Builder("one_reader", (1,))
    b.add("relu", "relu")
    b.add("dense", "down", weights={"kernel": np.array([[-5.0]])})
    found = relevances(b, DECONVOLUTION, [3])
    assert (found["relu"], found["input"]) == ([-5], [0])


def test_what_one_reader_takes_twice_is_one_share():
    # The joined values have the weights 3 and -2, together 1; the other reader has -1.
    b = Builder("twice", (1,))
    b.add("relu", "relu")
    b.add("concat", "joined", ["relu", "relu"])
    b.add("dense", "up", weights={"kernel": np.array([[3.0], [-2]])})
    b.add("dense", "down", "relu", weights={"kernel": np.array([[-1.0]])})
    b.add("add", "sum", ["up", "down"])
    found = relevances(b, DECONVOLUTION, [3])
    assert found["relu"] == [(3 - 2) + 0]


def test_the_share_is_what_the_rule_of_the_reader_gives_back():
    # The second reader passes -5 on unchanged, although as a ReLU it is closed nowhere here.
    b = Builder("ruled", (1,))
    b.add("relu", "relu")
    b.add("elu", "reader", "relu")
    b.add("dense", "down", "reader", weights={"kernel": np.array([[-5.0]])})
    b.add("add", "sum", ["relu", "down"])
    found = relevances(b, DECONVOLUTION, [3], reader=Pass())
    assert (found["reader"], found["relu"]) == ([-5], [1 + 0])


def test_the_twin_is_left_as_it_was():
    model = PortedModel.from_graph(two_readers().graph())
    prepared = ready(TorchBackend(), model, "float64")
    composite = Composite((Assignment(DECONVOLUTION, kinds=("relu",)), Assignment(Gradient())))
    prepared.explain(np.ones((1, 1)), Method("test", composite))
    twin = model.torch("float64")
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in twin.modules())
