"""How the real signxai 1.1.9.2 is asked for a method: which of its functions, with which arguments.

A name that signxai publishes is run through its function of that very name. Other methods of its grammar
(`lrp_epsilon_0_33`) go through the function that those functions call. Names of functions and classes here
are those of `signxai/methods/wrappers.py` and `signxai/methods/innvestigate/analyzer` of that version.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from harness.errors import UnsupportedMethodError
from harness.graph import CONVOLUTION_KINDS, WEIGHTED_KINDS, Graph
from harness.methods import (
    GRADIENT,
    AlphaBeta,
    Assignment,
    Backward,
    Bounded,
    Composite,
    Epsilon,
    Flat,
    GradCam,
    IntegratedGradients,
    Method,
    Rule,
    Sign,
    Smoothed,
    StdEpsilon,
    UniformNoise,
    WSquare,
    Z,
    cam_layer,
    gaussian_noise,
)
from harness.methods.definition import TimesSign
from harness.methods.dialects import signxai as dialect
from harness.methods.dialects.signxai.composites import GUIDED_CAM, GUIDED_CAM_SEQUENTIAL
from reference_impls.peers import SIGNXAI
from reference_impls.peers.backend import Adapter, Call

_PUBLISHED = frozenset(dialect.published_names())
#: The function behind all but Grad-CAM and noise: ``method`` names the analyzer.
_GENERAL = "calculate_explanation_innvestigate"


@dataclass(frozen=True)
class Instruction:
    """One call into signxai.

    ``function``: of `signxai.methods.wrappers`. ``arguments``: its keyword arguments. ``creation``: further
    ones for the analyzer alone. ``times``: what the result is multiplied by afterwards, "input", a threshold
    for `calculate_sign_mu`, or None. ``class_given``: whether it is handed the class to explain.
    """

    function: str
    arguments: dict[str, Any] = field(default_factory=dict)
    creation: dict[str, Any] = field(default_factory=dict)
    times: str | float | None = None
    class_given: bool = True


def call_of(method: Method) -> Instruction:
    """The call that computes ``method``.

    Raises UnsupportedMethodError where signxai has none: a rule, head or procedure in another library's
    reading.
    """
    if method.selection == "run_maximum":
        asked = dialect.unselected(method)
        if dialect.selecting(asked, "max_activation") == method:
            return replace(call_of(asked), class_given=False)
    published = _published(method)
    if published is not None:
        return published
    if isinstance(method.procedure, GradCam | UniformNoise):
        instruction = _function_of(method)
    else:
        instruction = _analyzer_of(method)
    if instruction is None:
        raise UnsupportedMethodError(
            f"signxai 1.1.9.2 has no function for {method.name!r}; it takes the methods of its own dialect "
            "(xai-harness methods lists them)"
        )
    return instruction


def knows(method: Method) -> bool:
    """Whether signxai has a function that computes ``method``."""
    try:
        call_of(method)
    except UnsupportedMethodError:
        return False
    return True


def call(method: Method, graph: Graph, shape: tuple[int, ...], dtype: str) -> Call:
    """The payload and the noise for `signxai_side.py`: ``noise`` is (samples, *shape) in ``dtype``.

    Raises UnsupportedMethodError as :func:`call_of`, and what `cam_layer` raises.
    """
    procedure = method.procedure
    payload = {**asdict(call_of(method)), "layer": None, "scale": None, "statistic": "mean"}
    arrays = {}
    if isinstance(procedure, GradCam):
        payload["layer"] = cam_layer(graph, procedure.layer).name
    if isinstance(procedure, Smoothed):
        payload |= {"scale": procedure.scale, "statistic": procedure.statistic}
        arrays["noise"] = np.stack([noise.astype(dtype) for noise in gaussian_noise(procedure, shape)])
    return Call(payload, arrays, "sequential" if _is_sequential(method) else None)


# Published names -----------------------------------------------------------------------------------------


def _published(method: Method) -> Instruction | None:
    """The function of the method's own name, if that function computes this method."""
    name = method.name.partition(":")[0]
    if name not in _PUBLISHED:
        return None
    meant = _meant_by(name)
    arguments = {}
    if name.endswith("_x_sign_mu") and isinstance(method.postprocess, TimesSign):
        meant = replace(meant, postprocess=method.postprocess)
        arguments["mu"] = method.postprocess.threshold
    # What the function leaves open: the noise, and the layer where its name says none.
    procedure = method.procedure
    if isinstance(meant.procedure, Smoothed) and isinstance(procedure, Smoothed):
        meant = replace(meant, procedure=replace(meant.procedure, seed=procedure.seed))
    if name in ("grad_cam", "grad_cam_timeseries"):
        meant = _at_its_layer(meant, method)
    if _is_sequential(method):
        meant = replace(meant, composite=GUIDED_CAM_SEQUENTIAL)
    return Instruction(name, arguments) if replace(meant, name=method.name) == method else None


def _is_sequential(method: Method) -> bool:
    """Whether it means a network that is written as a `Sequential` model."""
    return method.composite == GUIDED_CAM_SEQUENTIAL


def _meant_by(name: str) -> Method:
    """What a published name means."""
    meant = dialect.parse(name, {})
    assert meant is not None, name
    return meant


def _at_its_layer(meant: Method, method: Method) -> Method:
    """``meant`` at the Grad-CAM layer of ``method``, where both are Grad-CAM."""
    if not isinstance(meant.procedure, GradCam) or not isinstance(method.procedure, GradCam):
        return meant
    return replace(meant, procedure=replace(meant.procedure, layer=method.procedure.layer))


