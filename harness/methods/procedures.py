"""Procedures: from where and how often a method's composite is run, and what is made of the runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from harness.errors import InvalidInputError, UnknownNameError
from harness.graph import Graph, Layer
from harness.methods.later import LATER
from harness.methods.rollout import Rollout

#: What is done to the result of each single run before the runs are joined.
Each = Literal["none", "abs", "square"]
#: Where the points of a path lie and how much each counts; see `IntegratedGradients`.
Quadrature = Literal[
    "mean", "gausslegendre", "riemann_left", "riemann_right", "riemann_middle", "riemann_trapezoid"
]


@dataclass(frozen=True)
class Backward:
    """One run on the input itself."""


@dataclass(frozen=True)
class IntegratedGradients:
    """``(x - baseline) * mean over k of g(x_k)``, ``x_k = baseline + t_k * (x - baseline)``, ``g`` one run.

    ``t_k = k / steps`` for k = 0..steps-1, or with ``endpoint`` ``k / (steps - 1)``. The target of ``x`` is
    explained at every step. Source: Sundararajan et al. 2017, eq. 3; iNNvestigate 2.1.2 `PathIntegrator`
    (without the endpoint), signxai 1.1.9.2 `PathIntegrator` (with it).

    Any other ``quadrature`` is one of Captum 0.9.0 (`approximation_methods.py`), ``sum over k of w_k g(x_k)``
    in place of the mean, n the steps:

    - "riemann_left", "riemann_right", "riemann_middle": ``w_k = 1 / n``, ``t_k = k / n``, ``(k + 1) / n``,
      ``(k + 1/2) / n``.
    - "riemann_trapezoid": ``t_k = k / (n - 1)``, ``w_k = 1 / n``, half of it at both ends: they sum to ``(n - 1) / n``.
    - "gausslegendre": ``t_k = (1 + r_k) / 2``, ``r_k`` the roots of the Legendre polynomial of degree n in rising
      order, ``w_k = 1 / ((1 - r_k**2) P_n'(r_k)**2)``.

    With ``float32_weights`` (Captum, in every dtype) the weights are rounded to float32, and so are the places of the
    Riemann sums, as `torch.linspace` computes them: from the first up in the first half and from the last down in the
    second, ``first + k * step`` and ``last - (n - 1 - k) * step`` rounded once, ``step`` rounded to float32.
    ``times_difference=False`` leaves out the factor ``x - baseline`` (Captum's ``multiply_by_inputs``).
    """

    steps: int
    endpoint: bool
    baseline: float = 0.0
    each: Each = "none"
    quadrature: Quadrature = field(default="mean", metadata=LATER)
    float32_weights: bool = field(default=False, metadata=LATER)
    times_difference: bool = field(default=True, metadata=LATER)

    def __post_init__(self) -> None:
        if self.steps < 2:
            raise InvalidInputError(f"steps must be 2 or more, found {self.steps}")
        if self.quadrature not in get_args(Quadrature):
            raise UnknownNameError("quadrature", self.quadrature, get_args(Quadrature))
        if self.quadrature != "mean" and self.endpoint:
            raise InvalidInputError(
                f"endpoint is for the plain mean of a path; quadrature {self.quadrature!r} has places of its own"
            )


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


#: Activations that DeepLIFT's rescale rule is for in Captum (`deep_lift.SUPPORTED_NON_LINEAR`).
RESCALED_KINDS = ("relu", "elu", "leaky_relu", "sigmoid", "tanh")
MAX_POOLING_KINDS = ("max_pool1d", "max_pool2d", "max_pool3d")


@dataclass(frozen=True)
class DeepLift:
    """DeepLIFT with the rescale rule as Captum hooks it: ``mean over b of (x - b) * m(b)``, ``b`` the baselines.

    ``m`` are multipliers, handed back from the head at the target like a gradient, once for the run on ``x`` and once
    for that on ``b``: ``m_x``, ``m_b``. What a layer's readers hand to it, ``J^T m`` of each at its own point, is added
    up to ``g``. Then those readers that have a rule, in forward order, each replace all of it, ``m = rule(g, u)`` with
    ``u`` the ``g`` of the reader. With ``d = x - b`` of the reader's input, ``y`` and ``z`` its outputs for ``x`` and
    ``b``:

    - an activation of :data:`RESCALED_KINDS`: ``u * (y - z) / d``, where ``|d| < eps`` what was there;
    - max pooling: ``(P_x(u_x * (max(y, z) - z)) + P_b(u_b * (y - max(y, z)))) / d`` for both, where ``|d| < eps`` what
      was there for ``x``. ``P`` puts each window's value where its largest entry is, the first of equal ones; of
      several windows with the same largest entry the last one's stays (`torch.nn.functional.max_unpool2d`).

    Two rules one after the other therefore do not chain: at an activation in front of a max pooling ``u`` is the
    pooling's plain gradient, and the rule of the pooling counts where the activation's input does not change alone.
    Captum's hooks on one tensor run in the order in which they were put there.

    The relevance of a layer is the mean of its ``m_x``. ``baselines``: values that every place has; with ``samples``
    as many random ones in their place, standard normal times ``scale`` from the generator that both sides share, the
    same for every input. ``times_difference=False`` leaves ``x - b`` out (Captum's ``multiply_by_inputs``).
    Source: Shrikumar et al. 2017 (arXiv:1704.02685), section 3.5; Captum 0.9.0 `DeepLift` and `DeepLiftShap`
    (Lundberg and Lee 2017: the mean over baselines). Captum takes that of the batch's first sample where ``|d| < eps``
    before a max pooling; here each sample has its own.
    """

    baselines: tuple[float, ...] = (0.0,)
    samples: int = 0
    scale: float = 1.0
    seed: int = 0
    eps: float = 1e-10
    times_difference: bool = True

    def __post_init__(self) -> None:
        if not self.baselines:
            raise InvalidInputError("baselines must be one value or more, found none")
        if self.samples < 0:
            raise InvalidInputError(f"samples must be 0 or more, found {self.samples}")
        if not self.scale > 0:
            raise InvalidInputError(f"the scale of random baselines must be above 0, found {self.scale}")
        if not self.eps >= 0:
            raise InvalidInputError(f"eps must be 0 or above, found {self.eps}")

    @property
    def count(self) -> int:
        """How many baselines there are."""
        return self.samples or len(self.baselines)


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


Procedure = (
    Backward
    | IntegratedGradients
    | Smoothed
    | DeepLift
    | GradCam
    | Rollout
    | InputItself
    | InputPlusNoise
    | UniformNoise
)


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
