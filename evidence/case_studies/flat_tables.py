"""The tables of study 2."""

from __future__ import annotations

from evidence.case_studies.flat import AS_RELEASED, HOOK_ONLY
from evidence.case_studies.measure import Json
from evidence.case_studies.wording import number, table

DESCRIPTION = {
    HOOK_ONLY.name: "the hook alone",
    AS_RELEASED.name: "as released: the hook, none at any other layer, and a start from one",
}


def growth_table(case: Json) -> str:
    """Sums of relevance around every step, with the rule and with the hook, and what the hook divides by."""
    columns = ("layer", "rule", "hook: in", "hook: out", "out / in", "1 / mean input", "negative", "empty")
    lines = [
        (
            f"`{row['layer']}`",
            number(row["reference"][1]),
            number(row["candidate"][0]),
            number(row["candidate"][1]),
            number(row["candidate"][1] / row["candidate"][0]),
            number(1 / row["mean input"]),
            f"{row['negative inputs']:.0%}",
            f"{row['empty']:.1%}, {row['through empty']:.1%}",
        )
        for row in case["layers"]
    ]
    return table((*columns[:-1], "empty, and through them"), lines)


def deviation_growth(case: Json) -> float:
    """Standard deviation of the hook's map over that of the rule's."""
    return float(case["std"]["candidate"] / case["std"]["reference"])
