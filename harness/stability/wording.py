"""What an analysis found, in one or two sentences: what happened, and what to do next."""

from __future__ import annotations

import math

from harness.comparison.floor import MULTIPLE, unit_roundoff
from harness.graph import KINDS
from harness.stability.figures import ABSORBERS, LayerStability, LedgerEntry, Origin, Place
from harness.stability.result import Stability

#: Fewer digits than these, and the field's own habit for "the same" (a mean absolute error below 1e-4) is out of reach.
DIGITS = 4
#: Nine tenths of what such a layer passes down cancel in the sum: they are not relevance that it was given.
GROWTH = 10.0

#: A sum that has changed by more than this share of itself is worth a sentence.
LOST = 0.1

_WHY = {
    "0/0": "0/0 at {place}: no relevance there, and a denominator that is zero",
    "R/0": "R/0 at {place}: relevance {relevance:.3g}, and a denominator that is zero",
    "overflow": "an overflow at {place}: relevance {relevance:.3g} over {denominator:.3g} is no {dtype} number",
    "forward": "the activation of {layer} is not finite itself, first at {place}",
    "head": "the relevance that the run starts from is not finite, first at {place}",
    "unknown": "no zero denominator and no overflow was found in its step",
}
_NEXT = {
    "0/0": "give the rule of this layer a stabilizer (ReplaceZero makes 0/0 zero and changes nothing else)",
    "R/0": "give the rule of this layer a stabilizer (SignedEpsilon); the ledger then shows what it absorbs",
    "overflow": "raise the epsilon of the rule of this layer, or compute in float64",
    "forward": "mend the forward pass first: look at the input's scale and the weights",
    "head": "mend the forward pass first: the logit is not finite",
    "unknown": "run xai-harness diagnose on this method, or compute in float64",
}


def sentence(stability: Stability) -> str:
    """The origin of NaN if there is one, else the worst step, else that nothing is wrong."""
    if stability.origin is not None:
        return _of_origin(stability.origin, stability.dtype)
    if not any(math.isfinite(row.condition) for row in stability.layers):
        return "No relevance arrives anywhere: the run starts from zero; choose another target."
    parts = (
        _of_foreign_steps(stability),
        _of_steps(stability),
        _of_winners(stability),
        _of_ledger(stability),
    )
    sentences = [each for each in parts if each]
    calm = len(sentences) == 1 and sentences[0].startswith("Nothing")
    return " ".join([*sentences, "Nothing to do."] if calm else sentences)


def foreign_steps(stability: Stability) -> list[LedgerEntry]:
    """Entries with more unexplained than rounding can be: the backend's step is another than the rule's.

    Rounding explains ten times (`harness.comparison.MULTIPLE`) what a unit roundoff of the operands does to the
    step, ``condition``, on the scale of all that it handles, ``sqrt(terms)`` times for the order of its sums.
    """
    rows = {row.layer: row for row in stability.layers if math.isfinite(row.condition)}
    roundoffs = MULTIPLE * math.sqrt(stability.terms) * unit_roundoff(stability.dtype)

    def rounding(row: LayerStability) -> float:
        return roundoffs * max(row.condition, 1.0) * row.magnitude * max(row.growth, 1.0)

    return [
        entry
        for entry in stability.ledger
        if entry.layer in rows and abs(entry.unexplained) > rounding(rows[entry.layer])
    ]


def _of_foreign_steps(stability: Stability) -> str:
    entries = foreign_steps(stability)
    if not entries:
        return ""
    most = max(entries, key=lambda entry: abs(entry.unexplained))
    names = dict.fromkeys(entry.layer for entry in entries)
    return (
        f"{stability.backend} does not compute the rule of {', '.join(names)}: {most.unexplained:.3g} of relevance at "
        f"{most.layer} is in no column of the ledger; run xai-harness diagnose."
    )


