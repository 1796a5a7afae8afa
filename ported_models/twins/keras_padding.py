"""Explicit padding in front of a Keras layer."""

from __future__ import annotations

from typing import Any

from keras import ops

from ported_models.shapes import Padding


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
