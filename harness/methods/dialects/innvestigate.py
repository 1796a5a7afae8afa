"""iNNvestigate 2.1.2: its analyzers by their own names (`innvestigate.analyzer.analyzers`).

Classes and files named here are those of that version; `analyzer/relevance_based/relevance_analyzer.py`
where no file is given.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from harness.errors import InvalidInputError, UnknownNameError
from harness.graph import ACTIVATION_KINDS, AVERAGE_POOLING_KINDS, CONVOLUTION_KINDS, KINDS, WEIGHTED_KINDS
from harness.methods.composite import GRADIENT, Assignment, Composite
from harness.methods.definition import Head, Method, Postprocess
from harness.methods.entries import (
    Entry,
    Parameters,
    above_zero,
    alpha_and_beta,
    bounds,
    choice,
    flag,
    number,
    whole,
)
from harness.methods.procedures import (
    InputItself,
    InputPlusNoise,
    IntegratedGradients,
    Procedure,
    Smoothed,
)
from harness.methods.rules import (
    AlphaBeta,
    AlphaBetaX,
    BatchNormReverse,
    Bounded,
    Deconvolution,
    Epsilon,
    Flat,
    FusedBatchNorm,
    Gradient,
    GuidedReLU,
    KernelRule,
    Pass,
    Rule,
    WSquare,
    Z,
    ZPlusFast,
)

DIALECT = "iNNvestigate 2.1.2"

#: `only_relu_activation`: a ReLU layer with an upper bound passes its check.
_RELU_NETWORKS = ("relu", "relu6")


def lrp_composite(
    rule: KernelRule,
    input_layer_rule: Rule | None = None,
    batch_norm: Rule | None = None,
    activations: Literal["pass", "gradient"] = "pass",
    before: tuple[Assignment, ...] = (),
) -> Composite:
    """One rule for all kernels, as the fixed-parameter analyzers do it (`LRP._create_analysis`).

    Kernels get ``rule`` (those that see the input ``input_layer_rule``, if given, then what ``before`` says),
    batch norms ``batch_norm`` (left out: the rule on their fused line), add and average pooling
    :class:`Z`, activations :class:`Pass`, the rest (max pooling, multiply, layer norm, reshaping, padding,
    ...) the gradient.

    ``activations``: the graph does not keep how an activation was written. iNNvestigate passes relevance
    through those inside a layer and through `Activation` layers, and sends it through the gradient of
    stand-alone `ReLU`, `LeakyReLU`, `ELU` and `PReLU` layers (`LRP._default_reverse_mapping`). The two
    differ where relevance reaches a unit that is off (w_square, flat) or the slope is not one.
    """
    if isinstance(rule, Pass | Gradient | FusedBatchNorm | BatchNormReverse | GuidedReLU | Deconvolution):
        raise InvalidInputError(f"{type(rule).__name__} is no rule for a kernel")
    first = (
        (Assignment(input_layer_rule, kinds=WEIGHTED_KINDS, reads_input=True),)
        if input_layer_rule is not None
        else ()
    )
    return Composite(
        (
            *first,
            *before,
            Assignment(rule, kinds=WEIGHTED_KINDS),
            Assignment(FusedBatchNorm(rule) if batch_norm is None else batch_norm, kinds=("batch_norm",)),
            Assignment(Z(), kinds=("add", *AVERAGE_POOLING_KINDS)),
            Assignment(Pass() if activations == "pass" else Gradient(), kinds=ACTIVATION_KINDS),
            Assignment(Gradient()),
        )
    )


# Rules by the names of `LRP_RULES` -----------------------------------------------------------------------

#: The rules that are written as one word, in `LRP_RULES`'s spelling.
RULES: dict[str, KernelRule] = {
    "Z": Z(),
    "Epsilon": Epsilon(),
    "WSquare": WSquare(),
    "Flat": Flat(),
    "Alpha2Beta1": AlphaBeta(2, 1),
    "Alpha2Beta1IgnoreBias": AlphaBeta(2, 1, bias=False),
    "Alpha1Beta0": AlphaBeta(1, 0),
    "Alpha1Beta0IgnoreBias": AlphaBeta(1, 0, bias=False),
    "ZPlus": AlphaBeta(1, 0, bias=False),
    "ZPlusFast": ZPlusFast(),
    "Bounded": Bounded(),
}
#: Spellings of this project's own that mean the same.
_SHORT = {"z": "Z", "epsilon": "Epsilon", "w_square": "WSquare", "flat": "Flat", "bounded": "Bounded"}

_INPUT_RULE_PARAMETERS = {
    "input_layer_rule": f"rule of the kernels that see the input: {', '.join(RULES)}, or low and high",
    "low": "lower bound of the input; makes the rule Bounded (default -1)",
    "high": "upper bound of the input; makes the rule Bounded (default 1)",
}
_LRP_PARAMETERS = {
    **_INPUT_RULE_PARAMETERS,
    "until_layer_idx": "kernels up to this place get until_layer_rule (0 is the input; all layers count)",
    "until_layer_rule": "rule of the kernels up to until_layer_idx (default Flat)",
    "bn_layer_fuse_mode": "one_linear (default) or two_linear: batch norm read as one line or as two",
    "activation_layers": "pass (default: Activation layers, activations inside a layer) or gradient (ReLU, ... layers)",
}
_BN_PARAMETER = {
    "bn_layer_rule": f"rule of batch norms: {', '.join(RULES)}, AlphaBetaX2m100, or none for the dedicated one",
}


def rule_named(what: str, name: str) -> KernelRule:
    """The rule of a name of `LRP_RULES`; raises UnknownNameError."""
    full = _SHORT.get(name, name)
    if full not in RULES:
        raise UnknownNameError(what, name, (*RULES, *_SHORT))
    return RULES[full]


def _input_layer_rule(name: str, parameters: Parameters) -> Rule | None:
    given = parameters.get("input_layer_rule")
    bounded = "low" in parameters or "high" in parameters
    if given is None and not bounded:
        return None
    if bounded or given in ("bounded", "Bounded"):
        if given not in (None, "bounded", "Bounded"):
            raise InvalidInputError(f"{name}: low and high are for input_layer_rule=bounded, found {given!r}")
        low, high = bounds(name, parameters, -1.0, 1.0)
        return Bounded(low=low, high=high)
    return rule_named(f"{name}: input_layer_rule", str(given))


def _batch_norm_rule(name: str, parameters: Parameters, default: Rule | None) -> Rule | None:
    mode = choice(name, parameters, "bn_layer_fuse_mode", "one_linear", ("one_linear", "two_linear"))
    given = parameters.get("bn_layer_rule")
    if given is None:
        rule = default
    elif given.lower() == "none":
        return BatchNormReverse()
    elif given == "AlphaBetaX2m100":
        rule = _X2M100
    else:
        rule = rule_named(f"{name}: bn_layer_rule", given)
    if rule is None or isinstance(rule, BatchNormReverse):
        return rule
    return FusedBatchNorm(rule, mode)  # type: ignore[arg-type]


#: `AlphaBetaX2m100Rule`
_X2M100 = AlphaBetaX(alpha=(2, 0), beta=(1, 0))


def _until(name: str, parameters: Parameters) -> tuple[Assignment, ...]:
    if "until_layer_idx" not in parameters:
        if "until_layer_rule" in parameters:
            raise InvalidInputError(f"{name}: until_layer_rule needs until_layer_idx")
        return ()
    rule = rule_named(f"{name}: until_layer_rule", parameters.get("until_layer_rule", "Flat"))
    index = whole(name, parameters, "until_layer_idx", 0, least=0)
    return (Assignment(rule, kinds=WEIGHTED_KINDS, until_index=index),)


def _activations(name: str, parameters: Parameters) -> Literal["pass", "gradient"]:
    chosen = choice(name, parameters, "activation_layers", "pass", ("pass", "gradient"))
    return "pass" if chosen == "pass" else "gradient"


# The LRP analyzers ---------------------------------------------------------------------------------------


def _fixed(rule: Callable[[str, Parameters], KernelRule]) -> Callable[[str, Parameters], Method]:
    """An analyzer with one rule, which it also gives to batch norms."""

    def build(name: str, parameters: Parameters) -> Method:
        chosen = rule(name, parameters)
        return Method(
            name,
            lrp_composite(
                chosen,
                _input_layer_rule(name, parameters),
                _batch_norm_rule(name, parameters, chosen),
                _activations(name, parameters),
                _until(name, parameters),
            ),
        )

    return build


def _lrp(name: str, parameters: Parameters) -> Method:
    """`LRP` itself: one rule by name, or a list of rules, one for each kernel.

    A list is used up from its end (`LRP.create_rule_mapping`), so its last rule is that of the first kernel.
    """
    if "rule" not in parameters:
        raise InvalidInputError(f"{name}: rule is missing; write {name}:rule=Z, or several: rule=Z/Flat")
    rules = [rule_named(f"{name}: rule", each) for each in parameters["rule"].split("/")]
    input_rule = _input_layer_rule(name, parameters)
    until = _until(name, parameters)
    listed: tuple[Assignment, ...] = ()
    if len(rules) > 1:
        if input_rule is not None or until:
            raise InvalidInputError(
                f"{name}: a list of rules takes no input_layer_rule and no until_layer_idx; put the rule into the list"
            )
        listed = tuple(
            Assignment(rule, kinds=WEIGHTED_KINDS, kernel_index=place)
            for place, rule in enumerate(reversed(rules))
        )
    batch_norm = _batch_norm_rule(name, parameters, BatchNormReverse())
    composite = lrp_composite(
        rules[0], input_rule, batch_norm, _activations(name, parameters), (*until, *listed)
    )
    return Method(name, _without_rule_for_other_kernels(composite) if listed else composite)


def _without_rule_for_other_kernels(composite: Composite) -> Composite:
    """The composite of a list of rules: a kernel that the list is too short for has no rule, which is an error."""
    others = tuple(kind for kind in KINDS if kind not in WEIGHTED_KINDS)
    kept = (
        each
        for each in composite.assignments
        if each.kinds and (each.kinds != WEIGHTED_KINDS or each.kernel_index is not None)
    )
    return Composite((*kept, Assignment(Gradient(), kinds=others)))


def _preset(convolution: KernelRule, flat_input: bool) -> Callable[[str, Parameters], Method]:
    """`LRPSequentialPresetA` and `B`: Epsilon for dense layers, ``convolution`` for the others."""

    def build(name: str, parameters: Parameters) -> Method:
        dense = Epsilon(above_zero(name, parameters, "epsilon", 0.1))
        input_rule = Flat() if flat_input else _input_layer_rule(name, parameters)
        batch_norm = _batch_norm_rule(name, parameters, _X2M100)
        before = (
            *_until(name, parameters),
            Assignment(convolution, kinds=CONVOLUTION_KINDS),
        )
        return Method(
            name,
            lrp_composite(dense, input_rule, batch_norm, _activations(name, parameters), before),
        )

    return build


def _deep_taylor(bounded: bool) -> Callable[[str, Parameters], Method]:
    """`DeepTaylor`, `BoundedDeepTaylor` (`analyzer/deeptaylor.py`).

    The condition "no kernel, and no activation but ReLU" comes first and is met by every layer without a
    kernel, batch norm included: the rules meant for those further down are never reached.
    """

    def build(name: str, parameters: Parameters) -> Method:
        first: tuple[Assignment, ...] = ()
        if bounded:
            missing = [key for key in ("low", "high") if key not in parameters]
            if missing:
                raise InvalidInputError(f"{name}: {missing[0]} is missing; write {name}:low=0,high=1")
            low, high = bounds(name, parameters, -1.0, 1.0)
            first = (Assignment(Bounded(low=low, high=high), kinds=WEIGHTED_KINDS, reads_input=True),)
        kernels = Assignment(AlphaBeta(1, 0, bias=False), kinds=WEIGHTED_KINDS)
        composite = Composite((*first, kernels, Assignment(Gradient())))
        return Method(name, composite, head="relu_logit", activations=_RELU_NETWORKS)

    return build


# The gradient analyzers ----------------------------------------------------------------------------------

_EACH = ("none", "abs", "square")
_POSTPROCESS = {"postprocess": "none (default), abs or square"}


def _gradient(postprocess: Postprocess) -> Callable[[str, Parameters], Method]:
    """`Gradient` (head one) and `InputTimesGradient` (`analyzer/gradient_based.py`)."""

    def build(name: str, parameters: Parameters) -> Method:
        chosen = choice(name, parameters, "postprocess", "none", _EACH)
        after: Postprocess = postprocess if chosen == "none" else chosen  # type: ignore[assignment]
        return Method(name, GRADIENT, head="one", postprocess=after)

    return build


def _guided(name: str, parameters: Parameters) -> Method:
    """`GuidedBackprop`: the head is the logit, not one."""
    composite = Composite((Assignment(GuidedReLU(), kinds=_RELU_NETWORKS), Assignment(Gradient())))
    return Method(name, composite, activations=_RELU_NETWORKS)


def _deconvnet(name: str, parameters: Parameters) -> Method:
    """`Deconvnet`: the head is the logit; a `ReLU` layer, the only way to write a bounded one, is a TypeError."""
    composite = Composite((Assignment(Deconvolution(), kinds=("relu",)), Assignment(Gradient())))
    return Method(name, composite, activations=("relu",))


def _many(
    procedure: Callable[[str, Parameters], Procedure], head: Head = "one"
) -> Callable[[str, Parameters], Method]:
    def build(name: str, parameters: Parameters) -> Method:
        return Method(name, GRADIENT, head=head, procedure=procedure(name, parameters))

    return build


def _integrated(name: str, parameters: Parameters) -> Procedure:
    return IntegratedGradients(
        whole(name, parameters, "steps", 64, least=2),
        endpoint=False,
        baseline=number(name, parameters, "reference_inputs", 0.0),
        each=choice(name, parameters, "postprocess", "none", _EACH),  # type: ignore[arg-type]
    )


def _smoothgrad(name: str, parameters: Parameters) -> Procedure:
    """`SmoothGrad`: `GaussianSmoother` keeps ``noise_scale`` and never uses it; the noise has deviation 1."""
    above_zero(name, parameters, "noise_scale", 1.0)
    return Smoothed(
        whole(name, parameters, "augment_by_n", 64, least=1),
        scale=1.0,
        seed=whole(name, parameters, "seed", 0, least=0),
        each=choice(name, parameters, "postprocess", "none", _EACH),  # type: ignore[arg-type]
    )


def _random(name: str, parameters: Parameters) -> Procedure:
    """`Random`: the input plus Gaussian noise."""
    return InputPlusNoise(
        above_zero(name, parameters, "stddev", 1.0), whole(name, parameters, "seed", 0, least=0)
    )


# The catalogue's lines -----------------------------------------------------------------------------------

_BACH = "Bach et al. 2015"
_MONTAVON = "Montavon et al. 2017"
_SEED = {"seed": "of the generator that both sides share (default 0)"}


def _epsilon(name: str, parameters: Parameters) -> KernelRule:
    return Epsilon(above_zero(name, parameters, "epsilon", 1e-7), flag(name, parameters, "bias", True))


def _alpha_beta(name: str, parameters: Parameters) -> KernelRule:
    alpha, beta = alpha_and_beta(name, parameters)
    return AlphaBeta(alpha, beta, flag(name, parameters, "bias", True))


def _line(
    name: str,
    family: str,
    source: str,
    build: Callable[[str, Parameters], Method],
    parameters: dict[str, str] | None = None,
) -> Entry:
    return Entry(name, family, DIALECT, source, build, parameters or {})


def _lrp_line(
    name: str,
    source: str,
    rule: Callable[[str, Parameters], KernelRule],
    parameters: dict[str, str] | None = None,
) -> Entry:
    return _line(name, "lrp", source, _fixed(rule), {**(parameters or {}), **_LRP_PARAMETERS})


def _preset_line(name: str, convolution: KernelRule, flat_input: bool, parameters: dict[str, str]) -> Entry:
    kept = {
        key: meaning
        for key, meaning in _LRP_PARAMETERS.items()
        if not (flat_input and key in _INPUT_RULE_PARAMETERS) and not key.startswith("until")
    }
    epsilon = {"epsilon": "of dense layers, above 0 (default 0.1)"}
    return _line(
        name,
        "lrp",
        "Lapuschkin et al. 2017",
        _preset(convolution, flat_input),
        {**epsilon, **kept, **_BN_PARAMETER, **parameters},
    )


_UNTIL = {key: meaning for key, meaning in _LRP_PARAMETERS.items() if key.startswith("until")}

ENTRIES: tuple[Entry, ...] = (
    _line("input", "baseline", "`Input`", _many(lambda *_: InputItself())),
    _line(
        "random",
        "baseline",
        "`Random`",
        _many(_random),
        {"stddev": "of the noise, above 0 (default 1)", **_SEED},
    ),
    _line("gradient", "gradient", "Simonyan et al. 2014", _gradient("none"), _POSTPROCESS),
    _line("gradient.baseline", "gradient", "Simonyan et al. 2014", _gradient("none"), _POSTPROCESS),
    _line("input_t_gradient", "gradient", "Shrikumar et al. 2016", _gradient("times_input")),
    _line("deconvnet", "gradient", "Zeiler and Fergus 2014", _deconvnet),
    _line("guided_backprop", "gradient", "Springenberg et al. 2015", _guided),
    _line(
        "integrated_gradients",
        "path",
        "Sundararajan et al. 2017, eq. 3",
        _many(_integrated),
        {
            "steps": "points on the path, 2 or more (default 64)",
            "reference_inputs": "value of the baseline at every place (default 0)",
            **_POSTPROCESS,
        },
    ),
    _line(
        "smoothgrad",
        "sampling",
        "Smilkov et al. 2017",
        _many(_smoothgrad),
        {
            "augment_by_n": "samples, 1 or more (default 64)",
            "noise_scale": "accepted and not used, as in iNNvestigate: the noise has standard deviation 1",
            **_SEED,
            **_POSTPROCESS,
        },
    ),
    _line(
        "lrp",
        "lrp",
        _BACH,
        _lrp,
        {
            "rule": f"{', '.join(RULES)}; or one for each kernel, last kernel first: rule=Z/Flat",
            **_LRP_PARAMETERS,
            **_BN_PARAMETER,
        },
    ),
    _lrp_line("lrp.z", f"{_BACH}, eq. 56", lambda *_: Z()),
    _lrp_line(
        "lrp.epsilon",
        f"{_BACH}, eq. 58",
        _epsilon,
        {
            "epsilon": "signed stabilizer, above 0 (default 1e-7)",
            "bias": "true (default) or false: the bias counts in the denominator or not",
        },
    ),
    _lrp_line("lrp.w_square", f"{_MONTAVON}, w^2 rule", lambda *_: WSquare()),
    _lrp_line("lrp.flat", "Lapuschkin et al. 2019", lambda *_: Flat()),
    _lrp_line(
        "lrp.alpha_beta",
        f"{_BACH}, eq. 60",
        _alpha_beta,
        {
            "alpha": "1 or more; alpha - beta must be 1, so one of the two is enough",
            "beta": "0 or more",
            "bias": "true (default) or false: the bias counts in the denominators or not",
        },
    ),
    _lrp_line("lrp.alpha_1_beta_0", f"{_BACH}, eq. 60", lambda *_: AlphaBeta(1, 0)),
    _lrp_line("lrp.alpha_1_beta_0_IB", f"{_BACH}, eq. 60, no bias", lambda *_: AlphaBeta(1, 0, bias=False)),
    _lrp_line("lrp.alpha_2_beta_1", f"{_BACH}, eq. 60", lambda *_: AlphaBeta(2, 1)),
    _lrp_line("lrp.alpha_2_beta_1_IB", f"{_BACH}, eq. 60, no bias", lambda *_: AlphaBeta(2, 1, bias=False)),
    _lrp_line("lrp.z_plus", f"{_MONTAVON}, z+ rule", lambda *_: AlphaBeta(1, 0, bias=False)),
    _lrp_line("lrp.z_plus_fast", f"{_MONTAVON}, z+ rule for x >= 0", lambda *_: ZPlusFast()),
    _preset_line("lrp.sequential_preset_a", AlphaBeta(1, 0), False, _UNTIL),
    _preset_line("lrp.sequential_preset_b", AlphaBeta(2, 1), False, _UNTIL),
    _preset_line("lrp.sequential_preset_a_flat", AlphaBeta(1, 0), True, {}),
    _preset_line("lrp.sequential_preset_b_flat", AlphaBeta(2, 1), True, {}),
    _preset_line(
        "lrp.sequential_preset_b_flat_until_idx",
        AlphaBeta(2, 1),
        True,
        {"until_layer_idx": "kernels up to this place get Flat (0 is the input; all layers count)"},
    ),
    _line("deep_taylor", "deep_taylor", _MONTAVON, _deep_taylor(bounded=False)),
    _line(
        "deep_taylor.bounded",
        "deep_taylor",
        _MONTAVON,
        _deep_taylor(bounded=True),
        {"low": "lower bound of the input (required)", "high": "upper bound of the input (required)"},
    ),
)
