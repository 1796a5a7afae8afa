"""The public call: from "these two differ" to one sentence a developer can act on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.api import as_model
from harness.backends import CANDIDATE, REFERENCE, Backend, backend_named
from harness.case import Case as AskedCase
from harness.checks import checked_device
from harness.comparison import Comparison
from harness.comparison.floor import NoiseFloor
from harness.comparison.verdict import HIGH_FLOOR
from harness.diagnosis.attribution import attribution_findings, result_findings
from harness.diagnosis.black_box import black_box_finding
from harness.diagnosis.case import Case
from harness.diagnosis.explain import Explained, explain_forward, explain_step, grouped, mended_layer
from harness.diagnosis.findings import Finding
from harness.diagnosis.forward import ForwardError, forward_errors
from harness.diagnosis.head import head_findings
from harness.diagnosis.joined import joined_finding, single_run
from harness.diagnosis.localise import Introduced, introduced, seen
from harness.diagnosis.measure import apart, explained, summation_floor
from harness.diagnosis.pairs import pair_errors, structural_rows
from harness.diagnosis.repeat import repeat_finding
from harness.diagnosis.search import Hypothesis
from harness.engine import compare, engine, floor_of, require_support
from harness.errors import HarnessError
from harness.graph import Layer
from harness.methods import Backward, IntegratedGradients, Method, Rule, Smoothed
from harness.methods import method as method_named
from harness.pairs import unverified
from harness.state import STATE
from harness.trace import Trace

if TYPE_CHECKING:
    import pandas

Progress = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """What is wrong with a candidate, and where.

    ``findings``: one for each fault: forward, head, rule (output first), post-processing. ``steps``: by layer,
    output first, its kind, the error that it introduces (relative L2) and what rounding explains of it.
    ``notes``: what a reader should know besides. ``shown``: what the first finding is about, where that is
    one layer.
    """

    case: Case
    findings: tuple[Finding, ...]
    steps: tuple[tuple[str, str, float, float], ...] = ()
    notes: tuple[str, ...] = ()
    reproduce_in: Path | None = None
    shown: ForwardError | Introduced | None = field(default=None, repr=False)

    @property
    def stage(self) -> str | None:
        """ "forward", "head", "rule", "postprocess" or "run"; None where nothing is wrong."""
        return self.findings[0].stage if self.findings else None

    @property
    def layer(self) -> str | None:
        """The layer of the first finding; None where nothing is wrong, or where it belongs to the whole run."""
        return self.findings[0].layer if self.findings else None

    @property
    def cause(self) -> str | None:
        """The first finding's cause (`harness.diagnosis.causes`); None where nothing is wrong."""
        return self.findings[0].cause if self.findings else None

    @property
    def explanation(self) -> str:
        """All findings as sentences."""
        if not self.findings:
            return " ".join(("nothing is done differently", *(f"({note})" for note in self.notes)))
        return ". ".join(each.sentence for each in self.findings)

    @cached_property
    def comparison(self) -> Comparison:
        """Of the two full runs, in the dtype in which the difference was looked for. Raises InvalidInputError."""
        return compare(self.case.reference_run, self.case.candidate_run)

    @property
    def residual(self) -> float | None:
        """How far the candidate is from the explanation of the first finding (relative L2); None for unknown."""
        return self.findings[0].residual if self.findings else None

    @cached_property
    def introduced(self) -> pandas.DataFrame:
        """A row a layer in backward order: the error it introduces, that which it inherits, and the floor.

        ``inherited``: relative L2 distance, between the full runs, of the relevance that reached its output.
        """
        import pandas

        reference, candidate = self.case.reference_run.layers, self.case.candidate_run.layers

        def inherited(layer: str) -> float:
            one, other = (
                reference[layer].relevance,
                candidate[layer].relevance if layer in candidate else None,
            )
            return float("nan") if one is None or other is None else apart((one,), (other,))

        rows = [
            {
                "layer": layer,
                "kind": kind,
                "introduced": error,
                "inherited": inherited(layer),
                "floor": floor,
                "differs": not explained(error, floor),
            }
            for layer, kind, error, floor in self.steps
        ]
        columns = ["layer", "kind", "introduced", "inherited", "floor", "differs"]
        return pandas.DataFrame.from_records(rows, columns=columns)

    @cached_property
    def reproducer(self) -> Path | None:
        """A folder whose script shows the first finding without this library; None if nothing is wrong."""
        if not self.findings:
            return None
        from harness.diagnosis.reproduce import reproduce

        return reproduce(self.case, self.findings[0], self.shown, self.reproduce_in)

    def __repr__(self) -> str:
        return (
            f"Diagnosis(stage={self.stage!r}, layer={self.layer!r}, cause={self.cause!r}: {self.explanation})"
        )


