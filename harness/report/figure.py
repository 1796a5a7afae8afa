"""One picture a case: reference, candidate and their difference side by side, on one scale."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.image import imsave
from matplotlib.ticker import MaxNLocator

from harness.drawable import BLUE, GRAY, MOST_AXES, RED, flat, label_tokens, relevance_colors
from harness.errors import InvalidInputError
from harness.files import replacing
from harness.graph import Input, parted
from harness.naming import printable

RELEVANCE_COLORS = relevance_colors()

_SIZE_INCHES = (11.0, 4.2)
_DOTS_PER_INCH = 100
#: Of the panels, as parts of the picture: room for two lines above each, a title of two lines, and the bar of colours.
_PLACES = {"left": 0.06, "right": 0.9, "bottom": 0.12, "top": 0.77, "wspace": 0.06}
#: In characters; more do not fit beside each other.
_LONGEST_TITLE = 160


@dataclass(frozen=True)
class _Panel:
    """One attribution of one sample: ``values`` as drawn, (bars,) or (rows, columns), and its labels."""

    name: str
    values: np.ndarray
    labels: tuple[str, ...]


def heatmap_figure(
    reference: np.ndarray,
    candidate: np.ndarray,
    path: str | os.PathLike[str],
    *,
    title: str,
    axes: tuple[str, ...],
    sample: int = 0,
    tokens: Sequence[str] = (),
    inputs: Sequence[Input] = (),
) -> None:
    """Write a PNG with reference, candidate and candidate minus reference side by side, atomically.

    ``reference`` and ``candidate`` are attributions of one shape whose axes ``axes`` names, ``"batch"``
    first; ``sample`` of the batch is drawn, flat as `harness.drawable.flat` makes it; vectors become bars.
    One symmetric scale holds for all three panels, so one colour means one value everywhere. Values that
    are not finite are gray and counted above their panel; the largest absolute difference of a single
    value, before any sum over channels, stands below the title.

    ``tokens``: the text of each token of the sample, which stands below its bar where there is room. ``inputs``: of a
    model of several, whose attributions lie side by side; each has a row of its own, on a scale of its own.

    Raises InvalidInputError where the shapes differ, do not fit ``axes``, or have no picture.
    """
    if inputs:
        ones, others = (parted(inputs, _checked(array, axes, sample)) for array in (reference, candidate))
        rows = [
            _pixels(
                ones[each.name][sample],
                others[each.name][sample],
                f"{title}, input {each.name!r}",
                each.axes,
                (),
            )
            for each in inputs
            if len(each.shape) <= MOST_AXES
        ]
        if not rows:
            raise InvalidInputError(f"none of the inputs has a picture: each has more than {MOST_AXES} axes")
    else:
        one, other = (_checked(array, axes, sample)[sample] for array in (reference, candidate))
        rows = [_pixels(one, other, title, axes, tokens)]
    with replacing(path) as temporary:
        pixels = rows[0] if len(rows) == 1 else np.concatenate(rows)
        # A map of relevance is noise to a compressor: more effort takes twice the time and saves a twentieth.
        imsave(temporary, pixels, format="png", dpi=_DOTS_PER_INCH, pil_kwargs={"compress_level": 1})


def _pixels(
    one: np.ndarray, other: np.ndarray, title: str, axes: tuple[str, ...], tokens: Sequence[str]
) -> np.ndarray:
    """The picture of one sample, (rows, columns, 4) bytes; ``axes`` with the batch."""
    one, other = (np.asarray(array, dtype=np.float64) for array in (one, other))
    if one.shape != other.shape:
        raise InvalidInputError(
            f"reference {one.shape} and candidate {other.shape} have different shapes: "
            "put both in the canonical layout before drawing them"
        )
    with np.errstate(invalid="ignore"):
        difference = other - one
    panels = [
        _panel(_counted(name, values), values, axes[1:])
        for name, values in (
            ("reference", one),
            ("candidate", other),
            ("candidate - reference", difference),
        )
    ]
    title = f"{_shortened(printable(title))}\n{_largest_difference(difference)}"
    return _drawn(panels, title, tokens if panels[0].values.shape == (len(tokens),) else ()).copy()


def _checked(array: np.ndarray, axes: tuple[str, ...], sample: int) -> np.ndarray:
    if array.ndim != len(axes) or not axes or axes[0] != "batch":
        raise InvalidInputError(
            f"an attribution of shape {array.shape} does not fit the axes ({', '.join(axes)}): "
            "one name an axis, 'batch' first"
        )
    if not 0 <= sample < len(array):
        raise InvalidInputError(f"sample {sample} is outside the batch of {len(array)}")
    return array


def _counted(name: str, values: np.ndarray) -> str:
    strange = int(values.size - np.isfinite(values).sum())
    return f"{name}\n{strange} of {values.size} not finite" if strange else name


def _panel(name: str, values: np.ndarray, axes: tuple[str, ...]) -> _Panel:
    return _Panel(name, *flat(values, axes))


def _largest(values: np.ndarray) -> float:
    """The largest absolute finite value; 0 where there is none."""
    return float(np.abs(values, where=np.isfinite(values), out=np.zeros_like(values)).max(initial=0.0))


def _largest_difference(difference: np.ndarray) -> str:
    if difference.size and not np.isfinite(difference).any():
        return "no finite difference"
    return f"largest |difference| {_largest(difference):.3g}"


def _shortened(title: str) -> str:
    return title if len(title) <= _LONGEST_TITLE else f"{title[: _LONGEST_TITLE - 3]}..."


def _drawn(panels: list[_Panel], title: str, tokens: Sequence[str] = ()) -> np.ndarray:
    """The picture as pixels, (rows, columns, 4) bytes."""
    limit = max(_largest(panel.values) for panel in panels) or 1.0
    if panels[0].values.ndim == 1:
        figure, places = _frames(panels[0].values.size, tuple(tokens), len(panels))
        for place, panel in zip(places, panels, strict=True):
            for bars in [*place.patches]:
                bars.remove()
            _bars(place, panel, limit)
        _name(figure, places, panels, title)
        canvas = _canvas(figure)
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())
    images = _images(panels[0].values.shape, panels[0].labels, len(panels))
    for place, panel in zip(images.places, panels, strict=True):
        (image,) = place.images
        image.set_data(np.ma.masked_invalid(panel.values))
        image.set_clim(-limit, limit)
    _name(images.figure, images.places, panels, title)
    return images.drawn()


def _name(figure: Figure, places: list[Axes], panels: list[_Panel], title: str) -> None:
    for place, panel in zip(places, panels, strict=True):
        place.set_title(panel.name, fontsize=10)
    # A title holds names: a dollar sign in one begins no formula, whatever the user's own settings are.
    figure.suptitle(title, fontsize=11, parse_math=False, usetex=False)


def _empty(count: int) -> tuple[Figure, list[Axes]]:
    # Places are given: working them out from the extent of every label takes as long as drawing.
    figure = Figure(figsize=_SIZE_INCHES, dpi=_DOTS_PER_INCH)
    figure.subplots_adjust(**_PLACES)
    FigureCanvasAgg(figure)
    places = list(figure.subplots(1, count, sharex=True, sharey=True, squeeze=False)[0])
    for place in places:
        place.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        place.label_outer()
    return figure, places


@functools.lru_cache(maxsize=1)
def _frames(size: int, tokens: tuple[str, ...], count: int) -> tuple[Figure, list[Axes]]:
    """A picture of ``count`` panels for ``size`` bars each; the last one is filled again.

    Axes and their ticks take longer to make than to draw.
    """
    figure, places = _empty(count)
    for place in places:
        if tokens:
            label_tokens(place, tokens)
    return figure, places


def _canvas(figure: Figure) -> FigureCanvasAgg:
    assert isinstance(figure.canvas, FigureCanvasAgg)
    return figure.canvas


class _Images:
    """A picture of several images on one scale; what is the same in every picture is drawn once.

    A run draws one picture after the other of one shape, and its axes with their labels take longer than all else.
    """

    def __init__(self, figure: Figure, places: list[Axes], scale: Axes) -> None:
        self.figure, self.places = figure, places
        figure.suptitle("")
        #: What another picture has otherwise, the lowest first; a frame lies on its image.
        self._changing: list[Artist] = [image for place in places for image in place.images]
        self._changing += [line for place in places for line in place.spines.values()]
        self._changing += [*(place.title for place in places), *figure.texts, scale]
        self._canvas = _canvas(figure)
        for artist in self._changing:
            artist.set_visible(False)
        self._canvas.draw()
        self._same = self._canvas.copy_from_bbox(figure.bbox)
        for artist in self._changing:
            artist.set_visible(True)

    def drawn(self) -> np.ndarray:
        """The picture as pixels, (rows, columns, 4) bytes, which the next one overwrites."""
        self._canvas.restore_region(self._same)
        for artist in self._changing:
            self.figure.draw_artist(artist)
        return np.asarray(self._canvas.buffer_rgba())


@functools.lru_cache(maxsize=1)
def _images(shape: tuple[int, int], labels: tuple[str, ...], count: int) -> _Images:
    """A picture of ``count`` images; the last one is filled again."""
    rows, columns = labels
    figure, places = _empty(count)
    scale = Normalize(-1, 1)
    for place in places:
        place.imshow(
            np.zeros(shape),
            cmap=RELEVANCE_COLORS,
            norm=scale,
            interpolation="nearest",
            aspect="equal" if {rows, columns} == {"height", "width"} else "auto",
        )
        place.set(xlabel=columns, ylabel=rows)
        place.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        place.label_outer()
    bar = figure.add_axes((0.915, _PLACES["bottom"], 0.012, _PLACES["top"] - _PLACES["bottom"]))
    figure.colorbar(ScalarMappable(scale, RELEVANCE_COLORS), cax=bar, label="relevance")
    return _Images(figure, places, bar)


def _bars(place: Axes, panel: _Panel, limit: float) -> None:
    edges = np.arange(panel.values.size + 1) - 0.5
    finite = np.nan_to_num(panel.values, nan=0.0, posinf=0.0, neginf=0.0)
    place.stairs(np.clip(finite, 0, None), edges, fill=True, color=RED)
    place.stairs(np.clip(finite, None, 0), edges, fill=True, color=BLUE)
    for position in np.flatnonzero(~np.isfinite(panel.values)):
        place.axvspan(edges[position], edges[position + 1], color=GRAY, linewidth=0)
    place.set(xlabel=panel.labels[0], ylim=(-1.05 * limit, 1.05 * limit))
