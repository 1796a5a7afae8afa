"""Hand ports of squeeze-and-excite gates and of branches: right ones are silent, faults are named at their layer."""

from __future__ import annotations

from typing import Any

import keras
import pytest
import torch
import torch.nn.functional as F
from keras import layers as kl
from torch import Tensor

from tests.conformance.test_structural_faults import compared, diagnosed, loaded
from tests.models.hand_ports import Port, conv, linear, randomised

pytestmark = [pytest.mark.tensorflow, pytest.mark.torch]

#: How a gate's axes of one stand in Keras: (kept by the pool, reshaped before the dense layers, behind them).
GATES = {
    "keeps-axes": (True, False, False),
    "reshapes-first": (False, True, False),
    "reshapes-last": (False, False, True),
}


def gate(kept: bool, first: bool, last: bool, kernel: Any = kl.Dense) -> keras.Model:
    """A feature map times a gate of two layers: (6, 6, 2) to 3 classes."""
    source = keras.Input((6, 6, 2))
    x = kl.Conv2D(4, 3, padding="same", activation="relu", name="conv")(source)
    g = kl.GlobalAveragePooling2D(keepdims=kept, name="squeeze")(x)
    g = kl.Reshape((1, 1, 4), name="reshape")(g) if first else g
    options = {} if kernel is kl.Dense else {"kernel_size": 1}
    g = kernel(3, activation="tanh", name="reduce", **options)(g)
    g = kernel(4, activation="sigmoid", name="excite", **options)(g)
    g = kl.Reshape((1, 1, 4), name="reshape")(g) if last else g
    x = kl.GlobalAveragePooling2D(name="gap")(kl.Multiply(name="multiply")([x, g]))
    return randomised(keras.Model(source, kl.Dense(3, name="out")(x), name="gate"))


def modules(model: keras.Model, of: Any) -> dict[str, Any]:
    kernels = {name: of(model, name) for name in ("reduce", "excite")}
    return {"conv": conv(model, "conv", padding=1), "out": linear(model, "out"), **kernels}


def over_channels(m: Any, x: Tensor) -> Tensor:
    x = F.relu(m.conv(x))
    g = torch.sigmoid(m.excite(torch.tanh(m.reduce(F.adaptive_avg_pool2d(x, 1).flatten(1)))))
    return m.out((x * g.view(g.size(0), -1, 1, 1)).mean((2, 3)))


def over_channels_by_index(m: Any, x: Tensor) -> Tensor:
    x = F.relu(m.conv(x))
    g = torch.sigmoid(m.excite(torch.tanh(m.reduce(x.mean((2, 3))))))
    return m.out((g[..., None, None] * x).mean((2, 3)))


def over_maps(m: Any, x: Tensor) -> Tensor:
    x = F.relu(m.conv(x))
    g = torch.sigmoid(m.excite(torch.tanh(m.reduce(F.adaptive_avg_pool2d(x, 1)))))
    return m.out((x * g).mean((2, 3)))


def over_maps_of_a_mean(m: Any, x: Tensor) -> Tensor:
    x = F.relu(m.conv(x))
    g = torch.sigmoid(m.excite(torch.tanh(m.reduce(x.mean((2, 3)).unsqueeze(-1).unsqueeze(-1)))))
    return m.out((x * g).mean((2, 3)))


def without_tanh(m: Any, x: Tensor) -> Tensor:
    x = F.relu(m.conv(x))
    g = torch.sigmoid(m.excite(m.reduce(F.adaptive_avg_pool2d(x, 1))))
    return m.out((x * g).mean((2, 3)))


def max_instead_of_mean(m: Any, x: Tensor) -> Tensor:
    x = F.relu(m.conv(x))
    g = torch.sigmoid(m.excite(torch.tanh(m.reduce(F.adaptive_max_pool2d(x, 1)))))
    return m.out((x * g).mean((2, 3)))


