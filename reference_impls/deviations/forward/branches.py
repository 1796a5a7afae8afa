"""Add and multiply: inputs left out, counted twice, subtracted, or the one instead of the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial, reduce
from itertools import product

import numpy as np

from harness.steps import Deviation, ForwardStep
from reference_impls.deviations.forward.altering import Alteration, first, with_layer
from reference_impls.deviations.forward.numbers import shown, simplest
from reference_impls.deviations.forward.sight import Sight
from reference_impls.oracle.linear import Arrays

CAUSE = "residual-split"
Combine = Callable[[Arrays], np.ndarray]
#: More branches than this are solved for and not tried one combination after the other.
_MOST_BRANCHES = 4


def readings(step: ForwardStep, sight: Sight) -> Iterator[Deviation]:
    """Other ways to put the inputs of an add or multiply layer together in the forward pass."""
    kind = step.layer.kind
    if not step.layer.traits.commutative:
        return
    other, verb, instead = (
        ("multiply", "multiplies its inputs", "adding")
        if kind == "add"
        else ("add", "adds its inputs", "multiplying")
    )
    yield _said(f"{verb} instead of {instead} them", with_layer(kind=other))
    yield _combined("takes the largest of its inputs", lambda inputs: reduce(np.maximum, inputs))
    yield _combined("averages its inputs", lambda inputs: sum(inputs, np.zeros(())) / len(inputs))
    count = len(step.inputs)
    if kind == "multiply":
        for index in range(count):
            name = _name(step, index)
            for words, power in ((f"leaves input {name} out", 0), (f"multiplies by input {name} twice", 2)):
                powers = tuple(power if each == index else 1 for each in range(count))
                yield _combined(words, partial(_multiplied, powers=powers))
        return
    seen: set[tuple[float, ...]] = {(1.0,) * count}
    candidates: list[tuple[float, ...]] = []
    if count <= _MOST_BRANCHES:
        candidates += [tuple(map(float, times)) for times in product((0, 1, -1, 2), repeat=count)]
    candidates += _solved(step, sight)
    for times in candidates:
        if times not in seen:
            seen.add(times)
            yield _combined(_times_in_words(step, times), partial(_added, times=times))


def _said(words: str, alter: Alteration) -> Deviation:
    return Deviation(CAUSE, f"{words} (in the forward pass)", alter)


def _combined(words: str, combine: Combine) -> Deviation:
    return _said(words, first(partial(_recombined, combine=combine)))


def _recombined(step: ForwardStep, result: np.ndarray, combine: Combine) -> np.ndarray:
    inputs = tuple(np.asarray(x, dtype=np.float64) for x in step.inputs)
    return np.broadcast_to(combine(inputs), result.shape)


def _added(inputs: Arrays, times: tuple[float, ...]) -> np.ndarray:
    return sum((each * x for each, x in zip(times, inputs, strict=True)), np.zeros(()))


def _multiplied(inputs: Arrays, powers: tuple[int, ...]) -> np.ndarray:
    return reduce(np.multiply, (x**power for x, power in zip(inputs, powers, strict=True)))


def _name(step: ForwardStep, index: int) -> str:
    return f"{index} ({step.layer.inputs[index]})"


def _times_in_words(step: ForwardStep, times: tuple[float, ...]) -> str:
    special = {0.0: "leaves input {} out", 2.0: "counts input {} twice", -1.0: "subtracts input {}"}
    parts = [
        special.get(each, f"counts input {{}} {shown(each)} times").format(_name(step, index))
        for index, each in enumerate(times)
        if each != 1.0
    ]
    return " and ".join(parts)


def _solved(step: ForwardStep, sight: Sight) -> list[tuple[float, ...]]:
    """How often each input is counted, by least squares."""
    if not np.isfinite(sight.seen).all() or sight.boxes is not None:
        return []
    columns = [
        np.broadcast_to(np.asarray(x, dtype=np.float64), sight.seen.shape).ravel() for x in step.inputs
    ]
    design = np.stack(columns, axis=1)
    times, _, rank, _ = np.linalg.lstsq(design, sight.seen.ravel(), rcond=None)
    if rank < len(columns) or len(design) <= 2 * len(columns):
        return []
    left = sight.seen.ravel() - design @ times
    inverse = np.linalg.pinv(design)
    errors = 4.0 * np.sqrt((inverse**2) @ (left**2))
    return [tuple(simplest(float(each), float(error)) for each, error in zip(times, errors, strict=True))]
