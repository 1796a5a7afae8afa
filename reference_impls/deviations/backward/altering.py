"""Ways to alter a step. Each builds on what the step already has, so that deviations can be put together.

A change reads nothing but the step it is given: the same change is made on an excerpt first and on the
whole layer afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Any

import numpy as np

from harness.graph import Layer
from harness.methods import Rule, StdEpsilon
from harness.steps import Deviation, Step
from reference_impls.deviations.backward.carrying import Divisor, divide_by
from reference_impls.oracle.linear import Arrays, Weights, weights_of

Change = Callable[[Step], Step]


def deviation(
    cause: str, words: str, alter: Change, parameters: Mapping[str, Any] | None = None, generic: bool = False
) -> Deviation:
    """A :class:`Deviation` whose parameters are optional."""
    return Deviation(cause, words, alter, dict(parameters or {}), generic)


def with_rule(rule: Rule) -> Change:
    """Another rule, by its own formula and with its own stabilizer."""
    return lambda step: replace(step, rule=rule, formula=None, denominator=None, notes={})


def with_fields(**changes: Any) -> Change:
    """The same rule with other values of some of its fields."""
    return lambda step: replace(step, rule=replace(step.rule, **changes))


def with_reading(**changes: Any) -> Change:
    """The same rule read otherwise: a formula put in its place before was that of the other reading."""
    return lambda step: replace(step, rule=replace(step.rule, **changes), formula=None)


def with_formula(formula: Callable[[Step], Arrays]) -> Change:
    """Another formula. What it reads of the step may have been altered before, or be altered afterwards."""
    return lambda step: replace(step, formula=formula)


def dividing_by(divisor: Divisor) -> Change:
    """``divisor(step, z)`` in the place of ``S(z)``."""
    return lambda step: replace(step, denominator=divisor)


def with_z(function: Callable[[Step, np.ndarray], np.ndarray]) -> Change:
    """``S(function(step, z))`` in the place of ``S(z)``: something else is stabilised, as before."""

    def alter(step: Step) -> Step:
        before = step.denominator

        def divisor(current: Step, z: np.ndarray) -> np.ndarray:
            return divide_by(replace(current, denominator=before), function(current, z))

        return replace(step, denominator=divisor)

    return alter


def with_divisor(function: Callable[[Step, np.ndarray], np.ndarray]) -> Change:
    """``function(step, S(z))`` in the place of ``S(z)``: what is divided by is changed after it is stabilised."""

    def alter(step: Step) -> Step:
        before = step.denominator

        def divisor(current: Step, z: np.ndarray) -> np.ndarray:
            return function(current, divide_by(replace(current, denominator=before), z))

        return replace(step, denominator=divisor)

    return alter


def with_inputs(function: Callable[[np.ndarray], np.ndarray]) -> Change:
    """``function(x)`` in the place of every input, wherever it stands; ``function`` is elementwise for an excerpt."""

    def alter(step: Step) -> Step:
        whole = step.whole
        if whole is not None and isinstance(step.rule, StdEpsilon):
            # Its epsilon is taken over the whole input.
            whole = replace(whole, inputs=tuple(function(x) for x in whole.inputs))
        return replace(step, inputs=tuple(function(x) for x in step.inputs), whole=whole)

    return alter


def with_relevance(function: Callable[[np.ndarray], np.ndarray]) -> Change:
    """``function(R)`` in the place of the relevance of the output."""
    return lambda step: replace(step, relevance=function(step.relevance))


def with_attributes(**attributes: Any) -> Change:
    """Other values of some attributes of the layer."""
    return lambda step: replace(
        step, layer=replace(step.layer, attributes={**step.layer.attributes, **attributes})
    )


def with_weights(function: Callable[[Layer, dict[str, np.ndarray]], Weights]) -> Change:
    """Other weights, wherever they stand."""

    def alter(step: Step) -> Step:
        weights = function(step.layer, weights_of(step.layer))
        return replace(step, layer=replace(step.layer, weights=weights))

    return alter


def then(function: Callable[[np.ndarray], np.ndarray]) -> Change:
    """``function(R_x)`` of every input, after all else."""
    return lambda step: replace(
        step, after=(*step.after, lambda _, result: tuple(function(part) for part in result))
    )


def then_all(function: Callable[[Step, Arrays], Arrays]) -> Change:
    """``function(step, result)`` after all else."""
    return lambda step: replace(step, after=(*step.after, function))


def chained(*changes: Change) -> Change:
    """One change after the other."""

    def alter(step: Step) -> Step:
        for change in changes:
            step = change(step)
        return step

    return alter


def named(rule: Rule) -> str:
    """A rule as a reader writes it: its type, and the values that are not its defaults."""
    return _written(rule)


def _written(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if not hasattr(value, "__dataclass_fields__"):
        return str(value)
    shown = ", ".join(
        f"{each.name}={_written(getattr(value, each.name))}"
        for each in fields(value)
        if not _is_default(each, getattr(value, each.name))
    )
    return f"{type(value).__name__}({shown})"


def _is_default(of: Any, value: Any) -> bool:
    made = of.default_factory() if callable(of.default_factory) else of.default
    return bool(made == value)
