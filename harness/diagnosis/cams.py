"""Grad-CAM as others compute it: the map of the layer is rectified, scaled and resized to the input in another way.

A reading is made of the reference's own activations and gradients at the layer, in float64. Sources of the ways to
resize: torch 2.13 `interpolate`, TensorFlow 2.21 `image.resize`, SciPy `ndimage.zoom` of order 1 (tf-keras-vis 0.8.7).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from harness.diagnosis.case import Case
from harness.diagnosis.difference import Difference
from harness.diagnosis.findings import Finding
from harness.diagnosis.joined import single_run
from harness.diagnosis.measure import apart, factor_of, factor_words
from harness.engine import engine
from harness.graph import Layer
from harness.methods import GradCam, cam_layer

#: From the number of values along an axis, before and after, to the matrix (after, before) that resizes it.
Resize = Callable[[int, int], np.ndarray]


def _straight(distance: np.ndarray) -> np.ndarray:
    return np.maximum(0, 1 - np.abs(distance))


def _cubic(a: float, distance: np.ndarray) -> np.ndarray:
    """Keys 1981, equation 4, with ``a`` for its -1/2."""
    d = np.abs(distance)
    near = (a + 2) * d**3 - (a + 3) * d**2 + 1
    far = a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))


def _weighed(
    kernel: Callable[[np.ndarray], np.ndarray],
    corners: bool,
    outside: str,
    before: int,
    after: int,
    table: int | None = None,
) -> np.ndarray:
    """Each value as the sum of its neighbours, weighed by ``kernel`` of their distance.

    ``corners``: the first and the last values of both stand at the same places; else their outer edges do.
    ``outside``: neighbours beyond the border are the "edge" value, or left "out" and the others' weights add up to 1.
    ``table``: places between two values are rounded to one of so many.
    """
    if corners:
        places = np.linspace(0, before - 1, after)
    else:
        places = (np.arange(after) + 0.5) * before / after - 0.5
    first = np.floor(places)
    if table is not None:
        places = first + np.rint((places - first) * table) / table
    matrix = np.zeros((after, before))
    for step in range(-1, 3):
        neighbour = first.astype(int) + step
        weight = kernel(places - neighbour)
        inside = np.clip(neighbour, 0, before - 1)
        if outside == "out":
            weight = np.where(inside == neighbour, weight, 0.0)
        np.add.at(matrix, (np.arange(after), inside), weight)
    return matrix / matrix.sum(axis=1, keepdims=True)


def _nearest(before: int, after: int) -> np.ndarray:
    matrix = np.zeros((after, before))
    matrix[np.arange(after), np.arange(after) * before // after] = 1
    return matrix


#: In words, how a map may be resized.
RESIZES: dict[str, Resize] = {
    "by its nearest neighbours": _nearest,
    "linearly between centres of pixels": partial(_weighed, _straight, False, "edge"),
    "linearly from corner to corner": partial(_weighed, _straight, True, "edge"),
    "by cubics with a = -0.75": partial(_weighed, partial(_cubic, -0.75), False, "edge"),
    "by cubics with a = -0.5": partial(_weighed, partial(_cubic, -0.5), False, "out"),
    "by cubics with a = -0.5 from a table of 1024": partial(
        _weighed, partial(_cubic, -0.5), False, "out", table=1024
    ),
    "by cubics with a = -0.5 and edges continued": partial(_weighed, partial(_cubic, -0.5), False, "edge"),
}
#: So many of the last layers with a map are tried.
LAYERS = 12
#: What the method itself does, in words.
_OWN = {
    "bicubic_8bit": "by Pillow's bicubic filter on 8-bit values",
    "linear": "linearly from corner to corner",
}
_KEPT, _LATER = (
    "negative values of the map are kept",
    "negative values are set to zero after the map is resized",
)
_UNSCALED = "the map is not divided by its largest value"
_SCALED_LATER = "the map is divided by its largest value after it is resized"
_STRETCHED = "the map is stretched to lie between 0 and 1 after it is resized"


@dataclass(frozen=True)
class _Reading:
    """A map (batch, *space of the input), and what is done otherwise: cause and words."""

    values: np.ndarray
    parts: tuple[tuple[str, str], ...]

    @property
    def scaled(self) -> bool:
        """Whether one factor for all samples is free: the map is divided by nothing."""
        return any(words == _UNSCALED for _, words in self.parts)


def cam_findings(case: Case, difference: Difference) -> tuple[Finding, ...]:
    """What is done otherwise in a Grad-CAM that is not guided; none where no reading is the candidate's attribution."""
    procedure = case.method.procedure
    method = single_run(case.method)
    if not isinstance(procedure, GradCam) or procedure.guided or method is None:
        return ()
    run = engine().run(case.asked.with_method(method), case.reference)
    for layer, part in _layers(case, procedure):
        shown = run.layers.get(layer.name)
        if shown is None or shown.activation is None or shown.relevance is None:
            continue
        tensors = np.asarray(shown.activation, np.float64), np.asarray(shown.relevance, np.float64)
        readings = list(_readings(*tensors, case, procedure, part))
        # One factor that is free fits more than what was meant: it is looked for last.
        for free in (False, True):
            found = _best([each for each in readings if each.scaled or not free], difference, free)
            if found is not None:
                return found
    return ()


