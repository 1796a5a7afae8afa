"""Graphs written by hand: shapes, TensorFlow's padding names as numbers, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from harness.errors import InvalidInputError, UnknownNameError, UnsupportedLayerError
from ported_models.build import Builder
from ported_models.shapes import same_padding, same_transposed

ones = np.ones


def test_same_padding_puts_the_odd_zero_last() -> None:
    # 4 values, stride 2: 2 outputs reach over (2 - 1) * 2 + 3 = 5 values, so one zero, behind.
    assert same_padding((4,), (3,), (2,)) == ((0, 1),)
    # 5 values: 3 outputs reach over 7, two zeros, one on each side.
    assert same_padding((5,), (3,), (2,)) == ((1, 1),)
    # 6 values, 3 taps 2 apart reach over 5: 6 outputs reach over 10.
    assert same_padding((6,), (3,), (1,), (2,)) == ((2, 2),)
    # A stride beyond the kernel needs no padding.
    assert same_padding((4,), (1,), (3,)) == ((0, 0),)


def test_same_transposed_gives_size_times_stride() -> None:
    assert same_transposed((3,), (2,)) == (((0, 1),), (0,))
    assert same_transposed((2,), (3,)) == (((0, 0),), (1,))
    b = Builder("net", (5, 2))
    b.add(
        "conv_transpose1d", "up", attributes={"strides": (3,), "padding": "same"},
        weights={"kernel": ones((2, 2, 4))},
    )  # fmt: skip
    assert b["up"].shape == (15, 4)


@pytest.mark.parametrize(
    ("kind", "attributes", "weights", "shape"),
    [
        # floor((8 - 3) / 2) + 1 = 3 and floor((9 + 1 - 3) / 2) + 1 = 4
        (
            "conv2d",
            {"strides": (2, 2), "padding": ((0, 0), (0, 1))},
            {"kernel": ones((3, 3, 4, 6))},
            (3, 4, 6),
        ),
        ("conv2d", {"groups": 4}, {"kernel": ones((1, 1, 1, 8))}, (8, 9, 8)),
        # (8 - 1) * 2 + 3 - 1 - 0 = 16 and (9 - 1) * 1 + 3 = 11; 2 groups of 3
        (
            "conv_transpose2d",
            {"strides": (2, 1), "padding": ((1, 0), (0, 0)), "groups": 2},
            {"kernel": ones((3, 3, 4, 3))},
            (16, 11, 6),
        ),
        (
            "separable_conv2d",
            {"padding": "same"},
            {"depthwise_kernel": ones((3, 3, 4, 2)), "pointwise_kernel": ones((8, 5))},
            (8, 9, 5),
        ),
        ("dense", {}, {"kernel": ones((4, 7))}, (8, 9, 7)),
        ("max_pool2d", {"pool_size": (3, 3)}, {}, (2, 3, 4)),
        ("global_average_pool", {}, {}, (4,)),
        ("global_max_pool", {"keepdims": True}, {}, (1, 1, 4)),
        ("flatten", {}, {}, (288,)),
        ("reshape", {"target": (6, -1)}, {}, (6, 48)),
        ("reshape", {"target": (6, -1), "order": "channels_first"}, {}, (48, 6)),
        ("permute", {"dims": (3, 1, 2)}, {}, (4, 8, 9)),
        ("zero_pad", {"padding": ((1, 2), (0, 3))}, {}, (11, 12, 4)),
        ("crop", {"padding": ((1, 2), (0, 3))}, {}, (5, 6, 4)),
        ("upsample", {"size": (2, 3)}, {}, (16, 27, 4)),
    ],
)
def test_shape_of(
    kind: str, attributes: dict[str, Any], weights: dict[str, np.ndarray], shape: tuple[int, ...]
) -> None:
    b = Builder("net", (8, 9, 4))
    b.add(kind, "layer", attributes=attributes, weights=weights)
    assert b["layer"].shape == shape


def test_axes_are_named_by_rank() -> None:
    b = Builder("net", (8, 9, 4))
    assert b["input"].axes == ("batch", "height", "width", "channel")
    b.add("reshape", "rows", attributes={"target": (8, 36)})
    assert b["rows"].axes == ("batch", "time", "channel")
    b.add("flatten", "values")
    assert b["values"].axes == ("batch", "feature")


def test_graph_leaves_out_what_the_output_does_not_need() -> None:
    b = Builder("net", (4,))
    b.add("dense", "logits", weights={"kernel": ones((4, 2))})
    b.add("relu", "aside", "input")
    b.add("softmax", "probabilities", "logits")
    assert [layer.name for layer in b.graph("logits")] == ["input", "logits"]


@pytest.mark.parametrize(
    ("kind", "arguments", "error", "message"),
    [
        ("attention", {}, UnsupportedLayerError, "'layer': the graph has no kind 'attention'"),
        ("dense", {"weights": {"kernel": ones((3, 2))}}, InvalidInputError, r"\(3, 2\), expected \(4, any\)"),
        ("dense", {}, InvalidInputError, "weight 'kernel' is missing"),
        (
            "conv2d",
            {"weights": {"kernel": ones((1, 1, 4, 3)), "bias": ones(2)}},
            InvalidInputError,
            r"bias has shape \(2,\), expected \(3\)",
        ),
        ("conv1d", {"weights": {"kernel": ones((3, 4, 2))}}, InvalidInputError, "needs 1 spatial axes"),
        ("relu", {"inputs": "inputt"}, UnknownNameError, "did you mean 'input'"),
        ("relu", {"attributes": {"alpha": 1}}, UnknownNameError, "unknown attribute of layer 'layer'"),
        ("add", {"inputs": ["input"]}, InvalidInputError, "needs two or more inputs"),
        ("reshape", {"attributes": {"target": (7, -1)}}, InvalidInputError, "cannot reshape 288 values"),
        ("crop", {"attributes": {"padding": ((4, 4), (0, 0))}}, InvalidInputError, "empty output"),
        (
            "max_pool2d",
            {"attributes": {"pool_size": (2, 2), "padding": ((2, 0), (0, 0))}},
            InvalidInputError,
            "nothing to pool",
        ),
    ],
)  # fmt: skip
def test_refuses(kind: str, arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Builder("net", (8, 9, 4)).add(kind, "layer", **arguments)


@pytest.mark.parametrize("name", ["", "block.conv", "block/conv"])
def test_refuses_names_that_torch_or_keras_would_split(name: str) -> None:
    with pytest.raises(InvalidInputError, match="is empty or holds a dot or slash"):
        Builder("net", (4,)).add("relu", name)
