"""How a command names its model: by place, by ``--model``, or as a pair of two files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from harness.errors import InvalidInputError

if TYPE_CHECKING:
    from harness.model_sources import Source

Models = Annotated[
    list[str] | None,
    typer.Option(
        "--model", "-m", help="Zoo name, model file, or FILE.py:NAME of a torch module; may be repeated."
    ),
]
ModelKeras = Annotated[
    str | None, typer.Option("--model-keras", metavar="FILE", help="The Keras side of a pair ported by hand.")
]
ModelTorch = Annotated[
    str | None,
    typer.Option("--model-torch", metavar="FILE.py:NAME", help="The torch side of that pair; it is run."),
]
#: The words of a command about one case.
Words = Annotated[
    list[str],
    typer.Argument(
        metavar="[MODEL] METHOD",
        help="Zoo name, model file or FILE.py:NAME of a torch module (left out with a pair), then a method name; "
        "see: xai-harness methods",
    ),
]


def sources(models: Sequence[str] | None, keras: str | None, torch: str | None) -> list[Source]:
    """What the options name, checked before anything is loaded, so that a typing error costs no waiting.

    Raises UnknownNameError for a zoo name that is none, InvalidInputError for half a pair.
    """
    from harness.model_sources import Source

    if bool(keras) != bool(torch):
        raise InvalidInputError(
            "a pair has two sides; give both --model-keras FILE and --model-torch FILE.py:NAME"
        )
    pair = [Source(keras=keras, torch=torch)] if keras and torch else []
    named = [*(Source(name) for name in models or ()), *pair]
    for source in named:
        source.check()
    if any(source.code for source in named):
        from harness.backends.user_file import import_from_sources

        import_from_sources()
    return named


def one_case(words: Sequence[str], keras: str | None, torch: str | None) -> tuple[Source, str]:
    """The model and method that a command about one case names. Raises InvalidInputError, and what `sources` does."""
    paired = bool(keras or torch)
    if len(words) != (1 if paired else 2):
        wanted = (
            "METHOD alone: the model is the pair"
            if paired
            else "MODEL METHOD, or METHOD with --model-keras FILE and --model-torch FILE.py:NAME"
        )
        raise InvalidInputError(f"found {' '.join(words)!r}, expected {wanted}")
    (source,) = sources(words[:-1], keras, torch)
    return source, words[-1]
