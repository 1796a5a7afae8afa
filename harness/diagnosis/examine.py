"""From the two runs to findings: the forward pass, the start of the way back, each step, and the attribution."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

import numpy as np

from harness.backends import CANDIDATE, backend_named
from harness.diagnosis.attribution import attribution_findings, input_findings, result_findings
from harness.diagnosis.black_box import black_box_findings
from harness.diagnosis.case import Case
from harness.diagnosis.explain_forward import explain_forward, mended_layer
from harness.diagnosis.explain_readers import explain_readers
from harness.diagnosis.explain_step import explain_step, explained_as
from harness.diagnosis.explanation import Explained, grouped
from harness.diagnosis.findings import Finding
from harness.diagnosis.forward import ForwardError, forward_errors
from harness.diagnosis.head import head_findings
from harness.diagnosis.joined import joined_finding, single_run
from harness.diagnosis.localise import Introduced, introduced, introduced_by
from harness.diagnosis.measure import apart, explained, summation_floor
from harness.diagnosis.overwritten import between_steps
from harness.diagnosis.pairs import pair_errors, structural_rows
from harness.diagnosis.proof import Proof, proved, proved_by_structure, simplest
from harness.diagnosis.readers import Readers, seen
from harness.diagnosis.result import Diagnosis
from harness.diagnosis.search import Hypothesis
from harness.diagnosis.unseen import with_other_inputs
from harness.diagnosis.walk import Causes
from harness.diagnosis.within_rounding import like_the_others
from harness.engine import engine
from harness.graph import Layer
from harness.methods import Backward, IntegratedGradients, Rule, Smoothed
from harness.methods import method as method_named
from harness.steps import Step
from harness.trace import Trace

#: Called with what is being done, in words.
Progress = Callable[[str], None]
#: After so many layers of one kind and rule for which there is no name, pairs of deviations are not tried any more.
UNNAMED = 2
#: A layer's kind and its rule.
_Kind = tuple[str, Rule]
#: A step on both sides, with what the run alone explains of it; or the layers that read one tensor.
_Seen = Introduced | tuple[Introduced, Explained] | Readers


def examine(case: Case, report: Progress) -> Diagnosis:
    """What the candidate of ``case`` does differently, stage by stage."""
    report("forward pass")
    explanations: list[Explained] = []
    forwards: dict[str, Hypothesis] = {}
    mended: dict[str, Layer] = {}
    unclear: set[str] = set()
    shown: ForwardError | Introduced | None = None
    for each in _forward(case):
        if isinstance(each, Finding):
            # Behind a layer that is missing, extra or elsewhere the layers of the two sides do not correspond.
            all_findings = (*grouped(explanations), each)
            return _with_proof(Diagnosis(case, all_findings, shown=shown), proved_by_structure(case))
        shown = shown or each
        report(f"forward pass: {each.layer.name}")
        explanation = explain_forward(case, each)
        explanations.append(explanation)
        if explanation.hypothesis is not None:
            forwards[each.layer.name] = explanation.hypothesis
        layer = mended_layer(each.step, explanation.hypothesis)
        if layer is None:
            unclear.add(each.layer.name)
        else:
            mended[each.layer.name] = layer
    forward = grouped(explanations)
    ends = tuple(result_findings(case))
    forward += ends
    report("start of the backward pass")
    inner = _single(case.with_mended(mended))
    # Behind a softmax that should not be there, the way back starts from its derivative.
    head = () if inner is None or ends else tuple(_head(inner))
    steps: list[tuple[str, str, float, float]] = []
    rules: dict[str, Explained] = {}
    known: dict[str, Hypothesis] = {}
    unnamed: Counter[_Kind] = Counter()
    within_rounding: list[str] = []
    for seen_there in () if inner is None else _steps(inner, unclear):
        assert inner is not None
        if not isinstance(seen_there, tuple) and not seen_there.differs:
            within_rounding += _in_doubt(inner, seen_there)
        for each_step, why in _explained(inner, seen_there, known, unnamed, report):
            steps.append((each_step.layer.name, each_step.layer.kind, each_step.error, each_step.floor))
            if why is None:
                continue
            rules[each_step.layer.name] = why
            unnamed[_kind(each_step.step)] += any(each.cause == "unknown" for each in why.findings)
            if shown is None and not head:
                shown = each_step
            if why.hypothesis is not None:
                known[each_step.layer.name] = why.hypothesis
    if inner is not None and inner.candidate_steps is not None:
        for name, explanation in _shared_by_others(inner, known):
            rules[name] = explanation
            known[name] = explanation.hypothesis or known[name]
    if inner is not None:
        for name, explanation in like_the_others(inner, within_rounding, known):
            rules[name] = explanation
            known[name] = explanation.hypothesis or known[name]
    rule = grouped(rules.values())
    findings = (*forward, *head, *rule)
    if isinstance(case.method.procedure, Backward):
        findings = (*findings, *attribution_findings(case))
    if not findings:
        findings = tuple(input_findings(case)) or tuple(_whole_run(case))
    report("proof")
    diagnosis = Diagnosis(case, findings, tuple(steps), shown=shown)
    return _proved(diagnosis, case.with_mended(mended), Causes(findings, forwards, known))


def _explained(
    case: Case, seen_there: _Seen, known: Mapping[str, Hypothesis], unnamed: Counter[_Kind], report: Progress
) -> Iterable[tuple[Introduced, Explained | None]]:
    """Each step that was seen, and what it does differently, if anything."""

    def pairs(step: Step) -> bool:
        return unnamed[_kind(step)] < UNNAMED

    if isinstance(seen_there, tuple):
        report(f"step of {seen_there[0].layer.name}")
        return [seen_there]
    if isinstance(seen_there, Readers):
        if not seen_there.differs:
            return []
        report(f"step of {', '.join(step.layer.name for step in seen_there.steps)}")
        return explain_readers(case, seen_there, known, pairs)
    report(f"step of {seen_there.layer.name}")
    if not seen_there.differs:
        return [(seen_there, None)]
    return [(seen_there, explain_step(case, seen_there, known, pairs(seen_there.step)))]


def _in_doubt(case: Case, seen_there: Introduced | Readers) -> Iterator[str]:
    """The layers whose step rounding explains, but not the order of a sum alone."""
    steps = seen_there.steps if isinstance(seen_there, Readers) else (seen_there.step,)
    for step in steps:
        if not explained(seen_there.error, case.least(step)):
            yield step.layer.name


def _kind(step: Step) -> _Kind:
    return step.layer.kind, step.rule


def _shared_by_others(case: Case, known: Mapping[str, Hypothesis]) -> Iterator[tuple[str, Explained]]:
    """Layers that were explained by something of their own, by what several others do, where that explains them too.

    The layers are explained from the output on: what has a number fitted to the first may have the constant of all.
    """
    counts = Counter(each.words for each in known.values())
    shared = {name: each for name, each in known.items() if counts[each.words] > 1}
    first_of_each = {each.words: name for name, each in reversed(shared.items())}
    others = {name: shared[name] for name in first_of_each.values()}
    for name, each in tuple(known.items()):
        if counts[each.words] > 1 or not others:
            continue
        step = introduced_by(case, case.graph[name])
        explanation = None if step is None else explained_as(case, step, others)
        if explanation is not None:
            yield name, explanation


def _proved(diagnosis: Diagnosis, case: Case, causes: Causes) -> Diagnosis:
    """``diagnosis`` with what is left of the whole case once all causes are applied (`harness.diagnosis.proof`)."""
    if not causes.findings:
        return diagnosis
    first = causes.findings[0]
    if all(each.first_seen and each.layer is None for each in causes.findings):
        # The search for it was made of whole runs of the reference.
        left = first.error if first.residual is None else first.residual
        return _with_proof(diagnosis, Proof(left, first.floor))
    alone = simplest(case, causes)
    if alone is not None:
        findings, proof = alone
        return _with_proof(replace(diagnosis, findings=findings, shown=None), proof)
    findings, whole = with_other_inputs(case, causes, proved(case, causes))
    return _with_proof(replace(diagnosis, findings=findings), whole)


def _with_proof(diagnosis: Diagnosis, proof: Proof | None) -> Diagnosis:
    if proof is None:
        return diagnosis
    findings = diagnosis.findings
    if not proof.closes:
        findings = tuple(replace(each, left=proof.left) for each in findings)
    return replace(diagnosis, findings=findings, left=proof.left, left_floor=proof.floor)


def _single(case: Case) -> Case | None:
    """The case of one of the runs that the method is made of; None where it has none, or the candidate cannot.

    A candidate without steps of its own is asked for the whole method only: what it makes of one of the method's
    runs says nothing, because it need not look at how many runs it was asked for.
    """
    method = single_run(case.method)
    if method is None or method is case.method:
        return case if method is not None else None
    if case.candidate_steps is None:
        return None
    inner = replace(case, method=method)
    try:
        _ = inner.candidate_run
    except Exception:
        return None  # a candidate made for the whole method need not take one of its runs
    return inner


def _whole_run(case: Case) -> Iterator[Finding]:
    """What is left where every step is right: how runs are joined, or a candidate that does not show all steps."""
    if case.candidate_steps is not None and case.method.stepwise:
        if isinstance(case.method.procedure, IntegratedGradients | Smoothed):
            joined = joined_finding(case)
            if joined is not None:
                yield joined
        elif not isinstance(case.method.procedure, Backward):
            yield from black_box_findings(case)
    elif not (case.method.stepwise and isinstance(case.method.procedure, Backward) and _shows_all(case)):
        yield from black_box_findings(case)


def _shows_all(case: Case) -> bool:
    """Whether the candidate shows the relevance of every layer, so that its steps account for its attribution."""
    run = case.candidate_run.layers
    return all(layer.name in run and run[layer.name].relevance is not None for layer in case.graph)


def _forward(case: Case) -> Iterator[ForwardError | Finding]:
    """Layers that introduce an error on their way forward; none where all activations agree.

    Of a pair whose sides have other layers, up to the first of these, which is a finding.
    """
    rows = structural_rows(case.model)
    if rows:
        yield from pair_errors(case, rows, _forward_run(case))
        return
    reference, candidate = case.reference_run, case.candidate_run
    for layer in case.graph.layers:
        if layer.name not in candidate.layers or layer.name not in reference.layers:
            continue
        one, other = reference.layers[layer.name].activation, candidate.layers[layer.name].activation
        if one is None or other is None:
            continue
        if not explained(apart((one,), (other,)), summation_floor(case.terms, case.dtype)):
            yield from forward_errors(case, candidate, layer.name)
            return


def _forward_run(case: Case) -> Trace:
    """A run that shows the candidate's activations; where it shows none and computes other logits, the port's."""
    run = case.candidate_run
    shown = any(layer.activation is not None for layer in run.layers.values())
    floor = summation_floor(case.terms, case.dtype)
    if shown or explained(apart((case.reference_run.logits,), (run.logits,)), floor):
        return run
    return engine().run(case.asked.with_method(method_named("gradient")), backend_named(CANDIDATE))


def _head(case: Case) -> Iterator[Finding]:
    output = case.graph.output
    last = case.candidate_run.layers.get(output)
    if last is None or last.relevance is None:
        return
    # A softmax sums over the classes; the other starts are copies.
    floor = summation_floor(case.candidate_run.logits.shape[-1], case.dtype)
    findings = head_findings(
        case.candidate_run.logits, case.target, case.method.head, np.asarray(last.relevance), output, floor
    )
    for finding in findings:
        if finding.cause in ("output-seed", "unknown") and case.coupled:
            words = f"what the backward pass starts from depends on the batch: {finding.words}"
            finding = replace(finding, cause="batch-coupling", words=words)
        yield finding


def _steps(case: Case, unclear: set[str]) -> Iterator[_Seen]:
    """Every layer's step, with the layer as the candidate has it; those whose forward pass is unclear left out.

    Of a candidate without steps, what its run shows; and what the run alone explains (an overwritten activation).
    """
    # Where a step takes two relevances the candidate's own run, which shows one, says nothing of its steps.
    shows = case.method.stepwise
    if case.candidate_steps is None:
        if shows:
            yield from seen(case, case.candidate_run, unclear)
        return
    any_introduced = False
    for each in introduced(case, unclear):
        any_introduced = any_introduced or each.differs
        yield each
    if not any_introduced and shows:
        # Between the steps: how shares are summed where several layers read one, and whether activations last.
        yield from between_steps(case, unclear)
