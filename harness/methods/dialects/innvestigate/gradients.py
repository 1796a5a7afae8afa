"""How iNNvestigate's gradient analyzers, and those that wrap them, are made of their parameters."""

from __future__ import annotations

from collections.abc import Callable

from harness.methods.composite import GRADIENT, Assignment, Composite
from harness.methods.definition import Head, Method, Postprocess
from harness.methods.entries import Parameters, above_zero, choice, number, whole
from harness.methods.procedures import InputPlusNoise, IntegratedGradients, Procedure, Smoothed
from harness.methods.rules import Deconvolution, Gradient, GuidedReLU

#: `only_relu_activation`: a ReLU layer with an upper bound passes its check.
RELU_NETWORKS = ("relu", "relu6")


_EACH = ("none", "abs", "square")
POSTPROCESS = {"postprocess": "none (default), abs or square"}


def gradient(postprocess: Postprocess) -> Callable[[str, Parameters], Method]:
    """`Gradient` (head one) and `InputTimesGradient` (`analyzer/gradient_based.py`)."""

    def build(name: str, parameters: Parameters) -> Method:
        chosen = choice(name, parameters, "postprocess", "none", _EACH)
        after: Postprocess = postprocess if chosen == "none" else chosen  # type: ignore[assignment]
        return Method(name, GRADIENT, head="one", postprocess=after)

    return build


def guided(name: str, parameters: Parameters) -> Method:
    """`GuidedBackprop`: the head is the logit, not one."""
    composite = Composite((Assignment(GuidedReLU(), kinds=RELU_NETWORKS), Assignment(Gradient())))
    return Method(name, composite, activations=RELU_NETWORKS)


def deconvnet(name: str, parameters: Parameters) -> Method:
    """`Deconvnet`: the head is the logit; a `ReLU` layer, the only way to write a bounded one, is a TypeError."""
    composite = Composite((Assignment(Deconvolution(), kinds=("relu",)), Assignment(Gradient())))
    return Method(name, composite, activations=("relu",))


def many_runs(
    procedure: Callable[[str, Parameters], Procedure], head: Head = "one"
) -> Callable[[str, Parameters], Method]:
    def build(name: str, parameters: Parameters) -> Method:
        return Method(name, GRADIENT, head=head, procedure=procedure(name, parameters))

    return build


def integrated_gradients(name: str, parameters: Parameters) -> Procedure:
    return IntegratedGradients(
        whole(name, parameters, "steps", 64, least=2),
        endpoint=False,
        baseline=number(name, parameters, "reference_inputs", 0.0),
        each=choice(name, parameters, "postprocess", "none", _EACH),  # type: ignore[arg-type]
    )


def smoothgrad(name: str, parameters: Parameters) -> Procedure:
    """`SmoothGrad`: `GaussianSmoother` keeps ``noise_scale`` and never uses it; the noise has deviation 1."""
    above_zero(name, parameters, "noise_scale", 1.0)
    return Smoothed(
        whole(name, parameters, "augment_by_n", 64, least=1),
        scale=1.0,
        seed=whole(name, parameters, "seed", 0, least=0),
        each=choice(name, parameters, "postprocess", "none", _EACH),  # type: ignore[arg-type]
    )


def random_noise(name: str, parameters: Parameters) -> Procedure:
    """`Random`: the input plus Gaussian noise."""
    return InputPlusNoise(
        above_zero(name, parameters, "stddev", 1.0), whole(name, parameters, "seed", 0, least=0)
    )
