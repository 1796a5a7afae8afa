"""Where relevance starts, and what happens to it at activations."""

from __future__ import annotations

from evidence.dialects.absent import no_shared_relu, only_plain_relu
from evidence.dialects.idea import Bug, Idea, Reading, innvestigate, signxai, zennit
from evidence.dialects.methods import lrp
from harness.methods import Assignment, Composite, Gradient, GuidedReLU, KernelRule, Method, WSquare, Z
from harness.methods.dialects import signxai as signxai_dialect

_CHECKS = "innvestigate/backend/checks.py"
_SIGNXAI_CHECKS = "signxai/methods/innvestigate/utils/keras/checks.py"
_GRADIENT = "innvestigate/analyzer/gradient_based.py"
_SIGNXAI_GRADIENT = "signxai/methods/innvestigate/analyzer/gradient_based.py"

_HEAD = Idea(
    "head",
    "Where LRP starts: the logit or one",
    "The explanation of LRP grows with what it starts from. The TensorFlow libraries start from the "
    "logit of the explained class, and set it to one for gradients only; Zennit starts from whatever "
    "its caller hands over, by default all logits at once; here it is given a one at the target. For "
    "rules that are linear in relevance, as all are, the two explanations differ by a factor, the "
    "logit.",
    (
        Reading(
            "the logit",
            "`R_y = y[target]` at the target, 0 elsewhere",
            (
                innvestigate(
                    "ReverseAnalyzerBase._head_mapping",
                    "innvestigate/analyzer/reverse_base.py",
                    220,
                    228,
                    "# Here: Keep the output signal.",
                ),
                signxai(
                    "ReplacementLayer._head_mapping",
                    "signxai/methods/innvestigate/analyzer/reverse_map.py",
                    204,
                    221,
                    "if model_output_value is not None:",
                ),
            ),
            "lrp:rule=Z,bn_layer_rule=none",
        ),
        Reading(
            "one",
            "`R_y = 1` at the target, 0 elsewhere",
            (
                zennit(
                    "Gradient", "zennit/attribution.py", 253, 263, "grad_outputs=(attr_output_fn(output),),"
                ),
            ),
            lrp("Z, from one", Z(), head="one"),
        ),
    ),
)


def _activations(rule: KernelRule, name: str) -> tuple[Reading, ...]:
    return (
        Reading(
            "passed on",
            "`R_x = R` at `Activation` layers and activations inside a layer",
            (
                innvestigate(
                    "LRP._default_reverse_mapping",
                    "analyzers",
                    499,
                    510,
                    'isinstance(reverse_state["layer"], (klayers.Activation,))',
                ),
                zennit("layer_map_base", "composites", 246, 251, "(Activation, Pass()),"),
            ),
            lrp(f"{name}, activations passed on", rule),
        ),
        Reading(
            "the gradient",
            "`R_x = J^T R` at `ReLU`, `LeakyReLU`, `ELU` and `PReLU` layers",
            (
                innvestigate(
                    "LRP._default_reverse_mapping",
                    "analyzers",
                    512,
                    514,
                    "self._gradient_reverse_mapping(Xs, Ys, reversed_Ys, reverse_state)",
                ),
            ),
            lrp(f"{name}, gradient of activations", rule, activations="gradient"),
        ),
        Reading(
            "every layer of one shape passed on",
            "`R_x = R` wherever input and output have the same shape, whatever the layer computes",
            (signxai("LRP._default_reverse_mapping", "analyzers", 259, 282, "if Xs == Ys:"),),
            Method(f"{name}, signxai", signxai_dialect.lrp_composite(rule)),
        ),
    )


_LAYERS = Idea(
    "activation-layers",
    "Activations as layers of their own",
    "How an activation was written decides what iNNvestigate does at it: inside a layer or as `Activation` "
    "it is passed over, as a `ReLU` layer its gradient is taken. The two differ where relevance reaches a "
    "unit that is off, which it does under rules that look at weights alone. Measured under w-square. "
    "(signxai's test also takes in layer norm, square permutations and pooling with stride one; no network "
    "of the zoo has one.)",
    _activations(WSquare(), "WSquare"),
)
_LAYERS_Z = Idea(
    "activation-layers-z",
    "Activations as layers of their own, under Z",
    "The same readings under Z, which gives no relevance to an input of zero: a ReLU that is off gets none "
    "from the layers that read it, and there is nothing to pass on or to stop.",
    _activations(Z(), "Z"),
)

_RELU = innvestigate("contains_activation", _CHECKS, 72, 80, "return isinstance(layer, (klayers.ReLU))")
_RELU_SIGNXAI = signxai(
    "contains_activation",
    _SIGNXAI_CHECKS,
    201,
    211,
    "return activation.lower() in str(layer.activation).lower()",
)
_CRASH = Bug(
    "Deconvnet raises TypeError at a `ReLU` layer: its copy without activation is asked for with an "
    "argument `activation`, which that layer does not have. In `Activation` layers and inside others a "
    "ReLU works. (Here a plain ReLU is one however it was written; networks with bounded ones are refused by "
    "the dialect of iNNvestigate.)",
    (
        innvestigate(
            "copy_layer_wo_activation",
            "innvestigate/backend/graph.py",
            288,
            303,
            'config["activation"] = None',
        ),
        signxai(
            "copy_layer_wo_activation",
            "signxai/methods/innvestigate/utils/keras/graph.py",
            308,
            323,
            'config["activation"] = None',
        ),
    ),
    reproduced=False,
)
_ANY_NETWORK = Bug(
    "The check that a network has no activation but ReLU lets every activation through: its second "
    "condition asks whether there is any.",
    (signxai("only_relu_activation", _SIGNXAI_CHECKS, 242, 247, "contains_activation(layer, None) or"),),
    reproduced=True,
)

