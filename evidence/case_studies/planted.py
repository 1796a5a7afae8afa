"""What was built into a port, and which of it the harness named."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from harness.diagnosis.findings import Finding
from harness.graph import (
    ACTIVATION_KINDS,
    AVERAGE_POOLING_KINDS,
    CONVOLUTION_KINDS,
    KERNEL_KINDS,
    Graph,
    Layer,
)


@dataclass(frozen=True)
class Planted:
    """One fault: in words, how it may be named, and at which layers it sits (None: it belongs to the whole run).

    ``names``: pairs of a cause and a part of the finding's words.
    """

    words: str
    names: tuple[tuple[str, str], ...]
    sits_at: Callable[[Layer], bool] | None = None

    def fits(self, finding: Finding) -> bool:
        """Whether ``finding`` names this fault."""
        return any(finding.cause == cause and part in finding.words for cause, part in self.names)

    def layers(self, graph: Graph) -> list[str]:
        """Where it sits, output first."""
        if self.sits_at is None:
            return []
        return [layer.name for layer in reversed(graph.layers) if self.sits_at(layer)]


def _of_kind(kinds: tuple[str, ...], layer: Layer) -> bool:
    return layer.kind in kinds


def _grouped(layer: Layer) -> bool:
    return bool(layer.attributes.get("groups", 1) > 1)


_KERNELS = partial(_of_kind, KERNEL_KINDS)
_CONVOLUTIONS = partial(_of_kind, CONVOLUTION_KINDS)
_POOLINGS = partial(_of_kind, AVERAGE_POOLING_KINDS)
_NORMS = partial(_of_kind, ("batch_norm",))
#: Zennit's default stabilizer, wherever it is named.
_SIGNED = (
    ("stabilizer-form", "z + 1e-06 on the side"),
    ("rule-mapping", "SignedEpsilon(epsilon=1e-06)"),
    ("input-layer-rule", "SignedEpsilon(epsilon=1e-06)"),
)

FROM_ONE = Planted("starts from one instead of the logit", (("output-seed", "from one instead"),))
FORGOTTEN = Planted(
    "epsilon is 1e-6, whatever is asked for", (("epsilon-value", "epsilon is 1e-06"), *_SIGNED), _KERNELS
)
WITHOUT_INPUT = Planted("the factor x is left out", (("flat-input", "in front, as a factor"),), _KERNELS)
ALPHA_BETA = Planted(
    "alpha 2, beta 1 instead of epsilon",
    (("rule-mapping", "alpha=2, beta=1"), ("input-layer-rule", "alpha=2, beta=1")),
    _CONVOLUTIONS,
)
PASSED_NORM = Planted("batch norm hands relevance on", (("batchnorm", "Pass"),), _NORMS)
SIGNED_CONVOLUTION = Planted("Zennit's stabilizer at convolutions", _SIGNED, _CONVOLUTIONS)
SIGNED_POOLING = Planted("Zennit's stabilizer at average pooling", _SIGNED, _POOLINGS)
FACTOR = Planted("the result is multiplied by a constant", (("scale", "the attribution is multiplied by"),))
NO_POOLING_HOOK = Planted("no hook at average pooling", (("pooling", "gradient"),), _POOLINGS)
NO_NORM_HOOK = Planted("no hook at batch norm", (("batchnorm", "gradient"),), _NORMS)
NO_SCALE_HOOK = Planted(
    "no hook at scales per channel", (("rule-mapping", "Gradient()"),), partial(_of_kind, ("scale",))
)
NO_ACTIVATION_HOOK = Planted(
    "no hook at activations", (("rule-mapping", "Gradient()"),), partial(_of_kind, ACTIVATION_KINDS)
)
REAL_INPUT = Planted(
    "the real input in the denominator",
    (("flat-input", "the real input stands in the denominator instead of ones"),),
    _KERNELS,
)
SIGNED_FLAT = Planted("Zennit's stabilizer", _SIGNED, _KERNELS)
EVERY_HEAD = Planted("every head gets the whole relevance", (("head-normalisation", "is missing"),), _grouped)


def answers(planted: Sequence[Planted], findings: Iterable[Finding], graph: Graph) -> dict[str, Any]:
    """For each fault that the graph has room for: where it sits, where and as what it was named; all other findings."""
    findings = tuple(findings)
    rows = []
    for fault in planted:
        if fault.sits_at is not None and not fault.layers(graph):
            continue
        named = [each for each in findings if fault.fits(each)]
        rows.append(
            {
                "words": fault.words,
                "layers": fault.layers(graph),
                "named at": [layer for each in named for layer in (str(each.layer), *each.also)],
                "causes": list(dict.fromkeys(each.cause for each in named)),
            }
        )
    others = [each for each in findings if not any(fault.fits(each) for fault in planted)]
    return {"planted": rows, "besides": [each.sentence for each in others]}
