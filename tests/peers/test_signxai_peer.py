"""The adapter of the real signxai 1.1.9.2: what it is asked for; and its answers, worked out on small networks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from harness.backends import backend_named
from harness.errors import InvalidInputError, PeerError, UnsupportedMethodError
from harness.graph import Graph, Layer
from harness.methods import Gamma, GradCam, Smoothed, gaussian_noise
from harness.methods import method as method_named
from harness.methods.dialects.signxai import lrp_composite, published_names
from ported_models import PortedModel
from reference_impls.peers.backend import PeerBackend, signxai_backend
from reference_impls.peers.signxai import ADAPTER, Instruction, call, call_of, knows
from tests.peers.library import needs
from tests.prepared import ready

GENERAL = "calculate_explanation_innvestigate"
PUBLISHED = tuple(published_names())


def named(name: str) -> Any:
    """The method of ``name`` in signxai's reading."""
    return method_named(name + (",dialect=signxai" if ":" in name else ":dialect=signxai"))


# What is asked for ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_name_runs_through_the_function_of_that_name(name: str) -> None:
    assert call_of(named(name)).function == name


def test_a_function_gets_the_threshold_that_its_name_leaves_open() -> None:
    assert call_of(named("smoothgrad_x_sign_mu:mu=0.7")) == Instruction("smoothgrad_x_sign_mu", {"mu": 0.7})


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("lrp_epsilon_0_33", Instruction(GENERAL, {"method": "lrp.epsilon", "epsilon": 0.33})),
        (
            "lrpsign_epsilon_2_std_x_mu_neg_0_7",
            Instruction(
                GENERAL,
                {"method": "lrp.stdxepsilon", "stdfactor": 2.0, "input_layer_rule": "SIGNmu", "mu": -0.7},
            ),
        ),
        (
            "zblrp_sequential_composite_b:low=0,high=2",
            Instruction(
                GENERAL,
                {
                    "method": "lrp.sequential_composite_b",
                    "input_layer_rule": "Bounded",
                    "low": 0.0,
                    "high": 2.0,
                },
            ),
        ),
        (
            "w2lrp_alpha_3_beta_2",
            Instruction(
                GENERAL,
                {"method": "lrp.alpha_beta", "input_layer_rule": "WSquare"},
                creation={"alpha": 3.0, "beta": 2.0},
            ),
        ),
        ("gradient_x_sign_mu_1_5", Instruction(GENERAL, {"method": "gradient"}, times=1.5)),
        ("deconvnet_x_input", Instruction(GENERAL, {"method": "deconvnet"}, times="input")),
        (
            "vargrad:augment_by_n=7,noise_scale=0.5",
            Instruction(GENERAL, {"method": "vargrad", "augment_by_n": 7, "noise_scale": 0.5}),
        ),
        (
            "integrated_gradients:steps=9",
            Instruction(GENERAL, {"method": "integrated_gradients", "steps": 9, "reference_inputs": 0.0}),
        ),
        ("guided_grad_cam:layer=conv", Instruction("guided_grad_cam_MNISTCNN")),
        ("guided_grad_cam:layer=conv,model=sequential", Instruction("guided_grad_cam_MNISTCNN")),
        (
            "lrp_epsilon_0_33:neuron_selection=max_activation",
            Instruction(GENERAL, {"method": "lrp.epsilon", "epsilon": 0.33}, class_given=False),
        ),
        (
            "vargrad:neuron_selection=max_activation",
            Instruction("vargrad", class_given=False),
        ),
    ],
)
def test_another_name_of_the_grammar_runs_through_the_function_behind_the_published_ones(
    name: str, expected: Instruction
) -> None:
    assert call_of(named(name)) == expected


def test_the_function_is_found_by_what_a_method_does_where_its_name_says_nothing() -> None:
    assert call_of(replace(named("lrp_epsilon_5"), name="mine")).arguments == {
        "method": "lrp.epsilon",
        "epsilon": 5.0,
    }


def test_a_name_does_not_cover_a_method_that_does_something_else() -> None:
    disguised = replace(named("lrp_epsilon_5"), name="lrp_z")
    assert call_of(disguised).arguments == {"method": "lrp.epsilon", "epsilon": 5.0}