def _function_of(method: Method) -> Instruction | None:
    """Grad-CAM at any layer, plain or guided, and uniform noise, under names that signxai does not publish."""
    for name in ("grad_cam", "grad_cam_timeseries", "guided_grad_cam_MNISTCNN", "random_uniform"):
        meant = _at_its_layer(_meant_by(name), method)
        if _is_sequential(method) and meant.composite == GUIDED_CAM:
            meant = replace(meant, composite=GUIDED_CAM_SEQUENTIAL)
        if replace(meant, name=method.name) == method:
            return Instruction(name)
    return None


# Analyzers -----------------------------------------------------------------------------------------------


def _analyzer_of(method: Method) -> Instruction | None:
    """The analyzer for the method's values, and what the result is multiplied by."""
    gradient = method.composite == GRADIENT and method.head == "one"
    procedure, plain = method.procedure, method.procedure == Backward() and method.head == "logit"
    instruction: Instruction | None = None
    if method.selects_itself:
        return None
    if gradient and procedure == Backward():
        instruction = _analyzer("gradient")
    elif gradient and isinstance(procedure, IntegratedGradients):
        if procedure == IntegratedGradients(procedure.steps, True, procedure.baseline):
            values = {"steps": procedure.steps, "reference_inputs": procedure.baseline}
            instruction = _analyzer("integrated_gradients", **values)
    elif gradient and isinstance(procedure, Smoothed):
        if procedure.each == "none":
            name = "smoothgrad" if procedure.statistic == "mean" else "vargrad"
            instruction = _analyzer(name, augment_by_n=procedure.samples, noise_scale=procedure.scale)
    elif plain and method.composite == _meant_by("guided_backprop").composite:
        instruction = _analyzer("guided_backprop")
    elif plain and method.composite == _meant_by("deconvnet").composite:
        instruction = _analyzer("deconvnet")
    elif plain:
        instruction = _lrp(method.composite)
    if instruction is None or method.postprocess == "none":
        return instruction
    if method.postprocess == "times_input":
        return replace(instruction, times="input")
    if isinstance(method.postprocess, TimesSign):
        return replace(instruction, times=method.postprocess.threshold)
    return None


def _analyzer(name: str, **values: Any) -> Instruction:
    return Instruction(_GENERAL, {"method": name, **values})


def _lrp(composite: Composite) -> Instruction | None:
    """The LRP analyzer of a composite that `lrp_composite` of the dialect makes; None for another one."""
    rules = [
        each.rule for each in composite.assignments if each.kinds == WEIGHTED_KINDS and not each.reads_input
    ]
    first = composite.assignments[0]
    input_rule = first.rule if first.reads_input else None
    before = tuple(each for each in composite.assignments if each.kinds == CONVOLUTION_KINDS)
    if not rules or dialect.lrp_composite(rules[0], input_rule, before) != composite:  # type: ignore[arg-type]
        return None
    instruction = _sequential(rules[0], before) if before else _of_rule(rules[0])
    values = _of_input_layer_rule(input_rule)
    if instruction is None or values is None:
        return None
    return replace(instruction, arguments={**instruction.arguments, **values})


def _sequential(rule: Rule, before: tuple[Assignment, ...]) -> Instruction | None:
    convolutions: dict[Rule, str] = {AlphaBeta(1, 0): "a", AlphaBeta(2, 1): "b"}
    preset = convolutions.get(before[0].rule)
    if rule != Epsilon(0.1) or len(before) > 1 or preset is None:
        return None
    return _analyzer(f"lrp.sequential_composite_{preset}")


def _of_rule(rule: Rule) -> Instruction | None:
    """The analyzer that gives every kernel this rule."""
    if rule == Z():
        return _analyzer("lrp.z")
    if isinstance(rule, Epsilon) and rule.bias:
        return _analyzer("lrp.epsilon", epsilon=rule.epsilon)
    if isinstance(rule, StdEpsilon) and rule.bias:
        return _analyzer("lrp.stdxepsilon", stdfactor=rule.factor)
    if isinstance(rule, AlphaBeta) and rule == AlphaBeta(rule.alpha, rule.beta):
        # Given through the function, alpha and beta would reach `AlphaBetaProxyRule` twice: a TypeError.
        return replace(_analyzer("lrp.alpha_beta"), creation={"alpha": rule.alpha, "beta": rule.beta})
    return None


def _of_input_layer_rule(rule: Rule | None) -> dict[str, Any] | None:
    """The arguments that give the first kernels ``rule``, empty for None; None where signxai has no such rule."""
    plain: dict[Rule | None, dict[str, Any]] = {
        None: {},
        Sign(): {"input_layer_rule": "SIGN"},
        Z(): {"input_layer_rule": "Z"},
        WSquare(): {"input_layer_rule": "WSquare"},
        Flat(): {"input_layer_rule": "Flat"},
    }
    if rule in plain:
        return plain[rule]
    if isinstance(rule, Sign) and rule == Sign(rule.threshold):
        return {"input_layer_rule": "SIGNmu", "mu": rule.threshold}
    if isinstance(rule, Bounded) and rule == Bounded(rule.low, rule.high, times_inputs=False):
        return {"input_layer_rule": "Bounded", "low": rule.low, "high": rule.high}
    return None


ADAPTER = Adapter(SIGNXAI, knows, call)
