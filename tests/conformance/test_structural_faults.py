"""Hand ports with a layer missing, extra or elsewhere: named at the layer; right ports are silent; endings."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import keras
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from keras import layers as kl
from torch import Tensor, nn

import harness
from ported_models.pair.source import check_keras, read_keras
from tests.models.hand_ports import Port, arrays, conv, linear, norm, randomised, tensor

pytestmark = [pytest.mark.tensorflow, pytest.mark.torch, pytest.mark.thinned(0.4)]

Forward = Callable[[Any, Tensor], Tensor]


def loaded(model: keras.Model, port: nn.Module, **options: Any) -> tuple[Any, list[str]]:
    """The pair, and what loading it warned of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pair = harness.load_pair(model, port, **options)
    said = [str(entry.message) for entry in caught if pair.name in str(entry.message)]
    return pair, said


def diagnosed(pair: Any, method: str = "lrp.z") -> harness.Diagnosis:
    x = np.random.default_rng(1).normal(size=(2, *pair.input_shape))
    return harness.diagnose(pair, x, method, dtype="float64")


def compared(pair: Any, method: str) -> harness.Comparison:
    x = np.random.default_rng(1).normal(size=(2, *pair.input_shape))
    reference = harness.explain(pair, x, method, "tensorflow", dtype="float64")
    return harness.compare(
        reference, harness.explain(pair, x, method, "torch", target=reference.target, dtype="float64")
    )


# -- networks -------------------------------------------------------------------------------------


@cache
def residual() -> keras.Model:
    """Rescaling, batch norm, a residual add, pooling: (8, 8, 3) to 5 classes."""
    source = keras.Input((8, 8, 3), name="image")
    x = kl.Rescaling(1 / 127.5, -1, name="rescaling")(source)
    x = skip = kl.Conv2D(4, 3, padding="same", name="stem")(x)
    x = kl.BatchNormalization(name="bn")(x)
    x = kl.ReLU(name="relu1")(x)
    x = kl.Conv2D(4, 3, padding="same", name="body")(x)
    x = kl.Add(name="add")([x, skip])
    x = kl.ReLU(name="relu2")(x)
    x = kl.MaxPooling2D(2, name="pool")(x)
    x = kl.Flatten(name="flatten")(x)
    x = kl.Dense(6, activation="tanh", name="hidden")(x)
    return randomised(keras.Model(source, kl.Dense(5, name="out")(x), name="residual"))


def residual_port(forward: Forward) -> Port:
    model = residual()
    return Port(
        forward,
        stem=conv(model, "stem", padding=1),
        norm=norm(model, "bn"),
        body=conv(model, "body", padding=1),
        hidden=linear(model, "hidden", (4, 4, 4)),
        out=linear(model, "out"),
    )


def right_residual(m: Any, x: Tensor) -> Tensor:
    skip = m.stem(x / 127.5 - 1)
    x = F.relu(m.body(F.relu(m.norm(skip))) + skip)
    return m.out(torch.tanh(m.hidden(torch.flatten(F.max_pool2d(x, 2), 1))))


def without_rescaling(m: Any, x: Tensor) -> Tensor:
    skip = m.stem(x)
    x = F.relu(m.body(F.relu(m.norm(skip))) + skip)
    return m.out(torch.tanh(m.hidden(torch.flatten(F.max_pool2d(x, 2), 1))))


def without_norm(m: Any, x: Tensor) -> Tensor:
    skip = m.stem(x / 127.5 - 1)
    x = F.relu(m.body(F.relu(skip)) + skip)
    return m.out(torch.tanh(m.hidden(torch.flatten(F.max_pool2d(x, 2), 1))))


def without_first_relu(m: Any, x: Tensor) -> Tensor:
    skip = m.stem(x / 127.5 - 1)
    x = F.relu(m.body(m.norm(skip)) + skip)
    return m.out(torch.tanh(m.hidden(torch.flatten(F.max_pool2d(x, 2), 1))))


def without_add(m: Any, x: Tensor) -> Tensor:
    skip = m.stem(x / 127.5 - 1)
    x = F.relu(m.body(F.relu(m.norm(skip))))
    return m.out(torch.tanh(m.hidden(torch.flatten(F.max_pool2d(x, 2), 1))))


