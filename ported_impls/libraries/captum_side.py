"""Captum 0.9.0, as its users call it. Runs in its interpreter only."""

from __future__ import annotations

from typing import Any

from harness.graph import WEIGHTED_KINDS
from harness.methods import (
    AlphaBeta,
    Epsilon,
    Gamma,
    GradCam,
    IntegratedGradients,
    Method,
    Smoothed,
    Z,
    cam_layer,
)
from ported_impls.libraries.adapter import Call, LibraryBackend, kernel_rule, noise_handed_in, says


def _saliency(twin: Any, x: Any, target: Any, method: Method) -> Any:
    from captum.attr import Saliency

    return Saliency(twin).attribute(x.requires_grad_(), target=target, abs=method.postprocess == "abs")


def _input_x_gradient(twin: Any, x: Any, target: Any, method: Method) -> Any:
    from captum.attr import InputXGradient

    return InputXGradient(twin).attribute(x.requires_grad_(), target=target)


def _guided_backprop(twin: Any, x: Any, target: Any, method: Method) -> Any:
    from captum.attr import GuidedBackprop

    return GuidedBackprop(twin).attribute(x.requires_grad_(), target=target)


def _deconvolution(twin: Any, x: Any, target: Any, method: Method) -> Any:
    from captum.attr import Deconvolution

    return Deconvolution(twin).attribute(x.requires_grad_(), target=target)


def _integrated_gradients(twin: Any, x: Any, target: Any, method: Method) -> Any:
    from captum.attr import IntegratedGradients as Captums

    assert isinstance(method.procedure, IntegratedGradients)
    steps, baseline = method.procedure.steps, method.procedure.baseline
    return Captums(twin).attribute(x, baselines=baseline, target=target, n_steps=steps)


def _noise_tunnel(twin: Any, x: Any, target: Any, method: Method) -> Any:
    from captum.attr import NoiseTunnel, Saliency

    assert isinstance(method.procedure, Smoothed)
    kinds = {"mean": "smoothgrad", "variance": "vargrad"}
    kind = "smoothgrad_sq" if method.procedure.each == "square" else kinds[method.procedure.statistic]
    # One run at a time, so that it asks for the noise of the whole batch in each.
    options = {"nt_samples": method.procedure.samples, "nt_samples_batch_size": 1}
    with noise_handed_in(method, x):
        return NoiseTunnel(Saliency(twin)).attribute(
            x, nt_type=kind, stdevs=method.procedure.scale, abs=False, target=target, **options
        )


def _grad_cam(twin: Any, x: Any, target: Any, method: Method) -> Any:
    from captum.attr import GuidedGradCam, LayerAttribution, LayerGradCam

    assert isinstance(method.procedure, GradCam)
    layer = twin.get_submodule(cam_layer(twin.graph, method.procedure.layer).name)
    if method.procedure.guided:
        return GuidedGradCam(twin, layer).attribute(x.requires_grad_(), target=target)
    maps = LayerGradCam(twin, layer).attribute(x, target=target, relu_attributions=True)
    mode = "bilinear" if x.dim() == 4 else "linear"
    return LayerAttribution.interpolate(maps, tuple(x.shape[2:]), mode).expand_as(x)


def _deep_lift(twin: Any, x: Any, target: Any, method: Method) -> Any:
    from captum.attr import DeepLift

    return DeepLift(twin).attribute(x, target=target)


def _lrp(twin: Any, x: Any, target: Any, method: Method) -> Any:
    """The method's rule at kernels, Captum's own choice where it has one; at what it does not know, the identity
    where the shape stays (activations) and its EpsilonRule elsewhere, which it has for pools too.

    An Identity, which the twin has for its input and a user's network has not, it cannot run under any rule: a Dropout
    that drops nothing stands there.
    """
    from captum.attr import LRP
    from captum.attr._core.lrp import SUPPORTED_LAYERS_WITH_RULES, SUPPORTED_NON_LINEAR_LAYERS
    from captum.attr._utils.lrp_rules import EpsilonRule, IdentityRule
    from torch import nn

    known = (*SUPPORTED_LAYERS_WITH_RULES, *SUPPORTED_NON_LINEAR_LAYERS)
    rule = kernel_rule(method)
    source = twin.graph.input.name
    identity, twin._modules[source] = twin._modules[source], nn.Dropout(0).eval()
    for layer in twin.graph:
        module = twin.get_submodule(layer.name)
        if layer.kind in WEIGHTED_KINDS:
            for each in [*module.children()] or [module]:
                each.rule = _rule_of(rule)
        elif type(module) not in known:
            same = len(layer.inputs) < 2 and layer.input_shapes in ((), (layer.shape,))
            module.rule = IdentityRule() if same else EpsilonRule()
    try:
        return LRP(twin).attribute(x, target=target)
    finally:
        twin._modules[source] = identity
        for module in twin.modules():
            vars(module).pop("rule", None)


def _rule_of(rule: Any) -> Any:
    from captum.attr._utils.lrp_rules import Alpha1_Beta0_Rule, EpsilonRule, GammaRule

    match rule:
        case Epsilon():
            return EpsilonRule(epsilon=rule.epsilon)
        case Gamma():
            return GammaRule(gamma=rule.gamma)
        case AlphaBeta():
            return Alpha1_Beta0_Rule()
        case Z():
            return EpsilonRule()
    raise AssertionError(rule)


_SALIENCY = "Saliency(model).attribute(x, target, abs=False)"
_LRP = "LRP(model).attribute(x, target), {}(...) at kernels"
CALLS = {
    "gradient": Call(_SALIENCY, _saliency),
    "gradient:postprocess=abs": Call("Saliency(model).attribute(x, target)", _saliency),
    "input_t_gradient": Call("InputXGradient(model).attribute(x, target)", _input_x_gradient),
    "guided_backprop:dialect=zennit": Call("GuidedBackprop(model).attribute(x, target)", _guided_backprop),
    "deconvnet:dialect=zennit": Call("Deconvolution(model).attribute(x, target)", _deconvolution),
    "integrated_gradients": Call(
        "IntegratedGradients(model).attribute(x, 0, target, n_steps=64)", _integrated_gradients
    ),
    "smoothgrad": Call(
        "NoiseTunnel(Saliency(model)).attribute(x, 'smoothgrad', stdevs=1, abs=False)", _noise_tunnel
    ),
    "smoothgrad:postprocess=square": Call(
        "NoiseTunnel(Saliency(model)).attribute(x, 'smoothgrad_sq', stdevs=1, abs=False)", _noise_tunnel
    ),
    "vargrad": Call(
        "NoiseTunnel(Saliency(model)).attribute(x, 'vargrad', stdevs=0.2, abs=False)", _noise_tunnel
    ),
    "grad_cam": Call(
        "LayerGradCam(model, layer).attribute(x, target, relu_attributions=True), resized", _grad_cam
    ),
    "lrp.z": Call(_LRP.format("EpsilonRule"), _lrp),
    "lrp.epsilon": Call(_LRP.format("EpsilonRule"), _lrp),
    "lrp.gamma": Call(_LRP.format("GammaRule"), _lrp),
    "lrp.alpha_1_beta_0": Call(_LRP.format("Alpha1_Beta0_Rule"), _lrp),
}
SAYS = says(CALLS)
backend = LibraryBackend("captum", ("captum",), "torch", CALLS)
