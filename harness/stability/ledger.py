"""Conservation as a ledger: what comes in at a layer's output, what goes out to its inputs, and where the rest is.

A division (`harness.divisions`) divides ``R`` by ``S(d)``, ``d = q + b + o``, and passes ``q`` quotients down:
contributions ``q``, bias ``b``, other ``o``. Of ``R`` it therefore keeps, output by output,

    R - R q / S(d)  =  R b / S(d)  +  R (S(d) - d) / S(d)  +  R o / S(d),

the bias's share, the stabilizer's and the rest. Divisions have factors (alpha, -beta), and so have their shares.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from harness.divisions import Stage
from harness.graph import Layer
from harness.stability.arrays import by_sample
from harness.stability.denominators import quotient, stages_with_relevance
from harness.stability.figures import ABSORBERS


@dataclass(frozen=True, eq=False)
class Absorbed:
    """What one step does not pass down, by what keeps it; (batch,) each, negative where relevance is added.

    ``bias``: ``R b / S(d)``. ``stabilizer``: ``R (S(d) - d) / S(d)`` where ``d`` is not zero. ``at_zero``: the same
    where it is: relevance of an output to which, in sum, nothing contributes. ``split``: what a layer with
    several inputs makes or loses when it hands the same relevance to each (an add under the gradient).
    ``rule``: all else that the rule does not conserve: ``R o / S(d)``, relevance that no division takes, factors that
    do not add up to one, the gradient at a layer with one input.
    """

    bias: np.ndarray
    stabilizer: np.ndarray
    at_zero: np.ndarray
    split: np.ndarray
    rule: np.ndarray

    @property
    def total(self) -> np.ndarray:
        return self.bias + self.stabilizer + self.at_zero + self.split + self.rule


def absorbed_by(
    layer: Layer, stages: tuple[Stage, ...], relevance: np.ndarray, difference: np.ndarray
) -> Absorbed:
    """Who keeps what of ``relevance`` (float64, of the layer's output).

    ``difference``: (batch,) what the step keeps in all; read only where nothing is divided, and all of it then is
    the rule's, or the split's where the layer has several inputs. Where a denominator is infinite its bias is (what
    masks a score is added to it), and keeps all.
    """
    nothing = np.zeros(len(relevance))
    if not stages:
        if len(layer.inputs) > 1:
            return Absorbed(nothing, nothing, nothing, difference, nothing)
        return Absorbed(nothing, nothing, nothing, nothing, difference)
    bias, stabilizer, at_zero, rule = (nothing.copy() for _ in range(4))
    with np.errstate(all="ignore"):
        for stage, received in stages_with_relevance(stages, relevance):
            untaken = received
            for division in stage:
                s = division.factor * quotient(division, received)
                masked = np.isinf(division.denominator)
                kept = np.where(masked, 0.0, s * (division.stabilized - division.denominator))
                zero = division.denominator == 0
                taken = division.factor * division.counted(received)
                bias += by_sample(np.where(masked, taken, s * division.bias))
                stabilizer += by_sample(np.where(zero, 0.0, kept))
                at_zero += by_sample(np.where(zero, kept, 0.0))
                if division.other is not None:
                    rule += by_sample(s * division.other)
                untaken = untaken - taken
            rule += by_sample(untaken)
    return Absorbed(bias, stabilizer, at_zero, nothing, rule)


def samples(absorbed: Absorbed) -> Iterator[dict[str, float]]:
    """The shares of each sample by name, as the entries of the ledger have them."""
    for place in range(len(absorbed.bias)):
        yield {name: float(getattr(absorbed, name)[place]) for name in ABSORBERS}