def relu_before_add(m: Any, x: Tensor) -> Tensor:
    skip = m.stem(x / 127.5 - 1)
    x = F.relu(m.body(F.relu(m.norm(skip)))) + skip
    return m.out(torch.tanh(m.hidden(torch.flatten(F.max_pool2d(x, 2), 1))))


def in_place_relu(m: Any, x: Tensor) -> Tensor:
    """The skip is what the batch norm gave, and the ReLU in place overwrites it."""
    skip = m.norm(m.stem(x / 127.5 - 1))
    x = F.relu(m.body(F.relu(skip, inplace=True)) + skip)
    return m.out(torch.tanh(m.hidden(torch.flatten(F.max_pool2d(x, 2), 1))))


def norm_behind_relu(m: Any, x: Tensor) -> Tensor:
    skip = m.stem(x / 127.5 - 1)
    x = F.relu(m.body(m.norm(F.relu(skip))) + skip)
    return m.out(torch.tanh(m.hidden(torch.flatten(F.max_pool2d(x, 2), 1))))


def extra_sigmoid(m: Any, x: Tensor) -> Tensor:
    skip = m.stem(x / 127.5 - 1)
    x = F.relu(torch.sigmoid(m.body(F.relu(m.norm(skip)))) + skip)
    return m.out(torch.tanh(m.hidden(torch.flatten(F.max_pool2d(x, 2), 1))))


def several_missing(m: Any, x: Tensor) -> Tensor:
    """No batch norm, no ReLU behind it, no ReLU behind the add."""
    skip = m.stem(x / 127.5 - 1)
    x = m.body(skip) + skip
    return m.out(torch.tanh(m.hidden(torch.flatten(F.max_pool2d(x, 2), 1))))


@cache
def series() -> keras.Model:
    """1-D, two branches that are concatenated: (16, 2) to 3 classes."""
    source = keras.Input((16, 2), name="signal")
    x = kl.Conv1D(4, 3, padding="same", activation="relu", name="stem")(source)
    left = kl.Conv1D(3, 3, padding="same", activation="relu", name="left")(x)
    right = kl.AveragePooling1D(2, 1, padding="valid", name="smooth")(kl.ZeroPadding1D((0, 1), name="pad")(x))
    right = kl.Conv1D(3, 1, name="right")(right)
    x = kl.Concatenate(name="concat")([left, right])
    x = kl.MaxPooling1D(2, name="pool")(x)
    x = kl.Conv1D(4, 3, activation="elu", name="top")(x)
    x = kl.GlobalAveragePooling1D(name="gap")(x)
    return randomised(keras.Model(source, kl.Dense(3, name="out")(x), name="series"))


def series_port(forward: Forward) -> Port:
    model = series()
    return Port(
        forward,
        stem=conv(model, "stem", padding=1),
        left=conv(model, "left", padding=1),
        right=conv(model, "right"),
        top=conv(model, "top"),
        out=linear(model, "out"),
    )


def right_series(m: Any, x: Tensor) -> Tensor:
    """The branches in the other order of computation."""
    x = F.relu(m.stem(x))
    right = m.right(F.avg_pool1d(F.pad(x, (0, 1)), 2, 1))
    left = F.relu(m.left(x))
    x = F.max_pool1d(torch.cat([left, right], 1), 2)
    return m.out(F.elu(m.top(x)).mean(2))


def branches_exchanged(m: Any, x: Tensor) -> Tensor:
    x = F.relu(m.stem(x))
    right = m.right(F.avg_pool1d(F.pad(x, (0, 1)), 2, 1))
    x = F.max_pool1d(torch.cat([right, F.relu(m.left(x))], 1), 2)
    return m.out(F.elu(m.top(x)).mean(2))


def without_pool(m: Any, x: Tensor) -> Tensor:
    x = F.relu(m.stem(x))
    right = m.right(F.avg_pool1d(F.pad(x, (0, 1)), 2, 1))
    return m.out(F.elu(m.top(torch.cat([F.relu(m.left(x)), right], 1))).mean(2))


