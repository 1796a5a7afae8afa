"""What happens to a layer under a rule: :func:`propagate` chooses, and holds what needs no kernel.

Relevance has the shape of the layer's output, what is returned the shapes of its inputs, all in the dtype
of the model. The formulas stand in `harness.methods.rules`.
"""

from __future__ import annotations

import tensorflow as tf

from harness.errors import UnsupportedMethodError
from harness.methods import (
    AlphaBetaOfMaxima,
    BacktraceRule,
    BatchNormReverse,
    Deconvolution,
    Epsilon,
    FusedBatchNorm,
    Gradient,
    GuidedReLU,
    HeldNorm,
    Linearized,
    Pass,
    Rule,
    ShareProduct,
    SignedEpsilon,
    SignSplit,
    SoftmaxTaylor,
    Stabilizer,
    Z,
)
from reference_impls.tensorflow.attention import (
    held_norm_shares,
    product_shares,
    sign_split_shares,
    softmax_shares,
)
from reference_impls.tensorflow.batch_norm import fused_lines, reversed_batch_norm
from reference_impls.tensorflow.kernel_rules import alpha_beta_of_maxima, kernel_shares
from reference_impls.tensorflow.layers import Step, Tensor, Tensors, TwinLayer
from reference_impls.tensorflow.recurrent import held_gates
from reference_impls.tensorflow.stabilizers import stabilized


def propagate(step: Step, relevance: Tensor, rule: Rule) -> Tensors:
    """Relevance of each input of a layer under ``rule``, from the ``relevance`` of its output.

    Raises UnsupportedMethodError for a rule that says nothing about a layer of this kind.
    """
    match rule:
        case Pass() if step.layer.kind == "embedding":
            return (tf.reduce_sum(relevance, axis=-1),)
        case Pass():
            if [x.shape for x in step.inputs] != [relevance.shape]:
                raise _unfit(rule, step, "a single input of the shape of the output")
            return (relevance,)
        case Gradient():
            return step.pullback(relevance)
        case Linearized():
            return _sum_shares(step, relevance, rule.stabilizer)
        case GuidedReLU():
            _require(step, rule, step.layer.traits.activation, "an activation")
            return step.pullback(tf.nn.relu(relevance))
        case Deconvolution():
            _require(step, rule, step.layer.traits.activation, "an activation")
            return (tf.nn.relu(relevance),)
        case FusedBatchNorm():
            _require(step, rule, step.layer.kind == "batch_norm", "a batch norm")
            return _fused(step, relevance, rule)
        case BatchNormReverse():
            _require(step, rule, step.layer.kind == "batch_norm", "a batch norm")
            return (reversed_batch_norm(step, relevance, rule.epsilon),)
        case ShareProduct():
            _require_product(step, rule)
            return product_shares(step, relevance, rule)
        case SoftmaxTaylor():
            _require(step, rule, step.layer.kind == "softmax", "a softmax")
            return (softmax_shares(step, relevance),)
        case HeldNorm():
            _require(step, rule, step.layer.kind in ("layer_norm", "rms_norm"), "a layer norm or an RMS norm")
            return (held_norm_shares(step, relevance, rule),)
        case SignSplit():
            _require(step, rule, step.layer.kind == "add", "an addition")
            return sign_split_shares(step, relevance, rule)
        case Z() | Epsilon() if step.affine is None and step.layer.traits.sums:
            stabilizer = SignedEpsilon(rule.epsilon) if isinstance(rule, Epsilon) else rule.stabilizer
            return _sum_shares(step, relevance, stabilizer)
        case Z() | Epsilon() if step.layer.traits.family == "recurrent":
            return held_gates(step.layer, step.inputs[0], relevance, rule)
    if isinstance(rule, BacktraceRule):
        raise _unfit(rule, step, "the reference of its family, backtrace-numpy")
    if step.affine is None:
        raise _unfit(rule, step, "a layer with a kernel")
    if isinstance(rule, AlphaBetaOfMaxima):
        return (alpha_beta_of_maxima(step.affine, step.inputs[0], relevance, rule),)
    return (kernel_shares(step.affine, step.inputs[0], step.output, relevance, rule),)


def looks_at_activations(twin: TwinLayer, rule: Rule) -> bool:
    """Whether what a layer passes down under ``rule`` depends on its inputs: the gradient of an affine one does not."""
    return twin.affine is None or not isinstance(rule, Gradient)


def _require(step: Step, rule: Rule, fits: bool, needed: str) -> None:
    if not fits:
        raise _unfit(rule, step, needed)


def _require_product(step: Step, rule: ShareProduct) -> None:
    if step.layer.kind == "grid_sample":
        _require(
            step, rule, rule.to == "first", "to='first' where maps are sampled (places get no relevance)"
        )
    products = ("matmul", "multiply", "grid_sample")
    _require(step, rule, step.layer.kind in products, "a product of tensors that the network computes")


def _unfit(rule: Rule, step: Step, needed: str) -> UnsupportedMethodError:
    return UnsupportedMethodError(
        f"layer {step.layer.name!r} ({step.layer.kind}): rule {type(rule).__name__} needs {needed}; "
        "assign another rule to this layer in the composite"
    )


def _fused(step: Step, relevance: Tensor, rule: FusedBatchNorm) -> Tensors:
    """The inner rule at each line of a batch norm, from the last line to the first."""
    steps: list[Step] = []
    inputs = step.inputs
    for line in fused_lines(step.twin, rule.mode, relevance.dtype):
        steps.append(Step(line, inputs))
        inputs = (steps[-1].output,)
    for each in reversed(steps):
        (relevance,) = propagate(each, relevance, rule.rule)
    return (relevance,)


def _sum_shares(step: Step, relevance: Tensor, stabilizer: Stabilizer) -> Tensors:
    """``x * J^T(R / S(z))`` for every input; the layer's own output is ``z``."""
    shares = step.pullback(relevance / stabilized(step.output, stabilizer))
    return tuple(x * share for x, share in zip(step.inputs, shares, strict=True))
