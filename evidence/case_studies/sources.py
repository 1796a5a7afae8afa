"""What the libraries' own sources say, with the lines that say it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from evidence.dialects.idea import Source, innvestigate, zennit

_ZENNIT_IMPL = "signxai/torch_signxai/methods/zennit_impl"


def signxai2(name: str, path: str, first: int, last: int, quote: str) -> Source:
    """A place in signxai2 0.5.0."""
    return Source("signxai2", "0.5.0", name, f"{_ZENNIT_IMPL}/{path}", (first, last), quote)


@dataclass(frozen=True)
class Fact:
    """Something that sources say."""

    what: str
    sources: tuple[Source, ...]


@dataclass(frozen=True)
class Facts:
    """The facts of one study."""

    name: str
    facts: tuple[Fact, ...]

    @property
    def sources(self) -> tuple[Source, ...]:
        return tuple(source for fact in self.facts for source in fact.sources)


FACTORS = Facts(
    "factors",
    (
        Fact(
            "The backward pass starts from 1 at the target, where iNNvestigate "
            "[starts from the logit](dialects.md#where-lrp-starts-the-logit-or-one).",
            (
                signxai2(
                    "AnalyzerBase._get_target_class_tensor",
                    "analyzers.py",
                    95,
                    99,
                    "one_hot.scatter_(1, target_indices.unsqueeze(1), 1.0)",
                ),
                signxai2(
                    "LRPAnalyzer.analyze",
                    "analyzers.py",
                    559,
                    559,
                    "self.attributor(input_tensor_prepared, one_hot_target)",
                ),
            ),
        ),
        Fact(
            "The analyzer called `epsilon` has the epsilon rule at dense layers only; convolutions get alpha 2, "
            "beta 1.",
            (
                signxai2(
                    "LRPAnalyzer.__init__",
                    "analyzers.py",
                    528,
                    531,
                    "self.composite = EpsilonAlpha2Beta1(epsilon=self.epsilon)",
                ),
            ),
        ),
        Fact(
            "Its result is multiplied by 26.197906, whatever network, input and epsilon.",
            (signxai2("LRPAnalyzer.analyze", "analyzers.py", 567, 572, "TF_SCALING_FACTOR = 26.197906"),),
        ),
        Fact(
            "The epsilon hooks send `R / z` back through the layer and leave out the factor `x`.",
            (
                signxai2(
                    "CorrectedEpsilonHook.backward",
                    "corrected_hooks.py",
                    158,
                    164,
                    "grad_input_modified = torch.nn.functional.conv_transpose2d(ratio, module.weight, None,",
                ),
                signxai2(
                    "InnvestigateEpsilonHook.backward",
                    "innvestigate_compatible_hooks.py",
                    252,
                    273,
                    "grad_input_modified = torch.mm(ratio, module.weight)",
                ),
            ),
        ),
        Fact(
            "They take epsilon in the constructor and have no `copy`. Zennit hooks every module with a copy, and "
            "`Hook.copy` calls the class without arguments: every copy has the default, 1e-6.",
            (
                signxai2(
                    "CorrectedEpsilonHook.__init__",
                    "corrected_hooks.py",
                    120,
                    124,
                    "def __init__(self, epsilon: float = 1e-6, bias: bool = True):",
                ),
                zennit("Hook.copy", "zennit/core.py", 440, 444, "return self.__class__()"),
                zennit("Composite.register", "zennit/core.py", 664, 664, "hook = template.copy()"),
            ),
        ),
    ),
)
FLAT = Facts(
    "flat",
    (
        Fact(
            "The flat hook divides by the sum of the real inputs, and does not multiply by them.",
            (
                signxai2(
                    "CorrectedFlatHook.backward",
                    "corrected_hooks.py",
                    59,
                    74,
                    "self.input, flat_weight, None,  # No bias for flat rule",
                ),
                signxai2(
                    "InnvestigateFlatHook.backward",
                    "innvestigate_compatible_hooks.py",
                    53,
                    58,
                    "# This is the key fix - use actual input, not ones_input",
                ),
            ),
        ),
        Fact(
            "iNNvestigate divides by the sum of ones.",
            (innvestigate("WSquareRule.apply", "rules", 137, 144, "ones = ilayers.OnesLike()(Xs)"),),
        ),
        Fact(
            "At activations, batch norm and average pooling the composite returns no hook. Without one, torch "
            "multiplies by the derivative: an activation that is off stops the relevance.",
            (
                signxai2(
                    "create_corrected_flat_composite",
                    "corrected_hooks.py",
                    325,
                    336,
                    "elif isinstance(module, (BatchNorm, Activation, AvgPool)): return None",
                ),
            ),
        ),
    ),
)
#: With a name and sources each, all that `evidence.dialects.idea.wrong_citations` needs of an idea.
ALL: tuple[Any, ...] = (FACTORS, FLAT)
