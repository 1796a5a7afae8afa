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
from harness.diagnosis.proof import Proof, proved
from harness.diagnosis.walk import Causes
from harness.steps import ForwardStep


def with_other_inputs(
    case: Case, causes: Causes, proof: Proof | None
) -> tuple[tuple[Finding, ...], Proof | None]:
    """The findings and what is left of the case, where an order of the input explains the relevance of the input.

    Such an order leaves the input as it is, and closes the gap in place of the finding: of one about the order of the
    relevance, beside it, and of one without a name, instead of it. ``proof``: that of ``causes`` as they are.
    """
    readers = {layer.name for source in case.graph.sources for layer in case.graph.consumers(source.name)}
    findings = []
    for each in causes.findings:
        if each.stage == "rule" and {each.layer, *each.also} == readers:
            each, proof = _with_other_input(case, causes, each, proof)
        findings.append(each)
    return tuple(findings), proof


def _with_other_input(
    case: Case, causes: Causes, finding: Finding, proof: Proof | None
) -> tuple[Finding, Proof | None]:
    closes = proof is not None and proof.closes
    if finding.cause != ("layout" if closes else "unknown"):
        return finding, proof
    readers = (finding.layer, *finding.also)
    for words, forward in _unseen(case):
        instead = Causes(
            tuple(each for each in causes.findings if each is not finding),
            {**causes.forward, **forward.forward},
            {name: each for name, each in causes.rule.items() if name not in readers},
        )
        other = proved(case, instead)
        if other is None or not other.closes:
            continue
        unseen = f"{words}, which this input does not show in the forward pass"
        if closes:
            both = f"{finding.words}; or, as well, {unseen}"
            return replace(finding, words=both, or_causes=("preprocessing",)), proof
        named = replace(
            finding, stage="forward", cause="preprocessing", words=unseen, residual=other.left, facts={}
        )
        return named, other
    return finding, proof


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
