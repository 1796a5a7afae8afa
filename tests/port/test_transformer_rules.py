"""The rules of transformers in the port: numbers worked out by hand, then every reading against the oracle."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from harness.errors import UnsupportedMethodError
from harness.graph import Graph
from harness.methods import (
    Epsilon,
    HeldNorm,
    Linearized,
    ReplaceZero,
    Rule,
    ShareProduct,
    SignedEpsilon,
    SignSplit,
    SoftmaxTaylor,
    Unprotected,
)
from ported_impls.backend import TorchBackend
from ported_models.model import PortedModel
from reference_impls.oracle import propagate
from tests.port.one_layer import assert_equal, at_layer, one_layer, step

Shape = tuple[int, ...]

# Products ------------------------------------------------------------------------------------------------


def test_a_product_shares_half_with_each_of_its_tensors() -> None:
    # z = (1*3 + 2*4, 1*5 + 2*6) = (11, 17); R / 2z = (1, 2).
    # a: 1 * (3*1 + 5*2) = 13, 2 * (4*1 + 6*2) = 32. b: a^T q has rows (1, 2) and (2, 4), times b.
    a, b = step("matmul", ShareProduct(), [[[1, 2]], [[3, 5], [4, 6]]], [[22, 68]])
    assert_equal(a, [[13, 32]])
    assert_equal(b, [[3, 10], [8, 24]])
    assert a.sum() + b.sum() == 22 + 68


def test_a_transposed_product_gives_the_second_its_own_axes() -> None:
    # The product above, the second tensor written (out, in).
    a, b = step(
        "matmul", ShareProduct(), [[[1, 2]], [[3, 4], [5, 6]]], [[22, 68]], attributes={"transposed": True}
    )
    assert_equal(a, [[13, 32]])
    assert_equal(b, [[3, 8], [10, 24]])


@pytest.mark.parametrize(
    ("to", "first", "second"),
    [("first", [[26, 64]], [[0, 0], [0, 0]]), ("second", [[0, 0]], [[6, 20], [16, 48]])],
)
def test_a_product_that_holds_one_tensor_gives_all_to_the_other(to: Any, first: Any, second: Any) -> None:
    # Twice what either gets where both do: R / z = (2, 4).
    a, b = step("matmul", ShareProduct(to), [[[1, 2]], [[3, 5], [4, 6]]], [[22, 68]])
    assert_equal(a, first)
    assert_equal(b, second)


def test_the_stabilizer_of_a_product_meets_twice_the_output() -> None:
    # z = 2 * 3 = 6, S(2z) = 12 + 4: q = 32 / 16 = 2, and each tensor gets 2 * 3 * 2.
    a, b = step("matmul", ShareProduct("both", SignedEpsilon(4)), [[[2]], [[3]]], [[32]])
    assert a.item() == b.item() == 12


def test_a_product_of_zero_is_divided_by_what_stands_for_zero() -> None:
    # a = (1, 1), b = (2, -2): z = 0, q = 1 / 1e-7.
    a, b = step("matmul", ShareProduct(), [[[1, 1]], [[2], [-2]]], [[1]])
    assert_equal(a, [[2e7, -2e7]])
    assert_equal(b, [[2e7], [-2e7]])


def test_a_product_of_entries_adds_up_what_was_repeated() -> None:
    # The gate (2, 4) is repeated over two places: z = (2, 4 | 6, 16); R / 2z = (1, 2 | 3, 4).
    x, gate = step("multiply", ShareProduct(), [[[1, 1], [3, 4]], [[2, 4]]], [[4, 16], [36, 128]])
    assert_equal(x, [[2, 8], [18, 64]])
    assert_equal(gate, [[2 * (1 + 9), 4 * (2 + 16)]])


def test_a_product_of_three_entries_gives_a_third_to_each() -> None:
    # z = 2 * 3 * 4 = 24, R / 3z = 1: each x times the product of the others.
    received = step("multiply", ShareProduct(), [[2], [3], [4]], [72])
    assert [array.tolist() for array in received] == [[24], [24], [24]]


def test_a_sample_is_splatted_back_with_its_weights() -> None:
    # A row of the pixels 4 and 8, read half way between them (z = 6) and a quarter outside of the right one: there it
    # is 3/4 of 8 (z = 6). R / z = (2, 1): 4 * (1/2 * 2) and 8 * (1/2 * 2 + 3/4 * 1); places get nothing.
    maps, places = step(
        "grid_sample",
        ShareProduct("first"),
        [[[[[4], [8]]]], [[[[0, 0], [0.75, 0]]]]],
        [[[[12], [6]]]],
    )
    assert_equal(maps, [[[[4], [14]]]])
    assert_equal(places, [[[[0, 0], [0, 0]]]])


def test_a_sample_outside_of_the_map_is_that_of_its_border() -> None:
    maps, _ = step(
        "grid_sample",
        ShareProduct("first"),
        [[[[[4], [8]]]], [[[[5, 0]]]]],
        [[[[16]]]],
        attributes={"padding": "border"},
    )
    assert_equal(maps, [[[[0], [16]]]])


# Softmax -------------------------------------------------------------------------------------------------


def test_a_softmax_takes_off_what_its_outputs_weigh() -> None:
    # x = (ln 3, 0): y = (3/4, 1/4); R - y * 8 = (6 - 6, 2 - 2) = 0; with R = (8, 0): (2, -2).
    x = [np.log(3), 0.0]
    assert_equal(step("softmax", SoftmaxTaylor(), [x], [6, 2])[0] + 1, [1, 1])
    assert_equal(step("softmax", SoftmaxTaylor(), [x], [8, 0])[0], [2 * np.log(3), 0])


def test_a_masked_input_of_a_softmax_gets_nothing() -> None:
    # y = (1/2, 1/2, 0), the sum of R is 4: 2 * (3 - 2) and 2 * (1 - 2).
    (found,) = step("softmax", SoftmaxTaylor(), [[2, 2, -np.inf]], [3, 1, 0])
    assert found.tolist() == [2, -2, 0]


def test_a_softmax_over_another_axis() -> None:
    # Over the tokens: y = 1/2 everywhere, the sums of R are (4, 2).
    (found,) = step("softmax", SoftmaxTaylor(), [[[1, 3], [1, 3]]], [[4, 0], [0, 2]], attributes={"axis": -2})
    assert_equal(found, [[2, -3], [-2, 3]])


# Norms ---------------------------------------------------------------------------------------------------


def test_a_held_layer_norm_is_a_line() -> None:
    # x = (1, 7): mean 4, variance 9 + 7 = 16, d = 4; y = gamma * (-3, 3) / 4 + beta = (-6 + 8, 3 + 1) = (2, 4).
    # gamma / d * R / y = (2 * 4 / 2, 1 * 8 / 4) = (4, 2); its mean 3 taken off: (1, -1), times x.
    weights = {"gamma": [8, 4], "beta": [8, 1]}
    (found,) = step("layer_norm", HeldNorm(), [[1, 7]], [4, 8], weights, {"epsilon": 7})
    assert_equal(found, [1, -7])


def test_a_held_layer_norm_without_bias_conserves() -> None:
    # The norm above without beta: y = (-6, 3); (2 * -1, 1 * 2) = (-2, 2), of mean 0: (-2, 14), in sum R.
    weights = {"gamma": [8, 4], "beta": [8, 1]}
    (found,) = step("layer_norm", HeldNorm(bias=False), [[1, 7]], [6, 6], weights, {"epsilon": 7})
    assert_equal(found, [-2, 14])


def test_a_held_rms_norm_gives_each_value_its_own() -> None:
    # d = sqrt(12.5 + 3.5) = 4, y = (3/4, 10): x * gamma / d / y = 1.
    (found,) = step("rms_norm", HeldNorm(), [[3, 4]], [5, -2], {"gamma": [1, 10]}, {"epsilon": 3.5})
    assert_equal(found, [5, -2])


# Additions -----------------------------------------------------------------------------------------------


def test_an_addition_shares_among_the_inputs_of_its_sign() -> None:
    # z = 3 > 0: of 4 and -1 the first gets all. z = -3: the second. z = 4 of 3 and 1: 3/4 and 1/4.
    first, second = step("add", SignSplit(), [[4, 1, 3], [-1, -4, 1]], [7, 5, 8])
    assert_equal(first, [7, 0, 6])
    assert_equal(second, [0, 5, 2])


def test_an_addition_of_zero_shares_among_what_is_below_zero() -> None:
    # z = 2 - 2 is not above 0: the negative part, -2, gets all of it.
    first, second = step("add", SignSplit(), [[2], [-2]], [3])
    assert [first.item(), second.item()] == [0, 3]


def test_an_addition_divides_by_nothing_but_the_side_that_counts() -> None:
    # z = -3 has no positive part: unprotected, 0 / 0 were NaN.
    first, second = step("add", SignSplit(Unprotected()), [[-1], [-2]], [6])
    assert [first.item(), second.item()] == [2, 4]


def test_an_addition_of_a_repeated_input() -> None:
    # 1 is repeated over two places: z = (4, 2); its shares 8/4 and 2/2 add up.
    first, second = step("add", SignSplit(), [[[3], [1]], [[1]]], [[8], [2]])
    assert_equal(first, [[6], [1]])
    assert_equal(second, [[3]])


# Against the oracle --------------------------------------------------------------------------------------

STABILIZERS = (ReplaceZero(), SignedEpsilon(1e-6), SignedEpsilon(0.25), Unprotected())
PRODUCTS: list[tuple[str, list[Shape], dict[str, Any]]] = [
    ("matmul", [(3, 4), (4, 5)], {}),
    ("matmul", [(3, 4), (5, 4)], {"transposed": True}),
    ("matmul", [(2, 3, 4), (2, 4, 5)], {}),
    ("matmul", [(2, 2, 3, 4), (2, 2, 5, 4)], {"transposed": True}),
    ("multiply", [(4,), (4,)], {}),
    ("multiply", [(3, 4), (3, 4), (3, 4)], {}),
    ("multiply", [(3, 4), (1, 4)], {}),
    ("multiply", [(2, 1, 4), (2, 3, 1)], {}),
]
SAMPLINGS: list[tuple[list[Shape], str]] = [
    (shapes, padding)
    for shapes in ([(1, 3, 4, 2), (1, 5, 2, 2)], [(3, 1, 4, 1), (3, 2, 4, 2)])
    for padding in ("zeros", "border")
]
SUMS: list[list[Shape]] = [
    [(4,), (4,)],
    [(3, 4), (3, 4), (3, 4)],
    [(3, 4), (1, 4)],
    [(2, 1, 4), (2, 3, 1)],
    [(2, 3, 4, 2), (1, 1, 4, 1)],
]
NORMS: list[tuple[Shape, int]] = [((4,), 1), ((3, 4), 1), ((3, 4), 2), ((2, 3, 4), 1), ((2, 3, 2, 2), 3)]


def assert_as_the_oracle(graph: Graph, rule: Rule, seed: int = 0, mask: bool = False) -> None:
    """Within 1e-12 of each array's largest value, on inputs of both signs."""
    layer, rng = graph["layer"], np.random.default_rng(seed)
    inputs = tuple(rng.uniform(-1.5, 1.5, (2, *shape)) for shape in layer.input_shapes)
    if mask:
        inputs[0][..., -1] = -np.inf
    relevance = rng.standard_normal((2, *layer.shape))
    prepared = TorchBackend().prepare(PortedModel.from_graph(graph), "float64")
    found = prepared.step(layer, inputs, relevance, at_layer(rule))
    for one, other in zip(found, propagate(layer, inputs, relevance, rule), strict=True):
        assert one.shape == other.shape
        assert np.isfinite(other).all()
        assert np.abs(one - other).max() <= 1e-12 * max(1.0, np.abs(other).max())


