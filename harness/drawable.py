"""An attribution as something flat that can be drawn: values along one axis, or rows and columns; its colours."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from harness.errors import InvalidInputError
from harness.naming import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap

RED, WHITE, BLUE, GRAY = "#ff0000", "#ffffff", "#0000ff", "#808080"
#: From so many tokens on, a picture has no room for their texts; of a longer text the beginning is shown.
_MOST_LABELLED, _LONGEST_TOKEN = 48, 14


#: Of how many axes, beside the batch, there is a picture at most.
MOST_AXES = 4


def flat(values: np.ndarray, axes: Sequence[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    """One sample's ``values`` as they are drawn, and the names of what is drawn along.

    ``axes`` names the axes of ``values``, the batch left out. Vectors stay, (bars,). Tokens, (token, feature),
    are summed over the features. Series, (time, channel), become (channel, time), time to the right. Images, (height,
    width, channel), are summed over the channels. Volumes,
    (depth, height, width, channel), are summed over the channels too, and their slices stand beside each other:
    (height, depth * width).

    Raises InvalidInputError for more axes or none.
    """
    if values.ndim != len(axes):
        raise InvalidInputError(f"values of shape {values.shape} do not fit the axes ({', '.join(axes)})")
    if values.ndim == 1:
        return values, tuple(axes)
    if tuple(axes) == ("token", "feature"):
        with np.errstate(invalid="ignore"):
            return values.sum(axis=1), ("token",)
    if values.ndim == 2:
        return values.T, (axes[1], axes[0])
    if values.ndim in (3, 4):
        channel = list(axes).index("channel") if "channel" in axes else values.ndim - 1
        with np.errstate(invalid="ignore"):
            summed = values.sum(axis=channel)
        places = tuple(name for position, name in enumerate(axes) if position != channel)
        if values.ndim == 3:
            return summed, places
        return np.concatenate(list(summed), axis=-1), (places[1], f"{places[2]}, a block a {places[0]}")
    raise InvalidInputError(
        f"axes ({', '.join(axes)}) have no picture: one to four axes beside the batch have one"
    )


def label_tokens(place: Axes, tokens: Sequence[str]) -> None:
    """The texts of tokens below their bars, so many as there is room for; a dollar sign begins no formula."""
    if len(tokens) > _MOST_LABELLED:
        return
    words = [_shortened_token(printable(token)) for token in tokens]
    place.set_xticks(
        range(len(words)), words, rotation=60, ha="right", fontsize=7, parse_math=False, usetex=False
    )


def _shortened_token(word: str) -> str:
    return word if len(word) <= _LONGEST_TOKEN else f"{word[: _LONGEST_TOKEN - 1]}…"


@cache
def relevance_colors() -> Colormap:
    """Blue for negative, white for exactly zero (an odd number of entries has a middle one), red for positive,
    gray for what is no number.
    """
    from matplotlib.colors import LinearSegmentedColormap

    colors = LinearSegmentedColormap.from_list("relevance", [BLUE, WHITE, RED], N=513)
    return colors.with_extremes(bad=GRAY)
