"""The floor of a whole run in float32 where a sum nearly cancels and is divided by, for a candidate without layers.

One run in another dtype says little of such a sum: by chance it may fall close to the first. A candidate that shows
layers is judged on its own activations, layer by layer. One that shows the attribution alone is held against the whole
run, so the reference is run again with its kernels moved as another order of their sums would move them. Such a floor
can be high enough to hide another rule. It therefore counts only for a candidate that agrees with the reference in
float64, where the floor is far lower, or that knows float32 alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from harness.comparison.floor import NoiseFloor, movement
from harness.engine.cases import Engine
from harness.methods import Backward
from harness.trace import Trace


def floors_of_moved_sums(
    engine: Engine, reference: Trace, candidate: Trace, floor: NoiseFloor
) -> Iterator[NoiseFloor]:
    """``floor``, that of ``reference``, with the attribution's raised by what moved sums show, run by run.

    Nothing where the case is not of float32, where the candidate shows layers or where the method is more than one run
    backwards. Whether the candidate agrees in float64 is for the caller to ask.
    """
    case = reference.case
    if (
        candidate.layers
        or reference.dtype != "float32"
        or not isinstance(reference.method.procedure, Backward)
    ):
        return
    base = replace(reference, layers={})
    for count, moved in enumerate(
        engine.moved(replace(case, layers=False), reference.executed_by, sums=True), 1
    ):
        run = replace(engine.run(moved, reference.executed_by, keep=False), case=None)
        how = f"{floor.how.partition(', or')[0]}, or of {count} float32 runs with sums moved as by another order"
        one = movement(base, [run], case.model.graph, how)
        inputs = {name: max(floor.of_attribution(name), each) for name, each in one.inputs.items()}
        floor = replace(floor, how=how, attribution=max(floor.attribution, one.attribution), inputs=inputs)
        yield floor
