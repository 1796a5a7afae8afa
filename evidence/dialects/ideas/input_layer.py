"""The rules of the first layer, and which layer that is."""

from __future__ import annotations

from functools import partial

from evidence.dialects.absent import no_padding_in_front, nothing_below, one_kernel_sees_the_input
from evidence.dialects.computed import signs_as_written
from evidence.dialects.idea import Bug, Idea, Reading, Source, innvestigate, signxai, zennit
from evidence.dialects.methods import lrp
from harness.graph import KERNEL_KINDS
from harness.methods import Assignment, Bounded, Composite, Flat, Method, SignedEpsilon, Z

_FIRST_BY_KIND = Method(
    "Z, Flat for the first module",
    Composite((Assignment(Flat(), kinds=KERNEL_KINDS, first=True), *lrp("Z", Z()).composite.assignments)),
)

_FIRST = Idea(
    "first-layer",
    "Which layer is the first",
    "Rules for the input belong to the layers that see the input. The TensorFlow libraries look for every "
    "kernel whose inputs come from the input layer; Zennit takes the first module of a kind in the order "
    "in which modules were registered, and only that one. A network with two branches from the input would "
    "tell them apart.",
    (
        Reading(
            "every kernel that sees the input",
            "Flat where only reshaping stands between the input and the kernel, Z elsewhere",
            (
                innvestigate(
                    "is_input_layer", "innvestigate/backend/checks.py", 300, 325, "klayers.Reshape,"
                ),
                signxai(
                    "is_input_layer",
                    "signxai/methods/innvestigate/utils/keras/checks.py",
                    393,
                    430,
                    "'InputLayer' in str(type(x))",
                ),
            ),
            lrp("Z, Flat at the input", Z(), input_rule=Flat()),
        ),
        Reading(
            "the first module of its kind",
            "Flat at the first kernel in forward order, Z elsewhere",
            (
                zennit(
                    "SpecialFirstLayerMapComposite",
                    "composites",
                    80,
                    106,
                    "if not ctx.get('first_layer_visited', False):",
                ),
            ),
            _FIRST_BY_KIND,
        ),
    ),
    absent=one_kernel_sees_the_input,
)

_PADDING = Idea(
    "input-behind-padding",
    "An input layer behind zero padding",
    "A network that pads its input in a layer of its own has, for iNNvestigate, no input layer with a "
    "kernel: the rule asked for is silently not used. signxai looks through the padding. Neither network "
    "has such a layer, so the first convolution of `digits-cnn` is measured with its padding moved into "
    "one, which changes no activation.",
    (
        Reading(
            "padding hides the input",
            "reshaping is looked through: Flatten, Permute, Reshape",
            (innvestigate("is_input_layer", "innvestigate/backend/checks.py", 311, 325, "klayers.Permute,"),),
            lrp("Z, Flat at the input", Z(), input_rule=Flat()),
        ),
        Reading(
            "padding is looked through",
            "reshaping and zero padding are looked through",
            (
                signxai(
                    "is_input_layer",
                    "signxai/methods/innvestigate/utils/keras/checks.py",
                    405,
                    421,
                    "'ZeroPadding2D',",
                ),
            ),
            "flatlrp_z",
        ),
    ),
    settings=("digits-cnn, padding as a layer", "vgg16-mri", "fer-xception"),
    absent=no_padding_in_front,
)

_BOUNDED = Idea(
    "bounded",
    "The bounded rule without its inputs",
    "The rule for bounded inputs takes from each input's share what the bounds would have got. signxai "
    "leaves out the factors `x`, `low` and `high` in front of the three transposes. What remains is "
    "`f^T(s; W) - f^T(s; W+) - f^T(s; W-)`, which is zero for every network: the explanation that users "
    "see is rounding alone. Measured with the bounds -1 and 1, in which the inputs of both networks lie, "
    "and Z at the other layers.",
    (
        Reading(
            "with its inputs",
            "`R_x = x * f^T(s; W) - low * f^T(s; W+) - high * f^T(s; W-)`",
            (
                innvestigate(
                    "BoundedRule",
                    "rules",
                    505,
                    519,
                    "tmp_b = [klayers.Multiply()([a, b]) for a, b in zip(low, grads_b)]",
                ),
            ),
            lrp("Z, Bounded", Z(), input_rule=Bounded()),
        ),
        Reading(
            "with its inputs, signed epsilon, bias",
            "the same with `S(z) = z + 1e-6 sign(z)`; the bias is in all three denominators and cancels, "
            "`b - b+ - b- = 0`",
            (zennit("ZBox", "rules", 296, 317, "ClampMod(min=0., **mod_kwargs),"),),
            lrp("Z, ZBox", Z(), input_rule=Bounded(stabilizer=SignedEpsilon(1e-6))),
        ),
        Reading(
            "without its inputs",
            "`R_x = f^T(s; W) - (f^T(s; W+) + f^T(s; W-)) = 0` but for rounding",
            (
                signxai(
                    "BoundedRule",
                    "rules",
                    867,
                    874,
                    "ret = keras_layers.Subtract()([tmpA, keras_layers.Add()([tmpB, tmpC])])",
                ),
            ),
            lrp("Z, signxai's Bounded", Z(), input_rule=Bounded(times_inputs=False)),
        ),
    ),
    bugs=(
        Bug(
            "Every `zblrp_...` name gives rounding alone: the bounded rule has lost the factors `x`, `low` "
            "and `high`.",
            (
                signxai(
                    "BoundedRule", "rules", 867, 874, "tmpB = tape.gradient(B, low, output_gradients=tmp)"
                ),
            ),
            reproduced=True,
        ),
    ),
)


_SIGN = Idea(
    "sign-threshold",
    "SIGN with a threshold of -1 or below",
    "The SIGN rule replaces the input by its sign relative to a threshold. signxai writes -1 where the "
    "input is below it, then 1 where the result is not below it: with a threshold of -1 or less, the -1 "
    "just written is not below either, and every sign is 1. Inputs scaled to -1..1 cannot show it; images "
    "centred as VGG16 wants them (down to -124) and signals can. Measured with the threshold -1.",
    (
        Reading(
            "written twice",
            "`s = 1` everywhere where the threshold is -1 or below",
            (
                signxai("SIGNmuRule", "rules", 308, 312, "fsigns[fsigns >= self.mu] = 1"),
                signxai("calculate_sign_mu", "signxai/methods/signed.py", 4, 14, "s[s >= mu] = vhigh"),
            ),
            "lrpsign_z_mu_neg_1",
        ),
        Reading(
            "as the formula says",
            "`s = 1` where `x >= threshold`, else `-1`",
            (Source("Gumpfer et al.", "2023", "SIGN"),),
            signs_as_written,
        ),
    ),
    bugs=(
        Bug(
            "SIGN and `..._x_sign_mu` have the sign 1 everywhere for a threshold of -1 or below.",
            (signxai("SIGNmuRule", "rules", 308, 312, "fsigns[fsigns < self.mu] = -1"),),
            reproduced=True,
        ),
    ),
    settings=("ecg-cnn1d", "vgg16-mri", "fer-xception"),
    absent=partial(nothing_below, -1.0),
)

IDEAS: tuple[Idea, ...] = (_FIRST, _PADDING, _BOUNDED, _SIGN)
