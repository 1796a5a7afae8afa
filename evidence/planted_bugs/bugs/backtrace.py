"""DLBacktrace: what goes wrong where NumPy handlers are written anew for whole tensors.

The faults are those that a chronicle of such a rewrite reports (layout, batch axis, padding, bias, saturation, absolute
contributions, clamping), put into the port one at a time.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from evidence.planted_bugs.mutant import Fault, Mutant, Site
from harness.backends import Backend
from harness.graph import CONVOLUTION_KINDS, Graph, Layer
from harness.methods import BacktraceStart, MagnitudeShare, Method, Rule, Saturation
from harness.methods import method as method_named
from ported_impls.dlbacktrace.backend import BacktraceTorch
from ported_impls.dlbacktrace.kernels import Relevances
from ported_impls.dlbacktrace.quotients import coefficients
from ported_impls.dlbacktrace.rules import propagate
from ported_impls.dlbacktrace.run import TwinBacktrace
from ported_impls.dlbacktrace.start import start

from .sites import Where, biased, inner, square

SOURCE = "a chronicle of rewriting DLBacktrace's NumPy handlers for CUDA"
SMALL = ("digits-cnn", "ecg-cnn1d")
DEFAULT = ("backtrace.default",)
#: Shown is what speaks for the target; saturation is default mode's alone.
CONTRAST = ("backtrace.contrast",)

#: A layer's step as the port has it: relevance of each input.
Step = Callable[[Layer, nn.Module, tuple[Tensor, ...], Relevances, Rule], tuple[Relevances, ...]]
#: The same with the healthy step to start from.
Wrong = Callable[[Step, Layer, nn.Module, tuple[Tensor, ...], Relevances, Rule], tuple[Relevances, ...]]


def _healthy(
    layer: Layer, module: nn.Module, inputs: tuple[Tensor, ...], received: Relevances, rule: Rule
) -> tuple[Relevances, ...]:
    return propagate(layer, module, inputs, received, rule, None)


@dataclass(eq=False)
class Faulty:
    """The port with ``wrong`` at the layers of ``site``, or another ``start``."""

    name: str
    method: str
    site: Site | None = None
    wrong: Wrong | None = None
    start: Callable[[Tensor, Tensor, BacktraceStart], Tensor] = start

    def version(self) -> dict[str, str]:
        return {"fault": self.name}

    def supports(self, method: Method, graph: Graph) -> str:
        return BacktraceTorch().supports(method, graph)

    def prepare(self, model: Any, dtype: str, device: str = "cpu") -> TwinBacktrace:
        names = () if self.site is None else self.site(model.graph, method_named(self.method))

        def step(
            layer: Layer,
            module: nn.Module,
            inputs: tuple[Tensor, ...],
            received: Relevances,
            rule: Rule,
            size: int | None,
        ) -> tuple[Relevances, ...]:
            if self.wrong is None or layer.name not in names:
                return propagate(layer, module, inputs, received, rule, size)
            return self.wrong(_healthy, layer, module, inputs, received, rule)

        return TwinBacktrace(model.torch(dtype), propagate=step, start=self.start)


def then(change: Callable[[Tensor], Tensor]) -> Wrong:
    """``change`` of what every input gets."""

    def wrong(step: Step, *operands: Any) -> tuple[Relevances, ...]:
        return tuple(tuple(change(share) for share in shares) for shares in step(*operands))

    return wrong


def with_rule(change: Callable[[Any], Rule]) -> Wrong:
    """Another rule than the one that is assigned."""
    return lambda step, layer, module, inputs, received, rule: step(
        layer, module, inputs, received, change(rule)
    )


def unbiased(
    step: Step, layer: Layer, module: nn.Module, inputs: tuple[Tensor, ...], received: Relevances, rule: Rule
) -> tuple[Relevances, ...]:
    """The module without its bias."""
    bare = copy.copy(module)
    bare._parameters = {**module._parameters, "bias": None}
    return step(layer, bare, inputs, received, rule)


def padded_denominator(
    step: Step, layer: Layer, module: Any, inputs: tuple[Tensor, ...], received: Relevances, rule: Rule
) -> tuple[Relevances, ...]:
    """A bias that is larger by 0.001 in size, which is where a denominator holds it."""
    bias = module.bias.detach()
    larger = torch.where(bias >= 0, bias + 1e-3, bias - 1e-3)
    padded = copy.copy(module)
    padded._parameters = {**module._parameters, "bias": nn.Parameter(larger)}
    return step(layer, padded, inputs, received, rule)


def by_shares(
    step: Step,
    layer: Layer,
    module: Any,
    inputs: tuple[Tensor, ...],
    received: Relevances,
    rule: Rule,
    positive_alone: bool,
) -> tuple[Relevances, ...]:
    """Contributions with their sign over the sum of their sizes; or the positive ones over their own sum (z-plus)."""
    (relevance,) = received
    up, down, p, n = _sides(module, inputs[0])
    total = p.detach() if positive_alone else p.detach() + n.detach()
    if not positive_alone and module.bias is not None:
        total = total + _along(module.bias, total).abs()
    quotient = relevance / torch.where(total == 0, 1e-12, total)
    by_up, by_down = torch.autograd.grad((p, n), (up, down), (quotient, quotient * (positive_alone - 1)))
    return ((up.detach() * by_up + down.detach() * by_down,),)


def contrast_with_signs(
    step: Step, layer: Layer, module: Any, inputs: tuple[Tensor, ...], received: Relevances, rule: Any
) -> tuple[Relevances, ...]:
    """In contrast mode, what negative contributions get is handed on with a minus."""
    up, down, p, n = _sides(module, inputs[0])
    z = p.detach() - n.detach()
    if module.bias is not None:
        z = z + _along(module.bias, z)
    shares = []
    for to_positive, to_negative in coefficients(rule, p.detach(), n.detach(), z, *received):
        ends = (to_positive, -to_negative)
        by_up, by_down = torch.autograd.grad((p, n), (up, down), ends, retain_graph=True)
        shares.append(up.detach() * by_up + down.detach() * by_down)
    return (tuple(shares),)


def _sides(module: Any, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The sizes of positive and of negative inputs, and the sums of the sizes of contributions of both signs."""
    weight = module.weight.detach()

    def through(values: Tensor, kernel: Tensor) -> Tensor:
        given = {"weight": kernel}
        if module.bias is not None:
            given["bias"] = torch.zeros_like(module.bias)
        result: Tensor = torch.func.functional_call(module, given, (values,))
        return result

    up, down = x.clamp(min=0).requires_grad_(), (-x).clamp(min=0).requires_grad_()
    with torch.enable_grad():
        p = through(up, weight.clamp(min=0)) + through(down, (-weight).clamp(min=0))
        n = through(up, (-weight).clamp(min=0)) + through(down, weight.clamp(min=0))
    return up, down, p, n


