"""What this input cannot tell apart: the network's input in another order, or the relevance of it.

A gray picture has equal channels. A candidate that hands the network BGR for RGB then computes every activation as it
should, and its attribution has the channels in reversed order, as that of a candidate that turns the relevance alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from harness.diagnosis.case import Case
from harness.diagnosis.everywhere import inputs_otherwise
from harness.diagnosis.findings import Finding
from harness.diagnosis.proof import proved
from harness.diagnosis.walk import Causes
from harness.steps import ForwardStep


def with_other_inputs(case: Case, causes: Causes) -> tuple[Finding, ...]:
    """The findings; those about the order of the input's relevance with an order of the input that explains as much.

    Such an order leaves the input as it is, and closes the gap in place of the finding.
    """
    readers = {layer.name for layer in case.graph.consumers(case.graph.input.name)}
    return tuple(
        _with_other_input(case, causes, each)
        if (each.stage, each.cause) == ("rule", "layout") and {each.layer, *each.also} == readers
        else each
        for each in causes.findings
    )


def _with_other_input(case: Case, causes: Causes, finding: Finding) -> Finding:
    readers = (finding.layer, *finding.also)
    for words, forward in _unseen(case):
        instead = Causes(
            tuple(each for each in causes.findings if each is not finding),
            {**causes.forward, **forward.forward},
            {name: each for name, each in causes.rule.items() if name not in readers},
        )
        proof = proved(case, instead)
        if proof is not None and proof.closes:
            both = (
                f"{finding.words}; or, as well, {words}, which this input does not show in the forward pass"
            )
            return replace(finding, words=both, or_causes=("preprocessing",))
    return finding


def _unseen(case: Case) -> Iterator[tuple[str, Causes]]:
    """What may be done to the input and leaves it as it is, in words, at all layers that read it."""
    x = np.asarray(case.x, np.float64)
    for words, causes in inputs_otherwise(case):
        altered = (
            hypothesis.alter(ForwardStep(case.graph[name], (x,) * len(case.graph[name].inputs), case.graph))
            for name, hypothesis in causes.forward.items()
        )
        if all(np.array_equal(each.inputs[0], x) for each in altered):
            yield words, causes