@pytest.mark.parametrize("name", ["lrp.z", "deconvnet:dialect=innvestigate", "epsilon_plus", "lrp.gamma"])
def test_a_method_in_another_librarys_reading_is_refused(name: str) -> None:
    method = method_named(name)
    assert not knows(method)
    with pytest.raises(UnsupportedMethodError, match=r"signxai 1\.1\.9\.2 has no function for"):
        call_of(method)


def test_a_rule_that_signxai_has_no_analyzer_for_is_refused() -> None:
    assert not knows(replace(named("lrp_z"), composite=lrp_composite(Gamma(0.25))))


def test_the_noise_that_is_sent_is_the_shared_generators_in_the_precision_of_the_run() -> None:
    method = named("smoothgrad:augment_by_n=3,noise_scale=0.5,seed=4")
    assert isinstance(method.procedure, Smoothed)
    sent = call(method, RELU, (2, 1), "float32")
    expected = np.stack(list(gaussian_noise(method.procedure, (2, 1)))).astype(np.float32)
    np.testing.assert_array_equal(sent.arrays["noise"], expected)
    assert sent.arrays["noise"].dtype == np.float32
    assert (sent.payload["scale"], sent.payload["statistic"]) == (0.5, "mean")


def test_the_layer_that_is_sent_for_grad_cam_has_the_activation_in_it() -> None:
    assert call(named("grad_cam_MNISTCNN"), CAM, (1, 2, 2, 1), "float32").payload["layer"] == "conv2d_1_relu"


# Networks ------------------------------------------------------------------------------------------------

_AXES = {1: ("channel",), 2: ("time", "channel"), 3: ("height", "width", "channel")}


def network(name: str, shape: tuple[int, ...], *steps: tuple[Any, ...]) -> Graph:
    """A graph of (name, kind, inputs, shape, attributes, weights) after the layer "x"; the last is the output."""
    layers = [Layer("x", "input", (), (), shape, ("batch", *_AXES[len(shape)]))]
    shapes = {"x": shape}
    for step, kind, inputs, out, attributes, weights in steps:
        arrays = {key: np.array(values, dtype=np.float32) for key, values in weights.items()}
        inputs_shapes = tuple(shapes[each] for each in inputs)
        axes = ("batch", *_AXES[len(out)])
        layers.append(Layer(step, kind, inputs, inputs_shapes, out, axes, attributes, arrays))
        shapes[step] = out
    return Graph(name, tuple(layers), layers[-1].name)


@dataclass(frozen=True)
class Model:
    """As much of a `ported_models.PortedModel` as a peer is shown."""

    graph: Graph

    @property
    def name(self) -> str:
        return self.graph.name

    digest = name


#: z = (1, 1) W + b for x = (1, -1): W = [[1, -1], [2, 3]], b = (0.5, -1).
LINEAR = network(
    "linear",
    (2,),
    ("z", "dense", ("x",), (2,), {}, {"kernel": [[1, -1], [2, 3]], "bias": [0.5, -1]}),
)
#: y = relu(x).
RELU = network(
    "relu",
    (1,),
    ("a", "dense", ("x",), (1,), {}, {"kernel": [[1]]}),
    ("relu", "relu", ("a",), (1,), {}, {}),
    ("y", "dense", ("relu",), (1,), {}, {"kernel": [[1]]}),
)
#: y = -relu(x) + 3 relu(x).
FORK = network(
    "fork",
    (1,),
    ("a", "dense", ("x",), (1,), {}, {"kernel": [[1]]}),
    ("relu", "relu", ("a",), (1,), {}, {}),
    ("minus", "dense", ("relu",), (1,), {}, {"kernel": [[-1]]}),
    ("thrice", "dense", ("relu",), (1,), {}, {"kernel": [[3]]}),
    ("y", "add", ("minus", "thrice"), (1,), {}, {}),
)
#: Two channels, relu(x) and relu(-x), and the sum of their averages.
CAM = network(
    "cam",
    (2, 2, 1),
    (
        "conv2d_1",
        "conv2d",
        ("x",),
        (2, 2, 2),
        {"strides": (1, 1), "dilations": (1, 1), "groups": 1, "padding": ((0, 0), (0, 0))},
        {"kernel": [[[[1, -1]]]]},
    ),
    ("conv2d_1_relu", "relu", ("conv2d_1",), (2, 2, 2), {}, {}),
    ("pool", "global_average_pool", ("conv2d_1_relu",), (2,), {"keepdims": False}, {}),
    ("y", "dense", ("pool",), (1,), {}, {"kernel": [[1], [1]]}),
)


