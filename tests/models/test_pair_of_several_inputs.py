"""A pair ported by hand whose networks have several inputs: names say which is which."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import torch
from torch import nn

import harness
from harness.errors import InvalidInputError, ModelSourceError
from tests.several_inputs import (
    IMAGE,
    TABLE,
    image_and_table,
    keras_image_table,
    keras_two_towers,
    two_tables,
)


class Port(nn.Module):
    """`keras_image_table` written by hand; its parameters are in the other order."""

    def __init__(self, model: keras.Model) -> None:
        super().__init__()
        self.conv, self.of_image = nn.Conv2d(IMAGE[-1], 3, 3), nn.Linear(48, 5)
        self.of_table, self.logits = nn.Linear(TABLE, 5), nn.Linear(5, 3)
        for name, module in self.named_children():
            kernel, bias = map(torch.tensor, model.get_layer(name).get_weights())
            turned = kernel.permute(3, 2, 0, 1) if kernel.ndim == 4 else kernel.T
            module.weight.data, module.bias.data = turned.contiguous(), bias

    def features(self, image: torch.Tensor) -> torch.Tensor:
        features = torch.relu(self.conv(image)).permute(0, 2, 3, 1).flatten(1)
        return torch.relu(self.of_image(features))

    def forward(self, table: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        return self.logits(self.features(image) + torch.relu(self.of_table(table)))


class Renamed(Port):
    def forward(self, row: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        return super().forward(row, image)


class WithTanh(Port):
    def forward(self, table: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        return self.logits(self.features(image) + torch.tanh(self.of_table(table)))


class WithoutTable(Port):
    def forward(self, table: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        return self.logits(self.features(image))


def passes(pair: Any, x: Any) -> bool:
    traces = (harness.explain(pair, x, "lrp.epsilon", each, 0, "float64") for each in ("tensorflow", "torch"))
    return harness.compare(*traces).passed


def test_inputs_of_one_name_are_one() -> None:
    model = keras_image_table()
    pair, x = harness.load_pair(model, Port(model)), image_and_table()
    assert pair.verified and [each.name for each in pair.inputs] == ["image", "table"]
    assert passes(pair, x)
    assert harness.load_pair(model, Port(model), example=x).verified


def test_other_names_are_said_in_the_layer_map() -> None:
    model = keras_image_table()
    with pytest.raises(
        ModelSourceError, match=r"forward\(row, image\) has no 'table'.*layer_map=\{'table': \.\.\.\}"
    ):
        harness.load_pair(model, Renamed(model))
    pair = harness.load_pair(model, Renamed(model), layer_map={"table": "row"})
    assert pair.verified and passes(pair, image_and_table())


def test_what_the_port_does_otherwise_is_found_at_its_layer() -> None:
    model = keras_image_table()
    with pytest.warns(UserWarning, match="first differs"):
        pair = harness.load_pair(model, WithTanh(model))
    assert not pair.verified and pair.first_difference.name == "of_table_relu"
    found = harness.diagnose(pair, image_and_table(), "gradient", target=0)
    assert (found.stage, found.layer, found.cause) == ("forward", "of_table_relu", "forward-activation")


def test_an_input_that_the_port_forgets_is_missing_there() -> None:
    model = keras_image_table()
    with pytest.warns(UserWarning, match="missing in torch"):
        pair = harness.load_pair(model, WithoutTable(model))
    assert not pair.verified and pair.first_difference.name == "table"


def test_towers_that_are_exchanged_are_another_network() -> None:
    """One kernel for both towers, so that weights do not tell them apart; the names of the inputs do."""

    class Towers(nn.Module):
        def __init__(self, model: keras.Model) -> None:
            super().__init__()
            self.shared, self.inner, self.logits = nn.Linear(TABLE, 6), nn.Linear(6, 4), nn.Linear(8, 3)
            sources = {"shared": model, "inner": model.get_layer("nested"), "logits": model}
            for name, source in sources.items():
                kernel, bias = source.get_layer("in" if name == "inner" else name).get_weights()
                module = getattr(self, name)
                module.weight.data, module.bias.data = torch.tensor(kernel.T), torch.tensor(bias)

        def tower(self, x: torch.Tensor) -> torch.Tensor:
            return torch.tanh(self.inner(torch.relu(self.shared(x))))

        def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
            return self.logits(torch.cat([self.tower(left), self.tower(right)], 1))

    class Exchanged(Towers):
        def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
            return super().forward(right, left)

    model = keras_two_towers()
    pair = harness.load_pair(model, Towers(model))
    assert pair.verified and passes(pair, two_tables())
    with pytest.warns(UserWarning, match="differs"):
        wrong = harness.load_pair(model, Exchanged(model))
    assert not wrong.verified and not passes(wrong, two_tables())


@pytest.mark.parametrize(
    ("example", "words"),
    [
        (np.zeros((2, *IMAGE)), "example is ndarray, expected a mapping with one for each input"),
        ({"image": np.zeros((2, *IMAGE))}, "example is 'image', expected a mapping"),
        (
            {"image": np.zeros((2, *IMAGE)), "table": np.zeros((2, 9))},
            r"example of 'table' has shape \(2, 9\)",
        ),
        ({"image": np.zeros((2, *IMAGE)), "table": np.zeros((3, TABLE))}, "batches of different lengths"),
    ],
)
def test_an_example_that_does_not_fit_is_one_line(example: Any, words: str) -> None:
    model = keras_image_table()
    with pytest.raises(InvalidInputError, match=words) as refused:
        harness.load_pair(model, Port(model), example=example)
    assert "\n" not in str(refused.value)
