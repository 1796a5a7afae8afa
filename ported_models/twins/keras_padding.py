"""Explicit padding in front of a Keras layer, and how a class of one, two and three spatial axes is made."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops

from ported_models.shapes import Padding

#: A class with it can be saved and loaded.
register = keras.saving.register_keras_serializable(package="xai_harness")


def by_rank(
    name: str, mixin: type, stock: str, ranks: tuple[int, ...] = (1, 2, 3), end: str = ""
) -> dict[str, Any]:
    """By "1D" to "3D", a layer that is ``mixin`` before Keras' ``stock``: ``name1D`` to ``name3D``, then ``end``."""
    classes = {}
    for rank in (f"{count}D" for count in ranks):
        bases = (mixin, getattr(layers, f"{stock}{rank}{end}"))
        classes[rank] = register(type(f"{name}{rank}{end}", bases, {"__module__": mixin.__module__}))
    return classes


def pad_space(x: Any, padding: Padding, value: float = 0.0) -> Any:
    """``x`` (batch, *space, channel) with ``value`` put around its spatial axes."""
    if not any(side for pair in padding for side in pair):
        return x
    return ops.pad(x, [(0, 0), *padding, (0, 0)], mode="constant", constant_values=value)


def pad_shape(shape: Any, padding: Padding) -> tuple[int | None, ...]:
    """Shape of :func:`pad_space`'s result; ``shape`` includes the batch axis."""
    batch, *space, channels = shape
    grown = (size + before + after for size, (before, after) in zip(space, padding, strict=True))
    return (batch, *grown, channels)


class Padded:
    """An explicit ``explicit_padding`` in front of a stock layer with ``padding="valid"``."""

    pad_value = 0.0

    def __init__(self, *args: Any, explicit_padding: Padding, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.explicit_padding = tuple((int(before), int(after)) for before, after in explicit_padding)

    def pad(self, x: Any) -> Any:
        return pad_space(x, self.explicit_padding, self.pad_value)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return super().compute_output_shape(pad_shape(input_shape, self.explicit_padding))  # type: ignore[misc]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "explicit_padding": self.explicit_padding}  # type: ignore[misc]