@pytest.mark.parametrize("stabilizer", STABILIZERS, ids=repr)
@pytest.mark.parametrize("to", ["both", "first", "second"])
@pytest.mark.parametrize(("kind", "shapes", "attributes"), PRODUCTS)
def test_products_are_shared_as_the_oracle_does(
    kind: str, shapes: list[Shape], attributes: dict[str, Any], to: Any, stabilizer: Any
) -> None:
    assert_as_the_oracle(one_layer(kind, shapes, attributes=attributes), ShareProduct(to, stabilizer))


@pytest.mark.parametrize("stabilizer", STABILIZERS[:3], ids=repr)
@pytest.mark.parametrize(("shapes", "padding"), SAMPLINGS)
def test_samples_are_shared_as_the_oracle_does(shapes: list[Shape], padding: str, stabilizer: Any) -> None:
    graph = one_layer("grid_sample", shapes, attributes={"padding": padding})
    assert_as_the_oracle(graph, ShareProduct("first", stabilizer))


@pytest.mark.parametrize("mask", [False, True])
@pytest.mark.parametrize(("shape", "axis"), [((4,), -1), ((3, 4), -1), ((3, 4), -2), ((2, 3, 4), -3)])
def test_a_softmax_is_as_the_oracle_has_it(shape: Shape, axis: int, mask: bool) -> None:
    graph = one_layer("softmax", [shape], attributes={"axis": axis})
    assert_as_the_oracle(graph, SoftmaxTaylor(), mask=mask and axis == -1)


