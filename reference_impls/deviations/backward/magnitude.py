"""One factor that is too much: found from the observation, and named where it is one of the layer's own counts."""

from __future__ import annotations

from collections.abc import Iterator
from math import isclose, prod

import numpy as np

from harness.steps import Deviation, Step
from reference_impls.deviations.backward.altering import deviation, then, then_all
from reference_impls.deviations.backward.estimating import factors, rounded
from reference_impls.deviations.backward.kinds import seen_by_an_output
from reference_impls.deviations.backward.narrowing import as_it_stands
from reference_impls.deviations.backward.wholes import samples_of, whole_of
from reference_impls.deviations.distance import where_finite
from reference_impls.oracle.linear import Arrays
from reference_impls.oracle.windows import pooling_windows


def scales(step: Step, observed: Arrays) -> Iterator[Deviation]:
    """The result times one factor (least squares), and results that are scaled to a sum or a maximum."""
    specified = as_it_stands(step)
    scale = factors([specified], observed)
    if scale is not None and scale[0] not in (0.0, 1.0):

        def error(value: float) -> float:
            return where_finite(tuple(value * part for part in specified), observed)

        factor = rounded(float(scale[0]), error, observed)
        if factor != 1:
            words = f"the result is {_in_words(factor)} times that of the rule{_meaning(step, factor)}"
            if factor == -1:
                words = "the sign of the result is reversed"
            change = then(lambda part: part * factor)
            yield deviation("scale", words, change, {"factor": factor}, generic=True)
    if step.whole is not None:
        return
    for words, scaled in (
        ("the result is scaled so that its sum is that of the relevance of the output", _conserving),
        ("the result is scaled so that the sum of each sample is 1", _to_sum),
        ("the result is scaled so that the largest absolute value of each sample is 1", _to_largest),
    ):
        yield deviation("scale", words, then_all(scaled))


def _in_words(factor: float) -> str:
    inverse = 1 / factor
    if abs(inverse) > 1 and isclose(inverse, round(inverse), rel_tol=1e-9):
        return f"1/{round(inverse)}"
    return f"{factor:g}" if float(f"{factor:g}") == factor else f"{factor:.10g}"


def _meaning(step: Step, factor: float) -> str:
    for value, words in _counts(step):
        if value > 1 and isclose(factor, value, rel_tol=1e-9):
            return f": {words}"
        if value > 1 and isclose(factor * value, 1.0, rel_tol=1e-9):
            return f": one over {words}"
    return ""


def _counts(step: Step) -> Iterator[tuple[int, str]]:
    """Numbers that a layer has and that may be divided by once too often or not at all."""
    layer = whole_of(step).layer
    if layer.traits.pooling:
        yield pooling_windows(layer).entries, "the size of the window"
    if "size" in layer.attributes:
        yield prod(layer.attributes["size"]), "the number of copies"
    yield len(step.inputs), "the number of inputs of the layer"
    yield samples_of(step), "the number of samples in the batch"
    yield len(step.graph.consumers(layer.name)), "the number of layers that read the output"
    yield seen_by_an_output(layer), "the number of inputs that each output sees"
    yield layer.shape[-1], "the number of output channels"
    yield layer.input_shapes[0][-1], "the number of input channels"
    yield prod(layer.shape), "the number of outputs"
    yield prod(layer.input_shapes[0]), "the number of inputs"


def _sums(part: np.ndarray) -> np.ndarray:
    return part.reshape(len(part), -1).sum(axis=1)


def _over(result: Arrays, total: np.ndarray, wanted: np.ndarray | float = 1.0) -> Arrays:
    factor = wanted / np.where(total == 0, np.inf, total)
    return tuple(part * factor.reshape(-1, *(1 for _ in part.shape[1:])) for part in result)


def _conserving(step: Step, result: Arrays) -> Arrays:
    total = np.sum([_sums(part) for part in result], axis=0)
    return _over(result, total, _sums(step.relevance))


def _to_sum(step: Step, result: Arrays) -> Arrays:
    return _over(result, np.sum([_sums(part) for part in result], axis=0))


def _to_largest(step: Step, result: Arrays) -> Arrays:
    return _over(result, np.max([np.abs(part).reshape(len(part), -1).max(axis=1) for part in result], axis=0))
