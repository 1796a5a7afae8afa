"""A comparison in words: one line for the verdict, and the layers around the place where the two part."""

from __future__ import annotations

from collections.abc import Sequence

from harness.comparison.rows import ForwardRow, Row
from harness.comparison.verdict import Comparison


def verdict_line(comparison: Comparison) -> str:
    """The verdict, the place it comes from and the figures behind it, in one line."""
    worst = comparison.worst
    figures = (
        f"relative L2 {worst.rel_l2:.2e} is {worst.ratio:.3g} noise floors "
        f"of {worst.floor:.1e} at {worst.layer}"
    )
    if comparison.state is not None:
        return f"{comparison.verdict}: {comparison.state}; {figures}"
    if comparison.first_divergent_forward is not None:
        return (
            f"{comparison.verdict}: activations part first at {comparison.first_divergent_forward}; {figures}"
        )
    if comparison.first_divergent is not None:
        return f"{comparison.verdict}: {_parting(comparison)}; {figures}"
    return f"{comparison.verdict}: {figures}"


def _parting(comparison: Comparison) -> str:
    """Whose step parts the two, and whose relevance shows it first."""
    step, received = comparison.first_divergent, comparison.first_different_relevance
    if step == received:
        return f"relevance parts first at {received} (backward order)"
    return f"relevance parts first in the step of {step} (backward order; first seen at {received})"


def layers_around(comparison: Comparison, count: int = 5) -> str:
    """A table of ``count`` layers around the first divergence, or around the worst layer if there is none.

    Activations are shown where they part, relevances otherwise. The arrow is at the layer whose step parts the two
    (`Comparison.first_divergent`); its own relevance may still agree. Where both sides do not show that layer, it is
    at the first that they show otherwise.
    """
    forward = comparison.first_divergent_forward
    rows: Sequence[Row | ForwardRow] = comparison.forward if forward is not None else comparison.rows
    shows = {row.layer for row in rows}
    places = (
        forward,
        comparison.first_divergent,
        comparison.first_different_relevance,
        comparison.worst.layer,
    )
    centre = next((name for name in places if name in shows), rows[0].layer)
    position = next(i for i, row in enumerate(rows) if row.layer == centre)
    start = max(0, min(position - count // 2, len(rows) - count))
    shown = rows[start : start + count]
    width = max(len(row.layer) for row in shown)
    head = f"{'layer':<{width}}  {'kind':<18} {'rel L2':>9} {'floor':>9} {'floors':>9} {'r':>8} {'scale':>10}  verdict"
    return "\n".join([head, *(_line(row, width, row.layer == centre) for row in shown)])


def _line(row: Row | ForwardRow, width: int, marked: bool) -> str:
    scale = (
        f"{row.distance.pearson_r:8.5f} {row.distance.best_scale:10.6g}" if isinstance(row, Row) else " " * 19
    )
    return (
        f"{row.layer:<{width}}  {row.kind:<18} {row.rel_l2:9.2e} {row.floor:9.1e} {row.ratio:9.3g} "
        f"{scale}  {row.verdict}{'  <-' if marked else ''}"
    )
