"""The zoo's committed files: networks, label lists and example inputs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

#: Everything in it is described, with its source and licence, in its SOURCES.md.
DATA = Path(__file__).parent / "data"

Example = Callable[[], np.ndarray]


def training_facts(name: str) -> dict[str, Any]:
    """What a training script wrote down about network ``name``: accuracy, seed, versions, split."""
    return json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))


def imagenet_labels() -> tuple[str, ...]:
    """The names of ImageNet's 1000 classes (ILSVRC 2012), in the order of the logits."""
    return tuple(json.loads((DATA / "imagenet-labels.json").read_text(encoding="utf-8")))


def row(name: str, index: int) -> Example:
    """Example ``index`` of the ones a training script stored: (1, *input_shape) float32."""

    def read() -> np.ndarray:
        return np.load(DATA / f"{name}-examples.npy", allow_pickle=False)[index : index + 1]

    return read


def picture(file: str, preprocess: Callable[[Any], np.ndarray]) -> Example:
    """A stored picture as ``preprocess`` makes it: (1, *input_shape) float32."""

    def read() -> np.ndarray:
        from PIL import Image

        with Image.open(DATA / file) as opened:
            return preprocess(opened)

    return read
