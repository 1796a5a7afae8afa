"""Layers whose rounding alone would explain what they do, where others like them do something else.

At a pool with equal entries, or a sum that nearly cancels and is divided by, rounding may change as much as another
rule does. Such a layer is not found by itself. Where what other layers of its kind and rule do explains its step to the
last bits, though, and its own rule does not, it does so too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from harness.diagnosis.case import Case
from harness.diagnosis.explain_step import explained_as, of_layers_alike
from harness.diagnosis.explanation import Explained
from harness.diagnosis.localise import Introduced, introduced_by
from harness.diagnosis.readers import readers_of
from harness.diagnosis.search import Hypothesis


def like_the_others(
    case: Case, layers: Iterable[str], known: Mapping[str, Hypothesis]
) -> Iterator[tuple[str, Explained]]:
    """Those of ``layers`` that do what ``known`` says of others like them, with that as their explanation."""
    for name in layers:
        step = _step_of(case, name)
        if step is None:
            continue
        others = dict(of_layers_alike(step.step, known))
        explanation = explained_as(case, step, others) if others else None
        if explanation is not None:
            yield name, explanation


def _step_of(case: Case, name: str) -> Introduced | None:
    """The step of a layer on both sides, with the floor of one sum; None where it does not show by itself."""
    layer = case.graph[name]
    if case.candidate_steps is not None:
        step = introduced_by(case, layer)
        return None if step is None else replace(step, floor=case.least(step.step))
    sources = set(layer.inputs)
    readers = readers_of(case, case.candidate_run, sources.pop()) if len(sources) == 1 else None
    if readers is None or len(readers.steps) != 1:
        return None
    return readers.one_by_one()[0]
