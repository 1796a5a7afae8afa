"""Captum 0.9.0, as its users call it. Runs in its interpreter only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from harness.graph import AVERAGE_POOLING_KINDS, WEIGHTED_KINDS
from harness.methods import DeepLift, GradCam, IntegratedGradients, Method, Smoothed, cam_layer
from harness.methods.procedures import MAX_POOLING_KINDS
from ported_impls.libraries.adapter import Call, Function, LibraryBackend, noise_handed_in, says

#: What `LRP` has a rule for where it is a module of torch's own, and an activation it passes by.
_SUMS = (*AVERAGE_POOLING_KINDS, *MAX_POOLING_KINDS, "add", "batch_norm")
_ACTIVATIONS = ("relu", "tanh")


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
    from captum.attr import DeepLift as Captums

    assert isinstance(method.procedure, DeepLift)
    (baseline,) = method.procedure.baselines
    return Captums(twin).attribute(x, baseline, target=target)


class _AsFunction(nn.Module):
    """A module that Captum takes for a function: it asks for rules of modules without children alone."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.idle = nn.Dropout(0)
        self.run = module.forward

    def forward(self, *inputs: Any) -> Any:
        return self.run(*inputs)


def _lrp(rule: Callable[[], Any]) -> Function:
    """``rule`` at kernels; what only moves values is a function, as users write it."""

    def call(twin: Any, x: Any, target: Any, method: Method) -> Any:
        from captum.attr import LRP
        from captum.attr._core.lrp import SUPPORTED_LAYERS_WITH_RULES, SUPPORTED_NON_LINEAR_LAYERS
        from captum.attr._utils.lrp_rules import EpsilonRule

        known = (*SUPPORTED_LAYERS_WITH_RULES, *SUPPORTED_NON_LINEAR_LAYERS)
        own = dict(twin._modules)
        for layer in twin.graph:
            module = own[layer.name]
            if layer.kind in WEIGHTED_KINDS:
                for each in [*module.children()] or [module]:
                    each.rule = rule()
            elif layer.kind in _SUMS:
                module.rule = EpsilonRule()
            elif type(module) not in known and layer.kind not in _ACTIVATIONS:
                twin._modules[layer.name] = _AsFunction(module)
        try:
            return LRP(twin).attribute(x, target=target)
        finally:
            twin._modules.update(own)
            for module in twin.modules():
                if "rule" in vars(module):
                    del module.rule

    return call


def _rule(name: str) -> Callable[[], Any]:
    def rule() -> Any:
        from captum.attr._utils import lrp_rules

        return getattr(lrp_rules, name)()

    return rule


_SALIENCY = "Saliency(model).attribute(x, target, abs=False)"
_LRP = "module.rule = {}() at kernels; LRP(model).attribute(x, target)"
CALLS = {
    "gradient": Call(_SALIENCY, _saliency),
    "gradient:postprocess=abs": Call("Saliency(model).attribute(x, target)", _saliency),
    "input_t_gradient": Call("InputXGradient(model).attribute(x, target)", _input_x_gradient),
    "guided_backprop:dialect=zennit": Call("GuidedBackprop(model).attribute(x, target)", _guided_backprop),
    "deconvnet:dialect=zennit": Call("Deconvolution(model).attribute(x, target)", _deconvolution),
    "integrated_gradients:dialect=captum": Call(
        "IntegratedGradients(model).attribute(x, 0, target)", _integrated_gradients
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
    "deep_lift": Call("DeepLift(model).attribute(x, 0, target)", _deep_lift),
    "lrp:dialect=captum": Call("LRP(model).attribute(x, target)", _lrp(_rule("EpsilonRule"))),
    "lrp:dialect=captum,rule=Gamma": Call(_LRP.format("GammaRule"), _lrp(_rule("GammaRule"))),
    "lrp:dialect=captum,rule=Alpha1_Beta0": Call(
        _LRP.format("Alpha1_Beta0_Rule"), _lrp(_rule("Alpha1_Beta0_Rule"))
    ),
}
SAYS = says(CALLS)
backend = LibraryBackend("captum", ("captum",), "torch", CALLS)
