"""Networks of several inputs, in the frameworks that people write them in."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import onnx
import torch
from keras import layers as L
from torch import nn

#: (height, width, channel), (number), (token): what the inputs below have.
IMAGE, TABLE, TOKENS, WORDS = (6, 6, 2), 4, 5, 11


def image_and_table() -> dict[str, np.ndarray]:
    """Two samples of an image and of a row of a table; the dict in the other order than every source."""
    rng = np.random.default_rng(0)
    table = rng.standard_normal((2, TABLE))
    return {"table": table, "image": rng.standard_normal((2, *IMAGE))}


def ids_and_numbers() -> dict[str, np.ndarray]:
    """Two samples of numbers of words and of a row of a table."""
    rng = np.random.default_rng(1)
    numbers = rng.standard_normal((2, TABLE))
    return {"numbers": numbers, "ids": rng.integers(0, WORDS, (2, TOKENS))}


def two_tables() -> dict[str, np.ndarray]:
    """Two samples of two rows of one shape."""
    rng = np.random.default_rng(2)
    return {"right": rng.standard_normal((2, TABLE)), "left": rng.standard_normal((2, TABLE))}


def keras_image_table(inputs: str = "list") -> keras.Model:
    """Dense layers behind both, added up; ``inputs``: a list of them, or a dict."""
    keras.utils.set_random_seed(3)
    image, table = keras.Input(IMAGE, name="image"), keras.Input((TABLE,), name="table")
    seen = L.Flatten()(L.Conv2D(3, 3, activation="relu", name="conv")(image))
    seen = L.Dense(5, activation="relu", name="of_image", bias_initializer="uniform")(seen)
    read = L.Dense(5, activation="relu", name="of_table", bias_initializer="uniform")(table)
    logits = L.Dense(3, name="logits")(L.Add(name="sum")([seen, read]))
    return keras.Model({"image": image, "table": table} if inputs == "dict" else [image, table], logits)


def keras_two_towers() -> keras.Model:
    """One layer, and one model, called on both inputs."""
    keras.utils.set_random_seed(4)
    left, right = keras.Input((TABLE,), name="left"), keras.Input((TABLE,), name="right")
    shared = L.Dense(6, activation="relu", name="shared")
    nested = keras.Sequential([keras.Input((6,)), L.Dense(4, activation="tanh", name="in")], name="nested")
    towers = [nested(shared(each)) for each in (left, right)]
    return keras.Model([left, right], L.Dense(3, name="logits")(L.Concatenate()(towers)))


def keras_ids_numbers() -> keras.Model:
    """An embedding of the one, averaged, beside a dense layer of the other."""
    keras.utils.set_random_seed(5)
    ids, numbers = keras.Input((TOKENS,), name="ids", dtype="int32"), keras.Input((TABLE,), name="numbers")
    words = L.GlobalAveragePooling1D()(L.Embedding(WORDS, 6, name="words")(ids))
    both = L.Concatenate()([words, L.Dense(3, activation="relu", name="of_numbers")(numbers)])
    return keras.Model([ids, numbers], L.Dense(3, name="logits")(both))


class ImageTable(nn.Module):
    """A convolution and a linear layer, side by side."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.conv, self.row, self.logits = nn.Conv2d(2, 4, 3), nn.Linear(TABLE, 6), nn.Linear(4 * 16 + 6, 3)

    def forward(self, image: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
        seen = torch.relu(self.conv(image)).flatten(1)
        return self.logits(torch.cat([seen, torch.relu(self.row(table))], 1))


class IdsNumbers(nn.Module):
    """The mean of an embedding, and numbers beside it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.words, self.of_words = nn.Embedding(WORDS, 6), nn.Linear(6, 5)
        self.of_numbers, self.logits = nn.Linear(TABLE, 5), nn.Linear(5, 3)

    def forward(self, ids: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        words = torch.relu(self.of_words(self.words(ids).mean(1)))
        return self.logits(words + torch.tanh(self.of_numbers(numbers)))


class TwoTables(nn.Module):
    """A linear layer and a ReLU for each, added up."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.a, self.b, self.logits = nn.Linear(TABLE, 5), nn.Linear(TABLE, 5), nn.Linear(5, 3)

    def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        return self.logits(torch.relu(self.a(left)) + torch.relu(self.b(right)))


def in_torch(x: Mapping[str, np.ndarray], dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    """The arrays in torch's layout; whole numbers as such."""
    tensors = {
        name: torch.from_numpy(np.array(np.moveaxis(array, -1, 1) if array.ndim > 2 else array))
        for name, array in x.items()
    }
    return {name: each if array_is_whole(x[name]) else each.to(dtype) for name, each in tensors.items()}


def array_is_whole(array: np.ndarray) -> bool:
    return array.dtype.kind in "iu"


def exported(module: nn.Module, x: Mapping[str, np.ndarray], names: tuple[str, ...]) -> onnx.ModelProto:
    """The file that torch's exporter makes of the module, the batch left open."""
    tensors, file = in_torch(x), io.BytesIO()
    axes: dict[str, Any] = {name: {0: "batch"} for name in names}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        given = tuple(tensors[name] for name in names)
        torch.onnx.export(
            module.eval(), given, file, dynamo=False, input_names=list(names), dynamic_axes=axes
        )
    return onnx.load_from_string(file.getvalue())
