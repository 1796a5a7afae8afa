"""What is explained: networks with their example inputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from harness.api import load_model
from harness.graph import Graph, Layer


@dataclass(frozen=True)
class Setting:
    """``model``: how it is loaded; ``samples``: how many of its examples make the batch."""

    name: str
    what: str
    model: Callable[[], Any]
    samples: int = 1

    def load(self) -> tuple[Any, np.ndarray]:
        """The model, and its input in float64."""
        model = self.model()
        examples = list(model.examples.values())[: self.samples]
        return model, np.concatenate([np.asarray(example()) for example in examples]).astype(np.float64)


def padding_as_a_layer(graph: Graph) -> Graph:
    """``graph`` with the zero padding of its first convolution as a layer in front: the same function."""
    first, padded = graph.input, graph.layers[1]
    pairs = [tuple(pair) for pair in padded.attributes["padding"]]
    sizes = (size + before + after for size, (before, after) in zip(first.shape, pairs, strict=False))
    shape = (*sizes, first.shape[-1])
    pad = Layer(
        "padding",
        "zero_pad",
        (first.name,),
        (first.shape,),
        shape,
        first.axes,
        {"padding": padded.attributes["padding"]},
    )
    bare = replace(
        padded,
        inputs=(pad.name,),
        input_shapes=(shape,),
        attributes={
            **padded.attributes,
            "padding": type(padded.attributes["padding"])((0, 0) for _ in pairs),
        },
    )
    return replace(graph, layers=(first, pad, bare, *graph.layers[2:]))


def _padded_digits() -> Any:
    model: Any = load_model("digits-cnn")
    return replace(model, graph=padding_as_a_layer(model.graph))


SETTINGS: dict[str, Setting] = {
    setting.name: setting
    for setting in (
        Setting("vgg16-mri", "first example", lambda: load_model("vgg16-mri")),
        Setting("fer-xception", "first example", lambda: load_model("fer-xception")),
        Setting("efficientnet-lite0", "first example", lambda: load_model("efficientnet-lite0")),
        Setting("ecg-cnn1d", "first example", lambda: load_model("ecg-cnn1d")),
        Setting(
            "digits-cnn, two samples",
            "the first two examples in one batch",
            lambda: load_model("digits-cnn"),
            2,
        ),
        Setting(
            "digits-cnn, padding as a layer",
            "first example; the padding of the first convolution made a layer of its own, the same function",
            _padded_digits,
        ),
    )
}