#: Logits (12, 8) at (2, -1): kernel (3 3 / -5 2), bias (1, 4).
MAXIMA = network(
    "maxima",
    (2,),
    ("z", "dense", ("x",), (2,), {}, {"kernel": [[3, 3], [-5, 2]], "bias": [1, 4]}),
)
#: Logits 2 x and 3.
LINES = network("lines", (1,), ("z", "dense", ("x",), (2,), {}, {"kernel": [[2, 0]], "bias": [0, 3]}))
_PLAIN = {"strides": (1, 1), "dilations": (1, 1), "groups": 1, "padding": ((0, 0), (0, 0))}
#: A = relu(relu(x) - 2 relu(-x) + 3), y its average.
GUIDED = network(
    "guided",
    (2, 2, 1),
    ("first", "conv2d", ("x",), (2, 2, 2), _PLAIN, {"kernel": [[[[1, -1]]]]}),
    ("first_relu", "relu", ("first",), (2, 2, 2), {}, {}),
    ("conv2d_1", "conv2d", ("first_relu",), (2, 2, 1), _PLAIN, {"kernel": [[[[1], [-2]]]], "bias": [3]}),
    ("conv2d_1_relu", "relu", ("conv2d_1",), (2, 2, 1), {}, {}),
    ("pool", "global_average_pool", ("conv2d_1_relu",), (1,), {"keepdims": False}, {}),
    ("y", "dense", ("pool",), (1,), {}, {"kernel": [[1]]}),
)


# What is answered ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def backend() -> Iterator[PeerBackend]:
    """The real library, or a skip that says how to get it."""
    needs("signxai")
    made = signxai_backend()
    yield made
    made.worker.close()


@pytest.fixture(scope="module", params=["fused", "sequential"])
def users_own(request: pytest.FixtureRequest) -> Iterator[PeerBackend]:
    """The real library, given models with activations inside their layers, functional and sequential."""
    needs("signxai")
    made = PeerBackend(ADAPTER, request.param)
    yield made
    made.worker.close()


@pytest.mark.thinned(0.4)
@pytest.mark.peer
@pytest.mark.parametrize(
    ("graph", "x", "name", "expected"),
    [
        # As in `tests/conformance/test_neuron_selection.py`: maxima of different classes, each point's own class.
        (MAXIMA, (2, -1), "lrp_alpha_1_beta_0:neuron_selection=max_activation", (4.8, 4)),
        (MAXIMA, (2, -1), "lrp_alpha_2_beta_1:neuron_selection=max_activation", (9.6, 20)),
        (MAXIMA, (2, -1), "lrp_alpha_1_beta_0", (6, 5)),
        (MAXIMA, (2, -1), "lrp_z:neuron_selection=max_activation", (6, 5)),
        (LINES, (4,), "integrated_gradients:steps=3,neuron_selection=max_activation", (16 / 3,)),
        (LINES, (4,), "integrated_gradients:steps=3", (8,)),
    ],
)
def test_the_library_as_its_users_call_it(
    users_own: PeerBackend, graph: Graph, x: tuple[float, ...], name: str, expected: tuple[float, ...]
) -> None:
    trace = explained(users_own, graph, x, name)
    np.testing.assert_allclose(trace.attribution, [expected], rtol=1e-6)


@pytest.mark.peer
def test_the_start_of_runs_that_choose_their_own_output_is_not_shown(users_own: PeerBackend) -> None:
    """At the start of the path another line is the highest than at its end: the library does not say which it took."""
    own = explained(users_own, LINES, (4,), "integrated_gradients:steps=3,neuron_selection=max_activation")
    given = explained(users_own, LINES, (4,), "integrated_gradients:steps=3")
    assert own.layers["z"].relevance is None
    np.testing.assert_array_equal(given.layers["z"].relevance, [[1, 0]])


