"""zennit-crp 0.6.0 on Zennit 0.4.6, the newest that it admits. Runs in its interpreter only.

Its conditional attribution with no other condition than the class is the composite's, summed over the channels.
"""

from __future__ import annotations

from typing import Any

from harness.methods import Method
from ported_impls.libraries.adapter import Call, LibraryBackend, one_by_one, says
from ported_impls.torchvision_shim import zennit

_COMPOSITES = {
    "epsilon_plus": "EpsilonPlus",
    "epsilon_plus_flat": "EpsilonPlusFlat",
    "epsilon_alpha2_beta1": "EpsilonAlpha2Beta1",
    "epsilon_alpha2_beta1_flat": "EpsilonAlpha2Beta1Flat",
}


def _conditional(twin: Any, x: Any, target: int, method: Method) -> Any:
    from crp.attribution import CondAttribution

    composite = getattr(zennit.composites, _COMPOSITES[method.name])()
    attribution = CondAttribution(twin, no_param_grad=False)
    return attribution(x.requires_grad_(), [{"y": [target]}], composite).heatmap


CALLS = {
    name: Call(
        f"CondAttribution(model)(x, [{{'y': [target]}}], {composite}()).heatmap",
        one_by_one(_conditional, True),
    )
    for name, composite in _COMPOSITES.items()
}
SAYS = says(CALLS)
backend = LibraryBackend("zennit-crp", ("zennit-crp", "zennit"), "torch", CALLS)
