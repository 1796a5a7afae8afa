"""Attention rollout and gradient rollout in reference, port and oracle: numbers by hand, and on trained networks."""

from __future__ import annotations

import numpy as np
import pytest

import harness
from harness.errors import InvalidInputError, MethodDoesNotApplyError
from harness.methods import method, tokens_of_places
from harness.methods.rollout import Rollout, row_read
from harness.methods.serialize import from_json, to_json
from ported_models.build import Builder
from ported_models.model import PortedModel
from ported_models.zoo import minilm
from ported_models.zoo.fetch import is_cached
from tests.models.graphs import branching_graph
from tests.models.transformers import NETWORKS, inputs_for
from tests.models.two_tokens import X, two_tokens

pytestmark = [pytest.mark.tensorflow, pytest.mark.torch]
BACKENDS = ("tensorflow", "torch", "oracle")


def figures(backend: str, name: str, target: int = 0) -> np.ndarray:
    """Those of the two tokens; all four features of a token have one."""
    model = PortedModel.from_graph(two_tokens())
    found = harness.explain(model, X, name, backend, target=target, dtype="float64").attribution
    assert found.shape == X.shape
    assert (found == found[..., :1]).all()
    return found[0, :, 0]


@pytest.mark.parametrize("backend", BACKENDS)
def test_attention_rollout_by_hand(backend: str) -> None:
    # Means over heads: W1 = [[5, 3], [3, 5]] / 8, W2 = [[6, 2], [3, 5]] / 8.
    # B1 = [[13, 3], [3, 13]] / 16, B2 = [[14, 2], [3, 13]] / 16. B2 B1 = [[188, 68], [78, 178]] / 256.
    for target in (0, 1):  # no target enters
        np.testing.assert_allclose(
            figures(backend, "attention_rollout", target), [47 / 64, 17 / 64], rtol=1e-13
        )
    np.testing.assert_allclose(figures(backend, "attention_rollout:rows=1"), [39 / 128, 89 / 128], rtol=1e-13)
    mean = [(188 + 78) / 512, (68 + 178) / 512]
    np.testing.assert_allclose(figures(backend, "attention_rollout:rows=mean"), mean, rtol=1e-13)


@pytest.mark.parametrize("backend", BACKENDS)
def test_gradient_rollout_by_hand(backend: str) -> None:
    # Output 0 is the sum over heads and tokens j of A2[0, j] m[j], m[j] = sum over k of A1[j, k] c[k], c the value of a
    # token: (4, 0) in head 1, (0, -8) in head 2. m is (3, 2) and (-4, -6).
    # The gradient of A2 is m in row 0: times A2, positive: head 1 (9/4, 1/2), head 2 none; C2 = [[9/8, 1/4], [0, 0]].
    # The gradient of A1 is A2[0, j] c[k]: times A1, positive: head 1 [[9/4, 0], [1/2, 0]]; C1 = [[9/8, 0], [1/4, 0]].
    # R = (I + C2)(I + C1) has the row 0 (17/8 + 9/8 * 17/8 + 1/4 * 1/4, 1/4), and the row 1 (1/4, 1).
    np.testing.assert_allclose(figures(backend, "gradient_rollout"), [293 / 64, 1 / 4], rtol=1e-13)
    np.testing.assert_allclose(figures(backend, "gradient_rollout:rows=1"), [1 / 4, 1], rtol=1e-13)
    # Output 1 is 0 whatever the weights: R is the identity.
    np.testing.assert_allclose(figures(backend, "gradient_rollout", target=1), [1, 0], atol=1e-13)