@pytest.mark.thinned(0.4)
@pytest.mark.parametrize(
    "backend_name",
    ["oracle", "tensorflow", "torch", pytest.param("signxai", marks=pytest.mark.peer)],
)
@pytest.mark.parametrize(
    ("model", "expected"),
    [
        # A = (4 1 / 5 2), its map (A - 1) / 4 in 8 bits (191 0 / 255 63); dA/dx = (1 2 / 1 2), whose twos come down
        # to the first ReLU as -2 and stop there where it is guided.
        ("functional", [191, 0, 255, 0]),
        ("sequential", [191, 0, 255, 126]),
    ],
)
def test_the_first_relu_of_a_sequential_model_is_not_guided(
    backend_name: str, model: str, expected: list[float]
) -> None:
    if backend_name == "signxai":
        needs("signxai")
    side = backend_named(backend_name)
    dtype = "float64" if backend_name == "oracle" else "float32"
    x = np.array([[[[1], [-1]], [[2], [-0.5]]]], dtype)
    found = ready(side, PortedModel.from_graph(GUIDED), dtype).explain(
        x, named(f"guided_grad_cam_MNISTCNN:model={model}"), np.array([0]), layers=False
    )
    np.testing.assert_allclose(found.attribution.ravel(), expected, rtol=1e-6)


def explained(backend: PeerBackend, graph: Graph, x: Any, name: str, target: int = 0) -> Any:
    """The trace of a single sample ``x``."""
    batch = np.array(x, dtype=np.float32)[np.newaxis]
    prepared = ready(backend, Model(graph), "float32")  # type: ignore[arg-type]
    return prepared.explain(batch, named(name), np.array([target]))


@pytest.mark.thinned(0.4)
@pytest.mark.peer
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # Kernel 0 is (1, 2) and logit 0 is 1 - 2 + 0.5.
        ("gradient", (1, 2)),
        ("input_t_gradient", (1, -2)),
        ("gradient_x_sign", (1, -2)),
        ("guided_backprop", (-0.5, -1)),  # starts at the logit, not at one
        ("deconvnet_x_input", (-0.5, 1)),
        ("lrp_z", (1, -2)),
        ("lrp_epsilon_0_5", (0.5, -1)),  # -0.5 / (-0.5 - 0.5) of it
        # std(x) = 1, so that epsilon is 2: -0.5 / (-0.5 - 2) of it.
        ("lrp_epsilon_2_std_x", (0.2, -0.4)),
        # Positive contributions 1 and bias 0.5: A = -0.5 / 1.5 (1, 0). Negative ones -2, and the bias again:
        # B = -0.5 / (-2 + 0.5) (0, -2). 3 A - 2 B:
        ("lrp_alpha_3_beta_2", (-1, 4 / 3)),
        ("integrated_gradients_x_sign", (1, 2)),
    ],
)
def test_one_dense_layer(backend: PeerBackend, name: str, expected: tuple[float, float]) -> None:
    found = explained(backend, LINEAR, [1, -1], name)
    np.testing.assert_allclose(found.attribution, [expected], rtol=1e-6)
    np.testing.assert_array_equal(found.logits, [[-0.5, -5]])


@pytest.mark.peer
def test_relevance_of_the_output_is_the_head_at_the_target(backend: PeerBackend) -> None:
    logit = explained(backend, LINEAR, [1, -1], "lrp_z", target=1).layers["z"]
    one = explained(backend, LINEAR, [1, -1], "gradient", target=1).layers["z"]
    np.testing.assert_array_equal(logit.activation, [[-0.5, -5]])
    np.testing.assert_array_equal(logit.relevance, [[0, -5]])
    np.testing.assert_array_equal(one.relevance, [[0, 1]])


@pytest.mark.peer
@pytest.mark.parametrize("name", ["guided_backprop", "deconvnet"])
def test_the_share_of_each_of_several_readers_is_rectified_on_its_own(
    backend: PeerBackend, name: str
) -> None:
    # The logit is 4; the readers hand back -4 and 12, of which max(-4, 0) + max(12, 0) is left.
    found = explained(backend, FORK, [2], name)
    np.testing.assert_array_equal(found.layers["relu"].relevance, [[12]])
    np.testing.assert_array_equal(found.layers["a"].relevance, [[12]])
    np.testing.assert_array_equal(found.attribution, [[12]])


@pytest.mark.peer
def test_relevance_from_several_readers_is_their_sum(backend: PeerBackend) -> None:
    found = explained(backend, FORK, [2], "gradient")
    np.testing.assert_array_equal(found.layers["relu"].relevance, [[2]])


@pytest.mark.peer
def test_input_times_gradient_leaves_the_gradient_between_the_layers(backend: PeerBackend) -> None:
    found = explained(backend, FORK, [2], "input_t_gradient")
    assert (found.layers["relu"].relevance.item(), found.layers["x"].relevance.item()) == (2, 2)
    assert found.attribution.item() == 4