@pytest.mark.parametrize("stabilizer", STABILIZERS, ids=repr)
@pytest.mark.parametrize(("shape", "axes_count"), NORMS)
@pytest.mark.parametrize(
    ("kind", "weights"),
    [
        ("layer_norm", ()),
        ("layer_norm", ("gamma", "beta")),
        ("layer_norm", ("beta",)),
        ("rms_norm", ()),
        ("rms_norm", ("gamma",)),
    ],
)
def test_norms_are_as_the_oracle_has_them(
    kind: str, shape: Shape, axes_count: int, weights: tuple[str, ...], stabilizer: Any
) -> None:
    rng = np.random.default_rng(1)
    arrays = {name: rng.standard_normal(shape[-axes_count:]) for name in weights}
    graph = one_layer(kind, [shape], arrays, {"axes_count": axes_count, "epsilon": 1e-3})
    for rule in (HeldNorm(True, stabilizer), HeldNorm(False, stabilizer), Linearized(stabilizer)):
        assert_as_the_oracle(graph, rule)


@pytest.mark.parametrize("stabilizer", STABILIZERS[:3], ids=repr)
@pytest.mark.parametrize("shapes", SUMS)
def test_additions_are_split_as_the_oracle_does(shapes: list[Shape], stabilizer: Any) -> None:
    assert_as_the_oracle(one_layer("add", shapes), SignSplit(stabilizer))


