"""The network itself is another: padding, epsilon, weights, activation, softmax."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from evidence.planted_bugs import Fault
from harness.graph import Graph, Layer

from .networks import ZOO
from .planting import Plant, Rebuild, mutant, rebuilt
from .sites import Where, biased, both, convolutions, inner, output

PORTING = (
    "documentation of signxai2's hooks: weights, preprocessing and forward pass of both sides have to match"
)


def uneven(layer: Layer, graph: Graph) -> bool:
    """Padded otherwise before than after."""
    return any(before != after for before, after in layer.attributes["padding"])


def even(layer: Layer, graph: Graph) -> bool:
    """Padded, and alike at both ends."""
    return any(map(any, layer.attributes["padding"])) and not uneven(layer, graph)


def padded_at_the_other_end(module: nn.Module, layer: Layer) -> nn.Module:
    pads = module.explicit_padding
    module.explicit_padding = tuple(
        side for before, after in zip(pads[::2], pads[1::2], strict=True) for side in (after, before)
    )
    return module


def replicated(module: nn.Module, layer: Layer) -> nn.Module:
    """The border is repeated where there should be zeros."""
    pads = tuple(side for around in reversed(layer.attributes["padding"]) for side in around)
    convolve = F.conv1d if len(layer.shape) == 2 else F.conv2d
    module.forward = lambda x: convolve(
        F.pad(x, pads, mode="replicate"),
        module.weight,
        module.bias,
        module.stride,
        0,
        module.dilation,
        module.groups,
    )
    return module


def counting(module: nn.Module, layer: Layer) -> nn.Module:
    """An average pooling whose padding counts."""
    if hasattr(module, "counts"):
        module.counts = True
    else:
        module.count_include_pad = True
    return module


def with_epsilon(epsilon: float, module: nn.Module, layer: Layer) -> nn.Module:
    module.eps = epsilon
    return module


def with_weight(change: Callable[[Tensor], Tensor], module: nn.Module, layer: Layer) -> nn.Module:
    """The module with what ``change`` makes of its kernel."""
    module._parameters["weight"] = nn.Parameter(change(module.weight.detach()), requires_grad=False)
    return module


def without_bias(module: nn.Module, layer: Layer) -> nn.Module:
    module._parameters["bias"] = nn.Parameter(torch.zeros_like(module.bias), requires_grad=False)
    return module


def gamma_for_beta(module: nn.Module, layer: Layer) -> nn.Module:
    """Gamma and beta exchanged."""
    weights = module._parameters
    weights["weight"], weights["bias"] = weights["bias"], weights["weight"]
    return module


def outputs_shifted(weight: Tensor) -> Tensor:
    """Rows in another order: each output has the weights of the next."""
    return weight.roll(1, 0).contiguous()


def inputs_reversed(weight: Tensor) -> Tensor:
    return weight.flip(1).contiguous()


def transposed(weight: Tensor) -> Tensor:
    """Height and width of the kernel exchanged."""
    return weight.transpose(2, 3).contiguous()


def instead(make: Callable[[], nn.Module]) -> Rebuild:
    return lambda module, layer: make()


def keeps_softmax(twin: nn.Module) -> None:
    twin.register_forward_hook(lambda module, args, logits: torch.softmax(logits, dim=1))


def named(name: str) -> Where:
    return Where(having=lambda layer, graph: layer.name == name)


MUTANTS = (
    mutant(
        "padded-at-the-other-end",
        "a strided convolution is padded in front where TensorFlow pads behind",
        rebuilt(convolutions("first", uneven), "forward-padding", padded_at_the_other_end),
        methods=("gradient", "lrp.epsilon"),
        models=("efficientnet-lite0", "slopes-net"),
        source="asymmetric 'same' padding of TensorFlow",
        hard=True,
    ),
    mutant(
        "max-pooling-padded-at-the-other-end",
        "the same at a max pooling",
        rebuilt(Where(("max_pool2d",), "first", having=uneven), "forward-padding", padded_at_the_other_end),
        methods=("gradient",),
        models=("fer-xception",),
        source="asymmetric 'same' padding of TensorFlow; DLBacktrace chronicle: calculate_padding",
        hard=True,
    ),
    mutant(
        "border-repeated",
        "a convolution repeats the border where it should pad with zeros",
        rebuilt(convolutions("last", both(even, inner)), "forward-padding", replicated),
        methods=("lrp.epsilon",),
        models=("digits-cnn", "ecg-cnn1d", "vgg16-mri"),
        source=PORTING,
    ),
    mutant(
        "average-pooling-counts-padding",
        "the zeros of the padding count in the average",
        rebuilt(Where(("average_pool2d",), "first", having=uneven), "forward-padding", counting, "pooling"),
        methods=("gradient", "lrp.epsilon"),
        models=("slopes-net",),
        source="usual slip",
        hard=True,
    ),
    mutant(
        "batch-norm-epsilon",
        "batch norm has epsilon 1e-3 for torch's 1e-5",
        rebuilt(
            Where(("batch_norm",), having=lambda layer, graph: layer.attributes["epsilon"] < 1e-4),
            "forward-epsilon",
            partial(with_epsilon, 1e-3),
        ),
        methods=("gradient", "lrp.epsilon"),
        models=("digits-cnn", "ecg-cnn1d"),
        source="Keras's default against torch's",
    ),
    mutant(
        "batch-norm-epsilon-of-torch",
        "batch norm has torch's epsilon 1e-5 where Keras had 1e-3",
        rebuilt(
            Where(("batch_norm",), having=lambda layer, graph: layer.attributes["epsilon"] > 1e-4),
            "forward-epsilon",
            partial(with_epsilon, 1e-5),
        ),
        methods=("lrp_epsilon_0_1",),
        models=("fer-xception", "efficientnet-lite0", "branches-net"),
        source="Keras's default against torch's",
        hard=True,
    ),
    mutant(
        "layer-norm-epsilon",
        "layer norm has epsilon 1e-5 where Keras had 1e-3",
        rebuilt(named("norm1"), "forward-epsilon", partial(with_epsilon, 1e-5)),
        methods=("gradient", "lrp.epsilon"),
        models=("tokens-net",),
        source="Keras's default against torch's; report on LRP for MaskDINO: LRP_LayerNorm",
        hard=True,
    ),
    mutant(
        "kernel-transposed",
        "height and width of one kernel are exchanged",
        rebuilt(
            Where(("conv2d",), "middle", having=lambda layer, graph: layer.weights["kernel"].shape[0] > 1),
            "forward-weights",
            partial(with_weight, transposed),
        ),
        methods=("lrp.epsilon",),
        models=("digits-cnn", "fer-xception", "vgg16-mri", "slopes-net"),
        source=PORTING + "; DLBacktrace chronicle: kernels as (h, w, in, out)",
    ),
    mutant(
        "kernel-input-channels-reversed",
        "the input channels of one kernel are in reverse order",
        rebuilt(
            Where(
                ("conv1d", "conv2d"), "middle", having=lambda layer, graph: layer.attributes["groups"] == 1
            ),
            "forward-weights",
            partial(with_weight, inputs_reversed),
        ),
        methods=("gradient",),
        models=("digits-cnn", "ecg-cnn1d", "vgg16-mri"),
        source=PORTING,
    ),
    mutant(
        "dense-outputs-permuted",
        "the outputs of a dense layer are one place further",
        rebuilt(Where(("dense",), "first"), "forward-weights", partial(with_weight, outputs_shifted)),
        methods=("gradient",),
        models=("digits-cnn", "ecg-cnn1d", "vgg16-mri", "tokens-net"),
        source="DLBacktrace chronicle: load_pretrained_vgg adapts the classifier",
    ),
    mutant(
        "bias-not-loaded",
        "a dense layer has no bias",
        rebuilt(Where(("dense",), "first", having=biased), "forward-weights", without_bias),
        methods=("lrp.epsilon",),
        models=("digits-cnn", "ecg-cnn1d", "vgg16-mri"),
        source="documentation of signxai2's hooks: loading VGG16's weights",
        hard=True,
    ),
    mutant(
        "gamma-and-beta-exchanged",
        "the first batch norm has its gamma for beta",
        rebuilt(Where(("batch_norm",), "first"), "forward-weights", gamma_for_beta),
        methods=("gradient",),
        models=("digits-cnn", "ecg-cnn1d", "fer-xception", "branches-net"),
        source=PORTING,
    ),
    mutant(
        "gelu-tanh-for-erf",
        "GELU by its tanh approximation",
        rebuilt(Where(("gelu",)), "forward-activation", instead(lambda: nn.GELU("tanh"))),
        methods=("gradient", "lrp.epsilon"),
        models=("tokens-net",),
        source="usual slip",
        hard=True,
    ),
    mutant(
        "leaky-slope",
        "leaky ReLU with torch's slope 0.01 for Keras's 0.3",
        rebuilt(Where(("leaky_relu",)), "forward-activation", instead(lambda: nn.LeakyReLU(0.01))),
        methods=("gradient", "lrp.epsilon"),
        models=("slopes-net",),
        source="usual slip",
    ),
    mutant(
        "elu-for-relu",
        "one activation is an ELU",
        rebuilt(Where(("relu",), "middle"), "forward-activation", instead(nn.ELU)),
        methods=("gradient",),
        models=("digits-cnn", "ecg-cnn1d", "fer-xception", "vgg16-mri"),
        source="guide from iNNvestigate to Zennit: layer processing",
    ),
    mutant(
        "relu-for-relu6",
        "ReLU6 without its upper bound",
        rebuilt(Where(("relu6",), "first"), "forward-activation", instead(nn.ReLU)),
        methods=("gradient",),
        models=("efficientnet-lite0",),
        source="guide from iNNvestigate to Zennit: layer processing",
    ),
    mutant(
        "softmax-kept",
        "the network still ends in a softmax",
        Plant(Fault("softmax-kept", output, "forward"), whole=keeps_softmax),
        methods=("gradient", "lrp.epsilon"),
        models=(*ZOO, "tokens-net"),
        source="guide from iNNvestigate to Zennit: remove_softmax",
    ),
)
