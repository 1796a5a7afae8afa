"""A mistake in what is asked for is one line that names it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import harness
from harness.backends import backend_named
from harness.errors import HarnessError, InvalidInputError, UnknownNameError
from harness.methods import method
from ported_impls.dlbacktrace.backend import BacktraceTorch
from ported_models.model import PortedModel
from tests.dlbacktrace.sides import layer_of, on_port
from tests.models.graphs import branching_graph


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "backtrace.default:activation=rleu",
            "value of activation of backtrace.default 'rleu'; did you mean 'relu'",
        ),
        ("backtrace.default:saturation=mono", "the range is missing"),
        ("backtrace.default:saturation=non_mono,low=-6", "needs its function; write function=swish"),
        ("backtrace.default:saturation=mono,low=3,high=1", "low bound .* must be below"),
        ("backtrace.default:low=3", "low belongs to a saturation"),
        ("backtrace.default:activation=relu,saturation=mono,low=0", "exclude each other"),
        ("backtrace.default:saturation=none,low=1", "saturation=none has no low"),
        ("backtrace.contrast:part=agianst", "did you mean 'against'"),
        ("backtrace.contrast:task=bbox-regression", "no start for bbox-regression"),
        ("backtrace.defualt", "unknown method"),
    ],
)
def test_a_name_that_is_none_says_what_is_wrong_with_it(name: str, words: str) -> None:
    with pytest.raises((InvalidInputError, UnknownNameError), match=words):
        method(name)


def model() -> PortedModel:
    return PortedModel.from_graph(branching_graph(np.random.default_rng(3)))


def test_a_chunk_too_small_for_one_patch_says_how_large_it_has_to_be() -> None:
    network = model()
    x = np.zeros((1, *network.input_shape))
    with pytest.raises(
        InvalidInputError, match=r"too small for one patch of layer '\w+', which takes \d+; give"
    ):
        harness.explain(network, x, "backtrace.default", backend=BacktraceTorch(chunk=10), dtype="float64")
    with pytest.raises(InvalidInputError, match="1 number or more, found 0"):
        BacktraceTorch(chunk=0)


def test_a_device_that_is_not_there_is_refused() -> None:
    network = model()
    x = np.zeros((1, *network.input_shape))
    for backend in ("backtrace-numpy", "backtrace-torch"):
        with pytest.raises(HarnessError, match="cuda:7"):
            harness.explain(network, x, "backtrace.default", backend=backend, device="cuda:7")


def test_a_single_step_of_contrast_mode_is_refused() -> None:
    network = model()
    wanted = method("backtrace.contrast")
    for backend in ("backtrace-numpy", "backtrace-torch"):
        prepared: Any = backend_named(backend).prepare(network, "float64")
        layer = network.graph[network.graph.output]
        operands = (np.zeros((1, *layer.input_shapes[0])),), np.zeros((1, *layer.shape))
        with pytest.raises(HarnessError, match="takes both relevances; give both to step_pair"):
            prepared.step(layer, *operands, wanted)


@pytest.mark.parametrize("name", ["backtrace.default:activation=tanh", "backtrace.contrast"])
def test_the_chunk_size_changes_nothing_but_last_bits(name: str) -> None:
    rng = np.random.default_rng(8)
    wanted = method(name)
    layer = layer_of(
        "conv2d",
        [(6, 5, 3)],
        {"padding": "same"},
        {"kernel": rng.standard_normal((3, 3, 3, 5)), "bias": rng.standard_normal(5)},
    )
    x = rng.standard_normal((4, 6, 5, 3))
    received = tuple(rng.random((4, 6, 5, 5)) for _ in range(1 if wanted.stepwise else 2))
    rule = wanted.composite.rule_for(layer, branching_graph(rng))
    (whole,) = on_port(layer, (x,), received, rule)
    for size in (1500, 3000, 9000):
        (part,) = on_port(layer, (x,), received, rule, size)
        for one, other in zip(whole, part, strict=True):
            np.testing.assert_allclose(other, one, rtol=1e-12, atol=1e-14)
