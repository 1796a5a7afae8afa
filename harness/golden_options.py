"""Options that the commands `xai-harness golden ...` have in common."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

Methods = Annotated[
    list[str] | None, typer.Option("--method", help="Method name or glob (quote it); may be repeated.")
]
Dtypes = Annotated[list[str] | None, typer.Option(help="float32 or float64; may be repeated.")]
Suite = Annotated[
    str | None, typer.Option(help="quick, default, large or catalogue: their models and methods.")
]
RootFolder = Annotated[Path, typer.Option("--root", help="Folder of the goldens.")]
Reason = Annotated[
    str, typer.Option(help="Why a golden that is there is replaced or removed; kept on record.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]
Input = Annotated[
    Path | None,
    typer.Option(
        "--input",
        help="A .npy file, (batch, *input_shape), instead of the model's example; several inputs by name: .npz.",
    ),
]
GOLDEN_ROOT = Path("golden")


def selection(
    models: Sequence[str] | None,
    keras: str | None,
    methods: Sequence[str] | None,
    suite: str | None,
    dtypes: Sequence[str] | None,
) -> tuple[list[str], list[str]]:
    """The models and methods that were named, else those of the suite, else none, which stands for all.

    Raises InvalidInputError for a dtype that there is not, UnknownNameError for such a suite.
    """
    from harness.checks import checked_dtype
    from harness.runner import suite_named

    for dtype in dtypes or ():
        checked_dtype(dtype)
    chosen = suite_named(suite) if suite else None
    names = [*(models or ()), *([keras] if keras else ())]
    return names or list(chosen.models if chosen else ()), list(methods or (chosen.methods if chosen else ()))


def is_wanted(name: str, models: Sequence[str], methods: Sequence[str], dtypes: Sequence[str] | None) -> bool:
    from harness.golden import is_selected

    return is_selected(name, models, methods, dtypes or ())
