"""The real iNNvestigate 2.1.2 through the worker, on networks small enough to work out by hand."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from harness.backends import backend_named
from harness.errors import InvalidInputError, PeerError, UnsupportedMethodError
from harness.methods import Smoothed, gaussian_noise, method
from harness.trace.trace import Trace
from ported_models import PortedModel
from ported_models.build import Builder
from reference_impls.peers.backend import PeerBackend
from reference_impls.peers.innvestigate_calls import ADAPTER
from tests.peers.library import needs
from tests.prepared import ready

pytestmark = [pytest.mark.peer, pytest.mark.thinned(0.4)]


@pytest.fixture(scope="module")
def library() -> Iterator[PeerBackend]:
    needs("innvestigate")
    backend = PeerBackend(ADAPTER)
    yield backend
    backend.worker.close()


def _run(
    library: PeerBackend,
    model: PortedModel,
    x: list,
    name: str,
    target: int | None = None,
    dtype: str = "float64",
    layers: bool = True,
) -> Trace:
    targets = None if target is None else np.full(len(x), target)
    return ready(library, model, dtype).explain(np.asarray(x, dtype), method(name), targets, layers)


def _two_layers() -> PortedModel:
    """For x = (1, 2): hidden (5, 1), both positive, and logits (7, 3)."""
    b = Builder("two_layers", (2,))
    b.add("dense", "hidden", weights={"kernel": np.array([[1.0, -1.0], [2.0, 1.0]])})
    b.add("relu", "hidden_relu")
    b.add("dense", "logits", weights={"kernel": np.array([[1.0, 0.0], [2.0, 3.0]])})
    return PortedModel.from_graph(b.graph())


def _step() -> PortedModel:
    """``relu(x)``, whose gradient is one above zero and zero below."""
    b = Builder("step", (1,))
    b.add("dense", "hidden", weights={"kernel": np.ones((1, 1))})
    b.add("relu", "hidden_relu")
    b.add("dense", "logits", weights={"kernel": np.ones((1, 1))})
    return PortedModel.from_graph(b.graph())


# What comes back -----------------------------------------------------------------------------------------


def test_relevance_is_kept_at_every_layer(library: PeerBackend) -> None:
    """R = (7, 0) at the logits; hidden: (5*1, 1*2); x: 1*(5/5 - 2/1) = -1 and 2*(2*5/5 + 2/1) = 8."""
    trace = _run(library, _two_layers(), [[1, 2]], "lrp.z")
    assert trace.logits.tolist() == [[7, 3]]
    assert trace.target.tolist() == [0]
    assert list(trace.layers) == ["input", "hidden", "hidden_relu", "logits"]
    assert trace.layers["logits"].relevance.tolist() == [[7, 0]]
    np.testing.assert_allclose(trace.layers["hidden_relu"].relevance, [[5, 2]], rtol=1e-15)
    np.testing.assert_allclose(trace.layers["hidden"].relevance, [[5, 2]], rtol=1e-15)
    np.testing.assert_allclose(trace.attribution, [[-1, 8]], rtol=1e-15)
    np.testing.assert_array_equal(trace.layers["input"].relevance, trace.attribution)


def test_without_a_selection_every_output_is_explained(library: PeerBackend) -> None:
    """R = (7, 3), R / z is one at both: hidden (5*1, 1*(2 + 3)); x: 1*(5/5 - 5/1) = -4 and 2*(2*5/5 + 5/1) = 14."""
    trace = _run(library, _two_layers(), [[1, 2]], "lrp.z:neuron_selection_mode=all")
    np.testing.assert_allclose(trace.layers["hidden"].relevance, [[5, 5]], rtol=1e-15)
    np.testing.assert_allclose(trace.attribution, [[-4, 14]], rtol=1e-15)


def _with_biases() -> PortedModel:
    """Two positions of two channels, a convolution of width one with a bias, the logits their sums by channel."""
    b = Builder("with_biases", (2, 2))
    kernel, bias = np.array([[[2.0, -1.0], [-1.0, 3.0]]]), np.array([10.0, 10.0])
    b.add("conv1d", "conv", weights={"kernel": kernel, "bias": bias})
    b.add("flatten", "flat")
    b.add("dense", "logits", weights={"kernel": np.array([[1.0, 0], [0, 1], [1, 0], [0, 1]])})
    return PortedModel.from_graph(b.graph())


def test_the_bias_is_left_out_of_z(library: PeerBackend) -> None:
    """conv (12, 9), (9, 13); logit 0 is 21. Z without bias: 12 at z = 2 and 9 at z = -1 go back in full.

    x (1, 0): 12 * (1*2)/2 = 12, 0; x (0, 1): 0, 9 * (1*-1)/-1 = 9.
    """
    trace = _run(library, _with_biases(), [[[1, 0], [0, 1]]], "lrp.z:bias=false", target=0)
    np.testing.assert_allclose(trace.attribution, [[[12, 0], [0, 9]]], rtol=1e-15)


def test_bounds_of_each_channel(library: PeerBackend) -> None:
    """W = (2 -1 / -1 3), lows (-1, -2), highs (2, 1), the first logit: R = (12, 0) and (9, 0) at the convolution.

    x = (1, 0): z = 2 + 2 + 1 = 5 in channel 1, s = 12 / 5: 2 s + 2 s, and 0 * -1 s - 1 * -1 s = s.
    x = (0, 1): z = -1 + 3 = 2, s = 9 / 2: 0 + 2 s, and -s + s = 0.
    """
    name = "lrp.z:low=-1/-2,high=2/1"
    trace = _run(library, _with_biases(), [[[1, 0], [0, 1]]], name, target=0)
    np.testing.assert_allclose(trace.attribution, [[[4 * 12 / 5, 12 / 5], [9, 0]]], rtol=1e-14)


def test_a_rule_that_has_no_name_in_the_library(library: PeerBackend) -> None:
    """AlphaBetaX1010 is C(x+, W+) - C(x-, W-) + C(x-, W+), each denominator with the bias of its weights' sign.

    x = (-1, 2): conv (6, 17) twice, the first logit 12, R = (6, 0) at each place. Channel 1, weights (2, -1), bias 10:
    x+ W+ is (0, 0), x- W- is (0, 0), x- W+ is (-2, 0) over -2 + 10.
    """
    trace = _run(library, _with_biases(), [[[-1, 2], [-1, 2]]], "lrp:rule=AlphaBetaX1010", target=0)
    np.testing.assert_allclose(trace.attribution, [[[-2 * 6 / 8, 0]] * 2], rtol=1e-15)


def test_activations_are_those_of_the_network(library: PeerBackend) -> None:
    trace = _run(library, _two_layers(), [[1, 2]], "lrp.z")
    assert {name: layer.activation.tolist() for name, layer in trace.layers.items()} == {
        "input": [[1, 2]],
        "hidden": [[5, 1]],
        "hidden_relu": [[5, 1]],
        "logits": [[7, 3]],
    }


def test_the_target_that_is_given_is_explained(library: PeerBackend) -> None:
    """R = 3 at the second logit, all of it from hidden 2: x gets 1*(-1)*3 and 2*1*3."""
    trace = _run(library, _two_layers(), [[1, 2]], "lrp.z", target=1)
    assert trace.target.tolist() == [1]
    np.testing.assert_allclose(trace.attribution, [[-3, 6]], rtol=1e-15)


def test_deep_taylor_hands_relevance_on_to_units_that_are_off(library: PeerBackend) -> None:
    """x = (1, 2): hidden (3, -3), on (3, 0), their average 1.5, the logit 3, R = 1.5 at both units.

    The first shares it by (1, 2) / 3. The second is off: the gradient of a ReLU layer drops its 1.5. Inside the layer
    the ReLU does not, and the unit's only positive part is that of the first input.
    """
    b = Builder("off", (2,))
    b.add("dense", "hidden", weights={"kernel": np.array([[1.0, 1.0], [1.0, -2.0]])})
    b.add("relu", "on")
    b.add("reshape", "column", attributes={"target": (2, 1)})
    b.add("average_pool1d", "average", attributes={"pool_size": (2,)})
    b.add("flatten", "flat")
    b.add("dense", "logits", weights={"kernel": np.array([[2.0, 0]])})
    model, x = PortedModel.from_graph(b.graph()), np.array([[1.0, 2.0]])
    for name, expected in (("deep_taylor", [0.5, 1.0]), ("deep_taylor:activation_layers=pass", [2.0, 1.0])):
        for side in (library, *map(backend_named, ("oracle", "tensorflow", "torch"))):
            trace = ready(side, model, "float64").explain(x, method(name), np.array([0]), layers=False)
            np.testing.assert_allclose(trace.attribution, [expected], rtol=1e-12)


def test_without_a_mode_the_largest_output_is_explained(library: PeerBackend) -> None:
    """The first logit of (1, 2), the second of (-1, 1): as if both targets had been given."""
    x = [[1, 2], [-1, 1]]
    for name in ("lrp.z", "gradient", "lrp.alpha_2_beta_1", "integrated_gradients:steps=4"):
        own = f"{name}{',' if ':' in name else ':'}neuron_selection_mode=max_activation"
        selected, asked = _run(library, _two_layers(), x, own), _run(library, _two_layers(), x, name)
        assert selected.target.tolist() == [0, 1]
        np.testing.assert_allclose(selected.attribution, asked.attribution, rtol=1e-14)
        for layer, kept in asked.layers.items():
            if kept.relevance is not None:
                np.testing.assert_allclose(selected.layers[layer].relevance, kept.relevance, rtol=1e-14)


def test_each_sample_of_a_batch_has_its_own_target(library: PeerBackend) -> None:
    """(1, 2) has logits (7, 3), gradient (-1, 4); (-1, 1) has hidden (1, 2), logits (5, 6), gradient (-3, 3)."""
    trace = _run(library, _two_layers(), [[1, 2], [-1, 1]], "gradient")
    assert trace.target.tolist() == [0, 1]
    assert trace.attribution.tolist() == [[-1, 4], [-3, 3]]
    assert trace.layers["logits"].relevance.tolist() == [[1, 0], [0, 1]]


def test_without_layers_there_are_none(library: PeerBackend) -> None:
    assert _run(library, _two_layers(), [[1, 2]], "lrp.z", layers=False).layers == {}


def test_where_the_library_keeps_nothing_there_are_activations_only(library: PeerBackend) -> None:
    """The gradient of the first logit is (-1, 4) on the whole path from 0 to x: (-1*1, 4*2)."""
    trace = _run(library, _two_layers(), [[1, 2]], "integrated_gradients:steps=8", target=0)
    # At 0 itself no hidden unit is on, one of the eight points.
    assert trace.attribution.tolist() == [[-1 * 7 / 8, 8 * 7 / 8]]
    assert all(layer.relevance is None for layer in trace.layers.values())
    assert trace.layers["hidden"].activation.tolist() == [[5, 1]]


@pytest.mark.parametrize("dtype", ("float32", "float64"))
def test_everything_is_in_the_dtype_of_the_run(library: PeerBackend, dtype: str) -> None:
    trace = _run(library, _two_layers(), [[1, 2]], "lrp.epsilon", dtype=dtype)
    arrays = [trace.attribution, trace.logits]
    arrays += [layer.relevance for layer in trace.layers.values()]
    arrays += [layer.activation for layer in trace.layers.values()]
    assert {str(array.dtype) for array in arrays} == {dtype}


def test_provenance_says_what_ran(library: PeerBackend) -> None:
    trace = _run(library, _two_layers(), [[1, 2]], "lrp.sequential_preset_a")
    assert trace.provenance["peer"]["class"] == "LRPSequentialPresetA"
    assert trace.provenance["peer"]["repairs"] == []
    assert trace.provenance["versions"]["innvestigate"] == "2.1.2"


# Noise ---------------------------------------------------------------------------------------------------


def test_smoothgrad_draws_the_shared_samples(library: PeerBackend) -> None:
    """The gradient of relu is the share of the samples that end above zero, sample by sample of the batch."""
    name, x = "smoothgrad:augment_by_n=16,seed=3", np.array([[0.3], [-0.5]])
    procedure = method(name).procedure
    assert isinstance(procedure, Smoothed)
    above = [x + noise > 0 for noise in gaussian_noise(procedure, x.shape)]
    trace = _run(library, _step(), x.tolist(), name)
    assert trace.attribution.tolist() == (np.sum(above, axis=0) / 16).tolist()


def test_random_adds_the_shared_sample_times_its_own_deviation(library: PeerBackend) -> None:
    x = [[0.25, -1.0], [2.0, 0.5]]
    trace = _run(library, _two_layers(), x, "random:stddev=2,seed=5")
    noise = np.random.default_rng(5).standard_normal((2, 2))
    assert trace.attribution.tolist() == (np.array(x) + 2 * noise).tolist()
    assert trace.layers == {}


# Forms and repairs ---------------------------------------------------------------------------------------


def test_fused_activations_leave_only_the_output_of_the_pair() -> None:
    needs("innvestigate")
    backend = PeerBackend(ADAPTER, activations="fused")
    trace = _run(backend, _two_layers(), [[1, 2]], "lrp.z")
    backend.worker.close()
    assert "hidden" not in trace.layers
    np.testing.assert_allclose(trace.layers["hidden_relu"].relevance, [[5, 2]], rtol=1e-15)
    np.testing.assert_allclose(trace.attribution, [[-1, 8]], rtol=1e-15)


def test_activation_layers_pass_what_relu_layers_stop(library: PeerBackend) -> None:
    """x = (1, -1): hidden is (-1, -2), both off, and the logit 4, its bias.

    Flat gives 2 to each hidden unit. `Activation` passes that on, and each half reaches each input: 2 and 2;
    the gradient of `ReLU` passes nothing.
    """
    b = Builder("off", (2,))
    b.add("dense", "hidden", weights={"kernel": np.array([[1.0, -1.0], [2.0, 1.0]])})
    b.add("relu", "hidden_relu")
    b.add("dense", "logits", weights={"kernel": np.array([[1.0], [2.0]]), "bias": np.array([4.0])})
    model = PortedModel.from_graph(b.graph())
    passed = _run(library, model, [[1, -1]], "lrp.flat")
    stopped = _run(library, model, [[1, -1]], "lrp.flat:activation_layers=gradient")
    assert passed.attribution.tolist() == [[2, 2]]
    assert stopped.attribution.tolist() == [[0, 0]]


def test_a_check_that_refuses_what_the_library_can_do_is_disabled_and_named(library: PeerBackend) -> None:
    """Depthwise: (1*2, 3*-1) = (2, -3), logit -1; all of it goes back where it came from."""
    b = Builder("depthwise", (1, 1, 2))
    kernel = np.array([2.0, -1.0]).reshape(1, 1, 1, 2)
    b.add("conv2d", "depthwise", attributes={"groups": 2}, weights={"kernel": kernel})
    b.add("flatten", "flat")
    b.add("dense", "logits", weights={"kernel": np.ones((2, 1))})
    trace = _run(library, PortedModel.from_graph(b.graph()), [[[[1, 3]]]], "lrp.z")
    np.testing.assert_allclose(trace.attribution, [[[[2, -3]]]], rtol=1e-15)
    assert trace.provenance["peer"]["repairs"] == [
        "model check disabled: LRP is only tested for convolutional neural networks."
    ]


def test_the_batch_norm_layer_that_fails_on_keras_axes_is_repaired_and_named(library: PeerBackend) -> None:
    """y = x / sqrt(1 + 3) = x / 2, so R_x = x * y * R / (x * y + 1e-7), with x = 4, y = 2, R = 2."""
    b = Builder("norm", (1,))
    statistics = {"mean": np.zeros(1), "variance": np.ones(1)}
    b.add("batch_norm", "norm", attributes={"epsilon": 3.0}, weights=statistics)
    b.add("dense", "logits", weights={"kernel": np.ones((1, 1))})
    trace = _run(library, PortedModel.from_graph(b.graph()), [[4]], "lrp:rule=Z")
    np.testing.assert_allclose(trace.attribution, [[8 * 2 / (8 + 1e-7)]], rtol=1e-15)
    (repair,) = trace.provenance["peer"]["repairs"]
    assert repair.startswith("axis of batch norms made a number")


def test_layers_named_as_keras_names_its_own_are_no_obstacle(library: PeerBackend) -> None:
    """Branches that meet again: the library adds their gradients in an `Add` that Keras calls `add` or `add_1`."""
    b = Builder("named", (2,))
    b.add("relu", "add")
    b.add("add", "add_1", ["add", "input"])
    b.add("dense", "logits", weights={"kernel": np.array([[1.0], [2.0]])})
    trace = _run(library, PortedModel.from_graph(b.graph()), [[1, -1]], "gradient")
    assert trace.attribution.tolist() == [[2, 2]]


# Until indices and lists of rules ------------------------------------------------------------------------


def _branches() -> PortedModel:
    """Keras puts the long branch first, the graph the short one: by depth against by mention."""
    b = Builder("branches", (2,))
    b.add("dense", "short", "input", weights={"kernel": np.eye(2)})
    b.add("dense", "long1", "input", weights={"kernel": np.eye(2)})
    b.add("relu", "long1_relu")
    b.add("dense", "long2", weights={"kernel": np.eye(2)})
    b.add("add", "sum", ["short", "long2"])
    b.add("dense", "logits", weights={"kernel": np.eye(2)})
    return PortedModel.from_graph(b.graph())


def test_an_until_index_means_the_same_layers_there(library: PeerBackend) -> None:
    """Flat up to `hidden`: 5 and 2 at hidden are each shared equally between the two inputs."""
    trace = _run(library, _two_layers(), [[1, 2]], "lrp.z:until_layer_idx=1")
    np.testing.assert_allclose(trace.attribution, [[3.5, 3.5]], rtol=1e-15)
    beyond = _run(library, _branches(), [[1, 2]], "lrp.z:until_layer_idx=4")
    assert beyond.attribution.tolist() == [[2, 2]]


def test_an_until_index_that_means_other_layers_there_is_refused(library: PeerBackend) -> None:
    with pytest.raises(PeerError, match="no until_layer_idx of the Keras model means short: up to index"):
        _run(library, _branches(), [[1, 2]], "lrp.z:until_layer_idx=1")


def test_a_list_of_rules_goes_from_the_last_kernel_to_the_first(library: PeerBackend) -> None:
    """The last rule, Flat, is that of `hidden`, as above."""
    trace = _run(library, _two_layers(), [[1, 2]], "lrp:rule=Z/Flat")
    np.testing.assert_allclose(trace.attribution, [[3.5, 3.5]], rtol=1e-15)


def test_a_list_of_rules_for_another_order_of_kernels_is_refused(library: PeerBackend) -> None:
    with pytest.raises(PeerError, match="the Keras model has its kernels in the order long1, "):
        _run(library, _branches(), [[1, 2]], "lrp:rule=Z/Z/Z/Flat")


# Errors and processes ------------------------------------------------------------------------------------


def test_what_the_library_raises_is_passed_on_in_its_own_words(library: PeerBackend) -> None:
    """Its LRP checks the model first and refuses a softmax, wherever in it that stands."""
    b = Builder("softmax_within", (2,))
    b.add("dense", "hidden", weights={"kernel": np.eye(2)})
    b.add("softmax", "shares")
    b.add("dense", "logits", weights={"kernel": np.eye(2)})
    said = "innvestigate: NotAnalyzeableModelException: This analysis method does not support softmax layers"
    with pytest.raises(PeerError, match=said):
        _run(library, PortedModel.from_graph(b.graph()), [[1, 2]], "lrp.z")


def test_the_library_goes_on_after_an_error(library: PeerBackend) -> None:
    with pytest.raises(PeerError):
        _run(library, _branches(), [[1, 2]], "lrp.z:until_layer_idx=1")
    assert _run(library, _branches(), [[1, 2]], "gradient").attribution.tolist() == [[0, 2]]


def test_a_method_of_another_library_is_unsupported(library: PeerBackend) -> None:
    with pytest.raises(UnsupportedMethodError, match="'innvestigate' does not implement 'lrp_epsilon_0_1'"):
        _run(library, _two_layers(), [[1, 2]], "lrp_epsilon_0_1")


def test_a_dtype_that_it_does_not_compute_in_is_refused(library: PeerBackend) -> None:
    with pytest.raises(InvalidInputError, match="computes in float32 and float64, not in 'float16'"):
        ready(library, _two_layers(), "float16")


def test_a_process_that_was_ended_gets_the_model_again(library: PeerBackend) -> None:
    prepared = ready(library, _two_layers(), "float64")
    x = np.array([[1.0, 2.0]])
    before = prepared.explain(x, method("gradient"))
    library.worker.close()
    assert prepared.explain(x, method("gradient")).attribution.tolist() == before.attribution.tolist()


def test_two_models_take_turns(library: PeerBackend) -> None:
    """The process holds one model at a time; neither must be taken for the other."""
    first, second = ready(library, _two_layers(), "float64"), ready(library, _step(), "float64")
    for _ in range(2):
        assert first.explain(np.array([[1.0, 2.0]]), method("gradient")).attribution.tolist() == [[-1, 4]]
        assert second.explain(np.array([[1.0]]), method("gradient")).attribution.tolist() == [[1]]
