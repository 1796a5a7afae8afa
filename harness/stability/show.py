"""An analysis on a terminal: the sentence, then the worst layers, the ledger, the input, the stabilizers."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from harness.naming import printable
from harness.stability.figures import SHARES, THRESHOLDS, LayerStability, LedgerEntry
from harness.stability.result import Stability
from harness.stability.wording import worst_layers
from harness.terminal import print_table

#: Rows of a table that shows the worst only.
SHOWN = 6


def show(stability: Stability) -> None:
    """Print ``stability``; everything that is left out here is in its tables and its JSON."""
    side = f"{stability.backend} {stability.dtype}"
    print(printable(f"{stability.model}, {stability.method.name}, {side}, target {_targets(stability)}"))
    print(printable(stability.sentence, lines=True))
    _heading(
        "Worst steps (condition: noise out / noise in; the last columns: share of relevance divided by less)"
    )
    _table(_layer(row) for row in worst_layers(stability, SHOWN))
    _heading(
        "Conservation: where most is absorbed, and all of it (difference = received - passed; negative: added)"
    )
    _table(_entries([*_unbalanced(stability), *stability.totals]))
    _heading(f"Input: {_counts(stability)}")
    _table(
        {
            "": f"{each.end} {each.of}",
            " ".join(each.place): " ".join(str(index) for index in each.place.values()),
            **{name: _number(getattr(each, name)) for name in ("input", "gradient", "relevance")},
        }
        for each in stability.input.extremes
    )
    if stability.forms is None:
        return
    _heading(f"Stabilizer forms, epsilon {stability.forms.epsilon:g} at every layer that divides")
    _table(
        {
            "form": result.form,
            "smallest |D|": _number(result.smallest),
            "zero": str(result.zeros),
            "sign turned": str(result.turned),
            "R through those": f"{result.through_turned:.1%}",
            "input low": _number(result.low),
            "input high": _number(result.high),
            "nan": str(result.nan),
            "inf": str(result.inf),
        }
        for result in stability.forms.results
    )
    pairs = (
        f"{result.form} from {other} {_number(distance)}"
        for place, result in enumerate(stability.forms.results)
        for other, distance in result.distance.items()
        if other == "method" or other in [each.form for each in stability.forms.results[:place]]
    )
    print(printable(f"Relative L2 distance at the input: {', '.join(pairs)}"))


def _unbalanced(stability: Stability) -> list[LedgerEntry]:
    """The entries where most is absorbed or added, in backward order; those that are no number count as most."""

    def size(entry: LedgerEntry) -> float:
        return abs(entry.difference) if math.isfinite(entry.difference) else math.inf

    largest = sorted((entry for entry in stability.ledger if size(entry) > 0), key=lambda entry: -size(entry))
    chosen = {id(entry) for entry in largest[:SHOWN]}
    return [entry for entry in stability.ledger if id(entry) in chosen]


def _layer(row: LayerStability) -> dict[str, str]:
    denominators = row.denominators
    return {
        "layer": row.layer,
        "rule": row.rule.split("(")[0],
        "condition": _number(row.condition),
        "growth": _number(row.growth),
        "largest |R|": _number(row.largest),
        "min |S(z)|": _number(denominators.smallest if denominators else None),
        "rms z": _number(denominators.rms if denominators else None),
        **{
            f"< {threshold:g} rms": _number(denominators.passing[place] if denominators else None)
            for place, threshold in enumerate(THRESHOLDS)
        },
    }


def _entries(entries: list[LedgerEntry]) -> list[dict[str, str]]:
    """Rows of the ledger; columns in which nothing stands are left out."""
    used = [name for name in SHARES if any(getattr(entry, name) != 0 for entry in entries)]
    return [
        {
            "layer": entry.layer,
            "sample": str(entry.sample),
            **{name: _number(getattr(entry, name)) for name in ("received", "passed", "difference", *used)},
        }
        for entry in entries
    ]


def _targets(stability: Stability) -> str:
    return " ".join(map(str, stability.target))


def _counts(stability: Stability) -> str:
    counts = stability.input.counts
    return (
        f"relevance negative {counts.negative}, zero {counts.zero}, positive {counts.positive}, "
        f"NaN {counts.nan}, infinite {counts.inf}"
    )


def _heading(text: str) -> None:
    print(f"\n{text}")


def _table(rows: Iterable[dict[str, Any]]) -> None:
    listed = list(rows)
    if listed:
        print_table(listed, tuple(listed[0]))
    else:
        print("none")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"