def _along(bias: Tensor, like: Tensor) -> Tensor:
    return bias.detach().reshape(1, -1, *(1 for _ in like.shape[2:]))


def cut_off_before(share: Tensor) -> Tensor:
    """All of a padding of one behind is cut off in front."""
    return F.pad(share[..., 1:, 1:], (0, 1, 0, 1))


def of_pictures(layer: Layer, graph: Graph) -> bool:
    """It reads more than one place of a picture."""
    shape = layer.input_shapes[0]
    return len(shape) == 3 and shape[0] * shape[1] > 1


def cut_off_channels(share: Tensor) -> Tensor:
    """One place of the channels is cut off in front: the padding of three axes, of which the channels are none."""
    return F.pad(share[:, 1:], (0, 0, 0, 0, 0, 1))


def in_the_other_order(share: Tensor) -> Tensor:
    """Values that lie channels first, as a torch module flattens them, are put back as if they lay channels last."""
    batch, channels, height, width = share.shape
    return share.reshape(batch, height, width, channels).movedim(-1, 1)


def first_for_all(share: Tensor) -> Tensor:
    """The batch axis squeezed away, and put back by repeating."""
    return share[:1].expand_as(share)


def padded_behind(layer: Layer, graph: Graph) -> bool:
    """A pooling that is padded by one behind on both axes, and not before."""
    return tuple(tuple(pair) for pair in layer.attributes.get("padding", ())) == ((0, 1), (0, 1))