def _of_steps(stability: Stability) -> str:
    """The step that loses most digits, but for max poolings; else the one that makes most relevance."""
    rows = [
        row for row in worst_layers(stability, len(stability.layers)) if KINDS[row.kind].family != "maximum"
    ]
    if not rows:
        return ""
    worst, left = rows[0], digits_left(rows[0], stability.dtype)
    grown = max(stability.layers, key=lambda row: row.growth if math.isfinite(row.growth) else 0.0)
    if left < DIGITS:
        advice = "raise the epsilon of its rule" if worst.denominators else "look at the layer behind it"
        wider = ", or compute in float64" if stability.dtype == "float32" else ""
        return (
            f"{worst.layer} multiplies rounding by {worst.condition:.2g}: of the digits of {stability.dtype} "
            f"{max(left, 0.0):.1f} are left{_through(worst)}; {advice}{wider}."
        )
    if grown.growth >= GROWTH:
        return (
            f"Every value is finite, but {grown.layer} makes {grown.growth:.3g} times the relevance it is given, "
            "with both signs; use a rule of positive contributions only there, or a larger epsilon."
        )
    return (
        f"Nothing extreme: every value is finite, and the worst step, {worst.layer}, multiplies rounding by "
        f"{worst.condition:.2g} ({left:.1f} digits of {stability.dtype} are left)."
    )


def _of_winners(stability: Stability) -> str:
    """The max poolings where rounding decides who gets the relevance."""
    names = [
        row.layer
        for row in stability.layers
        if KINDS[row.kind].family == "maximum"
        and math.isfinite(row.condition)
        and digits_left(row, stability.dtype) < DIGITS
    ]
    if not names:
        return ""
    return (
        f"Rounding decides which of equal values in a window gets the relevance at {', '.join(names)}: single "
        "places may differ from run to run, sums do not; judge the input's relevance summed over regions."
    )


def _of_ledger(stability: Stability) -> str:
    """Who absorbs or adds most of the sum, where a share of it that counts is gone."""
    if not any(row.denominators for row in stability.layers):
        return ""
    total = max(stability.totals, key=lambda entry: abs(entry.difference))
    if not abs(total.difference) > LOST * abs(total.received):
        return ""
    who = max(ABSORBERS, key=lambda name: abs(getattr(total, name)))
    where = max(
        (entry for entry in stability.ledger if entry.sample == total.sample),
        key=lambda entry: abs(getattr(entry, who)),
    )
    return (
        f"The sum goes from {total.received:.3g} at the output to {total.passed:.3g} at the input"
        f"{f' (sample {total.sample})' if len(stability.target) > 1 else ''}; {ABSORBERS[who]} "
        f"{_did(getattr(total, who))}, most at {where.layer} ({_did(getattr(where, who))}): see the ledger."
    )


def _did(amount: float) -> str:
    return f"absorbs {amount:.3g}" if amount > 0 else f"adds {-amount:.3g}"


def digits_left(row: LayerStability, dtype: str) -> float:
    """``-log10(condition * unit roundoff)``: the decimal digits of a step whose input is right to one unit."""
    return -math.log10(max(row.condition, 1.0) * unit_roundoff(dtype))


def worst_layers(stability: Stability, count: int) -> list[LayerStability]:
    """The layers of the largest condition, largest first; those without one are left out."""
    rows = [row for row in stability.layers if math.isfinite(row.condition)]
    return sorted(rows, key=lambda row: -row.condition)[:count]


def words_of(place: Place | None) -> str:
    """A place as it is written in a sentence."""
    return "no place" if place is None else ", ".join(f"{axis} {index}" for axis, index in place.items())


def _of_origin(origin: Origin, dtype: str) -> str:
    why = _WHY[origin.kind].format(
        layer=origin.layer,
        place=words_of(origin.place),
        relevance=origin.relevance if origin.relevance is not None else math.nan,
        denominator=origin.denominator if origin.denominator is not None else math.nan,
        dtype=dtype,
    )
    more = f" ({origin.count} such values)" if origin.count > 1 else ""
    return f"NaN or infinity first comes from {origin.layer}: {why}{more}; {_NEXT[origin.kind]}."


def _through(row: LayerStability) -> str:
    if row.denominators is None or not row.denominators.passing[-1]:
        return ""
    return (
        f", and {100 * row.denominators.passing[-1]:.2g} % of its relevance passes through denominators below a "
        "thousandth of their root mean square"
    )
