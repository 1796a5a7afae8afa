"""What a result is worth: detected, layer right, cause right, wrong name or an honest ``unknown``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import permutations

from evidence.planted_bugs.mutant import Expected
from evidence.planted_bugs.run import Finding, Result

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Score:
    """Of one case.

    ``detected``: anything was found. ``layer_right``: the stages and layers found are those expected, no
    more and no fewer. ``cause_right``: the layers are right and each has its cause. ``wrong_names``: how many
    findings have a name, other than ``unknown``, that belongs to no fault of the case: what was planted is
    another cause, is in no list (``unknown`` was right), or is nothing at all. ``unnamed``: how many
    findings say ``unknown`` where a cause was planted.
    """

    detected: bool
    layer_right: bool
    cause_right: bool
    wrong_names: int
    unnamed: int


def score(expected: Sequence[Expected], result: Result) -> Score:
    """The score of ``result``; for a healthy port (nothing expected) nothing found is right."""
    findings = merged([_read_for(each, expected) for each in result.findings])
    owed = _merged_faults(_settled(expected, findings))
    return Score(
        detected=bool(findings),
        layer_right=result.error is None and _places_agree(owed, findings),
        cause_right=result.error is None and _names_agree(owed, findings),
        wrong_names=sum(
            each.cause != UNKNOWN and not any(each.cause in one.causes for one in owed) for each in findings
        ),
        unnamed=0
        if any(UNKNOWN in one.causes for one in owed)
        else sum(each.cause == UNKNOWN for each in findings),
    )


def merged(findings: Sequence[Finding]) -> list[Finding]:
    """Findings of one stage and cause as one, with the layers of all: a fault at several layers may make two."""
    by_name: dict[tuple[str, str], Finding] = {}
    for each in findings:
        known = by_name.get((each.stage, each.cause))
        layers = each.layers if known is None else (*known.layers, *each.layers)
        by_name[each.stage, each.cause] = replace(each, layers=tuple(dict.fromkeys(layers)))
    return list(by_name.values())


def _read_for(finding: Finding, expected: Sequence[Expected]) -> Finding:
    """A finding that says several names, by the one that was planted in its layers, if that is among them."""
    for one in expected:
        places = [set(each) for each in (one.layers, one.or_layers) if each is not None]
        if finding.cause in one.causes or (places and set(finding.layers) not in places):
            continue
        other = next((name for name in finding.or_causes if name in one.causes), None)
        if other is not None:
            return replace(finding, cause=other, stage=one.stage or finding.stage)
    return finding


def _settled(expected: Sequence[Expected], findings: Sequence[Finding]) -> list[Expected]:
    """Each fault at its other place, where it has one and was found there."""
    places = {(each.stage, layer) for each in findings for layer in each.layers}
    return [
        replace(one, layers=one.or_layers)
        if one.or_layers and {(one.stage, layer) for layer in one.or_layers} <= places
        else one
        for one in expected
    ]


def _merged_faults(expected: Sequence[Expected]) -> list[Expected]:
    """The same for what is owed."""
    by_name: dict[tuple[str | None, tuple[str, ...]], Expected] = {}
    for one in expected:
        known = by_name.get((one.stage, one.causes))
        both = known is not None and known.layers is not None and one.layers is not None
        layers = (*known.layers, *one.layers) if both else one.layers  # type: ignore[union-attr, misc]
        by_name[one.stage, one.causes] = replace(one, layers=layers)
    return list(by_name.values())


def _names_agree(owed: Sequence[Expected], findings: Sequence[Finding]) -> bool:
    """Whether each finding is one of the faults, and the other way round."""
    return len(owed) == len(findings) and any(
        all(_meets(one, each) for one, each in zip(owed, order, strict=True))
        for order in permutations(findings)
    )


def _meets(one: Expected, each: Finding) -> bool:
    return (
        each.cause in one.causes
        and one.stage in (None, each.stage)
        and (one.layers is None or set(one.layers) == set(each.layers))
    )


def _places_agree(owed: Sequence[Expected], findings: Sequence[Finding]) -> bool:
    """Layers are compared in those stages in which every fault has layers; in the others anything found will do."""
    free = {one.stage for one in owed if one.layers is None}
    places = {(one.stage, layer) for one in owed if one.stage not in free for layer in one.layers or ()}
    seen = {(each.stage, layer) for each in findings for layer in each.layers}
    if None in free:
        return bool(findings) and places <= seen
    return places == {place for place in seen if place[0] not in free} and (
        {each.stage for each in findings} == {one.stage for one in owed}
    )
