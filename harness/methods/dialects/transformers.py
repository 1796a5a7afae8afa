"""LRP through transformers: AttnLRP, attention weights held fixed, and what they leave open, as parameters.

``epsilon``: that of every denominator, on the side of its sign; 0: an exact zero is replaced by 1e-7, nothing else.
``bias``: whether denominators hold the bias. ``residual``: what an addition of two branches does. ``norm``: the reading
of layer norm and RMS norm. With ``epsilon=0,bias=false`` every rule but the softmax's (`attnlrp`) conserves relevance;
with attention weights held fixed the softmax gets none.
"""

from __future__ import annotations

from harness.errors import InvalidInputError
from harness.graph import AVERAGE_POOLING_KINDS, ELEMENTWISE_KINDS, WEIGHTED_KINDS
from harness.methods.attention_rules import HeldNorm, ShareProduct, SignSplit, SoftmaxTaylor
from harness.methods.composite import GRADIENT, Assignment, Composite
from harness.methods.definition import Method
from harness.methods.entries import Entry, Parameters, choice, flag, number, whole
from harness.methods.rollout import Rollout, Rows
from harness.methods.rules import Gradient, Linearized, Pass, Rule, Z
from harness.methods.stabilizers import ReplaceZero, SignedEpsilon, Stabilizer

RESIDUALS = ("epsilon", "identity", "sign_split")
NORMS = ("identity", "held", "differentiated")
_NORM_KINDS = ("layer_norm", "rms_norm")


def _attnlrp(name: str, parameters: Parameters) -> Method:
    """Softmax by its Taylor expansion, products half to each input."""
    stabilizer = _stabilizer(name, parameters)
    attention = (
        Assignment(SoftmaxTaylor(), kinds=("softmax",)),
        Assignment(ShareProduct("both", stabilizer), kinds=("matmul",)),
    )
    return _lrp(name, parameters, attention, stabilizer)


def _cp_lrp(name: str, parameters: Parameters) -> Method:
    """Attention weights held fixed: relevance takes the way through the values alone."""
    stabilizer = _stabilizer(name, parameters)
    attention = (
        Assignment(ShareProduct("second", stabilizer), kinds=("matmul",), softmaxed=0),
        Assignment(ShareProduct("first", stabilizer), kinds=("matmul",), softmaxed=1),
        Assignment(ShareProduct("both", stabilizer), kinds=("matmul",)),
        Assignment(SoftmaxTaylor(), kinds=("softmax",)),
    )
    return _lrp(name, parameters, attention, stabilizer)


def _lrp(
    name: str, parameters: Parameters, attention: tuple[Assignment, ...], stabilizer: Stabilizer
) -> Method:
    bias = flag(name, parameters, "bias", True)
    residuals: dict[str, Rule] = {
        "epsilon": Z(stabilizer=stabilizer),
        "identity": Gradient(),
        "sign_split": SignSplit(stabilizer),
    }
    norms: dict[str, Rule] = {
        "identity": Pass(),
        "held": HeldNorm(bias, stabilizer),
        "differentiated": Linearized(stabilizer),
    }
    residual = residuals[choice(name, parameters, "residual", RESIDUALS[0], RESIDUALS)]
    norm = norms[choice(name, parameters, "norm", NORMS[0], NORMS)]
    affine: Rule = Linearized(stabilizer) if bias else Pass()
    composite = Composite(
        (
            *attention,
            Assignment(Z(bias, stabilizer), kinds=WEIGHTED_KINDS),
            Assignment(residual, kinds=("add",)),
            Assignment(norm, kinds=_NORM_KINDS),
            Assignment(Z(stabilizer=stabilizer), kinds=AVERAGE_POOLING_KINDS),
            Assignment(ShareProduct("both", stabilizer), kinds=("multiply",)),
            Assignment(ShareProduct("first", stabilizer), kinds=("grid_sample",)),
            Assignment(affine, kinds=("affine", "batch_norm")),
            Assignment(Pass(), kinds=(*ELEMENTWISE_KINDS, "embedding")),
            Assignment(Gradient()),
        )
    )
    return Method(name, composite)


def _stabilizer(name: str, parameters: Parameters) -> Stabilizer:
    epsilon = number(name, parameters, "epsilon", 1e-6)
    if epsilon < 0:
        raise InvalidInputError(f"{name}: epsilon must be 0 or above, found {epsilon:g}")
    return SignedEpsilon(epsilon) if epsilon else ReplaceZero()


_PARAMETERS = {
    "epsilon": "number that is added to every denominator on the side of its sign; default 1e-6, 0 for none",
    "bias": "whether denominators hold the bias, true or false; default true",
    "residual": "what an addition does: epsilon (shares by contribution), identity (each branch gets all), "
    "sign_split (shares among the inputs of the sum's sign); default epsilon",
    "norm": "layer norm and RMS norm: identity, held (deviation fixed), differentiated; default identity",
}


def _rollout(name: str, parameters: Parameters) -> Method:
    """Attention followed through the layers, for comparison."""
    text = parameters.get("rows", "read")
    rows: Rows = (
        "mean" if text == "mean" else "read" if text == "read" else whole(name, parameters, "rows", 0, 0)
    )
    procedure = Rollout(gradient=name == "gradient_rollout", rows=rows)
    return Method(name, GRADIENT, head="one", procedure=procedure)


_ROWS = {
    "rows": "the token whose row is read (0 for a class token), mean, or read: what the network goes on with; "
    "default read"
}

ENTRIES = (
    Entry(
        "attnlrp",
        "lrp",
        "Achtibat et al. 2024",
        "Achtibat et al. 2024 (arXiv:2402.05602), propositions 3.1, 3.3 and 3.4",
        _attnlrp,
        _PARAMETERS,
    ),
    Entry(
        "cp_lrp",
        "lrp",
        "Achtibat et al. 2024",
        "Ali et al. 2022 (arXiv:2202.07304), section 3.2: attention weights held fixed; named CP-LRP in "
        "Achtibat et al. 2024 (arXiv:2402.05602)",
        _cp_lrp,
        _PARAMETERS,
    ),
    Entry(
        "attention_rollout",
        "Attention",
        "Abnar and Zuidema 2020",
        "Abnar and Zuidema 2020 (arXiv:2005.00928), equation 1 and section 3: 0.5 W + 0.5 I, heads averaged",
        _rollout,
        _ROWS,
    ),
    Entry(
        "gradient_rollout",
        "Attention",
        "Chefer et al. 2021",
        "Chefer et al. 2021 (arXiv:2103.15679), equations 5 and 6: the positive part of gradient times attention",
        _rollout,
        _ROWS,
    ),
)
