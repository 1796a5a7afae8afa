"""Zennit's own attributors under the catalogue's names, and what it has no counterpart of."""

from __future__ import annotations

import numpy as np
import pytest

from harness.errors import UnsupportedMethodError
from harness.methods import ALL_METHODS, GRADIENT, Method, Smoothed, method
from ported_impls.backend import TorchBackend
from ported_impls.zennit_candidate import counterpart, zennit_backend
from ported_models.build import Builder
from ported_models.model import PortedModel
from tests.port.one_layer import assert_equal
from tests.port.zennit_graphs import RNG, relu_graph
from tests.prepared import ready


def squares() -> PortedModel:
    """Logits (x0^2, 3)."""
    b = Builder("squares", (2,))
    b.add("multiply", "square", ["input", "input"])
    b.add("dense", "head", weights={"kernel": np.array([[1.0, 0], [0, 0]]), "bias": np.array([0.0, 3])})
    return PortedModel.from_graph(b.graph())


def test_integrated_gradients_is_zennits_from_the_first_step_to_the_input():
    prepared = ready(zennit_backend(), squares(), "float64")
    trace = prepared.explain(np.array([[2.0, 0]]), method("integrated_gradients:steps=2,reference_inputs=1"))
    # Steps 1/2 and 1 from the baseline 1 to 2: the gradients at 1.5, where the second logit is larger, and at 2.
    assert trace.target.tolist() == [0]
    assert trace.attribution.tolist() == [[(3 + 4) / 2, 0]]
    assert trace.layers["head"].relevance.tolist() == [[1, 0]]
    assert trace.layers["input"].relevance.tolist() == [[3.5, 0]]
    assert trace.layers["square"].activation.tolist() == [[4, 0]]


def test_smoothgrad_is_zennits_with_the_shared_noise_and_a_last_run_without():
    procedure = Smoothed(3, scale=0.5, seed=7)
    prepared = ready(zennit_backend(), squares(), "float64")
    x = np.array([[2.0, 1], [5, -5]])
    trace = prepared.explain(x, Method("mine", GRADIENT, head="one", procedure=procedure), np.array([0, 0]))
    generator = np.random.default_rng(7)
    noise = [0.5 * generator.standard_normal((2, 2)) for _ in range(2)]
    expected = 2 * (x + sum(noise) / 3)[:, 0]
    # The noise is divided and multiplied by the range of the sample: a few roundings of values below 20.
    np.testing.assert_allclose(trace.attribution[:, 0], expected, rtol=0, atol=20 * 8 * 2.0**-52)
    np.testing.assert_allclose(
        trace.layers["input"].relevance, trace.attribution, rtol=0, atol=20 * 8 * 2.0**-52
    )


def test_zennit_has_no_noise_for_a_constant_sample():
    chosen = Method("mine", GRADIENT, head="one", procedure=Smoothed(3, scale=0.5))
    trace = ready(zennit_backend(), squares(), "float64").explain(np.array([[2.0, 2]]), chosen)
    assert_equal(trace.attribution, [[4, 0]])


def test_methods_that_differ_at_the_input_only_share_the_runs_of_an_attributor():
    prepared = ready(zennit_backend(), squares(), "float64")
    runs = []
    prepared.twin.register_forward_hook(lambda *call: runs.append(1))
    for name in ("smoothgrad_x_input:augment_by_n=4", "smoothgrad_x_sign:augment_by_n=4"):
        prepared.explain(np.array([[4.0, 1]]), method(name), np.array([0]))
    assert len(runs) == 1 + 4


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("grad_cam", "it has no Grad-CAM"),
        ("vargrad", "nothing takes the variance"),
        ("smoothgrad:postprocess=abs", "not their abs"),
        ("integrated_gradients:postprocess=square", "not their square"),
        ("random_uniform", "all its attributions run the network"),
        ("lrpsign_z", "it has no rule Sign"),
        ("attnlrp", "it has no rule SoftmaxTaylor"),
        ("cp_lrp", "it has no rule ShareProduct"),
        ("lrp_epsilon_0_25_std_x", "it has no rule StdEpsilon"),
    ],
)
def test_what_zennit_has_no_counterpart_of_says_why(name, reason):
    with pytest.raises(UnsupportedMethodError, match=f"^zennit has no {name}: .*{reason}; choose another"):
        counterpart(relu_graph(), method(name))


@pytest.mark.parametrize("backend", [zennit_backend(), TorchBackend()], ids=lambda backend: backend.name)
def test_a_backend_supports_exactly_what_it_does_not_refuse(backend):
    prepared = backend.prepare(PortedModel.from_graph(relu_graph()), "float64")
    image = Builder("image", (4, 4, 1))
    image.add("conv2d", "conv", weights={"kernel": RNG.normal(size=(2, 2, 1, 2))})
    image.add("relu", "relu")
    image.add("flatten", "flat")
    image.add("dense", "head", weights={"kernel": RNG.normal(size=(18, 3))})
    on_images = backend.prepare(PortedModel.from_graph(image.graph()), "float64")
    target, x = np.array([0]), RNG.normal(size=(1, 4, 2))
    for name in ALL_METHODS:
        if name.startswith(("grad_cam_", "guided_grad_cam_")) and name != "grad_cam_timeseries":
            continue  # for networks with the layer that the name names
        if name.endswith("_rollout"):
            continue  # for networks with attention
        chosen = method(name)
        images = name in ("grad_cam", "random_uniform")
        refused = False
        try:
            if images:
                on_images.run(RNG.normal(size=(1, 4, 4, 1)), chosen, target, False)
            else:
                prepared.run(x, chosen, target, False)
        except UnsupportedMethodError:
            refused = True
        assert (backend.supports(chosen, relu_graph()) != "") == refused, name