_DECONVNET = Idea(
    "deconvnet",
    "Deconvnet",
    "Deconvnet replaces the backward step of a ReLU by a ReLU of the relevance. At a layer without "
    "activation all three libraries take the gradient. They differ in where relevance starts (iNNvestigate "
    "and signxai forget to set it to one, as they do for the gradient, and start from the logit) and in "
    "what is rectified where several layers read a ReLU: the sum of their shares, or each share.",
    (
        Reading(
            "from the logit, the sum rectified",
            "`R_x = max(sum of shares, 0)`",
            (
                innvestigate(
                    "DeconvnetReverseReLULayer",
                    _GRADIENT,
                    171,
                    185,
                    "Rs = ibackend.apply(self._activation, Rs)",
                ),
            ),
            "deconvnet",
        ),
        Reading(
            "from the logit, each share rectified",
            "`R_x = sum of max(share, 0)`",
            (
                signxai(
                    "DeconvnetReplacementLayer",
                    _SIGNXAI_GRADIENT,
                    222,
                    236,
                    "reversed_outs = [self._activation(r) for r in reversed_outs]",
                ),
            ),
            "deconvnet:dialect=signxai",
        ),
        Reading(
            "from one, the sum rectified",
            "`R_x = max(sum of shares, 0)`, `R_y = 1`",
            (zennit("ReLUDeconvNet", "rules", 400, 404, "return (grad_output[0].clamp(min=0),)"),),
            "deconvnet:dialect=zennit",
        ),
    ),
    bugs=(_CRASH, _ANY_NETWORK),
    absent=no_shared_relu,
)

_GUIDED = Idea(
    "guided-backprop",
    "Guided Backprop",
    "As for Deconvnet, with the ReLU's own gradient kept: the start, and the sum or each share.",
    (
        Reading(
            "from the logit, the sum rectified",
            "`R_x = J^T max(sum of shares, 0)`",
            (
                innvestigate(
                    "guided_backprop_reverse_relu_layer",
                    _GRADIENT,
                    218,
                    224,
                    "reversed_Ys = ibackend.apply(activation, reversed_Ys)",
                ),
            ),
            "guided_backprop",
        ),
        Reading(
            "from the logit, each share rectified",
            "`R_x = J^T sum of max(share, 0)`",
            (
                signxai(
                    "GuidedBackpropReplacementLayer",
                    _SIGNXAI_GRADIENT,
                    281,
                    304,
                    "reversed_outs = [self._activation(r) for r in reversed_outs]",
                ),
            ),
            "guided_backprop:dialect=signxai",
        ),
        Reading(
            "from one, the sum rectified",
            "`R_x = J^T max(sum of shares, 0)`, `R_y = 1`",
            (
                zennit(
                    "ReLUGuidedBackprop", "rules", 407, 411, "return (grad_input[0] * (grad_output[0] > 0.),)"
                ),
            ),
            "guided_backprop:dialect=zennit",
        ),
    ),
    absent=no_shared_relu,
)

#: signxai's layers, with the sum of their shares rectified as the other two do it.
_CALLED_RELU = Composite(
    (Assignment(GuidedReLU(), kinds=("relu", "relu6", "leaky_relu")), Assignment(Gradient()))
)
_WHAT_IS_RELU = Idea(
    "what-is-a-relu",
    "What counts as a ReLU",
    "Guided Backprop and Deconvnet act at ReLUs. For iNNvestigate that is the function `relu` and the layer "
    "`ReLU`, with or without an upper bound, and a network with any other activation is refused; for signxai "
    "everything with `relu` in its name, leaky ones too; for Zennit `torch.nn.ReLU` and no other class. "
    "Measured with Guided Backprop from the logit, the sum of shares rectified, also on a network whose "
    "activations are ReLU6.",
    (
        Reading(
            "ReLU, bounded or not",
            "relu, relu6",
            (_RELU,),
            "guided_backprop",
        ),
        Reading(
            "whatever is called relu",
            "relu, relu6, leaky_relu",
            (_RELU_SIGNXAI,),
            Method("guided at whatever is called relu", _CALLED_RELU),
        ),
        Reading(
            "plain ReLU",
            "relu",
            (zennit("GuidedBackprop", "composites", 515, 522, "(torch.nn.ReLU, ReLUGuidedBackprop()),"),),
            "guided_backprop:dialect=zennit,head=logit",
        ),
    ),
    settings=("efficientnet-lite0", "vgg16-mri", "fer-xception"),
    absent=only_plain_relu,
)

IDEAS: tuple[Idea, ...] = (_HEAD, _LAYERS, _LAYERS_Z, _DECONVNET, _GUIDED, _WHAT_IS_RELU)
