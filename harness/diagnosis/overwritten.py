"""Activations that do not last: a step that is right by itself reads something else in the run.

A port that keeps activations for the way back may free one too early, or have a later layer write into its memory. Each
step alone is then right, because nothing else runs; only the run shows the difference.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import numpy as np

from harness.diagnosis.case import Case
from harness.diagnosis.explain_step import search_of
from harness.diagnosis.explanation import Explained, named
from harness.diagnosis.findings import Differing
from harness.diagnosis.localise import Introduced
from harness.diagnosis.readers import Readers, seen
from harness.diagnosis.search import Hypothesis, Outcome
from harness.steps import Deviation, Step

CAUSE = "state"


def between_steps(case: Case, unclear: set[str]) -> Iterator[tuple[Introduced, Explained] | Readers]:
    """What the candidate's run shows where each of its steps is right by itself, with what explains it, if anything.

    Where one reader of a tensor has read something else, that explains the tensor: its other readers are left out.
    """
    for readers in seen(case, case.candidate_run, unclear):
        if not readers.differs:
            continue
        several = readers.one_by_one()
        found = ((each, overwritten(case, each)) for each in several)
        first = next(((each, why) for each, why in found if why is not None), None)
        if first is not None:
            yield first
        else:
            yield readers


def overwritten(case: Case, shown: Introduced) -> Explained | None:
    """The step with another tensor of the run in the place of one of its inputs; None where none reproduces it."""
    search = search_of(case, shown)
    for deviation in _instead(case, shown.step):
        hypothesis = Hypothesis((deviation,), 0.0)
        residual = search.left_by(hypothesis)
        if residual is not None:
            differing = Differing("rule", shown.layer.name, shown.error, shown.floor)
            fit = replace(hypothesis, residual=residual)
            return named(differing, fit, Outcome((fit,)))
    return None


def _instead(case: Case, step: Step) -> Iterator[Deviation]:
    """What may stand in the memory of an input: zeros, or another activation or relevance of its shape."""
    run = case.candidate_run.layers
    for place, (source, x) in enumerate(zip(step.layer.inputs, step.inputs, strict=True)):
        gone = f"{source}, which it reads, is cleared before its step needs it: zeros are read"
        yield Deviation(CAUSE, gone, partial(_with_input, place, np.zeros_like(x)), {"input": source})
        for name, layer in run.items():
            for what, values in (("output", layer.activation), ("relevance", layer.relevance)):
                if values is None or values.shape != x.shape or (name == source and what == "output"):
                    continue
                words = f"{source}, which it reads, is overwritten by the {what} of {name} before its step needs it"
                change = partial(_with_input, place, np.asarray(values, np.float64))
                yield Deviation(CAUSE, words, change, {"input": source, "overwritten_by": name})


def _with_input(place: int, values: np.ndarray, step: Step) -> Step:
    return replace(step, inputs=(*step.inputs[:place], values, *step.inputs[place + 1 :]))
