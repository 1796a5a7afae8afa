"""Which places a layer reads, by hand and held against what the oracle computes."""

from __future__ import annotations

import numpy as np
import pytest

from harness.graph import KINDS, Layer, Window, per_place, windows
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
