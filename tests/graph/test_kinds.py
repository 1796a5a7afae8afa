"""The table of kinds says what layers do: each trait is held against what the oracle computes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from harness.graph import KINDS, SUM_KINDS, Layer
from reference_impls.oracle.forward import apply
from tests.models.graphs import LAYER_KINDS, in_domain, single_layer_graph

pytestmark = pytest.mark.parametrize("kind", LAYER_KINDS)
SEEDS = range(4)


def drawn(kind: str, seed: int) -> tuple[Layer, tuple[np.ndarray, ...], np.random.Generator]:
    """A layer of the kind, inputs of its own, and the generator they were drawn with."""
    rng = np.random.default_rng(seed)
    layer = single_layer_graph(kind, rng)["layer"]
    layer = replace(layer, weights={name: array.astype(np.float64) for name, array in layer.weights.items()})
    inputs = (in_domain(kind, rng.standard_normal((2, *shape))) for shape in layer.input_shapes)
    return layer, tuple(inputs), rng


def is_affine(layer: Layer, one: tuple[np.ndarray, ...], other: tuple[np.ndarray, ...]) -> bool:
    """Whether ``f(1/4 x + 3/4 y) = 1/4 f(x) + 3/4 f(y)``."""
    between = tuple(0.25 * x + 0.75 * y for x, y in zip(one, other, strict=True))
    return np.allclose(apply(layer, between), 0.25 * apply(layer, one) + 0.75 * apply(layer, other))


def test_linear(kind: str) -> None:
    found = set()
    for seed in range(12):
        layer, one, rng = drawn(kind, seed)
        # Computed factors are held: the trait speaks of the other inputs.
        held = KINDS[kind].factors
        other = tuple(x if place in held else rng.standard_normal(x.shape) for place, x in enumerate(one))
        jointly = is_affine(layer, one, other)
        each = all(is_affine(layer, one, (*one[:i], other[i], *one[i + 1 :])) for i in range(len(one)))
        found.add("jointly" if jointly else "each" if each else "no")
    # A pooling over windows of one entry is linear as well: what is not linear shows in one of the layers.
    assert ("no" if "no" in found else found.pop()) == KINDS[kind].linear


@pytest.mark.parametrize("seed", SEEDS)
def test_channels_and_places(kind: str, seed: int) -> None:
    """A change of one entry of an input is seen in its own channel and place alone, where the table says so."""
    layer, inputs, rng = drawn(kind, seed)
    traits = layer.traits
    changed = [x.copy() for x in inputs]
    entry = tuple(int(rng.integers(length)) for length in inputs[0].shape)
    changed[0][entry] += 100.0
    differs = np.argwhere(apply(layer, inputs) != apply(layer, tuple(changed)))
    if traits.channels == "each":
        assert {int(place[-1]) for place in differs} <= {entry[-1]}
    if traits.places == "same" and traits.along is None:
        assert {tuple(place[1:-1]) for place in differs} <= {entry[1:-1]}
    if traits.per_value:
        assert {tuple(place) for place in differs} <= {entry}


def test_what_is_called_mixed_does_mix(kind: str) -> None:
    """An entry of the first channel reaches an output of another, in one of the layers drawn."""
    others = set()
    for seed in range(12):
        layer, inputs, _ = drawn(kind, seed)
        changed = (inputs[0].copy(), *inputs[1:])
        changed[0][..., 0] += 1.0
        others |= {int(place[-1]) for place in np.argwhere(apply(layer, inputs) != apply(layer, changed))} - {
            0
        }
    if KINDS[kind].channels != "moved":
        assert bool(others) == (KINDS[kind].channels == "mixed")


def test_values_kept(kind: str) -> None:
    kept = []
    for seed in range(12):
        layer, inputs, _ = drawn(kind, seed)
        values = [np.sort(array.ravel()) for array in (*inputs, apply(layer, inputs))]
        kept.append(len(inputs) == 1 and np.array_equal(*values))
    # A window of one entry or a padding of nothing keeps them as well: what does not shows in one of the layers.
    assert all(kept) == KINDS[kind].keeps_values


@pytest.mark.parametrize("seed", SEEDS)
def test_sums_add_up_with_positive_factors_of_their_own(kind: str, seed: int) -> None:
    """``f(0) = 0``, ``f(1) > 0``, linear, no weights. Composites give these the Z rule."""
    layer, inputs, _ = drawn(kind, seed)
    traits = KINDS[kind]
    assert traits.sums == (
        kind
        in (
            "add",
            "average_pool1d",
            "average_pool2d",
            "average_pool3d",
            "global_average_pool",
        )
    )
    if traits.sums:
        assert kind in SUM_KINDS
        assert not traits.weights and traits.linear == "jointly"
        assert not apply(layer, tuple(np.zeros_like(x) for x in inputs)).any()
        assert (apply(layer, tuple(np.ones_like(x) for x in inputs)) > 0).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_rising(kind: str, seed: int) -> None:
    layer, _, _ = drawn(kind, seed)
    if not KINDS[kind].elementwise:
        assert not KINDS[kind].rising
        return
    if KINDS[kind].weights:
        assert not KINDS[kind].rising  # alpha may be below zero
        return
    x = np.unique(in_domain(kind, np.linspace(-8, 8, 1001)))
    values = apply(replace(layer, input_shapes=(x.shape,), shape=x.shape), (x[None],))[0]
    assert KINDS[kind].rising == bool((np.diff(values) >= 0).all())


@pytest.mark.parametrize("seed", SEEDS)
def test_commutative(kind: str, seed: int) -> None:
    layer, inputs, _ = drawn(kind, seed)
    if not KINDS[kind].joins:
        assert not KINDS[kind].commutative and len(inputs) == 1
        return
    turned = replace(layer, input_shapes=layer.input_shapes[::-1])
    try:
        same = np.array_equal(apply(layer, inputs), apply(turned, inputs[::-1]))
    except (ValueError, IndexError):  # inputs of other axes: they cannot change places
        same = False
    assert KINDS[kind].commutative == same


@pytest.mark.parametrize("seed", SEEDS)
def test_weights(kind: str, seed: int) -> None:
    layer, _, _ = drawn(kind, seed)
    traits = KINDS[kind]
    assert set(traits.weights) <= set(layer.weights) <= {*traits.weights, *traits.optional_weights}
    assert set(traits.attributes) | set(traits.defaults) <= set(layer.attributes)
    assert not traits.space or len(layer.input_shapes[0]) - 1 in traits.space
