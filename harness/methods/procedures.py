"""Procedures: from where and how often a method's composite is run, and what is made of the runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from harness.errors import InvalidInputError, UnknownNameError
from harness.graph import Graph, Layer

#: What is done to the result of each single run before the runs are joined.
Each = Literal["none", "abs", "square"]


@dataclass(frozen=True)
class Backward:
    """One run on the input itself."""


@dataclass(frozen=True)
class IntegratedGradients:
    """``(x - baseline) * mean over k of g(x_k)``, ``x_k = baseline + t_k * (x - baseline)``, ``g`` one run.

    ``t_k = k / steps`` for k = 0..steps-1, or with ``endpoint`` ``k / (steps - 1)``. The target of ``x`` is
    explained at every step. Source: Sundararajan et al. 2017, eq. 3; iNNvestigate 2.1.2 `PathIntegrator`
    (without the endpoint), signxai 1.1.9.2 `PathIntegrator` (with it).
    """

    steps: int
    endpoint: bool
    baseline: float = 0.0
    each: Each = "none"

    def __post_init__(self) -> None:
        if self.steps < 2:
            raise InvalidInputError(f"steps must be 2 or more, found {self.steps}")


@dataclass(frozen=True)
class Smoothed:
    """Mean, or population variance, of the runs on ``x + noise_k``; noise from `harness.methods.samples`.

    ``noise_k`` is ``scale`` times a standard normal sample per value of the input, rounded to the dtype of
    the run before it is added. The target of ``x`` is explained in every run.
    Source: Smilkov et al. 2017 (mean), Adebayo et al. 2018 (variance); iNNvestigate 2.1.2 and signxai
    1.1.9.2 `GaussianSmoother`, signxai 1.1.9.2 `VariationalSmoother`.
    """

    samples: int
    scale: float
    statistic: Literal["mean", "variance"] = "mean"
    seed: int = 0
    each: Each = "none"

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise InvalidInputError(f"samples must be 1 or more, found {self.samples}")
        if not self.scale > 0:
            raise InvalidInputError(f"the scale of the noise must be above 0, found {self.scale}")


@dataclass(frozen=True)
class GradCam:
    """Grad-CAM at one layer (Selvaraju et al. 2017), each sample on its own; signxai 1.1.9.2, `grad_cam.py`.

    ``A`` (space, channel) is the output of :func:`cam_layer`, ``G`` the relevance there of one run of the
    composite from the output (the gradient, head one). ``w = mean of G over space``, ``h = A w`` and
    ``m = max(h, 0) / max(h)``, all in the dtype of the run.

    ``resize="bicubic_8bit"`` (two spatial axes): ``m`` is moved and scaled to 0..255 (subtract the
    minimum; divide by the maximum unless it is 0; times 255), cut off to whole numbers, and resized to the
    input's height and width by Pillow's bicubic filter on 8-bit values (`PIL.Image.resize`, mode "L").
    ``resize="linear"`` (one spatial axis): linear interpolation at ``linspace(0, len(m) - 1, length of x)``.
    Either way the map is repeated over the channels of the input. Where the largest ``h`` is 0,
    ``m`` is 0/0: NaN, which the 8-bit conversion turns into 0; where it is below 0, ``m`` is 0. In the trace
    layers before the CAM layer in forward order have relevance 0.

    ``guided``: times the guided gradient ``d sum(A) / d x`` (:class:`GuidedReLU` at every plain ReLU up to
    the layer, ones at its output, whatever the target; `guided_backprop.py`).
    """

    layer: str | None = None
    resize: Literal["bicubic_8bit", "linear"] = "bicubic_8bit"
    guided: bool = False


@dataclass(frozen=True)
class InputItself:
    """The input as attribution (iNNvestigate 2.1.2 `Input`)."""


@dataclass(frozen=True)
class InputPlusNoise:
    """``x + scale * standard normal noise`` as attribution (iNNvestigate 2.1.2 `Random`)."""

    scale: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.scale > 0:
            raise InvalidInputError(f"stddev must be above 0, found {self.scale}")


@dataclass(frozen=True)
class UniformNoise:
    """Uniform noise in [-1, 1) as attribution, one value per place, repeated over the channels.

    Source: signxai 1.1.9.2 `random_uniform`, which seeds NumPy's global generator with 1 for each sample.
    """

    seed: int = 1


Procedure = Backward | IntegratedGradients | Smoothed | GradCam | InputItself | InputPlusNoise | UniformNoise


def cam_layer(graph: Graph, name: str | None) -> Layer:
    """The layer whose output Grad-CAM weighs.

    ``name`` is a canonical name; None is the last convolution. Keras users name a layer with the
    activation inside it, which the graph keeps as a layer of its own, named after it: that one is
    meant. Raises UnknownNameError for a name that is not there, InvalidInputError where the output has no
    spatial axis or there is no convolution.
    """
    names = [layer.name for layer in graph]
    if name is None:
        convolutions = [layer for layer in graph if layer.traits.convolution]
        if not convolutions:
            raise InvalidInputError(f"{graph.name} has no convolution for Grad-CAM; name a layer: layer=...")
        name = convolutions[-1].name
    elif name not in names:
        raise UnknownNameError("Grad-CAM layer", name, names)
    layer = graph[name]
    for reader in graph.consumers(name):
        if reader.traits.activation and reader.name == f"{name}_{reader.kind}":
            layer = reader
    if len(layer.shape) < 2:
        raise InvalidInputError(
            f"Grad-CAM layer {layer.name!r} has no spatial axis (shape {layer.shape}); name a convolution"
        )
    return layer
