"""The torch networks of the table: which, at what input, and how they get weights without a download.

One network of each of torchvision's convolutional classification families, and forty families of timm, the smallest
of each. Weights are those that the library draws from seed 0. A parameter that has one value everywhere (the scale
of a batch norm, a bias, a layer scale) gets drawn values, so that no branch is switched off; batch norms then get the
statistics of noise, as training would leave them.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

#: Batches of noise that batch norms take their statistics from, and the samples in each.
BATCHES, SAMPLES = 4, 8


@dataclass(frozen=True)
class Network:
    """A network by its library and name. ``pixels``: the side of its input, the smallest that it is run on here."""

    library: str
    name: str
    pixels: int = 64

    @property
    def key(self) -> str:
        return f"{self.library}/{self.name}"


TORCHVISION = (
    Network("torchvision", "alexnet"),
    Network("torchvision", "vgg11_bn", 32),
    Network("torchvision", "resnet18"),
    Network("torchvision", "squeezenet1_1"),
    Network("torchvision", "densenet121"),
    Network("torchvision", "googlenet"),
    Network("torchvision", "inception_v3", 96),
    Network("torchvision", "mobilenet_v2"),
    Network("torchvision", "mobilenet_v3_small"),
    Network("torchvision", "mnasnet0_5"),
    Network("torchvision", "shufflenet_v2_x0_5"),
    Network("torchvision", "efficientnet_b0"),
    Network("torchvision", "regnet_y_400mf"),
    Network("torchvision", "resnext50_32x4d"),
    Network("torchvision", "wide_resnet50_2"),
    Network("torchvision", "convnext_tiny"),
)

TIMM = tuple(
    Network("timm", name, pixels)
    for name, pixels in (
        ("convmixer_768_32", 64),
        ("convnext_atto", 64),
        ("convnextv2_atto", 64),
        ("cs3darknet_focus_s", 64),
        ("cspresnet50", 64),
        ("darknet17", 64),
        ("dla46_c", 64),
        ("dpn48b", 64),
        ("eca_resnet33ts", 64),
        ("efficientnet_lite0", 64),
        ("ese_vovnet19b_slim_dw", 64),
        ("fasternet_t0", 64),
        ("fbnetc_100", 64),
        ("focalnet_tiny_srf", 64),
        ("gernet_s", 64),
        ("ghostnet_050", 64),
        ("hardcorenas_a", 64),
        ("hgnetv2_b0", 64),
        ("hrnet_w18_small", 64),
        ("inception_next_atto", 64),
        ("inception_v4", 96),
        ("lcnet_050", 64),
        ("legacy_seresnet18", 64),
        ("mambaout_femto", 64),
        ("mixnet_s", 64),
        ("mobilenetv4_conv_small_035", 64),
        ("mobileone_s0", 64),
        ("nf_regnet_b0", 64),
        ("poolformer_s12", 64),
        ("regnetx_002", 64),
        ("repghostnet_050", 64),
        ("repvit_m0_9", 64),
        ("res2net50_48w_2s", 64),
        ("resnest14d", 64),
        ("resnetv2_18", 64),
        ("rexnet_100", 64),
        ("selecsls42", 64),
        ("skresnet18", 64),
        ("starnet_s1", 64),
        ("xception41", 64),
    )
)

NETWORKS = {network.key: network for network in (*TORCHVISION, *TIMM)}


def built(network: Network) -> tuple[Any, Any]:
    """``(module, example)``: the module in evaluation mode, and one input (1, 3, pixels, pixels) of noise."""
    import torch

    torch.manual_seed(0)
    # Declares the operators that a torchvision built for another torch lacks; timm imports torchvision too.
    from ported_impls import torchvision_shim  # noqa: F401

    if network.library == "torchvision":
        models = importlib.import_module("torchvision.models")
        inception = network.name in ("googlenet", "inception_v3")
        options = {"aux_logits": False, "init_weights": True} if inception else {}
        module = models.get_model(network.name, weights=None, **options)
    else:
        module = importlib.import_module("timm").create_model(network.name, pretrained=False)
    _draw_constants(module)
    _calibrate(module, network.pixels)
    return module.eval(), torch.randn((1, 3, network.pixels, network.pixels))


def _draw_constants(module: Any) -> None:
    """Values for each parameter that has one value everywhere: biases near zero, scales near one."""
    import torch

    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if parameter.numel() > 1 and bool((parameter == parameter.flatten()[0]).all()):
                if name.endswith(("bias", "beta")):
                    parameter.normal_(0.0, 0.1)
                else:
                    parameter.uniform_(0.5, 1.5)


def _calibrate(module: Any, pixels: int) -> None:
    """The running statistics of every batch norm: the mean of those of a few batches of noise."""
    import torch

    norms = [child for child in module.eval().modules() if _is_batch_norm(child)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    with torch.no_grad():
        for _ in range(BATCHES):
            module(torch.randn((SAMPLES, 3, pixels, pixels)))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()


def _is_batch_norm(child: Any) -> bool:
    import torch

    return isinstance(child, torch.nn.modules.batchnorm._BatchNorm) and child.track_running_stats
