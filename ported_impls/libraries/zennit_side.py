"""Stock Zennit, of the version that its interpreter has: the candidate `ported_impls.zennit_candidate`."""

from __future__ import annotations

from ported_impls.zennit_candidate import zennit_backend

_RULES = {
    "lrp.z": "Epsilon",
    "lrp.0": "Epsilon",
    "lrp.epsilon": "Epsilon",
    "lrp.gamma": "Gamma",
    "lrp.alpha_1_beta_0": "AlphaBeta",
    "lrp.alpha_2_beta_1": "AlphaBeta",
    "lrp.z_plus": "ZPlus",
    "lrp.flat": "Flat",
    "lrp.w_square": "WSquare",
}
_COMPOSITES = {
    "epsilon_plus": "EpsilonPlus",
    "epsilon_plus_flat": "EpsilonPlusFlat",
    "epsilon_plus_box:{bounds}": "EpsilonPlus with ZBox",
    "epsilon_alpha2_beta1": "EpsilonAlpha2Beta1",
    "epsilon_alpha2_beta1_flat": "EpsilonAlpha2Beta1Flat",
    "epsilon_alpha2_beta1_box:{bounds}": "EpsilonAlpha2Beta1 with ZBox",
    "epsilon_gamma_box:{bounds}": "EpsilonGammaBox",
    "excitation_backprop": "ExcitationBackprop",
}
#: By method of ours, what a user of Zennit writes: its attributors, its rules at every kernel, its composites.
SAYS = {
    "gradient": "Gradient(model)(x, start)",
    "input_t_gradient": "Gradient(model)(x, start) * x",
    "integrated_gradients": "IntegratedGradients(model, n_iter=64)(x, start)",
    "smoothgrad": "SmoothGrad(model, noise_level, n_iter=64)(x, start)",
    "guided_backprop:dialect=zennit": "GuidedBackprop()",
    "deconvnet:dialect=zennit": "DeconvNet()",
    **{name: f"{rule}() at kernels, layer_map_base() elsewhere" for name, rule in _RULES.items()},
    **{name: f"{composite}()" for name, composite in _COMPOSITES.items()},
}
backend = zennit_backend()
