"""The port as a witness: for a candidate that shows the attribution alone, where rounding decides what it is.

Rounding decides among equal entries of a pooling window, and at a sum that nearly cancels and is divided by. Two
frameworks then give two right attributions that no floor brings together. The port shows its layers and its runs, so
that it is judged on equal ground. Where it passes there, a candidate that gives the same, to within the order of a sum,
is right as well.
"""

from __future__ import annotations

from dataclasses import replace

from harness.backends import backend_named, defaults_of
from harness.comparison.floor import MULTIPLE, derived
from harness.comparison.metrics import relative_l2
from harness.comparison.verdict import results
from harness.engine.cases import Engine, require_support
from harness.errors import HarnessError
from harness.trace import Trace


def port_beside(engine: Engine, reference: Trace, candidate: Trace) -> tuple[Trace, Trace] | None:
    """The runs of the reference and of the port, with their layers, where ``candidate`` gives what the port gives.

    None where it does not, to within ten times what the order of a sum explains, where the port does not run the case
    or shows no layers. Whether the port is right is for the caller to ask.
    """
    case = replace(reference.case, layers=True)
    port = backend_named(defaults_of(case.method).candidate)
    try:
        require_support(port, case)
        run = engine.run(case, port)
        bound = MULTIPLE * derived(case.dtype, case.model.graph).of_attribution()
        there, observed = (results(run.inputs, each.attribution_array) for each in (run, candidate))
        if not run.layers or any(not relative_l2(there[row], observed[row]) <= bound for row in there):
            return None
        return (reference if reference.layers else engine.run(case, reference.executed_by)), run
    except HarnessError:
        return None
