"""Candidate "zennit": Zennit 0.5.1 as it is, its own rules, composites, attributors and defaults, under the
catalogue's names. What runs is what a Zennit user would write who is asked for the method of that name.

=============================================== ==========================================================
name                                            Zennit's
=============================================== ==========================================================
epsilon_plus, epsilon_plus_flat,                the composite of that name, with the method's epsilon,
epsilon_alpha2_beta1, ..._flat,                 stabilizer, gamma, low and high
epsilon_gamma_box, excitation_backprop
epsilon_plus_box, epsilon_alpha2_beta1_box      EpsilonPlus, EpsilonAlpha2Beta1 with ZBox for the first
                                                convolution
guided_backprop, deconvnet (all dialects)       GuidedBackprop, DeconvNet: at `torch.nn.ReLU` only
gradient, input_t_gradient, ...                 no hooks
lrp..., lrp_..., deep_taylor, lrp.0, lrp.gamma  a rule for each kernel by the layer's name, the base layer map
                                                for the rest (`zennit_rules`, `zennit_composites`); the
                                                sequential presets and composites A and B are thereby what
                                                EpsilonPlus, EpsilonAlpha2Beta1 and their Flat forms hold
integrated_gradients                            attribution.IntegratedGradients: from step 1/n to 1
smoothgrad                                      attribution.SmoothGrad: the last of its n runs has no noise
=============================================== ==========================================================

Whatever the method does with its result at the input (``_x_input``, ``_x_sign``) is done with Zennit's, and
relevance starts where the method says. The rest has no counterpart, see :func:`missing_counterpart`:
Grad-CAM, VarGrad, absolute or squared gradients within a mean, attributions without a run, the SIGN rule,
epsilon times the deviation of the input (a stabilizer of Zennit is handed the output, not the input), and the rules
of transformers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

from harness.backends.protocol import Backend, Model, Prepared
from harness.checks import require_device
from harness.errors import UnsupportedMethodError
from harness.files import installed_versions, source_digest
from harness.graph import Graph
from harness.methods import (
    AlphaBetaOfMaxima,
    AlphaBetaX,
    AttentionRule,
    DeepLift,
    GradCam,
    InputItself,
    InputPlusNoise,
    IntegratedGradients,
    Method,
    Rollout,
    Sign,
    Smoothed,
    StdEpsilon,
    UniformNoise,
)
from ported_impls.versions import require_torch_and_zennit

if TYPE_CHECKING:
    from ported_impls.torchvision_shim import zennit

_WITHOUT_RULE = (AlphaBetaOfMaxima, Sign, StdEpsilon, AlphaBetaX, *get_args(AttentionRule))


def zennit_backend(merge_batch_norms: bool = False) -> Backend:
    """The backend ``zennit``; with ``merge_batch_norms`` the backend ``zennit-merged``.

    `Pass` at a batch norm is meant for one that a canonizer has merged into the layer before; Zennit's
    composites have no canonizer unless the user hands one over. The default here is therefore none;
    ``merge_batch_norms=True`` is the user who does.
    """
    return ZennitBackend("zennit-merged" if merge_batch_norms else "zennit", merge_batch_norms)


@dataclass(eq=False)
class ZennitBackend:
    """Zennit without a change, as a backend."""

    name: str
    merge_batch_norms: bool

    def version(self) -> dict[str, str]:
        return {**installed_versions("torch", "zennit", "numpy"), "source": source_digest("ported_impls")}

    def supports(self, method: Method, graph: Graph) -> str:
        """Why Zennit has no counterpart of the method; empty where it has."""
        if method.family != "usual":
            return f"Zennit has nothing of the family {method.family!r}"
        return missing_counterpart(method)

    def prepare(self, model: Model, dtype: str, device: str = "cpu") -> Prepared:
        """Raises MissingFrameworkError without torch, InvalidInputError for another device than the CPU."""
        require_device(self.name, device)
        require_torch_and_zennit()
        from ported_impls.run import HookedTwin
        from ported_impls.zennit_attribution import find
        from ported_impls.zennit_composites import deciding_name

        twin = model.torch(dtype)
        return HookedTwin(
            model=model,
            twin=twin,
            composite=lambda method: counterpart(twin.graph, method, self.merge_batch_norms),
            find=find,
            deciding_name=deciding_name,
        )


def counterpart(graph: Graph, method: Method, merge_batch_norms: bool = False) -> zennit.core.Composite:
    """Zennit's composite of ``method``; raises UnsupportedMethodError where it has none."""
    from ported_impls.zennit_composites import zennit_composite

    reason = missing_counterpart(method)
    if reason:
        raise UnsupportedMethodError(f"zennit has no {method.name}: {reason}; choose another backend")
    return zennit_composite(graph, method, merge_batch_norms)


def missing_counterpart(method: Method) -> str:
    """Why Zennit has no counterpart of ``method``; empty where it has one."""
    procedure = method.procedure
    if isinstance(procedure, GradCam):
        return "it has no Grad-CAM"
    if isinstance(procedure, Rollout):
        return "it has no rollout of attention"
    if isinstance(procedure, DeepLift):
        return "it has no DeepLIFT"
    if isinstance(procedure, InputItself | InputPlusNoise | UniformNoise):
        return "all its attributions run the network"
    if isinstance(procedure, Smoothed) and procedure.statistic != "mean":
        return "its SmoothGrad takes the mean, nothing takes the variance"
    if isinstance(procedure, Smoothed | IntegratedGradients) and procedure.each != "none":
        return f"its attributors join the gradients themselves, not their {procedure.each}"
    for assignment in method.composite.assignments:
        if isinstance(assignment.rule, _WITHOUT_RULE):
            return f"it has no rule {type(assignment.rule).__name__}"
    return ""
