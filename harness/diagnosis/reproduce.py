"""The reproducer of a diagnosis: which arrays belong to its first finding."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

import numpy as np

from harness.backends import versions_of
from harness.comparison.postprocess import treated
from harness.diagnosis.case import Case
from harness.diagnosis.findings import Finding
from harness.diagnosis.forward import ForwardError
from harness.diagnosis.head import seed
from harness.diagnosis.localise import Introduced
from harness.diagnosis.reproducer import Evidence, write
from harness.naming import file_name


def reproduce(
    case: Case, finding: Finding, shown: ForwardError | Introduced | None, folder: Path | None
) -> Path:
    """Write the reproducer of ``finding`` to ``folder`` (None: a new one in the temporary folder) and return it.

    ``shown``: the layer's forward pass or step that the finding is about, where it is about one.
    """
    if folder is None:
        prefix = f"{file_name(f'{case.model.name}-{case.method.name}-{finding.cause}')}-"
        folder = Path(tempfile.mkdtemp(prefix=prefix))
    return write(
        folder,
        finding,
        evidence(case, finding, shown),
        graph=case.graph,
        candidate=case.candidate_prepared,
        oracle=case.oracle,
        versions={"reference": versions_of(case.reference), "candidate": versions_of(case.candidate)},
    )


def evidence(case: Case, finding: Finding, shown: ForwardError | Introduced | None) -> Evidence:
    """The arrays of both sides."""
    of = partial(Evidence, case.method, case.dtype)
    if isinstance(shown, ForwardError):
        expected = case.oracle.carry_forward(shown.step)
        return of(shown.step.inputs, (shown.observed,), (expected,), layer=shown.layer)
    if isinstance(shown, Introduced):
        inputs, relevance = shown.step.inputs, shown.step.relevance
        return of(inputs, shown.observed, shown.expected, layer=shown.layer, relevance=relevance)
    run = case.candidate_run
    output, at_input = run.layers.get(case.graph.output), run.layers.get(case.graph.input.name)
    if finding.stage == "head" and output is not None and output.relevance is not None:
        start = seed(run.logits, case.target, case.method.head)
        layer = case.graph[case.graph.output]
        return of((run.logits,), (output.relevance,), (start,), layer=layer, target=case.target)
    if finding.stage == "postprocess" and finding.layer and at_input and at_input.relevance is not None:
        x, relevance = np.asarray(case.x, np.float64), np.asarray(at_input.relevance, np.float64)
        expected = treated(relevance, x, case.method.postprocess)
        both = (case.x, at_input.relevance)
        return of(both, (run.attribution_array,), (expected,), layer=case.graph.input)
    if finding.cause == "nondeterminism":
        return of((case.x,), (case.again().attribution_array,), (run.attribution_array,))
    return of((case.x,), (run.attribution_array,), (case.reference_run.attribution_array,))
