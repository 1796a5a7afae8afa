"""The rules of transformers: numbers worked out by hand, in the reference and the oracle; and the two side by side."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from harness.errors import UnsupportedMethodError
from harness.methods import (
    Gradient,
    HeldNorm,
    Linearized,
    ReplaceZero,
    Rule,
    ShareProduct,
    SignedEpsilon,
    SignSplit,
    SoftmaxTaylor,
    Stabilizer,
    Unprotected,
    Z,
)
from reference_impls.oracle import OracleBackend
from reference_impls.tensorflow import TensorFlowBackend
from tests.reference.one_layer import assert_equal, step

Run = Callable[..., tuple[np.ndarray, ...]]


@pytest.fixture(params=[TensorFlowBackend, OracleBackend])
def run(request: pytest.FixtureRequest) -> Run:
    """:func:`step` of the reference or of the oracle."""

    def one_step(*arguments: Any, **options: Any) -> tuple[np.ndarray, ...]:
        return step(*arguments, backend=request.param(), **options)

    return one_step


# Products ----------------------------------------------------------------------------------------------

# a = [[1, 2], [0, 1]], b = [[1, 0], [3, -1]]: z = [[7, -2], [3, -1]].
A, B = [[1, 2], [0, 1]], [[1, 0], [3, -1]]
B_TRANSPOSED = [[1, 3], [0, -1]]


def test_a_matrix_product_gives_half_to_each_input(run: Run) -> None:
    # q = R / 2z = [[1, -2], [1, 2]]. q b^T = [[1, 3 + 2], [1, 3 - 2]], a^T q = [[1, -2], [2 + 1, -4 + 2]].
    a, b = run("matmul", ShareProduct(), [A, B], [[14, 8], [6, -4]])
    assert_equal(a, [[1, 10], [0, 1]])
    assert_equal(b, [[1, 0], [9, 2]])
    assert a.sum() + b.sum() == 14 + 8 + 6 - 4


def test_a_transposed_input_gets_its_relevance_in_its_own_axes(run: Run) -> None:
    a, b = run(
        "matmul", ShareProduct(), [A, B_TRANSPOSED], [[14, 8], [6, -4]], attributes={"transposed": True}
    )
    assert_equal(a, [[1, 10], [0, 1]])
    assert_equal(b, [[1, 9], [0, 2]])


def test_a_matrix_product_gives_all_to_one_input(run: Run) -> None:
    # q = R / z = [[1, -2], [1, 2]]: what is above, for half the relevance.
    relevance = [[7, 4], [3, -2]]
    a, b = run("matmul", ShareProduct("first"), [A, B], relevance)
    assert_equal(a, [[1, 10], [0, 1]])
    assert not b.any()
    a, b = run("matmul", ShareProduct("second"), [A, B], relevance)
    assert not a.any()
    assert_equal(b, [[1, 0], [9, 2]])


def test_the_stabilizer_is_that_of_the_output_times_the_inputs_counted(run: Run) -> None:
    # z = 11 or -11. S(2z) = 22 + 2 or -22 - 2, S(z) = 11 + 2.
    rule = ShareProduct(stabilizer=SignedEpsilon(2))
    assert_equal(run("matmul", rule, [[[1, 2]], [[3], [4]]], [[24]])[0], [[3, 8]])
    assert_equal(run("matmul", rule, [[[1, 2]], [[-3], [-4]]], [[-24]])[0], [[-3, -8]])
    rule = ShareProduct("first", SignedEpsilon(2))
    assert_equal(run("matmul", rule, [[[1, 2]], [[3], [4]]], [[13]])[0], [[3, 8]])


def test_a_product_that_cancels_is_divided_by_1e_minus_7(run: Run) -> None:
    a, b = run("matmul", ShareProduct(), [[[1, 2]], [[2], [-1]]], [[1e-7]])
    assert_equal(a, [[2, -2]])
    assert_equal(b, [[2], [-2]])


def test_each_head_is_a_product_of_its_own(run: Run) -> None:
    # z = 6 and 20; q = R / 2z = 1 and 2.
    a, b = run("matmul", ShareProduct(), [[[[2]], [[4]]], [[[3]], [[5]]]], [[[12]], [[80]]])
    assert a.ravel().tolist() == b.ravel().tolist() == [6, 40]


def test_a_product_of_entries_is_summed_where_an_input_was_repeated(run: Run) -> None:
    # z = [[2, 2], [6, 4]], q = R / 2z = [[1, 2], [1, -1]]; b gets b * sum(q * a) = [2 (1 + 3), 1 (4 - 4)].
    a, b = run("multiply", ShareProduct(), [[[1, 2], [3, 4]], [[2, 1]]], [[4, 8], [12, -8]])
    assert_equal(a, [[2, 4], [6, -4]])
    assert_equal(b, [[8, 0]])


def test_a_product_of_three_gives_a_third_to_each(run: Run) -> None:
    assert [found.tolist() for found in run("multiply", ShareProduct(), [[2], [3], [4]], [72])] == [[24]] * 3


def test_an_input_of_zero_gets_nothing_of_a_product(run: Run) -> None:
    # z = 0 is replaced by 1e-7: a gets 0 * q * b = 0, b gets b * q * 0 = 0.
    a, b = run("multiply", ShareProduct(), [[0], [3]], [5])
    assert a.tolist() == b.tolist() == [0]


# Sampling ----------------------------------------------------------------------------------------------


def sampled(
    run: Run, maps: Any, places: Any, relevance: list[float], padding: str = "zeros", rule: Rule | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """One head and one channel; ``maps`` (height, width), ``places`` (point, 2); of one query."""
    maps, places = np.asarray(maps, float)[None, ..., None], np.asarray(places, float)[None, None]
    values = np.reshape(relevance, (1, 1, -1, 1))
    rule = rule or ShareProduct("first")
    to_maps, to_places = run("grid_sample", rule, [maps, places], values, None, {"padding": padding})
    return to_maps[0, ..., 0], to_places[0, 0]


def test_a_sample_between_pixels_shares_by_their_weights_and_values(run: Run) -> None:
    # Of three columns, x = 1/3 lies at ((1/3 + 1) * 3 - 1) / 2 = 1.5; of two rows, y = 1/2 at 1: z = (5 + 7) / 2.
    to_maps, to_places = sampled(run, [[1, 2, 3], [4, 5, 7]], [[1 / 3, 0.5]], [12])
    assert_equal(to_maps, [[0, 0, 0], [0, 5, 7]])
    assert not to_places.any()


def test_all_four_pixels_around_a_place_get_their_share(run: Run) -> None:
    # x = y = 0 lies between four: z = (1 + 2 + 3 + 10) / 4 = 4, q = 2.
    to_maps, _ = sampled(run, [[1, 2], [3, 10]], [[0, 0]], [8])
    assert_equal(to_maps, [[0.5, 1], [1.5, 5]])


def test_beyond_the_border_lie_zeros_which_get_nothing(run: Run) -> None:
    # Of one row of two, x = 1 lies at 1.5: z = 6 / 2 = 3, all of it from the pixel 6.
    assert_equal(sampled(run, [[2, 6]], [[1, 0]], [3])[0], [[0, 3]])
    # x = 2 lies at 2.5, where there is nothing: what is divided by 1e-7 is multiplied by 0.
    assert not sampled(run, [[2, 6]], [[2, 0]], [3])[0].any()


def test_or_the_pixel_of_the_border(run: Run) -> None:
    assert_equal(sampled(run, [[2, 6]], [[1, 0]], [3], "border")[0], [[0, 3]])
    assert_equal(sampled(run, [[2, 6]], [[-7, 9]], [3], "border")[0], [[3, 0]])


def test_a_pixel_that_is_read_at_several_places_adds_them_up(run: Run) -> None:
    # Both points read (2 + 6) / 2 = 4; R / z = 1 and 2.
    assert_equal(sampled(run, [[2, 6]], [[0, 0], [0, 0]], [4, 8])[0], [[3, 9]])


@pytest.mark.parametrize(
    ("padding", "place", "to_maps", "to_places"),
    [
        # x = 0 is half way between 2 and 6; a step of 1 is a pixel of the two: 6 - 2. y = 0 is the row's centre; a
        # step of 1 is half a pixel, towards the zero below: -4 / 2.
        ("zeros", (0, 0), [0.5, 0.5], (4, -2)),
        # x = 1 is half way from 6 to the zero beyond: -6, and -3 / 2.
        ("zeros", (1, 0), [0, 0.5], (-6, -1.5)),
        # y = -1 is half a pixel above the row's centre: half of all, and 4 / 2 towards the row.
        ("zeros", (0, -1), [0.25, 0.25], (2, 2)),
        ("border", (1, 0), [0, 1], (0, 0)),
    ],
)
def test_the_gradient_of_a_sample(
    run: Run, padding: str, place: tuple[float, float], to_maps: Any, to_places: Any
) -> None:
    found = sampled(run, [[2, 6]], [place], [1], padding, Gradient())
    assert_equal(found[0], [to_maps])
    assert_equal(found[1], [to_places])


# Softmax -----------------------------------------------------------------------------------------------


def test_a_softmax_takes_off_the_mean_relevance_by_its_output(run: Run) -> None:
    # y = [1/2, 1/2]: [2 (3 - 2), 2 (1 - 2)].
    assert_equal(run("softmax", SoftmaxTaylor(), [[2, 2]], [3, 1])[0], [2, -2])
    # y = [3/4, 1/4], sum 8: [log 3 (2 - 6), 0].
    assert_equal(run("softmax", SoftmaxTaylor(), [[np.log(3), 0]], [2, 6])[0], [-4 * np.log(3), 0])


def test_what_is_masked_by_minus_infinity_gets_nothing(run: Run) -> None:
    # y = [1/2, 1/2, 0], sum 9: [2 (3 - 4.5), 2 (1 - 4.5), 0].
    assert_equal(run("softmax", SoftmaxTaylor(), [[2, 2, -np.inf]], [3, 1, 5])[0], [-3, -7, 0])


def test_a_softmax_sums_along_its_own_axis(run: Run) -> None:
    # Columns of equal values, y = 1/2; sums 4 and 6.
    (found,) = run("softmax", SoftmaxTaylor(), [[[2, 1], [2, 1]]], [[3, 1], [1, 5]], None, {"axis": -2})
    assert_equal(found, [[2, -2], [-2, 2]])


# Norms -------------------------------------------------------------------------------------------------

# x = [1, 5]: mean 3, variance 4, with 12 a deviation of 4; y = gamma [-2, 2] / 4 + beta = [-1, 3] + [0, 1].
NORM = {"gamma": [2, 6], "beta": [0, 1]}


def test_a_norm_whose_deviation_is_held_is_a_line(run: Run) -> None:
    # R / y = [2, 2], times gamma / 4: [1, 3], less their mean: [-1, 1]. What is missing is beta's 1 * 2.
    (found,) = run("layer_norm", HeldNorm(), [[1, 5]], [-2, 8], NORM, {"epsilon": 12})
    assert_equal(found, [-1, 5])


def test_a_held_norm_can_leave_its_bias_out(run: Run) -> None:
    (found,) = run("layer_norm", HeldNorm(bias=False), [[1, 5]], [-2, 6], NORM, {"epsilon": 12})
    assert_equal(found, [-1, 5])
    assert found.sum() == -2 + 6


def test_a_held_norm_without_weights_and_with_a_stabilizer(run: Run) -> None:
    # y = [-1/2, 1/2], S(y) = [-1, 1]; R / S / 4 = [-1, 2], mean 1/2.
    rule = HeldNorm(stabilizer=SignedEpsilon(0.5))
    assert_equal(run("layer_norm", rule, [[1, 5]], [4, 8], None, {"epsilon": 12})[0], [-1.5, 7.5])


def test_a_held_norm_over_two_axes(run: Run) -> None:
    weights = {"gamma": [[2], [6]], "beta": [[0], [1]]}
    attributes = {"epsilon": 12, "axes_count": 2}
    (found,) = run("layer_norm", HeldNorm(), [[[1], [5]]], [[-2], [8]], weights, attributes)
    assert_equal(found, [[-1], [5]])


def test_a_held_rms_norm_takes_no_mean_off(run: Run) -> None:
    # Mean of squares 13, with 3 a deviation of 4; y = [1/2, 5], R / y = [2, 2]: x * gamma / 4 * 2.
    (found,) = run("rms_norm", HeldNorm(), [[1, 5]], [1, 10], {"gamma": [2, 4]}, {"epsilon": 3})
    assert_equal(found, [1, 10])


def test_the_gradient_of_an_rms_norm_moves_the_deviation(run: Run) -> None:
    # d = 4, g = R * gamma = [16, 16]: (g - x * mean(g x) / 16) / 4, the mean being 48: [16 - 3, 16 - 15] / 4.
    (found,) = run("rms_norm", Gradient(), [[1, 5]], [8, 4], {"gamma": [2, 4]}, {"epsilon": 3})
    assert_equal(found, [13 / 4, 1 / 4])


# Additions ---------------------------------------------------------------------------------------------


def test_only_inputs_of_the_sums_sign_share(run: Run) -> None:
    # Sums 2, -4 and 0: 3 alone is above; -1 and -3 are below; at 0 what is below shares.
    left, right = run("add", SignSplit(), [[3, -1, 1], [-1, -3, -1]], [6, 8, 2])
    assert_equal(left, [6, 2, 0])
    assert_equal(right, [0, 6, 2])


def test_an_addition_sums_shares_where_an_input_was_repeated(run: Run) -> None:
    # Sums 4 and 0: 3 and 1 share 8; -1 gets 5, the 1 nothing.
    left, right = run("add", SignSplit(), [[[3], [-1]], [[1]]], [[8], [5]])
    assert_equal(left, [[6], [5]])
    assert_equal(right, [[2]])


def test_an_addition_is_stabilized_by_the_side_that_shares(run: Run) -> None:
    # Above: 3 + 1; below: -1 - 1.
    rule = SignSplit(SignedEpsilon(1))
    assert_equal(run("add", rule, [[3, -1], [-1, 0]], [8, 8])[0], [6, 4])


def test_a_side_without_inputs_is_not_divided_by(run: Run) -> None:
    left, right = run("add", SignSplit(Unprotected()), [[1, -1], [1, -3]], [4, 8])
    assert_equal(left, [2, 2])
    assert_equal(right, [2, 6])


# Refusals ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "rule", "shapes", "needed"),
    [
        ("add", ShareProduct(), [(2, 2), (2, 2)], "a product of tensors that the network computes"),
        ("grid_sample", ShareProduct(), [(1, 2, 2, 1), (1, 1, 1, 2)], "to='first' where maps are sampled"),
        ("relu", SoftmaxTaylor(), [(2,)], "a softmax"),
        ("softmax", HeldNorm(), [(2,)], "a layer norm or an RMS norm"),
        ("multiply", SignSplit(), [(2, 2), (2, 2)], "an addition"),
    ],
)
def test_a_rule_that_says_nothing_about_a_layer_is_refused(
    kind: str, rule: Rule, shapes: list[tuple[int, ...]], needed: str
) -> None:
    inputs = [np.ones(shape) for shape in shapes]
    relevance = np.ones(shapes[1][:3] + shapes[0][-1:] if kind == "grid_sample" else shapes[0])
    with pytest.raises(UnsupportedMethodError, match=rf"'layer' \({kind}\): rule \w+ needs {needed}"):
        step(kind, rule, inputs, relevance)


# Beside the oracle ---------------------------------------------------------------------------------------

STABILIZERS: tuple[Stabilizer, ...] = (ReplaceZero(), SignedEpsilon(1e-6), SignedEpsilon(0.25), Unprotected())
NORMS = {
    "layer_norm": ("layer_norm", ("gamma", "beta"), 1),
    "layer_norm over all axes": ("layer_norm", ("gamma", "beta"), 3),
    "layer_norm, no gamma": ("layer_norm", ("beta",), 2),
    "layer_norm, no beta": ("layer_norm", ("gamma",), 1),
    "layer_norm, bare": ("layer_norm", (), 1),
    "rms_norm": ("rms_norm", ("gamma",), 1),
    "rms_norm over two axes": ("rms_norm", ("gamma",), 2),
    "rms_norm, bare": ("rms_norm", (), 1),
}
PRODUCTS = {
    "matmul": ("matmul", [(3, 4), (4, 5)], {}),
    "matmul of heads": ("matmul", [(2, 3, 4), (2, 4, 5)], {}),
    "matmul, transposed": ("matmul", [(2, 3, 4), (2, 5, 4)], {"transposed": True}),
    "matmul of five axes": ("matmul", [(2, 3, 1, 4), (2, 3, 4, 5)], {}),
    "multiply": ("multiply", [(3, 4), (3, 4)], {}),
    "multiply, repeated": ("multiply", [(3, 4), (1, 4)], {}),
    "multiply, both repeated": ("multiply", [(3, 1, 4), (1, 2, 4)], {}),
    "multiply of three": ("multiply", [(3, 4), (3, 4), (3, 1)], {}),
}
SAMPLINGS = {
    f"{padding}, {maps}": ("grid_sample", [maps, places], {"padding": padding})
    for padding in ("zeros", "border")
    for maps, places in (((2, 3, 4, 5), (2, 4, 3, 2)), ((1, 1, 4, 1), (1, 2, 2, 2)))
}
SUMS = {
    "add": [(3, 4), (3, 4)],
    "add, repeated": [(3, 4), (1, 4)],
    "add, both repeated": [(3, 1, 4), (1, 2, 1)],
    "add of three": [(2, 3, 4), (2, 3, 4), (2, 1, 4)],
}


def assert_as_the_oracle(
    kind: str,
    rules: list[Rule],
    shapes: list[tuple[int, ...]],
    output: tuple[int, ...],
    weights: dict[str, np.ndarray] | None = None,
    attributes: dict[str, Any] | None = None,
) -> None:
    """Relevance of every input is the oracle's, to 1e-12 of the largest of the array."""
    rng = np.random.default_rng(len(kind))
    inputs, relevance = [rng.standard_normal(shape) for shape in shapes], rng.standard_normal(output)
    for rule in rules:
        found, expected = (
            step(kind, rule, inputs, relevance, weights, attributes, backend)
            for backend in (TensorFlowBackend(), OracleBackend())
        )
        for one, other in zip(found, expected, strict=True):
            assert one.shape == other.shape, rule
            assert np.isfinite(other).all(), rule
            assert np.abs(one - other).max() <= 1e-12 * max(np.abs(other).max(), 1e-300), rule


