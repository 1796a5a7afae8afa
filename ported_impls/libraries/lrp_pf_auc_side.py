"""lrp-pf-auc 0.1.6: LRP of torch networks by layer names. Runs in its interpreter only.

Its rules are gradients times activations: the relevance of a layer is that of the tensors that autograd shows there. It
wants the first layer as ``model.features[0]`` and reads it for the z^B rule alone, which is not asked for.
"""

from __future__ import annotations

import contextlib
import copy
import io
from typing import Any

from harness.graph import WEIGHTED_KINDS
from harness.methods import Epsilon, Gamma, Method
from ported_impls.capture import capture_layers
from ported_impls.libraries.adapter import (
    Call,
    LibraryBackend,
    empty_module,
    kernel_rule,
    says,
    square_images,
)


def _lrp(twin: Any, x: Any, target: Any, method: Method) -> Any:
    import ported_impls.torchvision_shim  # noqa: F401  (torchvision beside a CPU-only torch)

    empty_module("cv2")  # for pictures of perturbed inputs
    from lrp.core import LRP
    from lrp.rules import LrpEpsilonRule, LrpGammaRule, LrpZeroRule

    rule = kernel_rule(method)
    match rule:
        case Epsilon():
            chosen, options = LrpEpsilonRule, {"epsilon": rule.epsilon}
        case Gamma():
            chosen, options = LrpGammaRule, {"gamma": rule.gamma}
        case _:
            chosen, options = LrpZeroRule, {}
    names = [layer.name for layer in twin.graph if layer.kind in WEIGHTED_KINDS]
    model = copy.copy(twin)
    model.features = [None]
    with contextlib.redirect_stdout(io.StringIO()):  # it prints how long it took
        lrp = LRP(model)
        lrp.convert_layers([(names, chosen, options)])
        with capture_layers(lrp.model, twin.graph) as captured:
            relevance = lrp.relevance(x, target)
    shown = {name: captured.activations[name] * each for name, each in captured.relevances.items()}
    return relevance, shown


_CALL = "LRP(model); convert_layers([(names, {}, ...)]); relevance(x, target)"
CALLS = {
    name: Call(_CALL.format(rule), _lrp, square_images)
    for name, rule in {
        "lrp.0": "LrpZeroRule",
        "lrp.epsilon": "LrpEpsilonRule",
        "lrp.epsilon:epsilon=0.1": "LrpEpsilonRule",
        "lrp.gamma": "LrpGammaRule",
    }.items()
}
SAYS = says(CALLS)
backend = LibraryBackend("lrp-pf-auc", ("lrp-pf-auc",), "torch", CALLS)