def extra_pool(m: Any, x: Tensor) -> Tensor:
    x = F.relu(m.stem(x))
    right = m.right(F.avg_pool1d(F.pad(x, (0, 1)), 2, 1))
    x = F.max_pool1d(torch.cat([F.relu(m.left(x)), right], 1), 2)
    return m.out(F.max_pool1d(F.elu(m.top(x)), 2).mean(2))


def extra_relu_in_a_branch(m: Any, x: Tensor) -> Tensor:
    x = F.relu(m.stem(x))
    right = F.relu(m.right(F.avg_pool1d(F.pad(x, (0, 1)), 2, 1)))
    x = F.max_pool1d(torch.cat([F.relu(m.left(x)), right], 1), 2)
    return m.out(F.elu(m.top(x)).mean(2))


# -- faults ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("network", "forward", "layer", "words"),
    [
        (residual, without_rescaling, "rescaling", "missing in torch"),
        (residual, without_norm, "bn", "missing in torch"),
        (residual, without_first_relu, "relu1", "missing in torch"),
        (residual, without_add, "add", "missing in torch"),
        (residual, relu_before_add, "add", "input 1 is 'relu2' there, 'body' in Keras"),
        (residual, in_place_relu, "add", "input 2 is 'relu1' there, 'stem' in Keras"),
        (residual, norm_behind_relu, "bn", "its input is 'relu1' there, 'stem' in Keras"),
        (residual, extra_sigmoid, "sigmoid", "only in torch"),
        (residual, several_missing, "bn", "missing in torch"),
        (series, branches_exchanged, "concat", "input 1 is 'right' there, 'left_relu' in Keras"),
        (series, without_pool, "pool", "missing in torch"),
        (series, extra_pool, "max_pool1d_1", "only in torch"),
        (series, extra_relu_in_a_branch, "relu_1", "only in torch"),
    ],
)
def test_a_structural_fault_is_named_at_its_layer_and_nothing_behind_it(
    network: Callable[[], keras.Model], forward: Forward, layer: str, words: str
) -> None:
    port = (residual_port if network is residual else series_port)(forward)
    pair, (said,) = loaded(network(), port)
    assert not pair.verified
    assert pair.first_difference.name == layer
    assert words in pair.first_difference.structure
    assert f"at layer {layer!r}" in said
    (finding,) = diagnosed(pair).findings
    assert (finding.stage, finding.layer, finding.cause) == ("forward", layer, "forward-layer")
    assert words in finding.words


def test_a_fault_of_a_layers_own_before_a_missing_one_is_named_too() -> None:
    port = residual_port(without_add)
    port.norm.eps = 1e-5
    pair, _ = loaded(residual(), port)
    found = [(each.layer, each.cause) for each in diagnosed(pair).findings]
    assert found == [("bn", "forward-epsilon"), ("add", "forward-layer")]


def test_a_whole_branch_left_out_is_named_at_its_first_layer() -> None:
    """Where the body is not read, nor is the add: the batch norm is the first layer that is missing."""

    def skip_alone(m: Any, x: Tensor) -> Tensor:
        x = F.relu(m.stem(x / 127.5 - 1))
        return m.out(torch.tanh(m.hidden(torch.flatten(F.max_pool2d(x, 2), 1))))

    pair, _ = loaded(residual(), residual_port(skip_alone))
    assert [(each.layer, each.cause) for each in diagnosed(pair).findings] == [("bn", "forward-layer")]


def test_a_dropout_beside_a_layer_too_many_is_not_blamed() -> None:
    layers = [kl.Dense(4, name="a"), kl.Dropout(0.5, name="drop"), kl.Dense(3, name="b")]
    model = randomised(keras.Sequential([keras.Input((4,)), *layers]))
    pair, _ = loaded(model, nn.Sequential(linear(model, "a"), nn.Tanh(), linear(model, "b")))
    assert pair.first_difference.name == "1"
    assert [row.name for row in pair.forward_report if not row.ok] == ["1", "b"]


