"""Batch norm of the torch twin, forwards and back, whatever the strides of what it is given."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from ported_models.build import Builder
from ported_models.model import PortedModel

CHANNELS = 3
GAMMA, VARIANCE = np.array([1.0, 2.0, 3.0]), np.array([1.0, 4.0, 0.25])


def packed(shape: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """The strides of a tensor without gaps, for every order of its axes in memory."""
    found: set[tuple[int, ...]] = set()
    for order in itertools.permutations(range(len(shape))):
        strides, step = [0] * len(shape), 1
        for axis in order:
            strides[axis] = step
            step *= shape[axis]
        found.add(tuple(strides))
    yield from sorted(found)


def laid(values: np.ndarray, strides: tuple[int, ...]) -> torch.Tensor:
    tensor = torch.empty_strided(values.shape, strides, dtype=torch.float64)
    tensor.copy_(torch.from_numpy(values))
    return tensor


@pytest.mark.parametrize("space", [(4,), (1, 4), (4, 1), (2, 2), (1, 1, 4)])
def test_the_gradient_of_batch_norm_is_gamma_over_the_deviation_for_all_strides(
    space: tuple[int, ...],
) -> None:
    """Torch 2.13.0's own is wrong for some of them, by as much as the values themselves."""
    builder = Builder("norm", (*space, CHANNELS))
    weights = {"gamma": GAMMA, "beta": np.zeros(3), "mean": np.zeros(3), "variance": VARIANCE}
    builder.add("batch_norm", "norm", attributes={"epsilon": 0.0}, weights=weights)
    builder.add("flatten", "flat")
    size = CHANNELS * int(np.prod(space))
    builder.add("dense", "logits", weights={"kernel": np.ones((size, 2))})
    module = PortedModel.from_graph(builder.graph()).torch("float64").get_submodule("norm")
    random = np.random.default_rng(0)
    for batch in (1, 2):
        shape = (batch, CHANNELS, *space)
        gradient = random.standard_normal(shape)
        slope = (GAMMA / np.sqrt(VARIANCE)).reshape(1, CHANNELS, *(1,) * len(space))
        pairs = list(itertools.product(packed(shape), packed(shape)))
        # Of the thousands in three dimensions some, the same each time.
        for place in random.permutation(len(pairs))[:60]:
            of_x, of_gradient = pairs[place]
            x = laid(random.standard_normal(shape), of_x).requires_grad_()
            (found,) = torch.autograd.grad(module(x), x, laid(gradient, of_gradient))
            np.testing.assert_allclose(
                found.numpy(), gradient * slope, rtol=1e-14, err_msg=f"{of_x} {of_gradient}"
            )
