"""The layer's output after its activation where the one before it belongs, and the other way round."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import numpy as np

from harness.graph import Kind, Layer
from harness.methods import Gradient, GuidedReLU
from harness.steps import Deviation, Step
from reference_impls.deviations.backward.altering import deviation, with_formula, with_relevance, with_z
from reference_impls.deviations.backward.carrying import carry_out
from reference_impls.deviations.backward.kinds import has_weights, readers
from reference_impls.deviations.backward.stabilizers import has_denominator
from reference_impls.oracle import linear
from reference_impls.oracle.activations import ELEMENTWISE
from reference_impls.oracle.linear import Arrays, weights_of


def outputs(step: Step, observed: Arrays) -> Iterator[Deviation]:
    """``g(z)`` in the denominator, ``g`` the activation that reads the layer; at one, its derivative at ``g(x)``."""
    if step.layer.kind in ELEMENTWISE and isinstance(step.rule, Gradient | GuidedReLU):
        words = f"the derivative of {step.layer.kind} is taken at its output instead of its input"
        yield deviation("preactivation", words, with_formula(_derivative_at_output))
    if not has_denominator(step.rule):
        return
    for follower in _activations(step):
        words = f"the output after {follower.name} ({follower.kind}) stands in the denominator instead of z before it"
        yield deviation("preactivation", words, with_z(partial(_after, follower)))
        if has_weights(step):
            words = f"the forward output after {follower.name} ({follower.kind}), bias and all, is what is divided by"
            yield deviation("preactivation", words, with_z(partial(_forward_after, follower)))
            words = f"relevance is also multiplied by the derivative of {follower.name} ({follower.kind})"
            yield deviation("preactivation", words, partial(_through, follower))


def _activations(step: Step) -> list[Layer]:
    """The first activation behind the layer on each way, a normalisation or the like in between or not."""
    layers: list[Layer] = []
    waiting, steps = list(readers(step)), 0
    while waiting and steps < 3:
        layers += [layer for layer in waiting if layer.kind in ELEMENTWISE]
        through = [layer for layer in waiting if _keeps_places(layer.traits)]
        waiting = [reader for layer in through for reader in step.graph.consumers(layer.name)]
        steps += 1
    return layers


def _keeps_places(kind: Kind) -> bool:
    """A normalisation or the like: what may stand between a layer and its activation."""
    return kind.places == "same" and kind.family in ("normalisation", "scale", "identity")


def _after(follower: Layer, step: Step, z: np.ndarray) -> np.ndarray:
    function, _ = ELEMENTWISE[follower.kind]
    return function(z, follower.attributes)


def _forward_after(follower: Layer, step: Step, z: np.ndarray) -> np.ndarray:
    return _after(follower, step, linear.apply(step.layer, step.inputs, weights_of(step.layer)))


def _through(follower: Layer, step: Step) -> Step:
    _, slope = ELEMENTWISE[follower.kind]
    z = linear.apply(step.layer, step.inputs, weights_of(step.layer))
    return with_relevance(lambda relevance: relevance * slope(z, follower.attributes))(step)


def _derivative_at_output(step: Step) -> Arrays:
    function, _ = ELEMENTWISE[step.layer.kind]
    at = tuple(function(x, step.layer.attributes) for x in step.inputs)
    return carry_out(replace(step, inputs=at, formula=None, after=()))