def diagnose(
    model: Any,
    x: Any,
    method: str | Method,
    reference: str | Backend | None = None,
    candidate: str | Backend | None = None,
    target: Any = None,
    dtype: str = "float32",
    reproduce_in: Path | str | None = None,
    progress: Progress | None = None,
    device: str = "cpu",
) -> Diagnosis:
    """Say which layer of ``candidate`` does something else than ``reference``, and what.

    Arguments as for `harness.explain`; ``reference`` and ``candidate`` are by default the method's own (tensorflow and
    torch). The two are compared in ``dtype``; what differs is looked for in
    float64 where it shows there too, because rounding hides less. ``reproduce_in``: the folder for the
    reproducer, else one in the system's temporary folder. ``progress`` is called with what is being done.
    ``device``: what the candidate computes on, as for `harness.explain`; the reference computes on the CPU.

    Raises what `harness.explain` raises.
    """
    report = progress or (lambda what: None)
    resolved = method_named(method)
    sides = (
        backend_named(REFERENCE if reference is None else reference),
        backend_named(CANDIDATE if candidate is None else candidate),
    )
    asked = AskedCase.checked(as_model(model), x, resolved, target, dtype)
    for side in sides:
        require_support(side, asked)
    report("running both sides")
    case = _case(asked, sides, checked_device(device))
    folder = None if reproduce_in is None else Path(reproduce_in)
    notes = _left_out(case.candidate_run)
    first = _state_finding(case) or repeat_finding(case)
    if first is not None:
        return Diagnosis(case, (first,), notes=notes, reproduce_in=folder)
    if dtype == "float64":
        if not _parts(case) and _agree(case):
            return _nothing(case, folder, notes)
    else:
        finer = replace(case, x=case.x.astype(np.float64), dtype="float64")
        if not _doubtful(case):
            return _nothing(case, folder, notes)
        report("running both sides in float64")
        case.forget()
        if _runs(finer) and _parts(finer):
            case = finer
        elif compare(case.reference_run, case.candidate_run).passed:
            return _nothing(case, folder, notes)
        elif _runs(finer):
            notes = ("in float64 the two agree", *notes)
    found = _examined(case, report)
    return replace(found, notes=_noted(case, found, notes), reproduce_in=folder)


def _nothing(case: Case, folder: Path | None, notes: tuple[str, ...]) -> Diagnosis:
    found = Diagnosis(case, (), reproduce_in=folder)
    return replace(found, notes=_noted(case, found, notes))


def _noted(case: Case, found: Diagnosis, notes: tuple[str, ...]) -> tuple[str, ...]:
    """``notes``, and of a pair that is not verified, where nothing was found, that this input does not show it."""
    reason = unverified(case.model)
    if found.findings or reason is None:
        return notes
    return (*notes, f"{reason}; this input does not show it")


def _left_out(run: Trace) -> tuple[str, ...]:
    """Why a run does not show the layers that were asked for, as a note."""
    reason = run.provenance.get("layers")
    return (f"only the attribution was judged: {reason}",) if reason else ()


def _agree(case: Case) -> bool:
    """Whether no more than rounding lies between the sides, on equal ground where the floor is high."""
    return not _doubtful(case) or compare(case.reference_run, case.candidate_run).passed


def _doubtful(case: Case) -> bool:
    """Whether anything is further apart than the reference's noise floor explains, or that floor is high."""
    reference, candidate = case.reference_run, case.candidate_run
    floor = floor_of(engine(), reference)
    return any(
        not explained(distance, allowed) or allowed > HIGH_FLOOR
        for distance, allowed in _distances(reference, candidate, floor)
    )


def _distances(reference: Trace, candidate: Trace, floor: NoiseFloor) -> Iterator[tuple[float, float]]:
    """Every tensor that both runs show: how far apart, and the floor."""
    yield apart((reference.attribution,), (candidate.attribution,)), floor.of_attribution()
    yield (
        apart((reference.logits,), (candidate.logits,)),
        floor.of_activation(next(reversed(reference.layers), "")),
    )
    for name, layer in reference.layers.items():
        other = candidate.layers.get(name)
        if other is None:
            continue
        if layer.activation is not None and other.activation is not None:
            yield apart((layer.activation,), (other.activation,)), floor.of_activation(name)
        if layer.relevance is not None and other.relevance is not None:
            yield apart((layer.relevance,), (other.relevance,)), floor.of_relevance(name)


