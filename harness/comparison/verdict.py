"""Two traces side by side: a row a layer, one verdict for all."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np

from harness.comparison.first_step import BothSteps, first_step, returns_nothing
from harness.comparison.floor import NoiseFloor
from harness.comparison.rerun import Ground
from harness.comparison.rows import (
    PASSING,
    VERDICTS,
    ForwardRow,
    Row,
    Ruling,
    by_floor,
    forward_frame,
    forward_row,
    relevance_frame,
    relevance_row,
    row_of_arrays,
    verdict_of,
)
from harness.errors import InvalidInputError
from harness.graph import Input, parted, require_same_axes
from harness.pairs import UNVERIFIED
from harness.state import PUT_BACK, STATE
from harness.trace import Trace

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

Tolerance = float | Literal["close"] | None


def tolerance_in(text: str, what: str) -> Tolerance:
    """The tolerance that ``text`` says; ``what`` names it. Raises InvalidInputError for another text."""
    if text == "close":
        return "close"
    try:
        bound = float(text)
    except ValueError:
        bound = -1.0
    if not 0 <= bound < float("inf"):
        raise InvalidInputError(
            f"{what} is {text!r}; expected close, or a number that the relative L2 difference may reach"
        )
    return bound


#: The name of the row of the result itself.
ATTRIBUTION = "attribution"
_OF = f"{ATTRIBUTION} of "
#: Above this floor (relative L2) agreement within ten floors says too little, and equal ground decides.
HIGH_FLOOR = 1e-5


def of_input(name: str) -> str:
    """What the row of the attribution of one of several inputs is called."""
    return f"{_OF}{name}"


def results(inputs: Sequence[Input], attribution: np.ndarray) -> dict[str, np.ndarray]:
    """``attribution`` by the name of its row: the whole, and the part of each of several ``inputs``.

    Beside a large part an error of a small one is not seen, so each part is judged on its own.
    """
    parts = parted(inputs, attribution)
    return {ATTRIBUTION: attribution} | {of_input(name): part for name, part in parts.items()}


@dataclass(frozen=True)
class Comparison:
    """The result of `harness.compare`.

    ``rows``: relevance per layer in backward order; ``forward``: activation per layer in forward order;
    ``attribution``: the result itself, after post-processing; ``inputs``: of several inputs that of each.
    ``unverified``: why the pair that the traces are runs
    of is not one network; such a comparison is "divergent" at best and never passes, whatever its rows say.
    ``state``: which side leaves the model, its input or what all code of the process shares changed, and what of
    it; such a comparison is an "error" and never passes. ``steps``: by layer, the error that its own step introduces
    and the one that it inherits, where steps were run (`Diagnosis.comparison` has them).

    ``nothing``: which layer's step returns nothing where the reference's has relevance; an "error" too.

    ``first_divergent``: the layer whose step made the first relevance that differs (is neither identical nor
    equivalent), from the output backwards: not the layer that received it, but the one that reads that layer. It is
    the output layer where the start of the way back differs already. Where the layer received relevance from several
    readers, those whose own step differs count; where that cannot be told, it is the layer that received it, and a
    note says why. None where all relevances agree, also if the attribution made of them does not;
    :data:`ATTRIBUTION` where a candidate shows nothing else.
    """

    rows: tuple[Row, ...]
    forward: tuple[ForwardRow, ...]
    attribution: Row
    floor: NoiseFloor
    tolerance: Tolerance = None
    notes: tuple[str, ...] = field(default=())
    unverified: str | None = None
    first_divergent: str | None = None
    state: str | None = None
    nothing: str | None = None
    steps: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    inputs: tuple[Row, ...] = ()

    @property
    def relevances(self) -> tuple[Row, ...]:
        """The rows of layers, of the attribution, and of its part at each of several inputs."""
        return (*self.rows, self.attribution, *self.inputs)

    @property
    def verdict(self) -> str:
        """The worst verdict of any row: activations, relevances and the attribution; see ``unverified``."""
        verdicts = [row.verdict for row in self._all()]
        if self.unverified is not None:
            verdicts.append("divergent")
        if self.state is not None or self.nothing is not None:
            verdicts.append("error")
        return min(verdicts, key=VERDICTS.index)

    @property
    def passed(self) -> bool:
        """True for "identical" and "equivalent", and for what ``tolerance`` explicitly allows beyond."""
        sound = self.unverified is None and self.state is None and self.nothing is None
        return sound and all(self._row_passed(row) for row in self._all())

    @property
    def first_different_relevance(self) -> str | None:
        """The first layer in backward order whose relevance is neither identical nor equivalent; None if all are."""
        return next((row.layer for row in self.rows if row.verdict not in ("identical", "equivalent")), None)

    @property
    def first_divergent_forward(self) -> str | None:
        """The first layer in forward order whose activation is neither identical nor equivalent; None if all are."""
        return next(
            (row.layer for row in self.forward if row.verdict not in ("identical", "equivalent")), None
        )

    @cached_property
    def table(self) -> pandas.DataFrame:
        """Relevance, a row a layer in backward order; the columns are those of `harness.comparison.rows.Row`."""
        return relevance_frame(self.rows, self.steps)

    @cached_property
    def forward_table(self) -> pandas.DataFrame:
        """Activations, a row a layer in forward order, with the figures that the verdict rests on."""
        return forward_frame(self.forward)

    @property
    def worst(self) -> Row | ForwardRow:
        """The row furthest from the reference in floors; a row with an error comes before any other."""
        return max(self._all(), key=lambda row: (row.verdict == "error", row.ratio))

    @property
    def settled(self) -> bool:
        """Whether every row is identical or equivalent, so that no further evidence changes a verdict."""
        return all(row.verdict in PASSING for row in self._all())

    def _all(self) -> Iterator[Row | ForwardRow]:
        yield from self.rows
        yield from self.forward
        yield self.attribution
        yield from self.inputs

    def _row_passed(self, row: Row | ForwardRow) -> bool:
        if row.verdict in PASSING:
            return True
        if self.tolerance == "close":
            return row.verdict == "close"
        if isinstance(self.tolerance, int | float):
            return row.verdict != "error" and row.rel_l2 <= self.tolerance
        return False

    def plot(self) -> Figure:
        """The error by layer as a Matplotlib figure, which a notebook shows; the band is what rounding explains."""
        from harness.report.plots import error_figure

        return error_figure(self, {layer: step[0] for layer, step in self.steps.items()})

    def _repr_html_(self) -> str:
        from harness.notebook import shown

        columns = (
            "layer",
            "kind",
            "shape",
            "rel_l2",
            "introduced",
            "inherited",
            "floor",
            "floors",
            "verdict",
        )
        rows = self.table[list(columns)].itertuples(index=False, name=None)
        return shown(repr(self), columns, rows, self.notes)

    def __repr__(self) -> str:
        worst = self.worst
        return (
            f"Comparison(verdict={self.verdict!r}, first_divergent={self.first_divergent!r}, "
            f"worst {worst.layer}: relative L2 {worst.rel_l2:.2e}, {worst.ratio:.3g} noise floors)"
        )


def judge(
    reference_trace: Trace,
    candidate_trace: Trace,
    floor: NoiseFloor,
    tolerance: Tolerance = None,
    notes: tuple[str, ...] = (),
    ruling: Ruling = "floor",
) -> Comparison:
    """Two traces of one method on one model and input, layer by layer: a function of these and of the floor alone.

    ``ruling``: what ``floor`` is. Further evidence is worked in by :func:`by_measured_floor`, :func:`on_equal_ground`
    and :func:`with_first_divergent`. Raises InvalidInputError where the traces are not of the same model, method,
    dtype, target, axes or shape.
    """
    check_comparable(reference_trace, candidate_trace)
    check_tolerance(tolerance)
    sides = (reference_trace, candidate_trace)
    unverified = next(
        (trace.provenance[UNVERIFIED] for trace in sides if UNVERIFIED in trace.provenance), None
    )
    if unverified is not None:
        notes = (f"{unverified}: its cases never pass", *notes)
    state = _state(reference_trace, candidate_trace)
    if state is not None:
        notes = (*notes, state)
    put_back = [
        f"{side} {trace.backend!r}: {trace.provenance[PUT_BACK]}"
        for side, trace in zip(("reference", "candidate"), sides, strict=True)
        if PUT_BACK in trace.provenance
    ]
    notes = (*notes, *put_back)
    reference, candidate = reference_trace.layers, candidate_trace.layers
    if reference and not candidate:
        why = candidate_trace.provenance.get("layers")
        reason = f" ({why})" if why else ""
        notes = (*notes, f"the candidate gave no layers{reason}; only the attribution was compared")
    shared = [name for name in reference if name in candidate]
    if candidate and len(shared) < len(reference):
        missing = [name for name in reference if name not in candidate]
        withheld = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        shown = f"the candidate shows {len(shared)} of {len(reference)} layers"
        notes = (*notes, f"{shown}; not compared: {withheld}")
    # NumPy releases the interpreter for the sums, so the tensors are handled side by side.
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        relevances = [
            pool.submit(
                relevance_row, reference[name], candidate[name].relevance, floor.of_relevance(name), ruling
            )
            for name in reversed(shared)
            if reference[name].relevance is not None and candidate[name].relevance is not None
        ]
        activations = [
            pool.submit(
                forward_row, reference[name], candidate[name].activation, floor.of_activation(name), ruling
            )
            for name in shared
            if reference[name].activation is not None and candidate[name].activation is not None
        ]
        attribution = row_of_arrays(
            ATTRIBUTION,
            ATTRIBUTION,
            next(iter(reference.values())).axes if reference else (),
            reference_trace.attribution_array,
            candidate_trace.attribution_array,
            floor.of_attribution(),
            ruling,
        )
        there, other = (
            results(reference_trace.inputs, trace.attribution_array)
            for trace in (reference_trace, candidate_trace)
        )
        inputs = [
            row_of_arrays(
                of_input(each.name),
                ATTRIBUTION,
                each.axes,
                there[of_input(each.name)],
                other[of_input(each.name)],
                floor.of_attribution(each.name),
                ruling,
            )
            for each in reference_trace.inputs
        ]
        return Comparison(
            rows=tuple(row.result() for row in relevances) or (attribution,),
            forward=tuple(row.result() for row in activations),
            attribution=attribution,
            inputs=tuple(inputs),
            floor=floor,
            tolerance=tolerance,
            notes=notes,
            unverified=unverified,
            state=state,
        )


def _state(reference: Trace, candidate: Trace) -> str | None:
    """What a side leaves changed, as a sentence; None where neither does."""
    changed = [
        f"{side} {trace.backend!r} {trace.provenance[STATE]} (state)"
        for side, trace in (("reference", reference), ("candidate", candidate))
        if STATE in trace.provenance
    ]
    return "; ".join(changed) or None


def out_of_range(comparison: Comparison, dtype: str) -> str | None:
    """Where the method itself leaves the range of float32, on both sides, as a sentence; None where it does not."""
    first = next((row for row in comparison.rows if row.verdict == "error"), None)
    if dtype != "float32" or first is None:
        return None
    if not all(side.inf or side.nan for side in (first.reference, first.candidate)):
        return None
    return (
        f"on both sides the relevance of {first.layer} leaves the range of float32, and rounding decides where; "
        "what is behind it says nothing: compare in float64"
    )


def with_first_divergent(
    comparison: Comparison, reference: Trace, candidate: Trace, steps: BothSteps | None
) -> Comparison:
    """``comparison`` with the layer whose step made the first relevance that differs; ``steps``: of both sides."""
    received = comparison.first_different_relevance
    if received is None or received == ATTRIBUTION:
        return replace(comparison, first_divergent=received)
    compared = {row.layer for row in comparison.rows}
    first = first_step(received, compared, reference, candidate, comparison.floor, steps)
    found = (first.note, out_of_range(comparison, reference.dtype))
    notes = (*comparison.notes, *(note for note in found if note is not None))
    comparison = replace(comparison, first_divergent=first.layer, notes=notes)
    sources = () if steps is None else returns_nothing(first.layer, reference, steps)
    if not sources:
        return comparison
    nothing = f"the candidate's step of {first.layer} returns nothing for {' and '.join(sources)}"
    return replace(comparison, nothing=nothing, notes=(*comparison.notes, nothing))


def check_tolerance(tolerance: Tolerance) -> None:
    """Raise InvalidInputError for what is no tolerance."""
    if isinstance(tolerance, str) and tolerance != "close":
        raise InvalidInputError(f"tolerance must be None, 'close' or a number, found {tolerance!r}")


def check_comparable(reference: Trace, candidate: Trace) -> None:
    """Raise InvalidInputError where the traces are not of one model, method, dtype and target, over the same axes."""
    for what, left, right in (
        ("model", reference.model, candidate.model),
        ("method", reference.method.name, candidate.method.name),
        ("dtype", reference.dtype, candidate.dtype),
        ("target", reference.target.tolist(), candidate.target.tolist()),
    ):
        if left != right:
            raise InvalidInputError(
                f"the traces differ in {what}: {left!r} and {right!r}; compare runs of the same case"
            )
    for name in reference.layers.keys() & candidate.layers.keys():
        require_same_axes(f"layer {name!r}", reference.layers[name].axes, candidate.layers[name].axes)


def doubtful(row: Row) -> bool:
    """Whether a relevance differs by more than its floor explains, or its floor is too high to say.

    What a bound has passed is not in doubt: it is that near whatever the floor.
    """
    high = row.verdict == "equivalent" and row.floor > HIGH_FLOOR and row.decided_by == "floor"
    return high or row.verdict in ("close", "divergent")


def by_measured_floor(comparison: Comparison, floor: NoiseFloor) -> Comparison:
    """``comparison``, which bounds have judged, with what they did not pass held against the measured ``floor``."""
    return replace(
        comparison,
        rows=tuple(by_floor(row, _relevance_floor(row, floor)) for row in comparison.rows),
        forward=tuple(by_floor(row, floor.of_activation(row.layer)) for row in comparison.forward),
        attribution=by_floor(comparison.attribution, floor.of_attribution()),
        inputs=tuple(by_floor(row, _relevance_floor(row, floor)) for row in comparison.inputs),
        floor=floor,
    )


def _relevance_floor(row: Row, floor: NoiseFloor) -> float:
    if row.kind != ATTRIBUTION:
        return floor.of_relevance(row.layer)
    return floor.of_attribution(None if row.layer == ATTRIBUTION else row.layer.removeprefix(_OF))


def on_equal_ground(
    comparison: Comparison, ground: Mapping[str, Ground], by: str = "the reference"
) -> Comparison:
    """``comparison`` with the verdicts on doubtful relevances as the run on equal ground has them.

    ``by``: who was run there.
    """
    excused: list[str] = []
    convicted: list[str] = []

    def judged(row: Row) -> Row:
        there = ground.get(row.layer)
        if there is None or not doubtful(row):
            return row
        if there.within:
            if row.verdict != "equivalent":
                excused.append(row.layer)
            floor = max(row.floor, there.moved)
            return replace(row, floor=floor, verdict="equivalent", decided_by=there.by)
        if row.verdict != "equivalent":
            return row
        convicted.append(row.layer)
        verdict = verdict_of(row.distance, 0.0)
        return replace(row, floor=there.floor, verdict=verdict, decided_by="equal ground")

    rows = tuple(judged(row) for row in comparison.rows)
    attribution = judged(comparison.attribution)
    inputs = tuple(judged(row) for row in comparison.inputs)
    notes = list(comparison.notes)
    if excused:
        notes.append(
            f"{len(excused)} of {len(rows)} layers from {excused[0]} on differ because rounding put units on the other "
            f"side of a kink: {by}, run on the candidate's activations, agrees with it"
        )
    if convicted:
        notes.append(
            f"{len(convicted)} of {len(rows)} layers from {convicted[0]} on are within a high noise floor, but "
            f"{by}, run on the candidate's activations, does not agree with the candidate"
        )
    return replace(comparison, rows=rows, attribution=attribution, inputs=inputs, notes=tuple(notes))
