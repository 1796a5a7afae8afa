"""lxt 2.1, `lxt.explicit`: AttnLRP and CP-LRP with the rules, and the epsilons, of its functions as they are.

Functions and classes named here are those of that version. All stabilizers are ``z + epsilon`` whatever the sign of
``z`` (`functional._stabilize`); epsilon is that of the function that a layer is written with: `linear_epsilon` and
`layer_norm` have 1e-6, `add2`, `matmul` and `EpsilonRule` 1e-8. The reading of layer norm is that of ``norm=held``, of
RMS norm that of ``norm=identity``.
"""

from __future__ import annotations

from harness.graph import AVERAGE_POOLING_KINDS, ELEMENTWISE_KINDS, WEIGHTED_KINDS
from harness.methods.attention_rules import HeldNorm, ShareProduct, SoftmaxTaylor
from harness.methods.composite import Assignment, Composite
from harness.methods.definition import Method
from harness.methods.entries import Entry, Parameters, above_zero
from harness.methods.rules import Gradient, Linearized, Pass, Z
from harness.methods.stabilizers import AddedEpsilon

DIALECT = "lxt 2.1"
#: `EpsilonRule`, `functional.add2`, `functional.matmul`.
_SMALL = AddedEpsilon(1e-8)


def _attnlrp(name: str, parameters: Parameters) -> Method:
    """`functional.matmul`, `functional.softmax`."""
    attention = (
        Assignment(SoftmaxTaylor(), kinds=("softmax",)),
        Assignment(ShareProduct("both", _SMALL), kinds=("matmul",)),
    )
    return _lrp(name, parameters, attention)


def _cp_lrp(name: str, parameters: Parameters) -> Method:
    """`special.multi_head_attention_cp`: attention weights are detached, epsilon is 1e-6."""
    values = AddedEpsilon(1e-6)
    attention = (
        Assignment(ShareProduct("second", values), kinds=("matmul",), softmaxed=0),
        Assignment(ShareProduct("first", values), kinds=("matmul",), softmaxed=1),
        Assignment(ShareProduct("both", _SMALL), kinds=("matmul",)),
        Assignment(SoftmaxTaylor(), kinds=("softmax",)),
    )
    return _lrp(name, parameters, attention)


def _lrp(name: str, parameters: Parameters, attention: tuple[Assignment, ...]) -> Method:
    dense = AddedEpsilon(above_zero(name, parameters, "epsilon", 1e-6))
    composite = Composite(
        (
            *attention,
            Assignment(Z(stabilizer=dense), kinds=("dense",)),
            Assignment(Pass(), kinds=("scale",)),
            Assignment(Z(stabilizer=_SMALL), kinds=(*WEIGHTED_KINDS, *AVERAGE_POOLING_KINDS, "add")),
            Assignment(HeldNorm(stabilizer=AddedEpsilon(1e-6)), kinds=("layer_norm",)),
            Assignment(Pass(), kinds=("rms_norm",)),
            # `mul2` gives half to each factor, also where the product is zero and these give nothing.
            Assignment(ShareProduct("both"), kinds=("multiply",)),
            Assignment(Linearized(_SMALL), kinds=("affine", "batch_norm")),
            Assignment(Pass(), kinds=(*ELEMENTWISE_KINDS, "embedding")),
            Assignment(Gradient()),
        )
    )
    return Method(name, composite)


_PARAMETERS = {"epsilon": "of dense layers, above 0 (default 1e-6: `LinearEpsilon`)"}

ENTRIES = (
    Entry(
        "attnlrp",
        "LRP",
        DIALECT,
        "Achtibat et al. 2024 (arXiv:2402.05602); `lxt.explicit.functional`",
        _attnlrp,
        _PARAMETERS,
    ),
    Entry(
        "cp_lrp",
        "LRP",
        DIALECT,
        "Ali et al. 2022 (arXiv:2202.07304); `lxt.explicit.special.multi_head_attention_cp`",
        _cp_lrp,
        _PARAMETERS,
    ),
)