def test_a_dense_layer_too_many_or_too_few_is_named() -> None:
    two = randomised(keras.Sequential([keras.Input((4,)), kl.Dense(4, name="a"), kl.Dense(3, name="b")]))
    one = randomised(keras.Sequential([keras.Input((4,)), kl.Dense(3, name="c")]))
    pair, _ = loaded(two, nn.Sequential(linear(two, "b")))
    assert diagnosed(pair).layer == "a" and diagnosed(pair).cause == "forward-layer"
    pair, _ = loaded(one, nn.Sequential(linear(one, "c"), nn.Linear(3, 3)))
    assert diagnosed(pair).layer == "1" and diagnosed(pair).cause == "forward-layer"


def test_a_candidate_that_shows_no_layers_is_not_blamed_for_the_network() -> None:
    """A right gradient on the port's twin: what is wrong is the network."""

    def gradient(twin: nn.Module, x: Tensor, target: Tensor, method: Any) -> Tensor:
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            chosen = twin(x).gather(1, target.long()[:, None]).sum()
            return torch.autograd.grad(chosen, x)[0]

    pair, _ = loaded(residual(), residual_port(without_add))
    x = np.random.default_rng(1).normal(size=(2, *pair.input_shape))
    backend = harness.backend_from_function("own-gradient", gradient, "torch")
    diagnosis = harness.diagnose(pair, x, "gradient", candidate=backend, dtype="float64")
    assert [(each.layer, each.cause) for each in diagnosis.findings] == [("add", "forward-layer")]


# -- what never passes ----------------------------------------------------------------------------


def test_the_cases_of_an_unverified_pair_never_pass() -> None:
    """On an input without negative values the missing ReLU changes nothing, and every row agrees."""
    model = keras.Sequential(
        [keras.Input((3,)), kl.ReLU(name="relu"), kl.Dense(2, name="out")], name="rectified"
    )
    pair, _ = loaded(randomised(model), nn.Sequential(linear(model, "out")))
    assert not pair.verified
    x = np.array([[1.0, 2.0, 3.0]])
    reference = harness.explain(pair, x, "gradient", "tensorflow", dtype="float64")
    candidate = harness.explain(pair, x, "gradient", "torch", target=reference.target, dtype="float64")
    comparison = harness.compare(reference, candidate, tolerance=1.0)
    assert all(row.verdict in ("identical", "equivalent") for row in (*comparison.rows, *comparison.forward))
    assert (comparison.verdict, comparison.passed) == ("divergent", False)
    assert "the pair 'rectified' is not verified" in comparison.notes[0]
    diagnosis = harness.diagnose(pair, x, "gradient", dtype="float64")
    assert diagnosis.findings == () and "this input does not show it" in diagnosis.explanation


def test_a_stored_trace_of_an_unverified_pair_does_not_pass_either(tmp_path: Any) -> None:
    pair, _ = loaded(residual(), residual_port(without_add))
    x = np.random.default_rng(1).normal(size=(2, *pair.input_shape))
    trace = harness.explain(pair, x, "gradient", "tensorflow", dtype="float64")
    trace.save(tmp_path / "trace.safetensors")
    again = harness.load_trace(tmp_path / "trace.safetensors")
    assert not harness.compare(again, again).passed


# -- right ports ----------------------------------------------------------------------------------


def right_with_dropouts(m: Any, x: Tensor) -> Tensor:
    skip = m.stem(F.dropout(x / 127.5 - 1, training=False))
    x = F.relu(skip + m.body(F.relu(m.norm(skip))))
    x = F.dropout(torch.flatten(F.max_pool2d(x, 2), 1), training=False)
    return m.out(torch.tanh(m.hidden(x)))


def right_relu_behind_pool(m: Any, x: Tensor) -> Tensor:
    """max(relu(x)) = relu(max(x)), and a ReLU moves nothing."""
    skip = m.stem(x / 127.5 - 1)
    x = F.max_pool2d(m.body(F.relu(m.norm(skip))) + skip, 2)
    return m.out(torch.tanh(m.hidden(F.relu(torch.flatten(x, 1)))))


