"""The attribution of a trace as a picture, for a notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from harness.drawable import BLUE, RED, flat, label_tokens, relevance_colors
from harness.errors import InvalidInputError
from harness.graph import default_axes
from harness.naming import printable
from harness.token_texts import NUMBERS, numbers_of, token_texts

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from harness.trace.trace import Trace


def attribution_figure(trace: Trace, sample: int = 0) -> Figure:
    """The attribution of one sample: red above zero, blue below, white at zero, gray for what is no number.

    Of several inputs one below the other, each on a scale of its own.

    Raises InvalidInputError for a sample that is not there, and for axes without a picture.
    """
    whole = np.asarray(trace.attribution_array, dtype=float)
    if not 0 <= sample < len(whole):
        raise InvalidInputError(f"sample {sample} is outside the batch of {len(whole)}")
    title = printable(
        f"{trace.method.name} of {trace.model} by {trace.backend}, class {trace.target[sample]}"
    )
    if not trace.inputs:
        axes = next((layer.axes for layer in trace.layers.values()), None)
        named = axes[1:] if axes and len(axes) == whole.ndim else _usual_axes(whole.ndim - 1)
        values, labels = flat(whole[sample], named)
        figure, (place,) = _figure(1)
        _draw(figure, place, values, labels, _tokens(trace, sample) if labels == ("token",) else ())
        place.set_title(title, fontsize=9, parse_math=False)
        return figure
    figure, places = _figure(len(trace.inputs))
    figure.suptitle(title, fontsize=9, parse_math=False)
    for place, each in zip(places, trace.inputs, strict=True):
        _draw(figure, place, *flat(trace.attribution[each.name][sample].astype(float), each.axes[1:]), ())
        place.set_title(printable(each.name), fontsize=9, parse_math=False)
    return figure


def _figure(count: int) -> tuple[Figure, list[Axes]]:
    """An empty figure of that many places, one above the other."""
    figure = Figure(figsize=(4.6, 3.8 * count), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, list(figure.subplots(count, 1, squeeze=False)[:, 0])


def _draw(
    figure: Figure, place: Axes, values: np.ndarray, labels: tuple[str, ...], tokens: tuple[str, ...]
) -> None:
    """``values`` as bars, or as a map with its scale."""
    if values.ndim == 1:
        shown = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
        place.bar(np.arange(len(values)), shown, color=np.where(shown < 0, BLUE, RED))
        place.set(xlabel=labels[0], ylabel="relevance")
        if len(tokens) == len(values):
            label_tokens(place, tokens)
        return
    finite = values[np.isfinite(values)]
    limit = float(np.abs(finite).max(initial=0.0)) or 1.0
    image = place.imshow(
        np.ma.masked_invalid(values),
        cmap=relevance_colors(),
        vmin=-limit,
        vmax=limit,
        interpolation="nearest",
        aspect="equal" if set(labels) == {"height", "width"} else "auto",
    )
    place.set(xlabel=labels[1], ylabel=labels[0])
    figure.colorbar(image, label="relevance", ax=place)


def _tokens(trace: Trace, sample: int) -> tuple[str, ...]:
    """What the tokens are called: of a stored run, which has no model, their numbers where it shows its input."""
    if trace.case is not None:
        texts = token_texts(trace.case.model, np.asarray(trace.case.x))
        return texts[sample] if texts else ()
    source = next(iter(trace.layers.values()), None)
    if source is None or source.activation is None or source.axes[1:] != NUMBERS:
        return ()
    return numbers_of(np.asarray(source.activation))[sample]


def _usual_axes(count: int) -> tuple[str, ...]:
    return default_axes((1,) * count)[1:]