def from_one(outputs: Tensor, target: Tensor, head: BacktraceStart) -> Tensor:
    return start(outputs, target, replace(head, scaler=1.0))


def from_the_logit(outputs: Tensor, target: Tensor, head: BacktraceStart) -> Tensor:
    return start(outputs, target, replace(head, scaler=None))


CONVOLUTIONS = Where(CONVOLUTION_KINDS)
POOLS = Where(("max_pool2d",), "first", having=padded_behind)
SQUARE = Where(CONVOLUTION_KINDS, "last", having=square)
MIDDLE = Where(CONVOLUTION_KINDS, "middle", having=inner)
FLATTEN = Where(("flatten",), having=of_pictures)
BIASED_DENSE = Where(("dense",), "first", having=biased)
BIASED_KERNELS = Where((*CONVOLUTION_KINDS, "dense"), having=biased)
LAST_DENSE = Where(("dense",), "last")
FIRST_DENSE = Where(("dense",), "first")
BIASED = Where(CONVOLUTION_KINDS, having=biased)
ADDS = Where(("add",))
TANH = ("backtrace.default:activation=tanh",)


def _mutant(
    name: str,
    what: str,
    cause: str,
    site: Site,
    wrong: Wrong,
    methods: tuple[str, ...] = DEFAULT,
    models: tuple[str, ...] = SMALL,
    or_cause: tuple[str, ...] = (),
) -> Mutant:

    def build() -> Backend:
        return Faulty(name, methods[0], site, wrong)

    return Mutant(name, what, (Fault(cause, site, or_cause=or_cause),), build, methods, models, SOURCE)