def rectified_twice(in_keras: bool) -> tuple[keras.Model, nn.Module]:
    """The second ReLU, behind what only moves values, changes nothing."""
    layers = [kl.Conv2D(3, 3, activation="relu", name="conv"), kl.ZeroPadding2D(1), kl.Flatten()]
    layers += [kl.ReLU()] if in_keras else []
    model = randomised(keras.Sequential([keras.Input((6, 6, 2)), *layers, kl.Dense(3, name="out")]))

    def forward(m: Any, x: Tensor) -> Tensor:
        x = F.pad(F.relu(m.conv(x)), (1, 1, 1, 1)).flatten(1)
        return m.out(x if in_keras else F.relu(x))

    return model, Port(forward, conv=conv(model, "conv"), out=linear(model, "out", (6, 6, 3)))


def nested_sums() -> tuple[keras.Model, nn.Module]:
    """Keras adds three at once, torch two and one."""
    source = keras.Input((4,))
    branches = [kl.Dense(3, name=name)(source) for name in "abc"]
    model = randomised(keras.Model(source, kl.Dense(2, name="out")(kl.ReLU()(kl.Add()(branches)))))
    modules = {name: linear(model, name) for name in ("a", "b", "c", "out")}
    return model, Port(lambda m, x: m.out(F.relu(m.c(x) + m.a(x) + m.b(x))), **modules)


def gated() -> tuple[keras.Model, nn.Module]:
    """A squeeze-and-excite gate: its sigmoid is no ending."""
    source = keras.Input((6, 6, 4))
    x = kl.Conv2D(4, 3, padding="same", activation="relu", name="conv")(source)
    gate = kl.GlobalAveragePooling2D(keepdims=True)(x)
    gate = kl.Conv2D(2, 1, activation="relu", name="squeeze")(gate)
    gate = kl.Conv2D(4, 1, activation="sigmoid", name="excite")(gate)
    x = kl.GlobalAveragePooling2D()(kl.Multiply()([x, gate]))
    model = randomised(keras.Model(source, kl.Dense(3, name="out")(x)))

    def forward(m: Any, x: Tensor) -> Tensor:
        x = F.relu(m.conv(x))
        gate = torch.sigmoid(m.excite(F.relu(m.squeeze(F.adaptive_avg_pool2d(x, 1)))))
        return m.out(torch.flatten(F.adaptive_avg_pool2d(gate * x, 1), 1))

    modules = {"conv": conv(model, "conv", padding=1), "out": linear(model, "out")}
    modules |= {name: conv(model, name) for name in ("squeeze", "excite")}
    return model, Port(forward, **modules)


@pytest.mark.parametrize(
    "make",
    [
        lambda: (residual(), residual_port(right_residual)),
        lambda: (residual(), residual_port(right_with_dropouts)),
        lambda: (residual(), residual_port(right_relu_behind_pool)),
        lambda: (series(), series_port(right_series)),
        nested_sums,
        gated,
        lambda: rectified_twice(in_keras=False),
        lambda: rectified_twice(in_keras=True),
    ],
    ids=[
        "residual",
        "dropouts",
        "relu-behind-pool",
        "two-branches",
        "nested-sums",
        "gated",
        "relu-twice-in-torch",
        "relu-twice-in-keras",
    ],
)
def test_a_right_port_is_silent(make: Callable[[], tuple[keras.Model, nn.Module]]) -> None:
    pair, said = loaded(*make())
    assert pair.verified and pair.first_difference is None
    assert said == []
    for method in ("lrp.z", "gradient"):
        assert diagnosed(pair, method).stage is None
        assert compared(pair, method).passed


# -- a batch norm that one side has folded --------------------------------------------------------


@cache
def normed() -> keras.Model:
    source = keras.Input((6, 6, 2))
    x = kl.Conv2D(4, 3, use_bias=False, name="conv")(source)
    x = kl.ReLU(name="relu")(kl.BatchNormalization(name="bn1")(x))
    x = kl.Dense(5, name="hidden")(kl.Flatten(name="flatten")(x))
    x = kl.ReLU(name="relu2")(kl.BatchNormalization(name="bn2")(x))
    return randomised(keras.Model(source, kl.Dense(3, name="out")(x), name="normed"))


