"""What a diagnosis is: one finding for each fault, and the evidence."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from harness.comparison import Comparison
from harness.diagnosis.case import Case
from harness.diagnosis.findings import Finding
from harness.diagnosis.forward import ForwardError
from harness.diagnosis.localise import Introduced
from harness.diagnosis.measure import apart, explained
from harness.engine import compare

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """What is wrong with a candidate, and where.

    ``findings``: one for each fault: forward, head, rule (output first), post-processing. ``steps``: by layer,
    output first, its kind, the error that it introduces (relative L2) and what rounding explains of it.
    ``notes``: what a reader should know besides. ``shown``: what the first finding is about, where that is
    one layer. ``left``: how far the candidate's attribution is from that of the reference with all causes found
    applied (relative L2), ``left_floor`` what rounding explains of it (`harness.diagnosis.proof`); None where nothing
    is wrong, and where such a run cannot be made.
    """

    case: Case
    findings: tuple[Finding, ...]
    steps: tuple[tuple[str, str, float, float], ...] = ()
    notes: tuple[str, ...] = ()
    reproduce_in: Path | None = None
    shown: ForwardError | Introduced | None = field(default=None, repr=False)
    left: float | None = None
    left_floor: float | None = None

    @property
    def complete(self) -> bool:
        """Whether the causes found, applied to the reference, make the two agree to within rounding."""
        if self.left is None or self.left_floor is None:
            return not self.findings
        return explained(self.left, self.left_floor)

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
        """Of the two full runs, in the dtype in which the difference was looked for, with what each step introduces.

        Raises InvalidInputError.
        """
        compared = compare(self.case.reference_run, self.case.candidate_run)
        table = self.introduced
        steps = zip(table["layer"], table["introduced"], table["inherited"], strict=True)
        return replace(compared, steps={layer: (own, before) for layer, own, before in steps})

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

    def _repr_html_(self) -> str:
        from harness.notebook import shown

        rows = [
            (each.layer or "the whole run", each.stage, each.cause, each.words, each.error, each.floor)
            for each in self.findings
        ]
        case = self.case
        sides = f"candidate {case.candidate.name} against reference {case.reference.name}"
        title = f"{sides}: {case.method.name} on {case.model.name}"
        columns = ("layer", "stage", "cause", "what is done differently", "error", "rounding explains")
        return shown(title, columns, rows, (self.explanation, *self.notes))

    def __repr__(self) -> str:
        return (
            f"Diagnosis(stage={self.stage!r}, layer={self.layer!r}, cause={self.cause!r}: {self.explanation})"
        )
