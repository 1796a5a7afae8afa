"""The products of attention: by hand, reference against port, whole transformers, and against the package itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

import harness
from evidence.planted_bugs.bugs.attention_networks import deformable, encoder
from harness.errors import HarnessError, InvalidInputError
from harness.graph import Graph, Layer, attention_of, role_in_attention
from harness.methods import AttentionShare, Rule, method
from ported_impls.dlbacktrace.rules import propagate
from ported_impls.dlbacktrace.run import TwinBacktrace
from ported_models.build import Builder
from ported_models.model import PortedModel
from reference_impls.peers.backtrace_package import PackageBackend, original
from tests.dlbacktrace.sides import SIDES, on_port, on_reference
from tests.dlbacktrace.test_diagnosis import Otherwise
from tests.peers.library import needs

MODES = ("backtrace.default", "backtrace.contrast", "backtrace.contrast:part=against")


@cache
def model_of(name: str) -> PortedModel:
    """A trained transformer of the zoo, or a small one with a mask."""
    return harness.load_model(name) if name == "vit-digits" else PortedModel.from_graph(encoder())


def inputs_of(model: PortedModel) -> np.ndarray:
    return np.random.default_rng(3).random((2, *model.input_shape))


def product_of(first: tuple[int, ...], second: tuple[int, ...], transposed: bool) -> Layer:
    """The product of two tensors of these shapes."""
    shape = (*first[:-1], second[-2] if transposed else second[-1])
    axes = ("batch", *(f"axis{place}" for place in range(len(shape))))
    return Layer(
        "layer", "matmul", ("one", "other"), (first, second), shape, axes, {"transposed": transposed}
    )


# By hand ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", SIDES.values(), ids=SIDES)
def test_half_of_the_relevance_goes_to_each_operand(side: Any) -> None:
    # 1 * 3 + 2 * 1 = 5 gets R = 10: q = 10 / 10 = 1, so that (1 * 3, 2 * 1) goes to either operand.
    layer = product_of((1, 2), (2, 1), transposed=False)
    inputs = np.asarray([[[1.0, 2.0]]]), np.asarray([[[3.0], [1.0]]])
    shares = side(layer, inputs, (np.full((1, 1, 1), 10.0),), AttentionShare("none"))
    assert [share.ravel().tolist() for (share,) in shares] == [[3, 2], [3, 2]]
    # Anew by size: the 5 of the first by 1 and 2, the 5 of the second by 3 and 1.
    shares = side(layer, inputs, (np.full((1, 1, 1), 10.0),), AttentionShare("both"))
    expected = [[5 / 3, 10 / 3], [15 / 4, 5 / 4]]
    assert [share.ravel() for (share,) in shares] == [pytest.approx(each) for each in expected]


@pytest.mark.parametrize("side", SIDES.values(), ids=SIDES)
def test_what_cancels_is_divided_by_no_less_than_1e_9(side: Any) -> None:
    # 1 * 1 - 1 * 1 = 0: q = 2 / 1e-9, and the two shares are +-2e9. They cancel where they are shared anew.
    layer = product_of((1, 2), (1, 2), transposed=True)
    inputs = np.asarray([[[1.0, 1.0]]]), np.asarray([[[1.0, -1.0]]])
    shares = side(layer, inputs, (np.full((1, 1, 1), 2.0),), AttentionShare("second"))
    assert shares[0][0].ravel() == pytest.approx([2e9, -2e9])
    assert shares[1][0].ravel().tolist() == [0, 0]


def test_a_head_hands_a_quarter_to_queries_and_keys_and_half_to_values_whatever_its_mask() -> None:
    """Of ``R`` at the product of weights and values: by the sums of the formula, ``sum of A V R / (2 A V) = R / 2``."""
    model = model_of("encoder")
    run = harness.explain(model, inputs_of(model), "backtrace.default", backend="backtrace-numpy")
    relevance, activations = (
        {name: np.asarray(getattr(each, what), np.float64) for name, each in run.layers.items()}
        for what in ("relevance", "activation")
    )
    received = relevance["mixed"].sum(axis=(-2, -1), keepdims=True)
    assert model.graph["masked"].kind == "affine"
    for name, part in (("query_heads", 0.25), ("key_heads", 0.25), ("value_heads", 0.5)):
        sizes = np.abs(activations[name])
        expected = part * received * sizes / sizes.sum(axis=(-2, -1), keepdims=True)
        np.testing.assert_allclose(relevance[name], expected, rtol=2e-4)


# Reference against port ------------------------------------------------------------------------------


@pytest.mark.parametrize("anew", ["none", "first", "second", "both"])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("heads", [(), (3,), (2, 3)])
def test_products_of_any_rank_give_the_same_on_both_sides(
    anew: Any, transposed: bool, heads: tuple[int, ...]
) -> None:
    rng = np.random.default_rng(5)
    second = (5, 6) if transposed else (6, 5)
    layer = product_of((*heads, 4, 6), (*heads, *second), transposed)
    inputs = tuple(rng.standard_normal((2, *shape)) for shape in layer.input_shapes)
    for modes in (1, 2):
        received = tuple(rng.standard_normal((2, *layer.shape)) for _ in range(modes))
        both = [side(layer, inputs, received, AttentionShare(anew)) for side in (on_reference, on_port)]
        for one, other in zip(*both, strict=True):
            for expected, actual in zip(one, other, strict=True):
                np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-11 * np.abs(expected).max())


@pytest.mark.parametrize("name", ["encoder", "vit-digits"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("mode", MODES)
def test_every_layer_of_a_transformer_is_equivalent(name: str, dtype: str, mode: str) -> None:
    model = model_of(name)
    x = inputs_of(model).astype(dtype)
    reference = harness.explain(model, x, mode, dtype=dtype)
    candidate = harness.explain(
        model, x, mode, backend="backtrace-torch", target=reference.target, dtype=dtype
    )
    compared = harness.compare(reference, candidate)
    assert compared.passed, compared.table[["layer", "verdict", "floors"]]
    assert len(compared.table) == len(model.graph)
    assert all(np.abs(reference.layers[layer.name].relevance).max() > 0 for layer in model.graph)


def test_the_chunk_size_bounds_the_products_too() -> None:
    rng = np.random.default_rng(8)
    layer = product_of((2, 4, 6), (2, 5, 6), transposed=True)
    inputs = tuple(rng.standard_normal((3, *shape)) for shape in layer.input_shapes)
    received = (rng.standard_normal((3, *layer.shape)),)
    whole = on_port(layer, inputs, received, AttentionShare("both"))
    # Of a sample: four times 40 numbers of the product, 48 and 60 of its operands.
    for (one,), (other,) in zip(
        whole, on_port(layer, inputs, received, AttentionShare("both"), 592), strict=True
    ):
        np.testing.assert_allclose(other, one, rtol=1e-12)
    with pytest.raises(InvalidInputError, match=r"layer 'layer', which takes 592; give a chunk of 592"):
        on_port(layer, inputs, received, AttentionShare("both"), 591)


# Which products are attention's ----------------------------------------------------------------------


def test_the_layers_of_one_attention_are_found() -> None:
    graph = encoder()
    assert attention_of(graph["mixed"], graph) == ("scores", "weights", "mixed", 0)
    assert attention_of(graph["scores"], graph) is None
    roles = {layer.name: role_in_attention(layer, graph) for layer in graph}
    assert {name: role for name, role in roles.items() if role} == {
        "scores": "scores",
        "mixed": "weights_first",
    }


def small(between: str = "", weights_first: bool = True) -> Graph:
    """``softmax(X X^T) X``, with a layer of the kind ``between`` before the softmax, or ``X^T softmax(X X^T)``."""
    b = Builder("small", (4, 3))
    b.add("matmul", "scores", ("input", "input"), {"transposed": True})
    if between == "add":
        b.add("dense", "computed", "input", weights={"kernel": np.ones((3, 4))})
        b.add("add", "between", ("scores", "computed"))
    elif between:
        b.add(between, "between")
    b.add("softmax", "weights")
    if weights_first:
        b.add("matmul", "mixed", ("weights", "input"), {"transposed": False})
    else:
        b.add("permute", "columns", "input", {"dims": (2, 1)})
        b.add("matmul", "mixed", ("columns", "weights"), {"transposed": False})
    b.add("flatten", "flatten")
    b.add("dense", "logits", weights={"kernel": np.eye(12)[:, :2]})
    return b.graph()


def test_the_values_may_be_the_first_operand() -> None:
    graph = small(weights_first=False)
    rules = method("backtrace.default").composite.assign(graph)
    assert (rules["scores"], rules["mixed"]) == (AttentionShare("both"), AttentionShare("first"))
    assert method("backtrace.contrast").composite.assign(graph)["mixed"] == AttentionShare("first")


@pytest.mark.parametrize("between", ["tanh", "add"])
def test_scores_that_are_not_attentions_are_refused_by_name(between: str) -> None:
    for mode in MODES:
        with pytest.raises(InvalidInputError, match=r"no rule for layer 'scores' \(matmul\)"):
            method(mode).composite.assign(small(between))


def test_weights_that_are_no_product_of_query_and_key_are_refused_by_name() -> None:
    with pytest.raises(InvalidInputError, match=r"no rule for layer '\w+' \((grid_sample|matmul)\)"):
        method("backtrace.default").composite.assign(deformable())


# Diagnosis -------------------------------------------------------------------------------------------


def anew(rule: Rule) -> Rule:
    """What `pytorch_version` does: nothing is shared anew."""
    return AttentionShare("none") if isinstance(rule, AttentionShare) else rule


def test_a_port_that_does_not_share_anew_is_named_at_both_products() -> None:
    model = model_of("encoder")
    found = harness.diagnose(
        model, inputs_of(model), "backtrace.default", candidate=Otherwise(anew), dtype="float64"
    )
    (finding,) = found.findings
    assert (finding.layer, finding.also, finding.cause) == ("mixed", ("scores",), "attention-rule")
    assert "not shared anew by size" in finding.words
    assert found.left is not None and found.left < 1e-9


def test_heads_that_are_shared_together_are_named() -> None:
    class Together(Otherwise):
        def prepare(self, model: Any, dtype: str, device: str = "cpu") -> TwinBacktrace:
            def step(layer: Any, module: Any, inputs: Any, received: Any, rule: Any, size: Any) -> Any:
                shares = propagate(layer, module, inputs, received, rule, size)
                if layer.name != "mixed":
                    return shares
                sizes, (of_values,) = inputs[1].abs(), shares[1]
                axes = tuple(range(1, sizes.ndim))
                total = of_values.sum(axes, keepdim=True) / sizes.sum(axes, keepdim=True)
                return shares[0], (sizes * total,)

            return replace(super().prepare(model, dtype), propagate=step)

    model = model_of("encoder")
    found = harness.diagnose(
        model,
        inputs_of(model),
        "backtrace.default",
        candidate=Together(lambda rule: rule),
        dtype="float64",
    )
    assert [(each.layer, each.cause) for each in found.findings] == [("mixed", "attention-rule")]
    assert "over all heads together" in found.explanation


# The package itself ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def package() -> Iterator[PackageBackend]:
    """The modules `original_version`; skipped where the peer is not installed."""
    needs("dl-backtrace")
    backend = original()
    yield backend
    backend.worker.close()


@pytest.mark.peer
@pytest.mark.parametrize("name", ["encoder", "vit-digits"])
def test_both_sides_equal_the_original_handlers_at_every_layer(package: PackageBackend, name: str) -> None:
    """Attention is one handler of the package: between its two products it has no layer."""
    model = model_of(name)
    x = inputs_of(model)
    of_package = harness.explain(model, x, "backtrace.default", backend=package, dtype="float64")
    for ours in ("backtrace-numpy", "backtrace-torch"):
        run = harness.explain(
            model, x, "backtrace.default", backend=ours, target=of_package.target, dtype="float64"
        )
        missing = set(run.layers) - {
            each for each, layer in of_package.layers.items() if layer.relevance is not None
        }
        roles = [role_in_attention(layer, model.graph) for layer in model.graph]
        assert "value_heads" not in missing and len(missing) >= 3 * roles.count("scores")
        for layer, shown in of_package.layers.items():
            if shown.relevance is not None:
                expected, actual = np.asarray(shown.relevance), np.asarray(run.layers[layer].relevance)
                assert np.linalg.norm(actual - expected) < 1e-12 * np.linalg.norm(expected), layer


@pytest.mark.peer
def test_attention_that_the_handler_does_not_have_is_said_before_it_runs(package: PackageBackend) -> None:
    wanted = method("backtrace.default")
    assert not package.supports(wanted, small())
    assert "softmax(Q K^T)" in package.supports(wanted, small(weights_first=False))


@pytest.mark.peer
def test_the_package_has_no_single_product(package: PackageBackend) -> None:
    model = model_of("encoder")
    layer = model.graph["scores"]
    operands = tuple(np.ones((1, *shape)) for shape in layer.input_shapes), np.ones((1, *layer.shape))
    with pytest.raises(HarnessError, match="attention is one handler"):
        package.prepare(model, "float64").step(layer, *operands, method("backtrace.default"))
