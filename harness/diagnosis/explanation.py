"""From the hypotheses about one layer to findings: the name, the words, and what is known besides."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from harness.diagnosis.findings import Differing, Finding
from harness.diagnosis.search import Hypothesis, Outcome


@dataclass(frozen=True, eq=False)
class Explained:
    """The findings of one layer, and the hypothesis behind them (None: unknown)."""

    findings: tuple[Finding, ...]
    hypothesis: Hypothesis | None = None


def plain(differing: Differing, cause: str, words: str, **more: Any) -> Explained:
    """What shows without a hypothesis."""
    return Explained((differing.finding(cause, words, **more),))


def named(differing: Differing, chosen: Hypothesis, outcome: Outcome, nan: str | None = None) -> Explained:
    """One finding for each deviation of the hypothesis. ``nan``: where the candidate alone has NaN, in words."""
    others = (each for each in (*outcome.fits, *outcome.others) if each.causes != chosen.causes)
    runner_up = next(((each.words, each.residual) for each in others), None)
    findings = []
    for deviation in chosen.deviations:
        cause, words = deviation.cause, deviation.words
        if nan is not None:
            cause, words = "nan", f"{nan}: {words}"
        more = {"runner_up": runner_up, "parameters": dict(deviation.parameters)}
        findings.append(differing.finding(cause, words, chosen.residual, **more))
    return Explained(tuple(findings), chosen)


def unknown(differing: Differing, outcome: Outcome, words: str, facts: Mapping[str, Any]) -> Explained:
    """No deviation fits: the nearest of them, and what else is known."""
    best = next(iter(outcome.others), None)
    runner_up = None if best is None else (best.words, best.residual)
    return plain(differing, "unknown", words, runner_up=runner_up, facts=facts)


def grouped(explained: Iterable[Explained]) -> tuple[Finding, ...]:
    """Findings in order; those of one cause in the same words are one, at the first of their layers."""
    kept: dict[tuple[str, str, str], Finding] = {}
    for each in explained:
        for finding in each.findings:
            key = (finding.stage, finding.cause, finding.words)
            if key in kept and finding.cause != "unknown":
                before = kept[key]
                kept[key] = replace(before, also=(*before.also, str(finding.layer)))
            else:
                kept[key if key not in kept else (*key[:2], f"{finding.words} {finding.layer}")] = finding
    return tuple(kept.values())
