"""The kinds that transformers add, in the torch twin: by hand, and against the oracle in every rank that they take."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from harness.errors import UnknownNameError
from harness.graph import Graph
from ported_models.twins import torch_twin
from ported_models.twins.layout import to_canonical, to_internal
from reference_impls.oracle.derivative import vjp
from reference_impls.oracle.forward import apply
from tests.port.one_layer import one_layer

Shape = tuple[int, ...]


def run(graph: Graph, *inputs: np.ndarray) -> np.ndarray:
    """What the module of "layer" makes of canonical arrays."""
    module = torch_twin.build(graph, "float64").get_submodule("layer")
    return to_canonical(module(*(torch.tensor(to_internal(x)) for x in inputs)).numpy())


def gradients(graph: Graph, inputs: list[np.ndarray], pull: np.ndarray) -> list[np.ndarray]:
    module = torch_twin.build(graph, "float64").get_submodule("layer")
    tensors = [torch.tensor(to_internal(x), requires_grad=True) for x in inputs]
    found = torch.autograd.grad(module(*tensors), tensors, torch.tensor(to_internal(pull)))
    return [to_canonical(each.numpy()) for each in found]


# By hand -------------------------------------------------------------------------------------------------


def test_a_product_of_two_tensors() -> None:
    a, b = np.array([[[1.0, 2], [3, 4]]]), np.array([[[5.0, 6], [7, 8]]])
    plain = one_layer("matmul", [(2, 2), (2, 2)])
    transposed = one_layer("matmul", [(2, 2), (2, 2)], attributes={"transposed": True})
    # Rows by columns: 1*5 + 2*7, 1*6 + 2*8, ...; transposed, rows by rows: 1*5 + 2*6, 1*7 + 2*8, ...
    assert run(plain, a, b)[0].tolist() == [[19, 22], [43, 50]]
    assert run(transposed, a, b)[0].tolist() == [[17, 23], [39, 53]]


def test_each_head_multiplies_its_own_matrices() -> None:
    a, b = np.array([[[[1.0, 2]], [[3, 4]]]]), np.array([[[[10.0], [1]], [[1], [10]]]])
    # (batch 1, head 2, row 1, in 2) by (batch 1, head 2, in 2, out 1).
    assert run(one_layer("matmul", [(2, 1, 2), (2, 2, 1)]), a, b).ravel().tolist() == [12, 43]


@pytest.mark.parametrize(
    ("padding", "place", "value"),
    [
        # Two pixels of value 4 and 8 in one row: their centres are at x = -1/2 and 1/2, the row's at y = 0.
        ("zeros", (-0.5, 0.0), 4.0),
        ("zeros", (0.0, 0.0), 6.0),
        ("zeros", (1.0, 0.0), 4.0),  # half a pixel outside the last centre: half of it is the zero beyond
        ("border", (1.0, 0.0), 8.0),
        (
            "zeros",
            (0.5, 0.5),
            6.0,
        ),  # a quarter of a row below the centres: a quarter of it is the zero beyond
        ("border", (0.5, 0.5), 8.0),
        ("zeros", (3.0, 0.0), 0.0),
    ],
)
def test_sampling_between_and_beyond_pixels(padding: str, place: tuple[float, float], value: float) -> None:
    graph = one_layer("grid_sample", [(1, 1, 2, 1), (1, 1, 1, 2)], attributes={"padding": padding})
    maps, places = np.array([4.0, 8.0]).reshape(1, 1, 1, 2, 1), np.array(place).reshape(1, 1, 1, 1, 2)
    assert run(graph, maps, places).ravel().tolist() == [value]


def test_each_head_samples_its_own_map_with_all_channels() -> None:
    maps = np.arange(2 * 1 * 2 * 3, dtype=float).reshape(1, 2, 1, 2, 3)
    places = np.array([[-0.5, 0], [0.5, 0]]).reshape(1, 2, 1, 1, 2)
    graph = one_layer("grid_sample", [(2, 1, 2, 3), (2, 1, 1, 2)])
    # Head 0 at its left pixel (0, 1, 2), head 1 at its right one (9, 10, 11).
    assert run(graph, maps, places)[0, :, 0, 0].tolist() == [[0, 1, 2], [9, 10, 11]]


def test_rms_norm_takes_no_mean_off() -> None:
    graph = one_layer("rms_norm", [(2,)], {"gamma": [1, 10]}, {"epsilon": 3.5})
    # The mean of the squares of 3 and 4 is 12.5, with epsilon 16: both are divided by 4.
    assert run(graph, np.array([[3.0, 4.0]])).tolist() == [[0.75, 10.0]]


def test_rms_norm_of_tokens_is_over_features() -> None:
    graph = one_layer("rms_norm", [(2, 1)], attributes={"epsilon": 0.0})
    assert run(graph, np.array([[[3.0], [-4.0]]])).tolist() == [[[1.0], [-1.0]]]


def test_another_padding_of_a_sampling_is_refused() -> None:
    with pytest.raises(
        UnknownNameError, match=r"padding of layer 'layer'.* 'reflection'; there are: border, zeros"
    ):
        one_layer("grid_sample", [(1, 1, 2, 1), (1, 1, 1, 2)], attributes={"padding": "reflection"})


# Against the oracle --------------------------------------------------------------------------------------

PRODUCTS = [
    ((3, 4), (4, 5), False),
    ((3, 4), (5, 4), True),
    ((2, 3, 4), (2, 4, 5), False),
    ((2, 2, 3, 4), (2, 2, 5, 4), True),
]
SAMPLINGS = [((1, 3, 4, 2), (1, 5, 2, 2)), ((3, 1, 4, 1), (3, 2, 4, 2))]
NORMS = [((4,), 1), ((3, 4), 1), ((3, 4), 2), ((2, 3, 4), 1), ((2, 3, 2, 2), 3)]


def assert_as_the_oracle(graph: Graph, inputs: list[np.ndarray]) -> None:
    layer, rng = graph["layer"], np.random.default_rng(0)
    z = apply(layer, tuple(inputs))
    np.testing.assert_allclose(run(graph, *inputs), z, rtol=1e-12, atol=1e-13)
    pull = rng.standard_normal(z.shape)
    for found, expected in zip(gradients(graph, inputs, pull), vjp(layer, tuple(inputs), pull), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("first", "second", "transposed"), PRODUCTS)
def test_products_of_any_rank(first: Shape, second: Shape, transposed: bool) -> None:
    rng = np.random.default_rng(1)
    inputs = [rng.standard_normal((2, *shape)) for shape in (first, second)]
    assert_as_the_oracle(one_layer("matmul", [first, second], attributes={"transposed": transposed}), inputs)


@pytest.mark.parametrize("padding", ["zeros", "border"])
@pytest.mark.parametrize(("maps", "places"), SAMPLINGS)
def test_samplings_in_and_around_maps(maps: Shape, places: Shape, padding: str) -> None:
    rng = np.random.default_rng(2)
    inputs = [rng.standard_normal((2, *maps)), rng.uniform(-1.5, 1.5, (2, *places))]
    assert_as_the_oracle(one_layer("grid_sample", [maps, places], attributes={"padding": padding}), inputs)


@pytest.mark.parametrize("gamma", [True, False])
@pytest.mark.parametrize(("shape", "axes_count"), NORMS)
def test_rms_norms_over_any_axes(shape: Shape, axes_count: int, gamma: bool) -> None:
    rng = np.random.default_rng(3)
    weights = {"gamma": rng.standard_normal(shape[-axes_count:])} if gamma else {}
    graph = one_layer("rms_norm", [shape], weights, {"axes_count": axes_count, "epsilon": 1e-3})
    assert_as_the_oracle(graph, [rng.standard_normal((2, *shape))])
