"""torchvision's vision transformer with seeded weights, the same in every process."""

from __future__ import annotations

import torch
from torch import nn

from ported_impls.torchvision_shim import declare_missing_operators

#: A head has 16 or 64 features, whose square root is exact: the graph holds its inverse in float32, torch in float64.
#: By name: side of the image, side of a patch, blocks, heads, features, features inside a block, classes.
SIZES = {
    "torchvision-vit-small": (32, 8, 3, 2, 32, 48, 5),
    "torchvision-vit_b_16": (224, 16, 12, 12, 768, 3072, 1000),
}


def seeded(name: str) -> nn.Module:
    """In float32. Its last layer, which torchvision leaves at zero, has weights too."""
    declare_missing_operators()
    from torchvision.models import VisionTransformer

    image, patch, blocks, heads, features, inside, classes = SIZES[name]
    torch.manual_seed(0)
    module: nn.Module = VisionTransformer(
        image_size=image,
        patch_size=patch,
        num_layers=blocks,
        num_heads=heads,
        hidden_dim=features,
        mlp_dim=inside,
        num_classes=classes,
    )
    for parameter in module.parameters():
        if parameter.ndim < 2 or not parameter.any():  # biases, norms, the class token, the head
            nn.init.normal_(parameter, parameter.mean().item(), 0.02 if blocks > 3 else 0.2)
    for name in ("class_token", "encoder.pos_embedding"):  # the graph holds their sum in float32: made exact
        parameter = module.get_parameter(name)
        parameter.data = (parameter.data * 2**12).round() / 2**12
    return module.eval()
