"""Networks whose output is a map: their mean, or one place, is what is explained."""

from __future__ import annotations

import numpy as np
import pytest

import harness
from harness.errors import InvalidInputError
from ported_models import load_model
from ported_models.build import Builder
from ported_models.maps import parts
from ported_models.twins.forward import torch_logits

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore::UserWarning")]
X = np.arange(12.0).reshape(1, 2, 3, 2)


def network() -> object:
    """A 1 by 1 convolution of two channels to two: (a + 2 b, -b), on 2 by 3 places."""
    builder = Builder("net", (2, 3, 2))
    kernel = np.array([[1.0, 0.0], [2.0, -1.0]]).reshape(1, 1, 2, 2)
    builder.add("conv2d", "conv", weights={"kernel": kernel})
    return builder.graph()


def test_the_mean_over_all_places() -> None:
    model = load_model(network(), output="mean")
    # Channel a has the mean 5, b 6.
    assert torch_logits(model.torch("float64"), X).tolist() == [[17.0, -6.0]]
    assert "its mean over 2 by 3 places" in model.notes[-1]


def test_one_place() -> None:
    model = load_model(network(), output=(1, 0))
    # There a = 6 and b = 7.
    assert torch_logits(model.torch("float64"), X).tolist() == [[20.0, -7.0]]
    assert "its place (1, 0)" in model.notes[-1]
    trace = harness.explain(model, X, "gradient", "torch", 0, "float64")
    expected = np.zeros((2, 3, 2))
    expected[1, 0] = (1.0, 2.0)
    assert trace.attribution[0].tolist() == expected.tolist()


def test_a_map_without_a_word_on_it_loads_and_says_so() -> None:
    model = load_model(network())
    assert (
        "a map; to explain it load it with output='mean' or with one place, output=(0, 0)" in model.notes[-1]
    )
    assert model.graph.output == "conv"


def test_a_map_of_one_place_is_taken_there() -> None:
    builder = Builder("net", (2, 3, 2))
    builder.add(
        "average_pool2d", "pool", attributes={"pool_size": (2, 3), "strides": (2, 3), "padding": "valid"}
    )
    model = load_model(builder.graph())
    # Channel a has the mean 5, b 6.
    assert torch_logits(model.torch("float64"), X).tolist() == [[5.0, 6.0]]
    assert "its only place (0, 0)" in model.notes[-1]
    trace = harness.explain(model, X, "gradient", "torch", 1, "float64")
    assert trace.attribution[0, ..., 1] == pytest.approx(np.full((2, 3), 1 / 6))


def test_an_axis_of_one_place_needs_nothing_taken() -> None:
    builder = Builder("net", (1, 3, 2))
    builder.add("relu", "relu")
    model = load_model(builder.graph(), output=(0, 2))
    assert [layer.kind for layer in model.graph] == ["input", "relu", "take", "reshape"]


@pytest.mark.parametrize("place", [(2, 0), (0, 3), (-1, 0), (0,), (0, 0, 0)])
def test_a_place_that_is_none(place: tuple[int, ...]) -> None:
    with pytest.raises(InvalidInputError, match="is no place of it"):
        load_model(network(), output=place)


def test_an_output_that_is_no_map() -> None:
    builder = Builder("net", (2,))
    builder.add("relu", "relu")
    with pytest.raises(InvalidInputError, match="which is no map; leave out output='mean'"):
        load_model(builder.graph(), output="mean")


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (None, (None, None)),
        ("scores", ("scores", None)),
        (1, (1, None)),
        ("mean", (None, "mean")),
        ((2, 3), (None, (2, 3))),
        (("scores", "mean"), ("scores", "mean")),
        ((0, (2, 3)), (0, (2, 3))),
    ],
)
def test_what_output_says(output: object, expected: tuple[object, object]) -> None:
    assert parts(output) == expected


@pytest.mark.parametrize("output", [("scores", "sum"), ("a", "b", "c"), 1.5, ("a",)])
def test_what_output_does_not_say(output: object) -> None:
    with pytest.raises(InvalidInputError, match="expected the name or place of an output, 'mean', a place"):
        parts(output)
