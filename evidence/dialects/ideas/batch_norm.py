"""Batch norm: which line is explained, with which epsilon, by which rule."""

from __future__ import annotations

from dataclasses import replace

from evidence.dialects.absent import no_batch_norm
from evidence.dialects.idea import Bug, Idea, Reading, innvestigate, signxai, zennit
from evidence.dialects.methods import lrp
from harness.methods import Assignment, BatchNormReverse, Composite, FusedBatchNorm, Pass, WSquare, Z, method

_GRAPH = "innvestigate/backend/graph.py"
_DEEP_TAYLOR = "innvestigate/analyzer/deeptaylor.py"
_FUSED = innvestigate(
    "apply_mapping_to_fused_bn_layer", _GRAPH, 512, 515, "tmp = kbackend.sqrt(variance**2 + layer.epsilon)"
)
_OWN_INNVESTIGATE = innvestigate(
    "BatchNormalizationReverseLayer", "analyzers", 218, 252, "ibackend.safe_divide(n, prepare_div(d))"
)
_OWN_SIGNXAI = signxai(
    "BatchNormalizationReverseRule",
    "rules",
    1135,
    1166,
    "numerator = keras_layers.Multiply()([ins, y_minus_beta, reversed_outs])",
)
_SQUARE = Bug(
    "A fused batch norm is divided by `sqrt(variance**2 + epsilon)` in place of `sqrt(variance + epsilon)`, and in "
    "mode `one_linear` the mean is not multiplied by gamma: the line that is explained is not the one the "
    "network computes.",
    (_FUSED, innvestigate("apply_mapping_to_fused_bn_layer", _GRAPH, 523, 527, "tmp_b1 = -mean / tmp")),
    reproduced=True,
)
_IGNORED = Bug(
    "`bn_layer_rule` and `bn_layer_fuse_mode` are accepted and not used: the code that would use them is "
    "commented out.",
    (
        signxai(
            "LRP._create_analysis", "analyzers", 224, 244, "bn_mapping = rrule.BatchNormalizationReverseRule"
        ),
    ),
    reproduced=True,
)

_LINE = Idea(
    "batch-norm",
    "Batch norm under Z",
    "A batch norm is a line per channel, so the rule of the other layers could simply be applied to it. "
    "Which line that is, and whether the layer is looked at at all, decides most of what an explanation of "
    "such a network shows. All readings below have the rule Z at every kernel and differ at batch norms "
    "alone.",
    (
        Reading(
            "the layer's own rule",
            "`R_x = x * (y - beta) * R / S((x - mean) * y)`: Z on the line the network computes",
            (_OWN_INNVESTIGATE, _OWN_SIGNXAI),
            "lrp:rule=Z,bn_layer_rule=none",
        ),
        Reading(
            "fused into one line",
            "`k = gamma / sqrt(variance^2 + eps)`, `b = beta - mean / sqrt(variance^2 + eps)`; Z on `k x + "
            "b`",
            (_FUSED,),
            "lrp.z",
        ),
        Reading(
            "fused into two lines",
            "`d = sqrt(variance^2 + eps)`; Z on `gamma u + beta`, then on `u = x / d - mean / d`",
            (innvestigate("apply_mapping_to_fused_bn_layer", _GRAPH, 523, 549, "tmp_k1 = 1 / tmp"),),
            "lrp.z:bn_layer_fuse_mode=two_linear",
        ),
        Reading(
            "AlphaBetaX2m100 on the fused line",
            "`R_x = 2 C(x+, k+) - C(x+, k-)`, `C(y, v) = y v R / S(y v + c)`, `k` and `c` of the one fused "
            "line: what the sequential presets give to batch norms",
            (
                innvestigate(
                    "LRPSequentialPresetA", "analyzers", 739, 758, "bn_layer_rule=rrule.AlphaBetaX2m100Rule"
                ),
                innvestigate(
                    "AlphaBetaX2m100Rule", "rules", 439, 441, "alpha=(2, 0), beta=(1, 0), bias=True"
                ),
            ),
            "lrp:rule=Z,bn_layer_rule=AlphaBetaX2m100",
        ),
        Reading(
            "passed on",
            "`R_x = R`: meant for a batch norm that a canonizer has merged into the layer before; this is "
            "what happens without one",
            (zennit("layer_map_base", "composites", 246, 251, "(BatchNorm, Pass()),"),),
            lrp("Z, batch norm passed on", Z(), batch_norm=Pass()),
        ),
    ),
    bugs=(_SQUARE, _IGNORED),
    absent=no_batch_norm,
)

