"""The reference says what iNNvestigate 2.1.2 itself says; recorded by `innvestigate/record.py`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harness.methods import SUITE_METHODS, method
from ported_models.build import Builder
from ported_models.model import PortedModel
from reference_impls.tensorflow import TensorFlowBackend
from reference_impls.tensorflow.prepared import PreparedTensorFlow
from tests.prepared import ready

EPS = np.finfo(np.float64).eps
#: Layers on the longest way, times the products that the widest of them (36 taps) sums for one value.
ROUNDINGS = 15 * 36


with np.load(Path(__file__).parent / "innvestigate" / "recorded.npz", allow_pickle=False) as _arrays:
    RECORDED = dict(_arrays)
METHODS = [key.removeprefix("attribution ") for key in RECORDED if key.startswith("attribution ")]


@pytest.fixture(scope="module")
def recorded() -> dict[str, np.ndarray]:
    return RECORDED


def network(recorded: dict[str, np.ndarray]) -> PortedModel:
    """The network of `record.py`."""

    def weights(layer: str, **names: str) -> dict[str, np.ndarray]:
        names = names or {"kernel": "kernel", "bias": "bias"}
        return {ours: recorded[f"{layer}/{theirs}"] for ours, theirs in names.items()}

    builder = Builder("network", (10, 9, 3))
    builder.add("conv2d", "conv", attributes={"padding": "same", "strides": (2, 1)}, weights=weights("conv"))
    line = weights("batch_norm", gamma="gamma", beta="beta", mean="moving_mean", variance="moving_variance")
    builder.add("batch_norm", "batch_norm", attributes={"epsilon": 0.01}, weights=line)
    builder.add("relu", "relu")
    kernels = weights(
        "separable", depthwise_kernel="depthwise_kernel", pointwise_kernel="pointwise_kernel", bias="bias"
    )
    kernels["pointwise_kernel"] = kernels["pointwise_kernel"][0, 0]
    builder.add("separable_conv2d", "separable", attributes={"padding": "same"}, weights=kernels)
    builder.add("add", "sum", inputs=["relu", "separable"])
    builder.add("tanh", "tanh")
    depthwise = weights("depthwise", kernel="depthwise_kernel", bias="bias")
    # Keras: (height, width, channel, multiplier); the graph: (height, width, 1, channel * multiplier).
    depthwise["kernel"] = depthwise["kernel"].reshape(2, 2, 1, 8)
    builder.add("conv2d", "depthwise", attributes={"groups": 4}, weights=depthwise)
    builder.add("relu", "depthwise_relu")
    builder.add("max_pool2d", "max_pool", attributes={"pool_size": (2, 2), "padding": "same"})
    transposed = weights("transposed")
    # Keras: (height, width, out, in); the graph: (height, width, in, out).
    transposed["kernel"] = np.swapaxes(transposed["kernel"], -1, -2)
    builder.add("conv_transpose2d", "transposed", attributes={"strides": (2, 2)}, weights=transposed)
    pooling = {"pool_size": (3, 3), "strides": (2, 2), "padding": "same"}
    builder.add("average_pool2d", "average_pool", attributes=pooling)
    builder.add("flatten", "flatten")
    builder.add("dense", "dense", weights=weights("dense"))
    builder.add("relu", "dense_relu")
    builder.add("dense", "logits", weights=weights("logits"))
    return PortedModel.from_graph(builder.graph())


@pytest.fixture(scope="module")
def prepared(recorded: dict[str, np.ndarray]) -> PreparedTensorFlow:
    return ready(TensorFlowBackend(), network(recorded), "float64")


def test_every_lrp_method_of_the_suites_is_recorded() -> None:
    assert {name for name in SUITE_METHODS if name.startswith("lrp.")} <= set(METHODS)


@pytest.mark.parametrize("name", METHODS)
def test_the_attribution_is_innvestigates_but_for_rounding(
    name: str, recorded: dict[str, np.ndarray], prepared: PreparedTensorFlow
) -> None:
    expected = recorded[f"attribution {name}"]
    trace = prepared.explain(recorded["x"], method(name))
    # What rounds off where relevance is largest comes down to the input with it: alpha-beta takes large parts
    # from each other.
    largest = max(np.linalg.norm(layer.relevance) for layer in trace.layers.values())
    assert np.linalg.norm(trace.attribution - expected) <= ROUNDINGS * EPS * largest
    assert np.linalg.norm(expected) > 0.1


def test_the_network_is_the_recorded_one(
    recorded: dict[str, np.ndarray], prepared: PreparedTensorFlow
) -> None:
    found = prepared.explain(recorded["x"], method("lrp.z"), layers=False).logits
    np.testing.assert_allclose(found, recorded["logits"], rtol=ROUNDINGS * EPS)
