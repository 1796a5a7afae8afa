"""Division by zero, and by almost zero."""

from __future__ import annotations

from evidence.dialects.idea import Idea, Reading, innvestigate, signxai, zennit
from evidence.dialects.methods import lrp
from harness.methods import AlphaBeta, Epsilon, ReplaceZero, SignedEpsilon, Stabilizer, Unprotected, Z

_REPLACED = (
    innvestigate(
        "safe_divide", "innvestigate/backend/__init__.py", 98, 101, "return A / (B + factor * is_zero)"
    ),
    signxai(
        "SafeDivide",
        "signxai/methods/innvestigate/layers.py",
        448,
        460,
        "iK.to_floatx(K.equal(b, K.constant(0))) * self._factor",
    ),
)
_SIGNED = (zennit("stabilize", "zennit/core.py", 94, 125, "return input + sign * epsilon"),)
_UNPROTECTED = (
    zennit("Epsilon", "rules", 97, 122, "Setting ``(epsilon=0)`` produces the LRP-0 rule"),
    *_SIGNED,
)


def _z(name: str, stabilizer: Stabilizer) -> Reading:
    method = lrp(f"Z, {name}", Z(stabilizer=stabilizer), norm=Z(stabilizer=stabilizer))
    formula, sources = _FORMS[type(stabilizer)]
    return Reading(name, formula, sources, method)


def _alpha_beta(name: str, stabilizer: Stabilizer) -> Reading:
    rule = AlphaBeta(2, 1, stabilizer=stabilizer)
    formula, sources = _FORMS[type(stabilizer)]
    return Reading(name, formula, sources, lrp(f"AlphaBeta, {name}", rule, norm=Z(stabilizer=stabilizer)))


_FORMS = {
    ReplaceZero: ("`S(z) = z + 1e-7 [z == 0]`", _REPLACED),
    SignedEpsilon: ("`S(z) = z + 1e-6 sign(z)`, `sign(0) = 1`", _SIGNED),
    Unprotected: ("`S(z) = z`: 0/0 is NaN", _UNPROTECTED),
}

_ZERO = Idea(
    "division-by-zero",
    "Division by zero in Z",
    "Z divides by a layer's output before the activation. The TensorFlow libraries touch the denominator "
    "only where it is exactly zero; Zennit moves every denominator by 1e-6 away from zero, which matters "
    "wherever one is that small, and does nothing at all where epsilon is 0. A zero over which no "
    "relevance arrives is 0/0 without protection. (iNNvestigate fixes its 1e-7 when it is imported, "
    "signxai when the rule is made: both are `keras.backend.epsilon()`.)",
    (
        _z("an exact zero replaced", ReplaceZero()),
        _z("a signed epsilon", SignedEpsilon(1e-6)),
        _z("nothing", Unprotected()),
    ),
    settings=("vgg16-mri", "fer-xception", "digits-cnn, two samples"),
)

_ALPHA_BETA = Idea(
    "division-by-zero-alpha-beta",
    "Division by zero in alpha-beta",
    "Either denominator of alpha-beta holds contributions of one sign and the bias: it is exactly zero "
    "where there is neither, and small where there is little of them.",
    (
        _alpha_beta("an exact zero replaced", ReplaceZero()),
        _alpha_beta("a signed epsilon", SignedEpsilon(1e-6)),
    ),
)

_EPSILON = Idea(
    "safe-divide-or-epsilon",
    "SafeDivide against a signed epsilon",
    "`lrp.z` and `lrp.epsilon` with its default 1e-7 look interchangeable: the stabilizer has the same "
    "size. One is added at an exact zero only, the other always and with the sign of the denominator, "
    "so that it shows as far as denominators are small. signxai's EpsilonRule divides with SafeDivide "
    "on top, which changes nothing: a denominator that has been moved away from zero is never zero.",
    (
        Reading(
            "SafeDivide (Z)",
            "`S(z) = z + 1e-7 [z == 0]`",
            (
                innvestigate("ZRule", "rules", 57, 65, "ibackend.safe_divide(a, b)"),
                signxai("ZRule", "rules", 94, 107, "tmp = ilayers.SafeDivide()([reversed_outs, Zs])"),
            ),
            "lrp:rule=Z,bn_layer_rule=none",
        ),
        Reading(
            "signed epsilon 1e-7 (Epsilon)",
            "`S(z) = z + 1e-7 sign(z)`",
            (
                innvestigate(
                    "EpsilonRule", "rules", 77, 107, "tmp = [a / prepare_div(b) for a, b in zip(Rs, Zs)]"
                ),
            ),
            "lrp:rule=Epsilon,bn_layer_rule=none",
        ),
        Reading(
            "signed epsilon 1e-7 under SafeDivide",
            "`S(z) = S0(z + 1e-7 sign(z))`, `S0` as in the first line",
            (
                signxai(
                    "EpsilonRule", "rules", 162, 176, "ilayers.SafeDivide()([reversed_outs, prepare_div(Zs)])"
                ),
            ),
            "lrp_epsilon_0_0000001",
        ),
        Reading(
            "signed epsilon 1e-6",
            "`S(z) = z + 1e-6 sign(z)`",
            (zennit("Epsilon", "rules", 114, 122, "def __init__(self, epsilon=1e-6, zero_params=None):"),),
            lrp("Epsilon 1e-6", Epsilon(1e-6)),
        ),
    ),
)

IDEAS: tuple[Idea, ...] = (_ZERO, _ALPHA_BETA, _EPSILON)