def shape_of(kind: str, shapes: list[tuple[int, ...]], attributes: dict[str, Any]) -> tuple[int, ...]:
    if kind == "matmul":
        return (*shapes[0][:-1], shapes[1][-2 if attributes else -1])
    return tuple(np.broadcast_shapes(*shapes)) if kind != "grid_sample" else (*shapes[1][:3], shapes[0][-1])


@pytest.mark.parametrize("case", PRODUCTS)
def test_products_as_the_oracle_has_them(case: str) -> None:
    kind, shapes, attributes = PRODUCTS[case]
    rules: list[Rule] = [
        ShareProduct(to, stabilizer) for to in ("both", "first", "second") for stabilizer in STABILIZERS
    ]
    rules.append(Gradient())
    assert_as_the_oracle(kind, rules, shapes, shape_of(kind, shapes, attributes), attributes=attributes)


@pytest.mark.parametrize("case", SAMPLINGS)
def test_samplings_as_the_oracle_has_them(case: str) -> None:
    kind, shapes, attributes = SAMPLINGS[case]
    rules: list[Rule] = [ShareProduct("first", stabilizer) for stabilizer in STABILIZERS[:3]]
    rules.append(Gradient())
    assert_as_the_oracle(kind, rules, shapes, shape_of(kind, shapes, attributes), attributes=attributes)


