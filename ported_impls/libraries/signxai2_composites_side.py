"""signxai2 0.15.10: two composites on Zennit 1.0.0, and the sign of the input. Runs in its interpreter only.

It has no names and no attributions of its own: a composite is handed to Zennit's `Gradient`, which is called with the
whole batch and starts from what its caller hands over; here that is the relevance that the method starts from.
"""

from __future__ import annotations

from typing import Any

from harness.methods import CATALOGUE, Method, Sign, StdEpsilon
from harness.methods import method as method_named
from harness.methods.definition import TimesSign
from ported_impls.heads import initial_relevance
from ported_impls.layout import to_canonical, to_twin
from ported_impls.libraries.adapter import Call, LibraryBackend, kernel_rule, says, with_layers
from ported_impls.torchvision_shim import zennit


def _gradient(twin: Any, x: Any, target: Any, method: Method, composite: Any) -> Any:
    def start(output: Any) -> Any:
        return to_twin(initial_relevance(to_canonical(output), target.numpy(), method.head))

    with zennit.attribution.Gradient(twin, composite=composite) as attributor:
        return attributor(x, start)[1]


def _composite(twin: Any, x: Any, target: Any, method: Method) -> Any:
    from signxai2.composites import EpsilonStdX, EpsilonStdXSIGN

    factor = kernel_rule(method).factor
    first = method.composite.assignments[0]
    if not first.reads_input:
        return _gradient(twin, x, target, method, EpsilonStdX(stdfactor=factor))
    assert isinstance(first.rule, Sign)
    signed = EpsilonStdXSIGN(stdfactor=factor, signstdfactor=factor, mu=first.rule.threshold)
    return _gradient(twin, x, target, method, signed)


def _times_sign(twin: Any, x: Any, target: Any, method: Method) -> Any:
    from signxai2.sign import sign_mu

    assert isinstance(method.postprocess, TimesSign)
    return _gradient(twin, x, target, method, None) * sign_mu(x.clone(), mu=method.postprocess.threshold)


def _calls() -> dict[str, Call]:
    calls = {}
    for name in CATALOGUE:
        if name.startswith(("lrp_", "lrpsign_")) and isinstance(kernel_rule(method_named(name)), StdEpsilon):
            says = "EpsilonStdX(stdfactor)" if name.startswith("lrp_") else "EpsilonStdXSIGN(stdfactor, mu)"
            calls[name] = Call(f"Gradient(model, {says})(x, start)", with_layers(_composite))
        elif name.startswith("gradient_x_sign_mu_"):
            calls[name] = Call("Gradient(model)(x, start) * sign_mu(x, mu)", with_layers(_times_sign))
    return calls


CALLS = _calls()
SAYS = says(CALLS)
backend = LibraryBackend("signxai2-0.15", ("signxai2", "zennit", "lxt"), "torch", CALLS)