def _best(readings: list[_Reading], difference: Difference, free: bool) -> tuple[Finding, ...] | None:
    """The nearest of ``readings`` that closes the difference; of those as near, the one that differs least."""
    fits = [(*_fit(each, difference.candidate, free), each) for each in readings]
    least = min(residual for residual, _, _ in fits)
    if not difference.closed_by(least):
        return None
    near = 10 * max(least, min(difference.floor, 1e-12))
    residual, factor, reading = min(
        (each for each in fits if each[0] <= near), key=lambda each: len(each[2].parts)
    )
    return tuple(
        difference.finding("postprocess", cause, words, residual)
        for cause, words in _parts(reading, factor, difference)
    )


def _parts(reading: _Reading, factor: float, difference: Difference) -> Iterator[tuple[str, str]]:
    for cause, words in reading.parts:
        if words == _UNSCALED and factor != 1:
            words += f", and is multiplied by {factor_words(factor, difference.floor)}"
        yield cause, words


def _layers(case: Case, procedure: GradCam) -> Iterator[tuple[Layer, tuple[tuple[str, str], ...]]]:
    """The layers whose map may be meant, the method's own first, each with what is otherwise then."""
    own = cam_layer(case.graph, procedure.layer)
    yield own, ()
    spatial = [layer for layer in case.graph.layers if len(layer.shape) == len(own.shape) and layer.inputs]
    for layer in spatial[: -LAYERS - 1 : -1]:
        words = f"the map of {layer.name} is taken instead of that of {own.name}"
        before = own.traits.activation and layer.name in own.inputs
        if layer is not own:
            yield layer, (("preactivation" if before else "unknown", words),)


def _fit(reading: _Reading, candidate: np.ndarray, free: bool) -> tuple[float, float]:
    """What the reading leaves of the candidate's attribution, and the factor that it is taken with.

    ``free``: the factor that fits best; else 1.
    """
    values, factor = np.broadcast_to(reading.values[..., None], candidate.shape), 1.0
    if free and values.any():
        factor = factor_of(values, candidate)
    return apart((factor * values,), (candidate,)), factor


def _readings(
    activation: np.ndarray,
    gradient: np.ndarray,
    case: Case,
    procedure: GradCam,
    layer: tuple[tuple[str, str], ...],
) -> Iterator[_Reading]:
    """Every way to rectify, scale and resize the map of a layer; what the method itself does is no part."""
    *space, _ = case.graph.input.shape
    axes = tuple(range(1, activation.ndim - 1))
    plain = (activation * gradient.mean(axis=axes, keepdims=True)).sum(axis=-1)
    own = _OWN[procedure.resize]

    def over(values: np.ndarray, by: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):
            return values / by

    for how, resize in RESIZES.items():
        matrices = [resize(before, after) for before, after in zip(plain.shape[1:], space, strict=True)]
        resized = () if how == own else (("sampling", f"the map is resized {how} instead of {own}"),)

        def larger(values: np.ndarray, matrices: list[np.ndarray] = matrices) -> np.ndarray:
            for axis, matrix in enumerate(matrices, 1):
                values = np.moveaxis(np.tensordot(matrix, values, axes=(1, axis)), 0, axis)
            return values

        for words, before, after in (
            ("", True, False),
            (_KEPT, False, False),
            (_LATER, False, True),
        ):
            rectified = (("negative-clipped", words),) if words else ()
            small = np.maximum(plain, 0) if before else plain
            large = larger(small)
            large = np.maximum(large, 0) if after else large
            scaled = over(small, plain.max(axis=axes, keepdims=True))
            first = larger(scaled)
            low, high = large.min(axis=axes, keepdims=True), large.max(axis=axes, keepdims=True)
            for scale, values in (
                ("", np.maximum(first, 0) if after else first),
                (_UNSCALED, large),
                (_SCALED_LATER, over(large, high)),
                (_STRETCHED, over(large - low, high - low)),
            ):
                parts = (*layer, *resized, *rectified, *((("scale", scale),) if scale else ()))
                if parts:
                    yield _Reading(values, parts)