def is_silent(model: keras.Model, port: Port) -> None:
    pair, said = loaded(model, port)
    assert pair.verified and pair.first_difference is None and said == []
    for method in ("lrp.z", "gradient"):
        assert diagnosed(pair, method).findings == ()
        assert compared(pair, method).passed


@pytest.mark.thinned(0.3)
@pytest.mark.parametrize("axes", GATES)
@pytest.mark.parametrize("forward", [over_channels, over_channels_by_index])
def test_a_gate_of_dense_layers_may_keep_axes_of_one_or_drop_them(axes: str, forward: Any) -> None:
    model = gate(*GATES[axes])
    is_silent(model, Port(forward, **modules(model, linear)))


@pytest.mark.thinned(0.5)
@pytest.mark.parametrize("axes", ["keeps-axes", "reshapes-first"])
@pytest.mark.parametrize("forward", [over_maps, over_maps_of_a_mean])
def test_a_gate_of_convolutions_may_keep_axes_of_one_or_drop_them(axes: str, forward: Any) -> None:
    model = gate(*GATES[axes], kernel=kl.Conv2D)
    is_silent(model, Port(forward, **modules(model, conv)))


@pytest.mark.parametrize(
    ("forward", "layer", "cause"),
    [(without_tanh, "reduce_tanh", "forward-layer"), (max_instead_of_mean, "squeeze", "pooling")],
)
def test_a_fault_in_a_gate_is_named_whatever_axes_it_keeps(forward: Any, layer: str, cause: str) -> None:
    model = gate(*GATES["reshapes-first"], kernel=kl.Conv2D)
    pair, _ = loaded(model, Port(forward, **modules(model, conv)))
    assert not pair.verified and pair.first_difference.name == layer
    assert [(each.layer, each.cause) for each in diagnosed(pair, "gradient").findings] == [(layer, cause)]


# -- branches -------------------------------------------------------------------------------------


def branches() -> keras.Model:
    """Two branches of two convolutions each: (6, 6, 3) to 3 classes."""
    source = keras.Input((6, 6, 3))
    left = kl.Conv2D(2, 1, activation="relu", name="left1")(source)
    left = kl.Conv2D(3, 3, padding="same", activation="relu", name="left2")(left)
    right = kl.Conv2D(2, 1, activation="relu", name="right1")(source)
    right = kl.Conv2D(2, 5, padding="same", activation="relu", name="right2")(right)
    x = kl.AveragePooling2D(2, name="pool")(kl.Concatenate(name="concat")([left, right]))
    return randomised(keras.Model(source, kl.Dense(3, name="out")(kl.Flatten()(x)), name="branches"))


def port_of_branches(forward: Any) -> Port:
    model = branches()
    names = {"left1": 0, "left2": 1, "right1": 0, "right2": 2}
    kernels = {name: conv(model, name, padding=padding) for name, padding in names.items()}
    return Port(forward, **kernels, out=linear(model, "out", (3, 3, 5)))


def test_a_relu_of_a_concatenation_of_relus_changes_nothing() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        left = F.relu(m.left2(F.relu(m.left1(x))))
        right = F.relu(m.right2(F.relu(m.right1(x))))
        return m.out(F.avg_pool2d(F.relu(torch.cat([left, right], 1)), 2).flatten(1))

    is_silent(branches(), port_of_branches(forward))


def test_a_branch_with_the_weights_of_another_is_named() -> None:
    """The right branch begins with the left one's layer, which stands beside it in either graph."""

    def forward(m: Any, x: Tensor) -> Tensor:
        left = F.relu(m.left2(F.relu(m.left1(x))))
        right = F.relu(m.right2(F.relu(m.left1(x))))
        return m.out(F.avg_pool2d(torch.cat([left, right], 1), 2).flatten(1))

    pair, _ = loaded(branches(), port_of_branches(forward))
    assert not pair.verified and pair.first_difference.name == "right1"
    (finding,) = diagnosed(pair).findings
    assert (finding.layer, finding.cause) == ("right1", "forward-weights")
    assert "left1" in finding.words
