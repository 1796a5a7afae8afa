"""What positive and negative contributions are, and where the bias goes."""

from __future__ import annotations

from evidence.dialects.idea import Bug, Idea, Reading, Source, innvestigate, signxai, zennit
from evidence.dialects.methods import lrp
from harness.methods import AlphaBeta, AlphaBetaX, Gamma, SignedEpsilon, WSquare, ZPlusFast

_ZENNITS = SignedEpsilon(1e-6)

_BIAS = Idea(
    "alpha-beta-bias",
    "The bias in alpha-beta",
    "Alpha-beta splits a layer into its positive and its negative contributions, and the bias is one of "
    "them. iNNvestigate and signxai evaluate two copies of the layer for either denominator, one with the "
    "positive weights and `b+`, one with the negative weights and `b-`: each sum holds the whole bias, "
    "whatever its sign, and a denominator that should have one sign may have the other. Zennit gives `b+` "
    "to one and `b-` to the other.",
    (
        Reading(
            "whole in both denominators",
            "`z+ = f(x+; W+, b+) + f(x-; W-, b-)`, `z- = f(x+; W-, b-) + f(x-; W+, b+)`",
            (
                innvestigate(
                    "AlphaBetaRule", "rules", 216, 257, "Zs = [klayers.Add()([a, b]) for a, b in zip(Z1, Z2)]"
                ),
                signxai("AlphaBetaRule", "rules", 460, 512, "Zs = keras_layers.Add()([z1, z2])"),
            ),
            lrp("AlphaBeta 2 1", AlphaBeta(2, 1)),
        ),
        Reading(
            "split by sign",
            "`z+ = f(x+; W+, b+) + f(x-; W-)`, `z- = f(x+; W-, b-) + f(x-; W+)`; its stabilizer left aside "
            "here",
            (zennit("AlphaBeta", "rules", 239, 262, "ClampMod(max=0., **mod_kwargs_nobias)"),),
            lrp("AlphaBeta 2 1, bias split", AlphaBeta(2, 1, split_bias=True)),
        ),
        Reading(
            "none",
            "`z+ = f(x+; W+) + f(x-; W-)`, `z- = f(x+; W-) + f(x-; W+)`",
            (
                innvestigate(
                    "AlphaBetaIgnoreBiasRule",
                    "rules",
                    288,
                    292,
                    "super().__init__(*args, bias=False, **kwargs)",
                ),
                signxai("AlphaBetaIgnoreBiasRule", "rules", 561, 567, "bias=False"),
            ),
            lrp("AlphaBeta 2 1, no bias", AlphaBeta(2, 1, bias=False)),
        ),
    ),
)

_Z_PLUS = Idea(
    "z-plus",
    "z+",
    "The z+ rule of Montavon et al. 2017 is for inputs that are not negative and knows no bias. What "
    "happens to negative inputs and to the bias is each library's own.",
    (
        Reading(
            "alpha 1, beta 0, no bias",
            "`z = f(x+; W+) + f(x-; W-)`, both parts redistributed",
            (
                innvestigate("ZPlusRule", "rules", 522, 529, "class ZPlusRule(Alpha1Beta0IgnoreBiasRule):"),
                signxai("ZPlusRule", "rules", 879, 890, "class ZPlusRule(Alpha1Beta0IgnoreBiasRule):"),
            ),
            lrp("ZPlus", AlphaBeta(1, 0, bias=False)),
        ),
        Reading(
            "fast",
            "`R_x = x * f^T(R / S(f(x; W+)); W+)`: negative inputs keep their sign",
            (
                innvestigate(
                    "ZPlusFastRule",
                    "rules",
                    562,
                    577,
                    "Zs = ibackend.apply(self._layer_wo_act_b_positive, Xs)",
                ),
                signxai("ZPlusFastRule", "rules", 925, 964, "Zs = self._layer_wo_act_b_positive(ins)"),
            ),
            lrp("ZPlusFast", ZPlusFast()),
        ),
        Reading(
            "with the positive bias",
            "`z = f(x+; W+, b+) + f(x-; W-)`, `S(z) = z + 1e-6 sign(z)`",
            (zennit("ZPlus", "rules", 197, 211, "ClampMod(max=0., zero_params=zero_bias(zero_params)),"),),
            lrp("Zennit's ZPlus", AlphaBeta(1, 0, stabilizer=_ZENNITS, split_bias=True)),
        ),
        Reading(
            "alpha 1, beta 0 with the whole bias",
            "`z = f(x+; W+, b+) + f(x-; W-, b-)`",
            (innvestigate("Alpha1Beta0Rule", "rules", 309, 313, "alpha=1, beta=0, bias=True"),),
            lrp("Alpha1Beta0", AlphaBeta(1, 0)),
        ),
    ),
)

