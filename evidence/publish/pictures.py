"""The pictures of the index: small, legible at its width, in colours that colour-blind readers can tell apart."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from harness.comparison import VERDICTS
from harness.report.document import SYMBOLS

#: From good to bad, after Okabe and Ito.
GOOD, FAIR, OTHER, BAD, WORST, GRAY = "#0072b2", "#56b4e9", "#f0e442", "#d55e00", "#4b2a5a", "#b8b8b8"
VERDICT_COLORS = dict(zip(reversed(VERDICTS), (GOOD, FAIR, OTHER, BAD, WORST), strict=True))
_DOTS_PER_INCH = 80
_WIDTH_INCHES = 8.0


def png(figure: Figure) -> bytes:
    """The picture's bytes: the same for the same figure, without a date or the name of a program."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=_DOTS_PER_INCH, metadata={"Software": None})
    return content.getvalue()


def stacked(
    title: str,
    unit: str,
    rows: Sequence[str],
    parts: Mapping[str, tuple[str, Sequence[float]]],
    share: bool = False,
) -> Figure:
    """One bar a row, from the top. ``parts``: by name, its colour and its size in each row.

    ``share``: bars as parts of their row's sum, so that small rows are seen beside large ones.
    """
    figure, place = _empty(1.4 + 0.26 * len(rows))
    sums = np.sum([values for _, values in parts.values()], axis=0)
    left = np.zeros(len(rows))
    for name, (color, values) in parts.items():
        size = np.asarray(values, dtype=float)
        if not size.any():
            continue
        if share:
            size = 100 * size / np.maximum(sums, 1)
        place.barh(np.arange(len(rows)), size, left=left, color=color, label=name, height=0.75)
        left += size
    labels = [f"{row} ({int(total)})" for row, total in zip(rows, sums, strict=True)] if share else list(rows)
    place.set_yticks(np.arange(len(rows)), labels, fontsize=8, parse_math=False)
    place.set_ylim(len(rows) - 0.5, -0.5)
    place.set_xlim(0, 100 if share else 1.02 * left.max())
    place.set_xlabel("per cent" if share else unit, fontsize=8)
    place.set_title(title, fontsize=10)
    if len(parts) > 1:
        figure.legend(fontsize=8, ncols=3, loc="outside lower center")
    return figure


def matrix(title: str, rows: Sequence[str], columns: Sequence[str], verdicts: np.ndarray) -> Figure:
    """Verdicts, rows by columns, each cell in its verdict's colour with its symbol; an empty text is an empty cell."""
    figure, place = _empty(1.5 + 0.24 * len(rows))
    names = list(VERDICT_COLORS)
    places = np.array([[names.index(name) if name else np.nan for name in line] for line in verdicts])
    place.imshow(
        places,
        aspect="auto",
        cmap=ListedColormap(list(VERDICT_COLORS.values())),
        norm=BoundaryNorm(np.arange(len(names) + 1) - 0.5, len(names)),
    )
    for row, line in enumerate(verdicts):
        for column, name in enumerate(line):
            if name:
                dark = name in ("identical", "divergent", "error")
                color = "white" if dark else "black"
                place.text(column, row, SYMBOLS[name], ha="center", va="center", color=color, fontsize=9)
    place.set_xticks(np.arange(len(columns)), columns, fontsize=8, parse_math=False)
    place.set_yticks(np.arange(len(rows)), rows, fontsize=8, parse_math=False)
    place.set_title(title, fontsize=10)
    there = [name for name in names if (verdicts == name).any()]
    handles = [Patch(color=VERDICT_COLORS[name], label=f"{SYMBOLS[name]} {name}") for name in there]
    figure.legend(handles=handles, fontsize=8, ncols=5, loc="outside lower center")
    return figure


def _empty(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(_WIDTH_INCHES, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots()