@pytest.mark.peer
def test_smoothing_uses_the_noise_it_is_handed_for_each_sample_and_each_layer(backend: PeerBackend) -> None:
    # The gradient of relu is 1 where x + noise is above 0: a share p of 16 samples; its variance is p (1 - p).
    x = np.array([[0.1], [-0.2]], dtype=np.float32)
    method = named("vargrad:augment_by_n=16,noise_scale=0.5,seed=3")
    assert isinstance(method.procedure, Smoothed)
    above = np.mean([x + noise > 0 for noise in gaussian_noise(method.procedure, x.shape)], axis=0)
    assert 0 < above[1] < above[0] < 1
    prepared = ready(backend, Model(RELU), "float32")  # type: ignore[arg-type]
    variance = prepared.explain(x, method)
    mean = prepared.explain(x, named("smoothgrad:augment_by_n=16,noise_scale=0.5,seed=3"))
    # Sixteenths and their squares are exact.
    np.testing.assert_array_equal(mean.attribution, above)
    np.testing.assert_array_equal(mean.layers["a"].relevance, above)
    np.testing.assert_array_equal(variance.attribution, above * (1 - above))
    np.testing.assert_array_equal(variance.layers["a"].relevance, above * (1 - above))
    np.testing.assert_array_equal(variance.layers["relu"].relevance, [[0], [0]])
    np.testing.assert_array_equal(mean.layers["x"].activation, x)


@pytest.mark.peer
@pytest.mark.parametrize("name", ["grad_cam", "grad_cam_MNISTCNN", "guided_grad_cam"])
def test_grad_cam_weighs_what_comes_out_of_the_activation(backend: PeerBackend, name: str) -> None:
    # Both channels weigh 1/4 there: the map is |x| / 4, over its maximum (1, .5, .5, .5), as 8-bit grey levels
    # from its minimum to its maximum (255, 0, 0, 0). In front of the activation it would be (255, 0, 127, 127).
    x = [[[2], [-1]], [[1], [1]]]
    found = explained(backend, CAM, x, name)
    # The guided gradient of relu(x) + relu(-x) at the first place is 1.
    np.testing.assert_array_equal(found.attribution.ravel(), [255, 0, 0, 0])
    assert found.layers == {}


@pytest.mark.peer
def test_a_batch_is_explained_sample_by_sample(backend: PeerBackend) -> None:
    # std(x) over both samples together would be another epsilon for each.
    x = np.array([[1, -1], [10, -10]], dtype=np.float32)
    prepared = ready(backend, Model(LINEAR), "float32")  # type: ignore[arg-type]
    found = prepared.explain(x, named("lrp_epsilon_2_std_x"), np.array([0, 0]))
    # Logits -0.5 and -9.5, epsilons 2 and 20.
    expected = [[0.2, -0.4], [10 * 9.5 / 29.5, -20 * 9.5 / 29.5]]
    np.testing.assert_allclose(found.attribution, expected, rtol=1e-6)


@pytest.mark.peer
def test_without_a_target_the_largest_logit_is_explained(backend: PeerBackend) -> None:
    prepared = ready(backend, Model(LINEAR), "float32")  # type: ignore[arg-type]
    found = prepared.explain(np.array([[1, -1], [-1, 1]], dtype=np.float32), named("gradient"))
    # Logits (-0.5, -5) and (1.5, 3).
    np.testing.assert_array_equal(found.target, [0, 1])
    np.testing.assert_array_equal(found.attribution, [[1, 2], [-1, 3]])


@pytest.mark.peer
def test_what_the_library_raises_is_said_in_its_own_words_and_the_next_request_works(
    backend: PeerBackend,
) -> None:
    with pytest.raises(PeerError, match=r"signxai: .*safe_divide"):
        explained(backend, LINEAR, [1, -1], "lrpsign_z")  # SIGNRule knows no output layer
    assert explained(backend, LINEAR, [1, -1], "gradient").attribution.tolist() == [[1, 2]]


@pytest.mark.peer
def test_a_network_deeper_than_pythons_default_recursion_is_explained(backend: PeerBackend) -> None:
    steps, before = [], "x"
    for place in range(400):
        steps.append((f"r{place}", "relu", (before,), (1,), {}, {}))
        before = f"r{place}"
    deep = network("deep", (1,), *steps, ("y", "dense", (before,), (1,), {}, {"kernel": [[3]]}))
    assert explained(backend, deep, [2], "gradient").attribution.item() == 3


