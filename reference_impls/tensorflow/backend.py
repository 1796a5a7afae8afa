"""The backend `tensorflow`, as the harness's registry sees it; TensorFlow itself is loaded by `prepare`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.backends.protocol import Model
from harness.checks import require_device
from harness.files import installed_versions, source_digest
from harness.graph import Graph
from harness.methods import (
    AddedEpsilon,
    AlphaBeta,
    AlphaBetaOfMaxima,
    AlphaBetaX,
    Backward,
    BatchNormReverse,
    Bounded,
    Deconvolution,
    DeepLift,
    Epsilon,
    Flat,
    FusedBatchNorm,
    Gamma,
    GradCam,
    Gradient,
    GuidedReLU,
    HeldNorm,
    InputItself,
    InputPlusNoise,
    IntegratedGradients,
    Linearized,
    Method,
    Pass,
    ReplaceZero,
    Rollout,
    ShareProduct,
    Sign,
    SignedEpsilon,
    SignSplit,
    Smoothed,
    SoftmaxTaylor,
    StdEpsilon,
    TimesSign,
    UniformNoise,
    Unprotected,
    WSquare,
    Z,
    ZPlusFast,
)
from reference_impls.tensorflow.framework import load_tensorflow

if TYPE_CHECKING:
    from reference_impls.tensorflow.prepared import PreparedTensorFlow


#: What this package computes. Written out, so that what is new in `harness.methods` is not taken for known.
KERNEL_RULES = (Z, Epsilon, StdEpsilon, AlphaBeta, AlphaBetaX, ZPlusFast, Gamma, Sign, WSquare, Flat, Bounded)
OTHER_RULES = (
    AlphaBetaOfMaxima,
    Pass,
    Linearized,
    Gradient,
    GuidedReLU,
    Deconvolution,
    FusedBatchNorm,
    BatchNormReverse,
    ShareProduct,
    SoftmaxTaylor,
    HeldNorm,
    SignSplit,
)
STABILIZERS = (ReplaceZero, SignedEpsilon, AddedEpsilon, Unprotected)
PROCEDURES = (
    Backward,
    IntegratedGradients,
    Smoothed,
    DeepLift,
    GradCam,
    Rollout,
    InputItself,
    InputPlusNoise,
    UniformNoise,
)
HEADS = ("logit", "one", "relu_logit", "logits", "ones", "relu_logits")
POSTPROCESSES = ("none", "times_input", "abs", "square")


class TensorFlowBackend:
    """Gradient, sampling, CAM and LRP methods in the reading of their library, run on a model's Keras twin."""

    name = "tensorflow"

    def version(self) -> dict[str, str]:
        """Versions of tensorflow, keras and numpy ("not installed" where missing) and `source`, a sha256."""
        return {
            **installed_versions("tensorflow", "keras", "numpy"),
            "source": source_digest("reference_impls.tensorflow"),
        }

    def supports(self, method: Method, graph: Graph) -> str:
        """Why a part of ``method`` is not computed here; empty where all are.

        Whether a rule fits the layer it is assigned to shows when the method is run.
        """
        parts = {f"rule {each.rule}": _computes(each.rule) for each in method.composite.assignments}
        parts[f"procedure {type(method.procedure).__name__}"] = isinstance(method.procedure, PROCEDURES)
        parts[f"head {method.head!r}"] = method.head in HEADS
        known = method.postprocess in POSTPROCESSES or isinstance(method.postprocess, TimesSign)
        parts[f"post-processing {method.postprocess!r}"] = known
        return next(
            (f"it does not compute the {part}" for part, computed in parts.items() if not computed), ""
        )

    def prepare(self, model: Model, dtype: str, device: str = "cpu") -> PreparedTensorFlow:
        """``model`` in ``dtype`` ("float32" or "float64"), ready to explain.

        Raises MissingFrameworkError where TensorFlow or Keras is not installed, InvalidInputError for another device
        than the CPU.
        """
        require_device(self.name, device)
        load_tensorflow()
        from reference_impls.tensorflow.prepared import PreparedTensorFlow

        return PreparedTensorFlow(model, dtype)


def _computes(rule: object) -> bool:
    if isinstance(rule, FusedBatchNorm):
        return isinstance(rule.rule, KERNEL_RULES) and _computes(rule.rule)
    stabilizer = getattr(rule, "stabilizer", None)
    return isinstance(rule, (*KERNEL_RULES, *OTHER_RULES)) and (
        stabilizer is None or isinstance(stabilizer, STABILIZERS)
    )