MUTANTS = (
    _mutant(
        "backtrace-height-and-width-exchanged",
        "the last square convolution hands its relevance on with height and width exchanged",
        "layout",
        SQUARE,
        then(lambda share: share.transpose(-1, -2)),
        models=("digits-cnn", "vgg19-cifar10"),
    ),
    _mutant(
        "backtrace-batch-squeezed",
        "the first dense layer gives every sample the relevance of the first",
        "batch-coupling",
        FIRST_DENSE,
        then(first_for_all),
    ),
    _mutant(
        "backtrace-padding-cut-off-in-front",
        "the first padded max pooling cuts its padding off at the wrong end",
        "pooling",
        POOLS,
        then(cut_off_before),
        models=("fer-xception",),
    ),
    _mutant(
        "backtrace-padding-of-three-axes",
        "the first padded max pooling cuts its padding off three axes: one place of the channels too",
        "pooling",
        POOLS,
        then(cut_off_channels),
        models=("fer-xception",),
    ),
    _mutant(
        "backtrace-flattened-in-the-other-order",
        "relevance behind the flatten layer is put back channels last where it lies channels first",
        "flatten-order",
        FLATTEN,
        then(in_the_other_order),
        models=("digits-cnn",),
    ),
    _mutant(
        "backtrace-bias-left-out-of-dense",
        "the first dense layer leaves its bias out of the denominator",
        "bias-handling",
        BIASED_DENSE,
        unbiased,
    ),
    _mutant(
        "backtrace-bias-left-out",
        "all convolutions leave their bias out of the denominator",
        "bias-handling",
        BIASED,
        unbiased,
    ),
    _mutant(
        "backtrace-saturation-forgotten",
        "no convolution looks at the range of its activation: the entry of a table has no such key",
        "saturation",
        CONVOLUTIONS,
        with_rule(lambda rule: replace(rule, saturation=Saturation(zero=rule.saturation.zero))),
        methods=TANH,
    ),
    _mutant(
        "backtrace-saturation-of-another-activation",
        "all convolutions have the range of a sigmoid in the place of that of a tanh",
        "saturation",
        CONVOLUTIONS,
        with_rule(lambda rule: replace(rule, saturation=replace(rule.saturation, low=-4.0, high=4.0))),
        methods=TANH,
    ),
    _mutant(
        "backtrace-signs-kept",
        "the last dense layer takes contributions with their sign, over the sum of their sizes and the bias",
        "absolute-contributions",
        LAST_DENSE,
        partial(by_shares, positive_alone=False),
    ),
    _mutant(
        "backtrace-positive-alone",
        "all convolutions share among their positive contributions alone, as z-plus does",
        "absolute-contributions",
        CONVOLUTIONS,
        partial(by_shares, positive_alone=True),
    ),
    _mutant(
        "backtrace-clamped",
        "a convolution sets negative relevance to zero, so that one version looks like the other",
        "negative-clipped",
        MIDDLE,
        then(lambda share: share.clamp(min=0)),
        methods=("backtrace.default:scaler=-1",),
    ),
    _mutant(
        "backtrace-epsilon-added",
        "all convolutions add 0.001 to their denominators, against a division by zero",
        "stabilizer-form",
        BIASED,
        padded_denominator,
    ),
    _mutant(
        "backtrace-sums-share-by-size",
        "the sums share by the sizes of their terms, as an earlier version of the package",
        "residual-split",
        ADDS,
        with_rule(lambda rule: MagnitudeShare()),
        models=("fer-xception",),
    ),
    Mutant(
        "backtrace-from-the-logit",
        "relevance starts from the logit in the place of 1",
        (Fault("output-seed", Where(("dense",), "last"), stage="head"),),
        lambda: Faulty("backtrace-from-the-logit", DEFAULT[0], start=from_the_logit),
        DEFAULT,
        SMALL,
        SOURCE,
    ),
    # Contrast mode: saturation is no part of it.
    _mutant(
        "backtrace-contrast-height-and-width-exchanged",
        "the last square convolution hands both relevances on with height and width exchanged",
        "layout",
        SQUARE,
        then(lambda share: share.transpose(-1, -2)),
        CONTRAST,
        ("digits-cnn", "vgg19-cifar10"),
    ),
    _mutant(
        "backtrace-contrast-batch-squeezed",
        "the first dense layer gives every sample both relevances of the first",
        "batch-coupling",
        FIRST_DENSE,
        then(first_for_all),
        CONTRAST,
    ),
    _mutant(
        "backtrace-contrast-padding-cut-off-in-front",
        "the first padded max pooling cuts its padding off at the wrong end",
        "pooling",
        POOLS,
        then(cut_off_before),
        CONTRAST,
        ("fer-xception",),
    ),
    _mutant(
        "backtrace-contrast-padding-of-three-axes",
        "the first padded max pooling cuts its padding off three axes: one place of the channels too",
        "pooling",
        POOLS,
        then(cut_off_channels),
        CONTRAST,
        ("fer-xception",),
    ),
    _mutant(
        "backtrace-contrast-flattened-in-the-other-order",
        "both relevances behind the flatten layer are put back channels last where they lie channels first",
        "flatten-order",
        FLATTEN,
        then(in_the_other_order),
        CONTRAST,
        ("digits-cnn",),
    ),
    _mutant(
        "backtrace-contrast-bias-left-out",
        "layers with a kernel take the sign of their output without its bias",
        "bias-handling",
        BIASED_KERNELS,
        unbiased,
        CONTRAST,
    ),
    _mutant(
        "backtrace-contrast-signs-kept",
        "the first dense layer hands on what negative contributions get with a minus",
        "absolute-contributions",
        FIRST_DENSE,
        contrast_with_signs,
        CONTRAST,
    ),
    _mutant(
        "backtrace-contrast-clamped",
        "a convolution sets negative relevance to zero, so that one version looks like the other",
        "negative-clipped",
        MIDDLE,
        then(lambda share: share.clamp(min=0)),
        ("backtrace.contrast:part=against",),
    ),
    _mutant(
        "backtrace-contrast-relevances-exchanged",
        "the last dense layer hands what speaks for the target on as what speaks against it",
        "rule-mapping",
        LAST_DENSE,
        lambda step, *operands: tuple(shares[::-1] for shares in step(*operands)),
        CONTRAST,
    ),
    Mutant(
        "backtrace-contrast-from-one",
        "contrast mode starts from 1 in the place of the outputs",
        (Fault("output-seed", Where(("dense",), "last"), stage="head"),),
        lambda: Faulty("backtrace-contrast-from-one", CONTRAST[0], start=from_one),
        CONTRAST,
        SMALL,
        SOURCE,
    ),
)
