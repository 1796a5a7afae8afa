"""Grad-CAM as other libraries compute it is named: how the map is resized, rectified and scaled, and of which layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import harness
from harness.backends import backend_named
from harness.diagnosis.cams import RESIZES
from harness.methods import GradCam

ROUNDING = float(np.finfo(np.float64).eps)


@pytest.fixture(scope="module")
def model() -> Any:
    return harness.load_model("digits-cnn")


def interpolated(**how: Any) -> Callable[[np.ndarray, int], np.ndarray]:
    def resize(maps: np.ndarray, size: int) -> np.ndarray:
        return torch.nn.functional.interpolate(torch.tensor(maps)[None], size=(size, size), **how)[0].numpy()

    return resize


def in_tensorflow(maps: np.ndarray, size: int) -> np.ndarray:
    import tensorflow as tf

    return tf.image.resize(maps[..., None], (size, size), "bicubic").numpy()[..., 0]


def in_scipy(maps: np.ndarray, size: int) -> np.ndarray:
    from scipy.ndimage import zoom

    return np.stack([zoom(each, size / len(each), order=1) for each in maps])


@pytest.mark.parametrize(
    ("words", "library", "precision"),
    [
        ("by its nearest neighbours", interpolated(mode="nearest"), 1),
        ("linearly between centres of pixels", interpolated(mode="bilinear", align_corners=False), 1),
        ("linearly from corner to corner", interpolated(mode="bilinear", align_corners=True), 1),
        ("linearly from corner to corner", in_scipy, 1),
        ("by cubics with a = -0.75", interpolated(mode="bicubic", align_corners=False), 1),
        # TensorFlow resizes in single precision.
        ("by cubics with a = -0.5 from a table of 1024", in_tensorflow, 2**29),
    ],
)
@pytest.mark.parametrize(("before", "after"), [(4, 8), (5, 13), (7, 28)])
def test_a_map_is_resized_as_the_library_does(
    words: str, library: Callable[[np.ndarray, int], np.ndarray], precision: int, before: int, after: int
) -> None:
    maps = np.random.default_rng(0).standard_normal((2, before, before))
    matrix = RESIZES[words](before, after)
    found = np.einsum("oi,pj,bij->bop", matrix, matrix, maps)
    expected = library(maps.astype(np.float32) if library is in_tensorflow else maps, after)
    # A sum of sixteen products in the largest of them, and coordinates that are rounded once.
    bound = 16 * 16 * ROUNDING * precision * np.abs(maps).max()
    assert np.abs(found - expected).max() <= bound


def grad_cam(
    model: Any, layer: str, treat: Callable[[np.ndarray], np.ndarray], weigh: Callable[..., np.ndarray]
) -> Any:
    """Grad-CAM as somebody else writes it, around the reference's gradients."""

    def explain(twin: Any, x: np.ndarray, target: np.ndarray, asked: Any) -> np.ndarray:
        run = harness.explain(model, x, "gradient", target=target, dtype=str(x.dtype))
        activation, gradient = run.layers[layer].activation, run.layers[layer].relevance
        weights = weigh(gradient, axis=(1, 2), keepdims=True)
        return treat((activation * weights).sum(axis=-1))[..., None]

    return explain


BICUBIC = interpolated(mode="bicubic", align_corners=False)


@pytest.mark.parametrize(
    ("layer", "treat", "weigh", "causes", "words"),
    [
        (
            "conv3_relu",
            lambda maps: BICUBIC(np.maximum(maps, 0), 8),
            np.mean,
            ["sampling", "scale"],
            "the map is not divided by its largest value",
        ),
        (
            "conv3_relu",
            lambda maps: BICUBIC(maps, 8),
            np.sum,
            ["sampling", "negative-clipped", "scale"],
            "the map is not divided by its largest value, and is multiplied by 16",
        ),
        (
            "conv3",
            lambda maps: stretched(in_scipy(maps, 8)),
            np.mean,
            ["preactivation", "sampling", "negative-clipped", "scale"],
            "the map is stretched to lie between 0 and 1 after it is resized",
        ),
    ],
    ids=["cubics", "sums and negative values", "before the activation"],
)
def test_what_another_grad_cam_does_is_named(
    model: Any, layer: str, treat: Any, weigh: Any, causes: list[str], words: str
) -> None:
    x = two_inputs()
    candidate = harness.backend_from_function("mine", grad_cam(model, layer, treat, weigh), "numpy")
    diagnosis = harness.diagnose(model, x, "grad_cam", candidate=candidate, dtype="float64")
    assert [each.cause for each in diagnosis.findings] == causes
    assert words == diagnosis.findings[-1].words
    assert diagnosis.complete


def two_inputs() -> np.ndarray:
    """Of one sample alone a factor and a largest value are the same."""
    return np.random.default_rng(1).random((2, 8, 8, 1))


def stretched(maps: np.ndarray) -> np.ndarray:
    low, high = maps.min(axis=(1, 2), keepdims=True), maps.max(axis=(1, 2), keepdims=True)
    return (maps - low) / (high - low)


def test_what_is_no_grad_cam_gets_none_of_these_names(model: Any) -> None:
    """The square of the map, which no library has: nothing is said that does not close the gap."""
    x = two_inputs()
    treat = lambda maps: BICUBIC(np.maximum(maps, 0), 8) ** 2  # noqa: E731
    candidate = harness.backend_from_function("mine", grad_cam(model, "conv3_relu", treat, np.mean), "numpy")
    diagnosis = harness.diagnose(model, x, "grad_cam", candidate=candidate, dtype="float64")
    assert [each.cause for each in diagnosis.findings] == ["unknown"]


class Resizing:
    """The port, which shows its layers and runs single steps, but for the way in which the map is made large."""

    name = "resizing"

    def version(self) -> dict[str, str]:
        return {}

    def supports(self, asked: Any, graph: Any) -> str:
        return ""

    def prepare(self, model: Any, dtype: str, device: str = "cpu") -> Any:
        return _Resizing(backend_named("torch").prepare(model, dtype, device))


class _Resizing:
    def __init__(self, port: Any) -> None:
        self.port = port

    def __getattr__(self, name: str) -> Any:
        if name == "port":
            raise AttributeError(name)
        return getattr(self.port, name)

    def run(self, x: np.ndarray, asked: Any, target: np.ndarray, layers: bool) -> Any:
        arrays = self.port.run(x, asked, target, True)
        if not isinstance(asked.procedure, GradCam):
            return arrays
        activation, gradient = arrays.activations["conv3_relu"], arrays.relevances["conv3_relu"]
        maps = np.maximum((activation * gradient.mean(axis=(1, 2), keepdims=True)).sum(axis=-1), 0)
        return replace(arrays, attribution=BICUBIC(maps, 8)[..., None])


def test_a_port_that_shows_its_layers_is_told_so_too(model: Any) -> None:
    diagnosis = harness.diagnose(model, two_inputs(), "grad_cam", candidate=Resizing(), dtype="float64")
    assert [each.cause for each in diagnosis.findings] == ["sampling", "scale"]
    assert diagnosis.complete
