"""The error of a comparison by layer as a picture, for a notebook."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from harness.comparison.floor import MULTIPLE
from harness.naming import printable

if TYPE_CHECKING:
    from harness.comparison import Comparison


def error_figure(comparison: Comparison, introduced: Mapping[str, float] | None = None) -> Figure:
    """Relative L2 distance of each relevance, from the output back to the input, on a log axis.

    The band is what rounding explains: ten noise floors. Distances of zero stand at the lower end. ``introduced``: what
    the step of a layer is off by itself, where that is known. A dashed line marks the layer whose step parts the two.
    """
    figure = Figure(figsize=(8.0, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    place = figure.subplots()
    rows = comparison.rows
    names = [printable(row.layer) for row in rows]
    positions = np.arange(len(rows))
    errors = np.array([row.rel_l2 for row in rows], dtype=float)
    bounds = np.array([MULTIPLE * row.floor for row in rows], dtype=float)
    known = introduced or {}
    steps = np.array([known.get(row.layer, np.nan) for row in rows])
    seen = np.concatenate([errors, bounds, steps])
    above = seen[np.isfinite(seen) & (seen > 0)]
    least = float(above.min()) / 10 if above.size else 1e-17
    place.fill_between(
        positions, least, np.maximum(bounds, least), color="#56b4e9", alpha=0.35, label="rounding"
    )
    place.plot(positions, np.maximum(errors, least), "o-", color="#d55e00", markersize=4, label="full run")
    if known:
        place.plot(positions, np.maximum(steps, least), "D", color="#b0006d", markersize=5, label="own step")
    if comparison.first_divergent in [row.layer for row in rows]:
        where = [row.layer for row in rows].index(comparison.first_divergent)
        place.axvline(where, color="#b0006d", linestyle="--", linewidth=1)
    place.set_yscale("log")
    place.set_xticks(positions[:: max(1, len(rows) // 30)])
    place.set_xticklabels(
        names[:: max(1, len(rows) // 30)], rotation=60, ha="right", fontsize=7, parse_math=False
    )
    place.set(ylabel="relative L2", title=f"{comparison.verdict}, from the output back to the input")
    place.legend(fontsize=8)
    return figure