_CROSS = Idea(
    "alpha-beta-x",
    "AlphaBetaX: the factor of negative inputs with negative weights",
    "AlphaBetaX has a factor for each of the four kinds of contribution. iNNvestigate multiplies negative "
    "inputs under negative weights with `beta[1]` where it means `alpha[1]`: the rule X1001 then has "
    "nothing for them. The presets' own rule, X2m100, has 0 in both places and is not touched; no name of "
    "the catalogue uses another.",
    (
        Reading(
            "as it runs",
            "X1001: `R_x = 1 C(x+, W+) + 0 C(x-, W-)`",
            (
                innvestigate("AlphaBetaXRule", "rules", 405, 409, "times_beta1(nn)"),
                innvestigate("AlphaBetaX1001Rule", "rules", 434, 436, "alpha=(1, 1), beta=(0, 0)"),
            ),
            lrp("X1001 as it runs", AlphaBetaX((1, 0), (0, 0))),
        ),
        Reading(
            "as written",
            "X1001: `R_x = 1 C(x+, W+) + 1 C(x-, W-)`",
            (signxai("AlphaBetaXRule", "rules", 717, 725, "times_alpha1(r_nn)"),),
            lrp("X1001 as written", AlphaBetaX((1, 1), (0, 0))),
        ),
    ),
    bugs=(
        Bug(
            "AlphaBetaX weighs negative inputs under negative weights with `beta[1]`; `alpha[1]` is "
            "unused. (Our rule follows the formula; the only parameters in the catalogue have 0 in both "
            "places, so that every name agrees.)",
            (
                innvestigate(
                    "AlphaBetaXRule",
                    "rules",
                    377,
                    409,
                    "# times_alpha1 = klayers.Lambda(lambda x: x * self._alpha[1]) # unused",
                ),
            ),
            reproduced=False,
        ),
        Bug(
            "AlphaBetaX cannot be made: its pairs are handed to a check that compares them with numbers, "
            "which raises TypeError. No name of the 152 uses it.",
            (
                signxai(
                    "AlphaBetaXRule",
                    "rules",
                    627,
                    629,
                    "rutils.assert_infer_lrp_alpha_beta_param(alpha, beta, self)",
                ),
                signxai("AlphaBetaX2m100Rule", "rules", 769, 775, "alpha=(2, 0)"),
            ),
            reproduced=False,
        ),
    ),
)

_W_SQUARE = Idea(
    "w-square-bias",
    "The bias in w-square",
    "The w-square rule looks at weights alone. Zennit squares every parameter, the bias among them, and "
    "leaves the share that falls to the bias out of the result; its stabilizer, 1e-6, is not small beside "
    "a sum of small squares.",
    (
        Reading(
            "no bias",
            "`R_x = f^T(R / S(f(1; W^2)); W^2)`",
            (
                innvestigate("WSquareRule", "rules", 119, 125, "keep_bias=False, weights=weights"),
                signxai("WSquareRule", "rules", 336, 344, "weights = [x ** 2 for x in weights]"),
            ),
            lrp("WSquare", WSquare()),
        ),
        Reading(
            "no bias, signed epsilon",
            "the same with `S(z) = z + 1e-6 sign(z)`: `zero_params='bias'`",
            (
                zennit(
                    "WSquare",
                    "rules",
                    360,
                    370,
                    "ParamMod((lambda param, _: param ** 2), zero_params=zero_params),",
                ),
            ),
            lrp("WSquare, signed epsilon", WSquare(_ZENNITS)),
        ),
        Reading(
            "squared bias, signed epsilon",
            "`R_x = f^T(R / S(f(1; W^2, b^2)); W^2)`, `S(z) = z + 1e-6 sign(z)`: the default",
            (zennit("WSquare", "rules", 360, 370, "def __init__(self, stabilizer=1e-6, zero_params=None):"),),
            lrp("Zennit's WSquare", WSquare(_ZENNITS, bias=True)),
        ),
    ),
)

_GAMMA = Idea(
    "gamma",
    "LRP-gamma and negative inputs",
    "As first written, gamma counts positive weights more, which favours positive contributions only where "
    "inputs are not negative. Zennit's rule takes the signs of the input and of the output into account "
    "and is the same where the inputs are not negative and the output is positive. (signxai's `GammaRule`, "
    "lines 969-1091, is a third thing: `gamma A - B`, where inputs are not negative `gamma - 1` times "
    "LRP-gamma with gamma 1. No name of the 152 uses it.)",
    (
        Reading(
            "by the signs of input and output",
            "`z > 0`: `x+ * f^T(p; W^) + x- * f^T(p; Wv)`; `z < 0`: `x+ * f^T(n; Wv) + x- * f^T(n; W^)`",
            (zennit("Gamma", "rules", 143, 175, "[(outputs[4] > 0., sum(outputs[:2]))] * 2"),),
            lrp("Gamma", Gamma(0.25, stabilizer=_ZENNITS)),
        ),
        Reading(
            "as first written",
            "`R_x = x * f^T(R / S(f(x; W^, b^)); W^)`, `W^ = W + gamma W+`",
            (Source("Montavon et al.", "2019", "LRP-gamma"),),
            lrp("Gamma, unsigned", Gamma(0.25, signed=False, stabilizer=_ZENNITS)),
        ),
    ),
)

IDEAS: tuple[Idea, ...] = (_BIAS, _Z_PLUS, _CROSS, _W_SQUARE, _GAMMA)