# Single steps, programs, refusals ------------------------------------------------------------------------

EACH: list[tuple[str, list[Shape], Rule]] = [
    ("matmul", [(2, 3, 4), (2, 4, 5)], ShareProduct()),
    ("matmul", [(2, 3, 4), (2, 4, 5)], ShareProduct("second")),
    ("multiply", [(3, 4), (1, 4)], ShareProduct()),
    ("grid_sample", [(1, 3, 4, 2), (1, 5, 2, 2)], ShareProduct("first")),
    ("softmax", [(3, 4)], SoftmaxTaylor()),
    ("layer_norm", [(3, 4)], HeldNorm()),
    ("layer_norm", [(3, 4)], HeldNorm(bias=False)),
    ("rms_norm", [(3, 4)], HeldNorm()),
    ("add", [(3, 4), (1, 4)], SignSplit()),
]


@pytest.mark.parametrize(("kind", "shapes", "rule"), EACH)
def test_a_step_can_be_written_down_as_a_program(kind: str, shapes: list[Shape], rule: Rule) -> None:
    """Its result is proven where it is made; here that it is the step's."""
    graph = one_layer(kind, shapes)
    layer, rng = graph["layer"], np.random.default_rng(3)
    inputs = tuple(rng.uniform(-1, 1, (2, *shape)) for shape in shapes)
    relevance = rng.standard_normal((2, *layer.shape))
    prepared = TorchBackend().prepare(PortedModel.from_graph(graph), "float64")
    program = prepared.step_program(layer, inputs, relevance, at_layer(rule))
    for one, other in zip(
        program.results, prepared.step(layer, inputs, relevance, at_layer(rule)), strict=True
    ):
        assert one.tobytes() == other.tobytes()


@pytest.mark.parametrize(
    ("kind", "shapes", "rule", "needs"),
    [
        ("add", [(4,), (4,)], ShareProduct(), "needs a product of tensors"),
        ("grid_sample", [(1, 3, 4, 2), (1, 5, 2, 2)], ShareProduct(), "needs to='first' at a sampling"),
        ("relu", [(4,)], SoftmaxTaylor(), "needs a softmax"),
        ("group_norm", [(3, 4)], HeldNorm(), "needs a layer norm or an RMS norm"),
        ("multiply", [(4,), (4,)], SignSplit(), "needs an addition"),
        ("average_pool1d", [(3, 4)], SignSplit(), "needs an addition"),
        ("matmul", [(3, 4), (4, 5)], Epsilon(0.1), "needs a layer with a kernel"),
    ],
)
def test_a_rule_where_it_has_no_reading_is_refused(
    kind: str, shapes: list[Shape], rule: Rule, needs: str
) -> None:
    attributes = {"group_norm": {"groups": 2}, "average_pool1d": {"pool_size": (3,)}}.get(kind, {})
    graph = one_layer(kind, shapes, attributes=attributes)
    prepared = TorchBackend().prepare(PortedModel.from_graph(graph), "float64")
    inputs = tuple(np.ones((1, *shape)) for shape in shapes)
    with pytest.raises(UnsupportedMethodError, match=needs) as caught:
        prepared.step(graph["layer"], inputs, np.ones((1, *graph["layer"].shape)), at_layer(rule))
    assert "found layer 'layer'" in str(caught.value)
