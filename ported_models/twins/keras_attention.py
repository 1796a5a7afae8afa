"""Keras layers for what no stock layer computes of a transformer; differentiable in float32 and float64."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from keras import layers, ops

from ported_models.twins.keras_padding import register


@register
class MatrixProduct(layers.Layer):
    """``a b`` over the last two axes of two tensors; ``b`` has them swapped first where ``transposed``."""

    def __init__(self, transposed: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.transposed = bool(transposed)

    def call(self, inputs: Any) -> Any:
        first, second = inputs
        return tf.matmul(first, second, transpose_b=self.transposed)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "transposed": self.transposed}


@register
class GridSample(layers.Layer):
    """Maps (batch, head, height, width, channel) at places (batch, head, query, point, 2), bilinearly.

    A place is ``(x, y)`` from -1 to 1, the outer edges of the outermost pixels (PyTorch 2.13 `grid_sample`,
    ``align_corners=False``). What lies outside is 0, or for ``padding="border"`` the nearest value of the map. A place
    at a pixel's centre has the slope of the side where the coordinate grows; one beyond the border has none.
    """

    def __init__(self, padding: str = "zeros", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.padding = padding

    def call(self, inputs: Any) -> Any:
        maps, places = inputs
        heads, height, width, channels = maps.shape[1:]
        rows = ops.reshape(maps, (-1, heads, height * width, channels))
        x, y = self._pixel(places[..., 0], width), self._pixel(places[..., 1], height)
        left, top = tf.floor(x), tf.floor(y)
        total = None
        for row, by_y in ((top, 1.0 - (y - top)), (top + 1.0, y - top)):
            for column, by_x in ((left, 1.0 - (x - left)), (left + 1.0, x - left)):
                inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
                weight = tf.where(inside, by_y * by_x, tf.zeros_like(x))
                read = tf.gather(rows, _index(row, height) * width + _index(column, width), batch_dims=2)
                share = weight[..., tf.newaxis] * read
                total = share if total is None else total + share
        return total

    def _pixel(self, place: Any, size: int) -> Any:
        """Where a place lies along an axis of ``size`` pixels, whose centres are 0, 1, 2..."""
        pixel = ((place + 1.0) * size - 1.0) / 2.0
        if self.padding == "zeros":
            return pixel
        within = (pixel > 0) & (pixel < size - 1)
        return tf.where(within, pixel, tf.stop_gradient(tf.clip_by_value(pixel, 0.0, size - 1.0)))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "padding": self.padding}


def _index(pixel: Any, size: int) -> Any:
    return tf.clip_by_value(tf.cast(pixel, tf.int32), 0, size - 1)


@register
class RootMeanSquareNorm(layers.Layer):
    """``gamma * x / sqrt(mean(x^2) + epsilon)`` over the last ``axes_count`` axes."""

    def __init__(self, epsilon: float, axes_count: int = 1, use_gamma: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.epsilon, self.axes_count, self.use_gamma = float(epsilon), int(axes_count), bool(use_gamma)

    def build(self, input_shape: Any) -> None:
        shape = tuple(input_shape[-self.axes_count :])
        self.gamma = (
            self.add_weight(name="gamma", shape=shape, initializer="ones") if self.use_gamma else None
        )

    def call(self, inputs: Any) -> Any:
        axes = list(range(-self.axes_count, 0))
        deviation = ops.sqrt(ops.mean(ops.square(inputs), axis=axes, keepdims=True) + self.epsilon)
        normalised = inputs / deviation
        return normalised * self.gamma if self.use_gamma else normalised

    def get_config(self) -> dict[str, Any]:
        own = {key: getattr(self, key) for key in ("epsilon", "axes_count", "use_gamma")}
        return {**super().get_config(), **own}
