"""A method with one thing read differently, as a method: what whole runs of the reference can show."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from harness.diagnosis.findings import Stage
from harness.diagnosis.joined import other_procedures
from harness.methods import (
    SATURATIONS,
    AlphaBeta,
    AttentionShare,
    Backtrace,
    Bounded,
    Composite,
    Contrast,
    Deconvolution,
    Epsilon,
    EqualShare,
    Flat,
    Gamma,
    Gradient,
    GuidedReLU,
    IntegratedGradients,
    LargestShare,
    MagnitudeShare,
    Method,
    Rule,
    Sign,
    Smoothed,
    StdEpsilon,
    WSquare,
    Z,
    bound_text,
)


@dataclass(frozen=True, eq=False)
class Reading:
    """Another reading of the method: the stage, a cause, in words, and the method itself."""

    stage: Stage
    cause: str
    words: str
    method: Method


def readings(method: Method) -> Iterator[Reading]:
    """The method with one rule read differently at every layer where it occurs, or with its runs joined otherwise.

    No two are the same method, and none is ``method`` itself.
    """
    before = {method.composite}
    for rule in dict.fromkeys(assignment.rule for assignment in method.composite.assignments):
        for cause, words, other in _other_rules(rule):
            composite = Composite(
                tuple(
                    replace(assignment, rule=other) if assignment.rule == rule else assignment
                    for assignment in method.composite.assignments
                )
            )
            if composite not in before:
                before.add(composite)
                yield Reading("rule", cause, words, replace(method, composite=composite))
    if isinstance(method.procedure, IntegratedGradients | Smoothed):
        for words, procedure in other_procedures(method.procedure):
            yield Reading("postprocess", "unknown", words, replace(method, procedure=procedure))


def _other_rules(rule: Rule) -> Iterator[tuple[str, str, Rule]]:
    match rule:
        case Epsilon(epsilon=epsilon):
            for other in (1e-12, 1e-9, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 0.25, 1.0):
                if other != epsilon:
                    yield (
                        "epsilon-value",
                        f"epsilon is {other:g} instead of {epsilon:g}",
                        replace(rule, epsilon=other),
                    )
            yield "stabilizer-form", "nothing but an exact zero is replaced in the denominator", Z(rule.bias)
        case StdEpsilon(factor=factor):
            for other in (0.1, 0.25, 0.5, 1.0):
                if other != factor:
                    yield (
                        "epsilon-value",
                        f"the factor is {other:g} instead of {factor:g}",
                        StdEpsilon(other, rule.bias),
                    )
            yield (
                "stabilizer-form",
                f"epsilon is {factor:g}, not times the deviation",
                Epsilon(factor, rule.bias),
            )
        case AlphaBeta(alpha=alpha):
            for first, second in ((1.0, 0.0), (2.0, 1.0), (3.0, 2.0)):
                if first != alpha:
                    words = (
                        f"alpha and beta are {first:g} and {second:g} instead of {alpha:g} and {rule.beta:g}"
                    )
                    yield "alpha-beta", words, replace(rule, alpha=first, beta=second)
            yield (
                "bias-handling",
                "the bias is shared out by its sign",
                replace(rule, split_bias=not rule.split_bias),
            )
        case Sign(threshold=threshold):
            for other in (-1.0, -0.5, 0.0, 0.5, 1.0):
                if other != threshold:
                    words = f"the threshold is {other:g} instead of {threshold:g}"
                    yield "sign-threshold", words, replace(rule, threshold=other)
        case Bounded():
            for low, high in ((-1.0, 1.0), (0.0, 1.0)):
                if (low, high) != (rule.low, rule.high):
                    words = (
                        f"the bounds are {low:g} and {high:g} instead of {bound_text(rule.low)} and "
                        f"{bound_text(rule.high)}"
                    )
                    yield "input-layer-rule", words, Bounded(low, high)
        case Gamma():
            yield "rule-mapping", "gamma in its other form", replace(rule, signed=not rule.signed)
        case Backtrace(saturation=own):
            for name, named in SATURATIONS.items():
                other_saturation = replace(named, zero=own.zero)
                if other_saturation != own:
                    words = f"the range of the activation is that of {name!r}"
                    yield "saturation", words, replace(rule, saturation=other_saturation)
        case Contrast(reading=reading):
            other_reading = Contrast("convolution" if reading == "linear" else "linear")
            words = f"the order of the two relevances is read as at the other kinds ({other_reading.reading})"
            yield "rule-mapping", words, other_reading
        case LargestShare(padding=padding):
            other_padding = LargestShare("lowest" if padding == "zero" else "zero")
            yield "pooling", f"padded places are taken as {other_padding.padding}", other_padding
        case EqualShare():
            yield "residual-split", "the sums share by the sizes of their terms", MagnitudeShare()
        case AttentionShare(anew=anew) if anew != "none":
            words = "the relevance of queries, keys and values is not shared anew by their sizes"
            yield "attention-rule", words, AttentionShare("none")
        case GuidedReLU() | Deconvolution():
            for other_rule in (Gradient(), GuidedReLU(), Deconvolution()):
                if other_rule != rule:
                    yield "rule-mapping", f"{other_rule} instead of {rule}", other_rule
        case _:
            pass
    if isinstance(rule, Z | Epsilon | StdEpsilon | AlphaBeta | Sign) and rule.bias:
        yield "bias-handling", "the bias is left out", replace(rule, bias=False)
    if isinstance(rule, Z | Epsilon | AlphaBeta | Flat | WSquare | Gamma):
        usual: tuple[Rule, ...] = (
            Z(),
            Epsilon(1e-7),
            AlphaBeta(1.0, 0.0),
            AlphaBeta(2.0, 1.0),
            Flat(),
            WSquare(),
        )
        for instead in usual:
            if type(instead) is not type(rule):
                yield "rule-mapping", f"{instead} instead of {rule}", instead
