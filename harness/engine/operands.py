"""What the single steps of a run take: activations and relevances by layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from harness.backends import repeated
from harness.engine.cases import Engine
from harness.trace import LayerTrace, Trace


def operands_of(engine: Engine, run: Trace) -> Mapping[str, LayerTrace]:
    """By layer, what ``run``, which carries its case, has for the steps of its method.

    Where a step takes two relevances both are there, one behind the other along the batch, and activations twice
    (`harness.backends.pairs`): the part that ``run`` does not show is run too.
    """
    method = run.case.method
    if method.stepwise:
        return run.layers
    runs = [
        run if part == method else engine.run(replace(run.case, method=part), run.executed_by)
        for part in method.parts
    ]

    def joined(name: str) -> np.ndarray | None:
        shown = [each.layers[name].relevance for each in runs]
        known = [np.asarray(each) for each in shown if each is not None]
        return np.concatenate(known) if len(known) == len(shown) else None

    return {
        name: replace(
            layer,
            activation=None if layer.activation is None else repeated(layer.activation, method),
            relevance=joined(name),
        )
        for name, layer in run.layers.items()
    }
