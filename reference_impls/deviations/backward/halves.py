"""A separable convolution as the two convolutions that it is made of: a rule at each of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from harness.graph import Layer
from harness.steps import Deviation, Step
from reference_impls.deviations.backward.altering import deviation, with_formula
from reference_impls.deviations.backward.carrying import by_rule
from reference_impls.oracle import forward
from reference_impls.oracle.linear import Arrays, weights_of


def halves(step: Step, observed: Arrays) -> Iterator[Deviation]:
    """The rule at the pointwise convolution, and again at the depthwise one, which has no bias.

    So does whoever writes the layer as two modules (Zennit 0.5.1 on a separable convolution of two `Conv2d`): relevance
    is divided among the channels between them first.
    """
    if not step.layer.kind.startswith("separable_conv"):
        return
    words = "the rule is applied at each half of the layer, pointwise and then depthwise, as if it were two layers"
    yield deviation("rule-twice", words, with_formula(at_each_half))


def at_each_half(step: Step) -> Arrays:
    """The relevance of the input, (batch, *input shape)."""
    depthwise, pointwise = parts(step.layer)
    between = forward.apply(depthwise, tuple(np.asarray(x, np.float64) for x in step.inputs))
    bare = replace(step, formula=None, after=())
    (relevance,) = by_rule(replace(bare, layer=pointwise, inputs=(between,)))
    return by_rule(replace(bare, layer=depthwise, relevance=relevance))


def parts(layer: Layer) -> tuple[Layer, Layer]:
    """The depthwise convolution and the pointwise one, which has the bias."""
    weights = weights_of(layer)
    kind = layer.kind.removeprefix("separable_")
    depthwise, pointwise = weights.pop("depthwise_kernel"), weights.pop("pointwise_kernel")
    channels = layer.input_shapes[0][-1]
    *space, _, _ = depthwise.shape
    grouped = depthwise.reshape(*space, 1, -1)
    middle = (*layer.shape[:-1], grouped.shape[-1])
    first = replace(
        layer,
        kind=kind,
        shape=middle,
        attributes={**layer.attributes, "groups": channels},
        weights={"kernel": grouped},
    )
    ones = (1,) * len(space)
    second = replace(
        layer,
        kind=kind,
        input_shapes=(middle,),
        attributes={
            **layer.attributes,
            "groups": 1,
            "strides": ones,
            "dilations": ones,
            "padding": ((0, 0),) * len(space),
        },
        weights={"kernel": pointwise.reshape(*ones, *pointwise.shape), **weights},
    )
    return first, second