@pytest.mark.thinned(0.5)
@pytest.mark.parametrize("name", ["attention_rollout", "gradient_rollout"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_reference_and_port_agree_on_digits(name: str, dtype: str) -> None:
    model = harness.load_model("vit-digits")
    x = model.examples["two"]()
    reference = harness.explain(model, x, name, target=2, dtype=dtype)
    candidate = harness.explain(model, x, name, "torch", target=2, dtype=dtype)
    compared = harness.compare(reference, candidate)
    assert compared.passed, compared.verdict
    assert np.abs(reference.attribution).max() > 0.01
    # Each pixel of a patch of 2x2 has its token's figure.
    patches = reference.attribution[0, :, :, 0].reshape(4, 2, 4, 2)
    assert (patches == patches[:, :1, :, :1]).all()
    if dtype == "float64":
        oracle = harness.explain(model, x, name, "oracle", target=2, dtype=dtype)
        assert harness.compare(oracle, reference).passed


@pytest.mark.nightly
@pytest.mark.parametrize("name", ["attention_rollout", "gradient_rollout"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_reference_and_port_agree_on_sentences(name: str, dtype: str) -> None:
    if not is_cached(minilm.WEIGHTS):
        pytest.skip("minilm-l6 is not fetched")
    model = harness.load_model("minilm-l6")
    x = model.examples["weather"]()
    reference = harness.explain(model, x, name, target=1, dtype=dtype)
    candidate = harness.explain(model, x, name, "torch", target=1, dtype=dtype)
    assert harness.compare(reference, candidate).passed
    # The sentence is the mean over the tokens.
    assert row_read(model.graph, "read") is None
    if name == "attention_rollout":
        np.testing.assert_allclose(reference.attribution.sum(), 1, rtol=1e-5)


def test_layers_show_the_gradient_down_to_the_first_attention_and_zero_in_front_of_it() -> None:
    model = PortedModel.from_graph(two_tokens())
    found = {
        each: harness.explain(model, X, "gradient_rollout", each, target=0, dtype="float64").layers
        for each in BACKENDS
    }
    for layers in found.values():
        # A2[0, j] times the value of token k; head 1, then head 2.
        slope = [[[[3, 0], [1, 0]], [[0, -6], [0, -2]]]]
        np.testing.assert_allclose(layers["weights1"].relevance, slope, rtol=1e-13, atol=1e-13)
        assert not layers["scores1"].relevance.any()
        assert not layers["two_tokens" if "two_tokens" in layers else "input"].relevance.any()


def test_the_rows_of_a_mask_stay_out() -> None:
    graph = NETWORKS["encoder"](0)
    x = inputs_for(graph)
    model = PortedModel.from_graph(graph)
    for backend in BACKENDS:
        found = harness.explain(model, x, "attention_rollout", backend, target=0, dtype="float64")
        # No token reads token 3, which is place 2 of the input behind the class token.
        assert not found.attribution[:, 2].any()
        assert found.attribution[:, (0, 1, 3)].all()
        # What is missing to 1 is the class token's own.
        assert (found.attribution[..., 0].sum(axis=1) < 1).all()


def test_patches_are_found_by_their_tokens() -> None:
    # Token 0 is the class token; patches of 2x2 pixels row by row behind it.
    rows, columns = np.indices((8, 8)) // 2
    np.testing.assert_array_equal(
        tokens_of_places(harness.load_model("vit-digits").graph), 1 + 4 * rows + columns
    )


def test_pixels_that_no_patch_holds_have_none() -> None:
    b = Builder("cropped", (5, 4, 1))
    kernel = np.ones((2, 2, 1, 4))
    b.add("conv2d", "patches", None, {"strides": (2, 2)}, {"kernel": kernel})
    b.add("reshape", "tokens", attributes={"target": (4, 4)})
    b.add("matmul", "scores", ("tokens", "tokens"), {"transposed": True})
    b.add("softmax", "weights")
    b.add("matmul", "mixed", ("weights", "tokens"))
    b.add("global_average_pool", "mean")
    expected = [[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3], [2, 2, 3, 3], [-1] * 4]
    np.testing.assert_array_equal(tokens_of_places(b.graph()), expected)
    found = harness.explain(
        PortedModel.from_graph(b.graph()), np.ones((1, 5, 4, 1)), "attention_rollout", "oracle", 0, "float64"
    )
    # Alike tokens read each other alike.
    np.testing.assert_allclose(found.attribution[0, :4], 0.25)
    assert not found.attribution[0, 4].any()


@pytest.mark.parametrize(
    ("net", "says"),
    [
        ("decoder", r"'self_weights' have shape \(2, 3, 3\), not \(head, 6, 6\)"),
        ("deformable_zeros", "samples maps at computed places"),
        ("branching", "no product in it has a softmax as its first factor"),
    ],
)
def test_other_networks_are_refused_by_name(net: str, says: str) -> None:
    graph = branching_graph(np.random.default_rng(0)) if net == "branching" else NETWORKS[net](0)
    with pytest.raises(MethodDoesNotApplyError, match=says) as refused:
        method("attention_rollout").check(graph)
    assert graph.name in str(refused.value)
    assert "\n" not in str(refused.value)


def test_rows_that_are_none_are_one_line() -> None:
    with pytest.raises(InvalidInputError, match="tokens 0 to 1"):
        method("attention_rollout:rows=2").check(two_tokens())
    with pytest.raises(InvalidInputError, match="rows must be a number"):
        method("attention_rollout:rows=first")
    with pytest.raises(InvalidInputError, match="from 0 on, mean or read, found -1"):
        Rollout(rows=-1)


def test_a_network_that_goes_on_from_all_tokens_asks_for_a_name() -> None:
    b = Builder("flattened", (2, 4))
    b.add("matmul", "scores", ("input", "input"), {"transposed": True})
    b.add("softmax", "weights")
    b.add("matmul", "mixed", ("weights", "input"))
    b.add("flatten", "flat")
    with pytest.raises(
        InvalidInputError, match=r"in no way that is known .* name what is explained: rows=mean"
    ):
        method("attention_rollout").check(b.graph())
    assert row_read(b.graph(), 1) == 1
    assert row_read(b.graph(), "mean") is None


def test_a_rollout_is_stored_and_read() -> None:
    for name in ("attention_rollout", "gradient_rollout:rows=mean", "attention_rollout:rows=3"):
        assert from_json(to_json(method(name))) == method(name)