def test_float64_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="signxai computes in float32, not in 'float64'"):
        ready(signxai_backend(), Model(LINEAR), "float64")  # type: ignore[arg-type]


def random_network() -> Graph:
    """Convolutions, batch norm, addition and both poolings, with the layer names that signxai's functions know."""
    random = np.random.default_rng(0)
    same = {"strides": (1, 1), "dilations": (1, 1), "groups": 1, "padding": ((1, 1), (1, 1))}
    pool = {"pool_size": (2, 2), "strides": (2, 2), "padding": ((0, 0), (0, 0))}

    def kernel(*shape: int) -> dict[str, Any]:
        return {"kernel": random.standard_normal(shape) / 4, "bias": random.standard_normal(shape[-1]) / 4}

    norm = {key: random.standard_normal(4) for key in ("gamma", "beta", "mean")}
    return network(
        "random",
        (8, 8, 3),
        ("block5_conv3", "conv2d", ("x",), (8, 8, 4), same, kernel(3, 3, 3, 4)),
        (
            "bn",
            "batch_norm",
            ("block5_conv3",),
            (8, 8, 4),
            {"epsilon": 1e-3},
            {**norm, "variance": [1, 2, 3, 4]},
        ),
        ("relu5_3", "relu", ("bn",), (8, 8, 4), {}, {}),
        ("conv2d_1", "conv2d", ("relu5_3",), (8, 8, 4), same, kernel(3, 3, 4, 4)),
        ("conv2d_1_relu", "relu", ("conv2d_1",), (8, 8, 4), {}, {}),
        ("add", "add", ("relu5_3", "conv2d_1_relu"), (8, 8, 4), {}, {}),
        ("max_pool", "max_pool2d", ("add",), (4, 4, 4), pool, {}),
        ("average_pool", "average_pool2d", ("max_pool",), (2, 2, 4), {**pool, "count_include_pad": True}, {}),
        ("flatten", "flatten", ("average_pool",), (16,), {"order": "channels_last"}, {}),
        ("y", "dense", ("flatten",), (5,), {}, kernel(16, 5)),
    )


@pytest.mark.peer
@pytest.mark.nightly
@pytest.mark.parametrize("name", [name for name in PUBLISHED if name != "grad_cam_timeseries"])
def test_every_published_name_runs_and_keeps_the_relevance_of_every_layer(
    backend: PeerBackend, name: str
) -> None:
    graph = random_network()
    x = np.random.default_rng(1).standard_normal((8, 8, 3))
    found = explained(backend, graph, x, name, target=2)
    assert found.attribution.shape == (1, 8, 8, 3)
    assert np.isfinite(found.attribution).all()
    # Of its bounded rule only rounding is left, see `harness.methods.Bounded`.
    assert found.attribution.any() or name.startswith("zblrp")
    if isinstance(named(name).procedure, GradCam) or name == "random_uniform":
        assert found.layers == {}
    else:
        assert all(found.layers[layer.name].relevance.shape == (1, *layer.shape) for layer in graph)
        # Nothing but the sign, the input or a threshold stands between the input's relevance and the attribution.
        if "_x_" not in name.replace("_std_x", "") and name not in (
            "input_t_gradient",
            "integrated_gradients",
        ):
            np.testing.assert_array_equal(found.layers["x"].relevance, found.attribution)


@pytest.mark.peer
@pytest.mark.nightly
def test_grad_cam_of_a_time_series(backend: PeerBackend) -> None:
    # |x| / 4 over its maximum, (1, 0.5); at linspace(0, 1, 2), the places themselves.
    graph = network(
        "series",
        (2, 1),
        (
            "conv",
            "conv1d",
            ("x",),
            (2, 2),
            {"strides": (1,), "dilations": (1,), "groups": 1, "padding": ((0, 0),)},
            {"kernel": [[[1, -1]]]},
        ),
        ("conv_relu", "relu", ("conv",), (2, 2), {}, {}),
        ("pool", "global_average_pool", ("conv_relu",), (2,), {"keepdims": False}, {}),
        ("y", "dense", ("pool",), (1,), {}, {"kernel": [[1], [1]]}),
    )
    found = explained(backend, graph, [[2], [-1]], "grad_cam_timeseries")
    np.testing.assert_array_equal(found.attribution, [[[1], [0.5]]])