def folded_weights() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Kernels and biases with the batch norms in them, in float32 throughout, as a port computes them."""
    model, found = normed(), {}
    for name, batch_norm in (("conv", "bn1"), ("hidden", "bn2")):
        kernel, *bias = arrays(model, name)
        gamma, beta, mean, variance = arrays(model, batch_norm)
        factor = gamma / np.sqrt(variance + np.float32(1e-3))
        found[name] = kernel * factor, ((bias[0] if bias else 0) - mean) * factor + beta
    return found


def folded_port() -> Port:
    model, weights = normed(), folded_weights()
    convolution, hidden = nn.Conv2d(2, 4, 3), linear(model, "hidden", (4, 4, 4))
    kernel, bias = weights["conv"]
    convolution.weight, convolution.bias = tensor(np.moveaxis(kernel, (-1, -2), (0, 1))), tensor(bias)
    kernel, bias = weights["hidden"]
    rows = np.moveaxis(np.arange(64).reshape(4, 4, 4), -1, 0).reshape(-1)
    hidden.weight, hidden.bias = tensor(kernel[rows].T), tensor(bias)

    def forward(m: Any, x: Tensor) -> Tensor:
        return m.out(F.relu(m.hidden(torch.flatten(F.relu(m.conv(x)), 1))))

    return Port(forward, conv=convolution, hidden=hidden, out=linear(model, "out"))


def folded_keras() -> keras.Model:
    weights = folded_weights()
    source = keras.Input((6, 6, 2))
    x = kl.Flatten()(kl.Conv2D(4, 3, activation="relu", name="conv")(source))
    x = kl.Dense(5, activation="relu", name="hidden")(x)
    model = keras.Model(source, kl.Dense(3, name="out")(x), name="already-folded")
    for name, values in weights.items():
        model.get_layer(name).set_weights(list(values))
    model.get_layer("out").set_weights(arrays(normed(), "out"))
    return model


def normed_port() -> Port:
    model = normed()

    def forward(m: Any, x: Tensor) -> Tensor:
        x = torch.flatten(F.relu(m.norm1(m.conv(x))), 1)
        return m.out(F.relu(m.norm2(m.hidden(x))))

    return Port(
        forward,
        conv=conv(model, "conv"),
        norm1=norm(model, "bn1"),
        hidden=linear(model, "hidden", (4, 4, 4)),
        norm2=norm(model, "bn2", axes=0),
        out=linear(model, "out"),
    )


@pytest.mark.parametrize(
    ("make", "folded"),
    [
        (lambda: (normed(), folded_port()), {"bn1": "conv", "bn2": "hidden"}),
        (lambda: (folded_keras(), normed_port()), {"norm1": "conv", "norm2": "hidden"}),
    ],
    ids=["in-torch", "in-keras"],
)
def test_a_folded_batch_norm_is_a_right_port(make: Callable[[], Any], folded: dict[str, str]) -> None:
    pair, said = loaded(*make())
    assert pair.verified and said == []
    assert dict(pair.folded) == folded
    rows = {row.name: row for row in pair.forward_report}
    for name, kernel in folded.items():
        assert (rows[name].structure, rows[name].torch_layer) == ("folded", kernel)
        # Weights that were folded in float32 are off by rounding, and so is what comes out of them.
        assert 0 < rows[name].relative == rows[kernel].relative < 1e-6
    for method in ("gradient", "guided_backprop", "lrp.gamma"):
        assert diagnosed(pair, method).stage is None
        assert compared(pair, method).passed
    with pytest.raises(
        harness.HarnessError, match=f"lrp.z has a rule of its own for batch norm .*'{min(folded)}'"
    ):
        diagnosed(pair, "lrp.z")


def test_a_batch_norm_folded_with_another_epsilon_is_a_fault() -> None:
    port = folded_port()
    with torch.no_grad():
        port.conv.weight *= 1.001
    pair, _ = loaded(normed(), port)
    assert not pair.verified and pair.first_difference.name in ("conv", "bn1")


# -- endings --------------------------------------------------------------------------------------

ENDINGS = {"softmax": nn.Softmax(1), "log_softmax": nn.LogSoftmax(1), "sigmoid": nn.Sigmoid()}


def ending_in(ending: str | None, name: str = "classifier", first: str | None = None) -> keras.Model:
    layers = [kl.Dense(4, activation="relu", name="hidden"), kl.Dense(3, activation=first, name="out")]
    ends = [] if ending is None else [kl.Activation(ending, name="ending")]
    return randomised(keras.Sequential([keras.Input((5,)), *layers, *ends], name=name))


def port_ending_in(model: keras.Model, *ends: nn.Module) -> nn.Module:
    return nn.Sequential(linear(model, "hidden"), nn.ReLU(), linear(model, "out"), *ends).eval()


@pytest.mark.parametrize(
    ("keras_end", "torch_end", "differ"),
    [
        (None, None, False),
        *((same, same, False) for same in ENDINGS),
        *((None, end, False) for end in ENDINGS),
        *((end, None, False) for end in ENDINGS),
        ("softmax", "log_softmax", False),
        ("log_softmax", "softmax", False),
        ("softmax", "sigmoid", True),
        ("sigmoid", "log_softmax", True),
    ],
)
def test_endings_are_taken_off_and_said(keras_end: str | None, torch_end: str | None, differ: bool) -> None:
    model = ending_in(keras_end)
    ends = [] if torch_end is None else [ENDINGS[torch_end]]
    pair, said = loaded(model, port_ending_in(model, *ends))
    assert pair.verified and pair.removed == keras_end
    assert len(said) == differ and all("the endings differ" in each for each in said)
    for end in {keras_end, torch_end} - {None}:
        assert any(end.replace("_", "-") in note for note in pair.notes)
    assert (pair.notes == ()) == (keras_end is torch_end is None)
    x = np.random.default_rng(0).normal(size=(2, 5))
    logits = harness.explain(pair, x, "gradient", "torch", dtype="float64").logits
    values = keras.Model(model.inputs, model.get_layer("out").output).predict(x, verbose=0)
    np.testing.assert_allclose(logits, values, rtol=1e-4)
    assert diagnosed(pair).stage is None


@pytest.mark.parametrize(
    ("model", "ends", "layer"),
    [
        (lambda: ending_in(None), [nn.ReLU()], "3"),
        (lambda: ending_in(None), [nn.Tanh()], "3"),
        (lambda: ending_in("tanh"), [], "ending"),
        (lambda: ending_in("relu"), [nn.Softmax(1)], "ending"),
        # Two endings are another function than one: only the last is taken off.
        (lambda: ending_in("softmax"), [nn.Softmax(1), nn.LogSoftmax(1)], "3"),
        (lambda: ending_in("softmax", first="softmax"), [nn.Softmax(1)], "out_softmax"),
    ],
    ids=["relu", "tanh", "tanh-forgotten", "relu-forgotten", "log-softmax-of-softmax", "softmax-of-softmax"],
)
def test_any_other_end_of_one_side_is_a_fault(
    model: Callable[[], keras.Model], ends: list[nn.Module], layer: str
) -> None:
    made = model()
    pair, _ = loaded(made, port_ending_in(made, *ends))
    assert not pair.verified and pair.first_difference.name == layer
    assert not compared(pair, "gradient").passed
    diagnosis = diagnosed(pair)
    assert [(each.layer, each.cause) for each in diagnosis.findings] == [(layer, "forward-layer")]


# -- modules that are hard to copy ----------------------------------------------------------------


def test_a_module_under_weight_norm_that_has_run_is_copied_and_left_as_it_was() -> None:
    """The hook leaves a tensor with a history in the module, which torch refuses to copy."""
    model = randomised(keras.Sequential([keras.Input((4,)), kl.Dense(3, name="out")], name="normalised"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = nn.Sequential(nn.utils.weight_norm(linear(model, "out")))
    module(torch.zeros(1, 4))
    before = module[0].weight
    pair, said = loaded(model, module)
    assert pair.verified and said == []
    assert module[0].weight is before and not before.is_leaf
    assert compared(pair, "gradient").passed


def test_a_keras_model_that_does_not_compute_what_was_read_from_it_is_refused() -> None:
    model = randomised(keras.Sequential([keras.Input((4,)), kl.Dense(3, activation="softmax")], name="odd"))
    reading, x = read_keras(model, None), np.ones((1, 4))
    check_keras(model, reading, x)
    randomised(model, seed=1)
    with pytest.raises(harness.HarnessError, match="Keras model 'odd': its own output differs"):
        check_keras(model, reading, x)
