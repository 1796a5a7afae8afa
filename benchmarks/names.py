"""The list of names that both sides of the large comparison run."""

from __future__ import annotations

from pathlib import Path

VGG16_MRI = Path(__file__).with_name("names_vgg16_mri.txt")


def read_names(path: Path = VGG16_MRI) -> tuple[str, ...]:
    """The method names of a list, one a line; lines that begin with ``#`` say something about it."""
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    return tuple(line for line in lines if line and not line.startswith("#"))
