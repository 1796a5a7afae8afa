"""A reproducer's case is as small as it can be with the error still there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import harness
from harness.diagnosis.measure import apart
from harness.diagnosis.reproducer import Evidence
from harness.diagnosis.reproducer.choice import choose
from harness.diagnosis.reproducer.cuts import Part, parts
from harness.errors import HarnessError
from harness.methods import method as method_named
from harness.steps import ForwardStep
from ported_impls.backend import TorchBackend
from ported_impls.torchvision_shim import zennit
from ported_models.build import Builder
from ported_models.model import PortedModel
from tests.diagnosis.faulty_ports import (
    SharesBias,
    candidate,
    evidence_of,
    finding_of,
    oracle,
    other_epsilon,
    written,
)
from tests.port.one_layer import one_layer

RNG = np.random.default_rng(7)
IMAGE = (37, 41, 6)


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape)


#: By kind: input shapes, weights, attributes.
LAYERS: dict[str, tuple[list[tuple[int, ...]], dict[str, Any], dict[str, Any]]] = {
    "conv2d": (
        [IMAGE],
        {"kernel": normal(3, 2, 6, 7), "bias": normal(7)},
        {"strides": (2, 3), "padding": ((2, 0), (1, 2)), "dilations": (1, 2)},
    ),
    "conv1d": ([(150, 3)], {"kernel": normal(5, 3, 6)}, {"strides": (4,), "padding": "same"}),
    "separable_conv2d": (
        [IMAGE],
        {"depthwise_kernel": normal(3, 3, 6, 1), "pointwise_kernel": normal(6, 7)},
        {"padding": "same"},
    ),
    "conv_transpose2d": (
        [IMAGE],
        {"kernel": normal(3, 3, 6, 7), "bias": normal(7)},
        {"strides": (2, 1), "padding": ((1, 0), (0, 1))},
    ),
    "max_pool2d": ([IMAGE], {}, {"pool_size": (3, 2), "strides": (2, 2), "padding": ((1, 0), (0, 1))}),
    "average_pool2d": ([IMAGE], {}, {"pool_size": (2, 2), "strides": (3, 1)}),
    "global_average_pool": ([IMAGE], {}, {}),
    "upsample": ([IMAGE], {}, {"size": (2, 3)}),
    "batch_norm": ([IMAGE], {"mean": normal(6), "variance": normal(6) ** 2, "gamma": normal(6)}, {}),
    "scale": ([IMAGE], {"kernel": normal(6), "bias": normal(6)}, {}),
    "relu": ([IMAGE], {}, {}),
    "softmax": ([IMAGE], {}, {}),
    "add": ([IMAGE, IMAGE], {}, {}),
    "concat": ([IMAGE, IMAGE], {}, {}),
    "multiply": ([IMAGE, IMAGE], {}, {}),
    "zero_pad": ([IMAGE], {}, {"padding": ((1, 2), (0, 3))}),
    "dense": ([(30,)], {"kernel": normal(30, 20), "bias": normal(20)}, {}),
}


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("forward", [False, True])
def test_every_smaller_case_is_a_layer_on_which_port_and_oracle_agree(kind, forward):
    """A cut that moved the padding, the strides or the channels of one side would show as a difference."""
    shapes, weights, attributes = LAYERS[kind]
    model = PortedModel.from_graph(one_layer(kind, shapes, weights, attributes))
    layer, rng = model.graph["layer"], np.random.default_rng(8)
    inputs = tuple(rng.standard_normal((2, *shape)) for shape in layer.input_shapes)
    relevance = None if forward else rng.standard_normal((2, *layer.shape))
    results = (layer.shape,) if forward else layer.input_shapes
    found = tuple(rng.standard_normal((2, *shape)) for shape in results)
    nothing = tuple(np.zeros_like(array) for array in found)
    evidence = Evidence(method_named("gradient"), "float64", inputs, found, nothing, layer, relevance)
    port = TorchBackend().prepare(model, "float64")
    cases = list(parts(evidence, layer))
    assert cases[-1].whole
    smaller = [shown for part in cases[:-1] if (shown := agreement(part, evidence, model, port)) is not None]
    assert smaller and max(smaller) < 1e-13  # tens of terms, none of which cancel
    assert cases[0].size < cases[-1].size / 2


def agreement(part: Part, evidence: Evidence, model: PortedModel, port: Any) -> float | None:
    """How far port and oracle are apart; None for a cut that the port says its module does not take."""
    exact, method = oracle(model), evidence.method
    try:
        if part.relevance is None:
            program = port.forward_program(part.layer, part.inputs, method, part.kept)
        else:
            program = port.step_program(part.layer, part.inputs, part.relevance, method, part.kept)
    except HarnessError as error:
        assert "cut down" in str(error) and part.kept is not None
        return None
    if part.relevance is None:
        expected = (exact.carry_forward(ForwardStep(part.layer, part.inputs, model.graph)),)
    else:
        expected = exact.step(part.layer, part.inputs, part.relevance, method)
    return apart(expected, program.results)


def test_a_large_convolution_gives_a_small_file_with_an_error_of_the_same_order(tmp_path):
    rng = np.random.default_rng(5)
    b = Builder("big", (112, 112, 64))
    weights = {"kernel": rng.standard_normal((3, 3, 64, 64)) / 24, "bias": rng.random(64)}
    b.add("conv2d", "conv", attributes={"padding": "same"}, weights=weights)
    model = PortedModel.from_graph(b.graph())
    port, layer = candidate(model, {"conv": SharesBias}, "float32"), model.graph["conv"]
    x = rng.random((1, 112, 112, 64)).astype("float32")
    relevance = rng.random((1, 112, 112, 64)).astype("float32")
    method = method_named("lrp.epsilon")
    found = port.step(layer, (x,), relevance, method)
    expected = oracle(model).step(layer, (x,), relevance, method)
    evidence = Evidence(method, "float32", (x,), found, expected, layer, relevance)
    finding = finding_of(evidence)
    shown = choose(finding, evidence, layer, model.graph, port, oracle(model))
    assert shown.program is not None
    assert 0.1 * finding.error <= shown.error <= 10 * finding.error
    written(tmp_path / "r", evidence, model, port)
    assert (tmp_path / "r" / "data.npz").stat().st_size < 100_000  # the input alone has 3.2 MB


class OfTheWholeBatch(zennit.core.Hook):
    """The gradient, divided by the number of samples in the batch."""

    def backward(self, module: Any, grad_input: Any, grad_output: Any) -> Any:
        return tuple(gradient / len(gradient) for gradient in grad_input)

    def copy(self) -> Any:
        return OfTheWholeBatch()


def test_an_error_that_one_sample_alone_does_not_have_keeps_the_batch():
    model = harness.load_model("digits-cnn")
    port = candidate(model, {"conv3": OfTheWholeBatch})
    evidence = evidence_of(model, "conv3", "gradient", port)
    layer = model.graph["conv3"]
    shown = choose(finding_of(evidence), evidence, layer, model.graph, port, oracle(model))
    assert len(shown.part.inputs[0]) == 2
    assert shown.program is not None and shown.error == pytest.approx(0.5)


class LastChannelToo(zennit.core.Hook):
    """The gradient, and the relevance of output channel 23 on top of it."""

    def backward(self, module: Any, grad_input: Any, grad_output: Any) -> Any:
        return (grad_input[0] + grad_output[0][:, 23:].sum(),)

    def copy(self) -> Any:
        return LastChannelToo()


def test_an_error_of_a_channel_that_would_be_cut_away_keeps_the_channels():
    model = harness.load_model("digits-cnn")
    layer = model.graph["conv2"]
    assert layer.shape[-1] == 24
    port = candidate(model, {"conv2": LastChannelToo})
    evidence = evidence_of(model, "conv2", "gradient", port)
    shown = choose(finding_of(evidence), evidence, layer, model.graph, port, oracle(model))
    assert shown.part.kept is None and shown.part.layer.shape[-1] == 24
    assert shown.error > 0.1 * finding_of(evidence).error


class StepsAlone:
    """A candidate that runs single steps and gives no program of them."""

    def __init__(self, port: Any) -> None:
        self.step = port.step


def test_without_programs_a_smaller_case_is_recorded_from_the_steps_of_the_candidate():
    model = harness.load_model("ecg-cnn1d")
    port = candidate(model, {"conv2": other_epsilon})
    evidence = evidence_of(model, "conv2", "lrp.epsilon", port)
    layer = model.graph["conv2"]
    shown = choose(finding_of(evidence), evidence, layer, model.graph, StepsAlone(port), oracle(model))
    assert shown.program is None
    assert shown.why_recorded == "the candidate gives no program of its steps"
    # 64 of 125 places, all channels: a cut through the channels would need the candidate's own weights.
    assert shown.part.inputs[0].shape == (1, 64, 32) and shown.part.kept is None


def test_a_candidate_without_steps_is_shown_as_it_was_seen():
    model = harness.load_model("digits-cnn")
    evidence = evidence_of(model, "conv3", "lrp.epsilon", candidate(model, {"conv3": SharesBias}))
    layer = model.graph["conv3"]
    shown = choose(finding_of(evidence), evidence, layer, model.graph, object(), oracle(model))
    assert shown.part.whole and shown.observed is evidence.observed and shown.expected is evidence.expected
