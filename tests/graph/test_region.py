"""Which places a layer reads, by hand and held against what the oracle computes."""

from __future__ import annotations

import numpy as np
import pytest

from harness.graph import (
    KINDS,
    Layer,
    Window,
    has_boxes,
    has_channels,
    in_box,
    per_place,
    windows,
    with_box,
    with_channels,
)
from reference_impls.oracle.forward import apply
from tests.models.graphs import LAYER_KINDS, single_layer_graph


def test_a_window_by_hand() -> None:
    # Three entries two apart cover five places; with stride 3 and two places of padding before, window 1 starts at 1.
    window = Window(size=3, stride=3, dilation=2, before=2, after=1)
    assert window.extent == 5
    assert window.covers(0, 1) == (-2, 3)
    assert window.covers(1, 3) == (1, 9)
    # 2 + 8 + 1 = 11 places: windows start at 0, 3 and 6 and end at 5, 8 and 11.
    assert window.count(8) == 3


@pytest.mark.parametrize("kind", [kind for kind in LAYER_KINDS if KINDS[kind].places == "window"])
@pytest.mark.parametrize("seed", range(6))
def test_an_output_reads_what_its_window_covers(kind: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    layer = single_layer_graph(kind, rng)["layer"]
    x = rng.standard_normal((1, *layer.input_shapes[0]))
    axes = windows(layer)
    space = layer.shape[:-1]
    assert tuple(axis.count(n) for axis, n in zip(axes, x.shape[1:-1], strict=True)) == space
    place = tuple(int(rng.integers(length)) for length in space)
    inside = np.zeros(x.shape, bool)
    covers = [axis.covers(p, p + 1) for axis, p in zip(axes, place, strict=True)]
    inside[(slice(None), *(slice(max(first, 0), last) for first, last in covers))] = True
    before, after = (apply(layer, (values,))[(0, *place)] for values in (x, np.where(inside, x, x + 9.0)))
    assert np.array_equal(before, after)


@pytest.mark.parametrize(
    "kind, attributes, expected",
    [
        ("softmax", {"axis": -1}, True),
        ("softmax", {"axis": -2}, False),
        ("concat", {"axis": -1}, True),
        ("concat", {"axis": -3}, False),
        ("layer_norm", {"axes_count": 1}, True),
        ("layer_norm", {"axes_count": 2}, False),
        ("relu", {}, True),
        ("dense", {}, True),
        ("conv2d", {}, False),
        ("global_max_pool", {}, False),
        ("crop", {}, False),
    ],
)
def test_layers_that_read_their_own_place_alone(
    kind: str, attributes: dict[str, int], expected: bool
) -> None:
    axes = ("batch", "height", "width", "channel")
    assert per_place(Layer("l", kind, ("x",), ((4, 4, 2),), (4, 4, 2), axes, attributes)) is expected


@pytest.mark.parametrize("kind", LAYER_KINDS)
@pytest.mark.parametrize("seed", range(4))
def test_a_box_of_the_output_is_what_the_layer_of_the_box_computes(kind: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    layer = single_layer_graph(kind, rng)["layer"]
    space = layer.shape[:-1]
    if not has_boxes(layer) or not space:
        return
    inputs = tuple(rng.standard_normal((2, *shape)) for shape in layer.input_shapes)
    whole = apply(layer, inputs)
    for _ in range(5):
        starts = [int(rng.integers(length)) for length in space]
        box = tuple((first, int(rng.integers(first, n)) + 1) for first, n in zip(starts, space, strict=True))
        small, reads = with_box(layer, box)
        parts = tuple(x[index] for x, index in zip(inputs, reads, strict=True))
        assert tuple(x.shape[1:] for x in parts) == small.input_shapes
        # A matrix product of another size may add up in another order.
        np.testing.assert_allclose(apply(small, parts), whole[in_box(box)], rtol=1e-12, atol=1e-12)
        assert small.shape == whole[in_box(box)].shape[1:]


@pytest.mark.parametrize("kind", LAYER_KINDS)
@pytest.mark.parametrize("seed", range(4))
def test_channels_of_the_output_are_what_the_layer_of_the_channels_computes(kind: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    layer = single_layer_graph(kind, rng)["layer"]
    if not has_channels(layer):
        assert KINDS[kind].channels != "each" or layer.shape[-1] not in {s[-1] for s in layer.input_shapes}
        return
    inputs = tuple(rng.standard_normal((2, *shape)) for shape in layer.input_shapes)
    kept = np.sort(rng.permutation(layer.shape[-1])[: max(1, layer.shape[-1] // 2)])
    small = with_channels(layer, kept)
    parts = tuple(
        x if x.shape[1:] == shape else x[..., kept]
        for x, shape in zip(inputs, small.input_shapes, strict=True)
    )
    np.testing.assert_allclose(apply(small, parts), apply(layer, inputs)[..., kept], rtol=1e-12, atol=1e-12)


def test_the_kinds_that_can_be_cut() -> None:
    """Both ways of cutting are there for what the diagnosis cuts most."""
    layers = {kind: single_layer_graph(kind, np.random.default_rng(0))["layer"] for kind in LAYER_KINDS}
    for kind in ("conv2d", "dense", "relu", "batch_norm", "add", "max_pool2d", "average_pool1d"):
        assert has_boxes(layers[kind]), kind
    for kind in ("dense", "relu", "batch_norm", "add", "max_pool2d", "upsample", "crop", "global_max_pool"):
        assert has_channels(layers[kind]), kind
    for kind in ("separable_conv2d", "softmax", "layer_norm", "concat", "flatten"):
        assert not has_channels(layers[kind]), kind