def _case(asked: AskedCase, sides: tuple[Backend, Backend], device: str) -> Case:
    reference = engine().run(asked, sides[0])
    case = Case(asked.model, asked.x, asked.method, *sides, reference.target, asked.dtype, device=device)
    case.reference_run = reference
    return case


def _state_finding(case: Case) -> Finding | None:
    """What the candidate's run leaves changed: the next run is of another model, input or arithmetic."""
    said = case.candidate_run.provenance.get(STATE)
    if said is None:
        return None
    error = apart((case.reference_run.attribution,), (case.candidate_run.attribution,))
    return Finding("run", None, "state", f"the candidate {said}", error, case.attribution_floor)


def _runs(case: Case) -> bool:
    """Whether the candidate can be run in the dtype of ``case``."""
    try:
        _ = case.candidate_run
    except HarnessError:
        return False
    return True


#: In float64 no rounding brings two runs of one function further apart than this without a denominator near zero.
FAR = 1e-9


def _parts(case: Case) -> bool:
    """Whether the sides are further apart than float64 rounding could be expected to bring them."""
    nothing = NoiseFloor(case.dtype, "", 0.0)
    return any(distance > FAR for distance, _ in _distances(case.reference_run, case.candidate_run, nothing))


#: After so many layers of one kind and rule for which there is no name, pairs of deviations are not tried any more.
UNNAMED = 2


def _examined(case: Case, report: Progress) -> Diagnosis:
    report("forward pass")
    explanations: list[Explained] = []
    mended: dict[str, Layer] = {}
    unclear: set[str] = set()
    shown: ForwardError | Introduced | None = None
    for each in _forward(case):
        if isinstance(each, Finding):
            # Behind a layer that is missing, extra or elsewhere the layers of the two sides do not correspond.
            return Diagnosis(case, (*grouped(explanations), each), shown=shown)
        shown = shown or each
        report(f"forward pass: {each.layer.name}")
        explanation = explain_forward(case, each)
        explanations.append(explanation)
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
    rules: list[Explained] = []
    known: list[Hypothesis] = []
    unnamed: Counter[tuple[str, Rule]] = Counter()
    for found in () if inner is None else _steps(inner, unclear):
        steps.append((found.layer.name, found.layer.kind, found.error, found.floor))
        report(f"step of {found.layer.name}")
        if not found.differs:
            continue
        assert inner is not None
        alike = (found.layer.kind, found.step.rule)
        explanation = explain_step(inner, found, known, pairs=unnamed[alike] < UNNAMED)
        rules.append(explanation)
        unnamed[alike] += any(each.cause == "unknown" for each in explanation.findings)
        if shown is None and not head:
            shown = found
        if explanation.hypothesis is not None:
            known.append(explanation.hypothesis)
    rule = grouped(rules)
    findings = (*forward, *head, *rule)
    if isinstance(case.method.procedure, Backward):
        findings = (*findings, *attribution_findings(case))
    if not findings:
        findings = tuple(each for each in _whole_run(case) if each is not None)[:1]
    return Diagnosis(case, findings, tuple(steps), shown=shown)


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


def _whole_run(case: Case) -> Iterator[Finding | None]:
    """What is left where every step is right: how runs are joined, or a candidate that does not show all steps."""
    if case.candidate_steps is not None:
        if isinstance(case.method.procedure, IntegratedGradients | Smoothed):
            yield joined_finding(case)
    elif not (isinstance(case.method.procedure, Backward) and _shows_all(case)):
        yield black_box_finding(case)


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
    found = case.candidate_run.layers.get(output)
    if found is None or found.relevance is None:
        return
    # A softmax sums over the classes; the other starts are copies.
    floor = summation_floor(case.candidate_run.logits.shape[-1], case.dtype)
    findings = head_findings(
        case.candidate_run.logits, case.target, case.method.head, np.asarray(found.relevance), output, floor
    )
    for finding in findings:
        if finding.cause in ("output-seed", "unknown") and case.coupled:
            words = f"what the backward pass starts from depends on the batch: {finding.words}"
            finding = replace(finding, cause="batch-coupling", words=words)
        yield finding


def _steps(case: Case, unclear: set[str]) -> Iterator[Introduced]:
    """Every layer's step, with the layer as the candidate has it; those whose forward pass is unclear left out."""
    if case.candidate_steps is None:
        yield from seen(case, case.candidate_run, unclear)
        return
    any_introduced = False
    for found in introduced(case, unclear):
        any_introduced = any_introduced or found.differs
        yield found
    if not any_introduced:
        # Between the steps: how shares are summed where several layers read one.
        yield from seen(case, case.candidate_run, unclear)
