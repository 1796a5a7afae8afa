"""What the tokens of an input are called: their text where the model knows it, else their numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from harness.errors import InvalidInputError
from harness.graph import Graph

#: Of each sample, the text of each token.
TokenTexts = tuple[tuple[str, ...], ...]
#: The axes, behind the batch, of an input of numbers of tokens, and of one of vectors.
NUMBERS, VECTORS = ("token",), ("token", "feature")


def token_texts(model: Any, x: np.ndarray) -> TokenTexts:
    """The text of each token of ``x``, (batch, token) or (batch, token, feature); empty for any other input.

    A model may have a function ``token_texts``, which is given ``x``. Without one, tokens are called by their numbers,
    and vectors are not called anything. Raises InvalidInputError where the model names more or fewer tokens than there
    are.
    """
    graph: Graph = model.graph
    axes = graph.input.axes[1:]
    if axes not in (NUMBERS, VECTORS) or x.ndim != len(axes) + 1:
        return ()
    named = getattr(model, "token_texts", None)
    if named is not None:
        return _checked(named(x), x.shape[:2], model.name)
    return numbers_of(x) if axes == NUMBERS else ()


def numbers_of(x: np.ndarray) -> TokenTexts:
    """The numbers of the tokens of ``x``, (batch, token)."""
    return tuple(tuple(f"{number:g}" for number in sample) for sample in x)


def _checked(texts: Sequence[Sequence[str]], shape: tuple[int, ...], model: str) -> TokenTexts:
    found = tuple(tuple(map(str, sample)) for sample in texts)
    if [len(sample) for sample in found] != [shape[1]] * shape[0]:
        counts = ", ".join(str(len(sample)) for sample in found)
        raise InvalidInputError(
            f"token_texts of {model!r} names {counts} tokens, expected {shape[1]} for each of {shape[0]} samples"
        )
    return found