@pytest.mark.parametrize("case", NORMS)
def test_norms_as_the_oracle_has_them(case: str) -> None:
    kind, names, axes_count = NORMS[case]
    rng, shape = np.random.default_rng(5), (2, 3, 4)
    weights = {name: rng.standard_normal(shape[-axes_count:]) for name in names}
    rules: list[Rule] = [
        rule
        for stabilizer in STABILIZERS
        for rule in (HeldNorm(True, stabilizer), HeldNorm(False, stabilizer), Linearized(stabilizer))
    ]
    attributes = {"axes_count": axes_count, "epsilon": 1e-3}
    assert_as_the_oracle(kind, [*rules, Gradient()], [shape], shape, weights, attributes)


@pytest.mark.parametrize("axis", [-1, -2, -3])
def test_softmaxes_as_the_oracle_has_them(axis: int) -> None:
    rules: list[Rule] = [SoftmaxTaylor(), Gradient()]
    assert_as_the_oracle("softmax", rules, [(2, 3, 4)], (2, 3, 4), attributes={"axis": axis})


@pytest.mark.parametrize("case", SUMS)
def test_additions_as_the_oracle_has_them(case: str) -> None:
    shapes = SUMS[case]
    rules: list[Rule] = [SignSplit(stabilizer) for stabilizer in STABILIZERS]
    rules += [Z(stabilizer=STABILIZERS[0]), Gradient()]
    assert_as_the_oracle("add", rules, shapes, shape_of("add", shapes, {}))