_EPSILON = Idea(
    "batch-norm-epsilon",
    "Whose epsilon counts in a batch norm",
    "The layer has an epsilon that keeps its division by the deviation finite. The fused line uses it, "
    "beside the square of the variance. The layer's own rule does not: it stabilizes with the program's "
    "global `keras.backend.epsilon()`, 1e-7 unless somebody has changed it, so that the same call gives "
    "another explanation in a program that has. (Zennit's canonizer merges with `(variance + eps) ** .5`, "
    "`zennit/canonizers.py` line 126: that changes the network before any rule is applied and is no "
    "reading of a rule.)",
    (
        Reading(
            "Keras's global epsilon, 1e-7",
            "`R_x = x * (y - beta) * R / S((x - mean) * y)`, `S(z) = z + 1e-7 * sign(z)`",
            (
                innvestigate("BatchNormalizationReverseLayer", "analyzers", 232, 236, "* kbackend.epsilon()"),
                signxai("BatchNormalizationReverseRule", "rules", 1145, 1146, "* K.epsilon()"),
            ),
            "lrp:rule=Z,bn_layer_rule=none",
        ),
        Reading(
            "the same after `set_epsilon(1e-3)`",
            "`S(z) = z + 1e-3 * sign(z)`: 1e-3 is Keras's default for the epsilon of the layer itself",
            (innvestigate("BatchNormalizationReverseLayer", "analyzers", 232, 236, "* kbackend.epsilon()"),),
            lrp("Z, global epsilon 1e-3", Z(), batch_norm=BatchNormReverse(1e-3)),
        ),
        Reading(
            "the layer's epsilon",
            "`sqrt(variance^2 + eps)` in the fused line, `eps` of the layer",
            (_FUSED,),
            "lrp.z",
        ),
    ),
    absent=no_batch_norm,
)

_AS_MEANT = replace(
    method("deep_taylor"),
    name="deep_taylor as meant",
    composite=Composite(
        (
            Assignment(FusedBatchNorm(WSquare()), kinds=("batch_norm",)),
            *method("deep_taylor").composite.assignments,
        )
    ),
)
_DEEP = Idea(
    "deep-taylor-batch-norm",
    "Deep Taylor and batch norm",
    "iNNvestigate's Deep Taylor has a rule for batch norms. It is never used: an earlier condition, meant "
    "for ReLU layers, is met by every layer that has no kernel and no activation but ReLU, and sends "
    "relevance through the gradient. A batch norm's gradient multiplies relevance by `gamma / "
    "sqrt(variance + eps)`: nothing is conserved.",
    (
        Reading(
            "as it runs",
            "`R_x = J^T R`, the gradient",
            (
                innvestigate(
                    "DeepTaylor._create_analysis",
                    _DEEP_TAYLOR,
                    57,
                    63,
                    "not ichecks.contains_kernel(l) and ichecks.only_relu_activation(l)",
                ),
            ),
            "deep_taylor",
        ),
        Reading(
            "as meant, never reached",
            "WSquare on the fused line, `R_x = k^2 R / S(k^2)`",
            (innvestigate("DeepTaylor._create_analysis", _DEEP_TAYLOR, 65, 74, "lrp_rules.WSquareRule"),),
            _AS_MEANT,
        ),
    ),
    bugs=(
        Bug(
            "Deep Taylor's rule for batch norms is unreachable; so is WSquare for kernels without "
            "activation, because every Keras layer with a kernel has the attribute `activation`.",
            (
                innvestigate(
                    "DeepTaylor._create_analysis", _DEEP_TAYLOR, 48, 74, 'name="deep_taylor_kernel_wo_relu"'
                ),
                innvestigate(
                    "contains_any_activation",
                    "innvestigate/backend/checks.py",
                    102,
                    111,
                    'return hasattr(layer, "activation") or isinstance(layer, ACTIVATION_LAYERS)',
                ),
            ),
            reproduced=True,
        ),
    ),
    absent=no_batch_norm,
)

IDEAS: tuple[Idea, ...] = (_LINE, _EPSILON, _DEEP)
