"""A small vision transformer for scikit-learn's digits: ``python -m ported_models.zoo.vit_digits`` trains it.

Dosovitskiy et al. 2021 (arXiv:2010.11929): patches of 2x2 pixels, a class token, learned positions, blocks that take
their norms first. Training needs torch and scikit-learn, and writes the network, its facts and its examples into the
zoo's data folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from harness.graph import Graph
from ported_models.build import Builder
from ported_models.zoo.attention import attention, dense_weights, feed_forward, norm_weights

if TYPE_CHECKING:
    from torch import nn

NAME = "vit-digits"
INPUT_SHAPE = (8, 8, 1)
PATCH, WIDTH, HEADS, DEPTH, HIDDEN = 2, 32, 4, 3, 96
EPSILON = 1e-5
EPOCHS = 40
RATE = 6e-3


def graph_of(state: Mapping[str, np.ndarray]) -> Graph:
    """The network with the weights of :func:`module`'s state dict: (8, 8, 1) to 10 logits."""
    builder = Builder(NAME, INPUT_SHAPE)
    kernel = {"kernel": state["patches.weight"].transpose(2, 3, 1, 0), "bias": state["patches.bias"]}
    builder.add("conv2d", "patches", None, {"strides": (PATCH, PATCH)}, kernel)
    tokens = (INPUT_SHAPE[0] // PATCH) * (INPUT_SHAPE[1] // PATCH)
    axes = ("batch", "token", "feature")
    builder.add("reshape", "patch_tokens", None, {"target": (tokens, WIDTH)}, axes=axes)
    # The class token is a row of zeros until the embeddings are added, which hold it.
    builder.add("pad", "class_token", None, {"padding": ((1, 0), (0, 0))})
    embeddings = np.concatenate([state["class_token"], np.zeros((tokens, WIDTH), np.float32)])
    builder.add("affine", "embeddings", None, None, {"bias": embeddings + state["positions"]})
    for number in range(DEPTH):
        _block(builder, f"block{number + 1}", state, f"encoder.layers.{number}")
    _norm(builder, "norm", state, "norm")
    builder.add("take", "class_row", None, {"axis": -2, "indices": (0,)})
    builder.add("flatten", "class_features")
    builder.add("dense", "logits", weights=dense_weights(state, "logits"))
    return builder.graph()


def _block(builder: Builder, name: str, state: Mapping[str, np.ndarray], torch_name: str) -> None:
    """Attention and feed-forward, each behind a norm and added to what it reads."""
    matrices = np.split(state[f"{torch_name}.self_attn.in_proj_weight"], 3)
    biases = np.split(state[f"{torch_name}.self_attn.in_proj_bias"], 3)
    attended = {
        part: {"kernel": matrix.T, "bias": bias}
        for part, matrix, bias in zip(("query", "key", "value"), matrices, biases, strict=True)
    } | {"output": dense_weights(state, f"{torch_name}.self_attn.out_proj")}
    widened = {
        "wide": dense_weights(state, f"{torch_name}.linear1"),
        "narrow": dense_weights(state, f"{torch_name}.linear2"),
    }
    before = builder.last
    normed = _norm(builder, f"{name}_norm1", state, f"{torch_name}.norm1")
    attention(builder, f"{name}_attention", attended.__getitem__, HEADS, normed)
    builder.add("add", f"{name}_add1", (builder.last, before))
    normed = _norm(builder, f"{name}_norm2", state, f"{torch_name}.norm2")
    feed_forward(builder, f"{name}_mlp", widened.__getitem__, "gelu", normed)
    builder.add("add", f"{name}_add2", (builder.last, f"{name}_add1"))


def _norm(builder: Builder, name: str, state: Mapping[str, np.ndarray], torch_name: str) -> str:
    return builder.add(
        "layer_norm", name, attributes={"epsilon": EPSILON}, weights=norm_weights(state, torch_name)
    )


def module() -> nn.Module:
    """The same network as torch's own layers, untrained: (batch, 1, 8, 8) to (batch, 10)."""
    import torch
    from torch import nn

    class VisionTransformer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patches = nn.Conv2d(INPUT_SHAPE[-1], WIDTH, PATCH, stride=PATCH)
            tokens = (INPUT_SHAPE[0] // PATCH) * (INPUT_SHAPE[1] // PATCH)
            self.class_token = nn.Parameter(torch.zeros(1, WIDTH))
            self.positions = nn.Parameter(torch.zeros(1 + tokens, WIDTH))
            block = nn.TransformerEncoderLayer(
                WIDTH, HEADS, HIDDEN, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
            )
            self.encoder = nn.TransformerEncoder(block, DEPTH, enable_nested_tensor=False)
            self.norm = nn.LayerNorm(WIDTH)
            self.logits = nn.Linear(WIDTH, 10)

        def reset_parameters(self) -> None:
            """Each matrix Glorot and Bengio 2010 (eq. 16), embeddings of deviation 0.02, norms and biases plain."""
            for name, parameter in self.named_parameters():
                if name in ("class_token", "positions"):
                    nn.init.normal_(parameter, std=0.02)
                elif parameter.dim() > 1:
                    nn.init.xavier_uniform_(parameter)
                else:
                    nn.init.constant_(parameter, float("norm" in name and name.endswith("weight")))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            patches = self.patches(x).flatten(2).transpose(1, 2)
            tokens = torch.cat([self.class_token.expand(len(x), 1, -1), patches], dim=1)
            logits: torch.Tensor = self.logits(self.norm(self.encoder(tokens + self.positions))[:, 0])
            return logits

    return VisionTransformer()


def main() -> None:
    """Train, measure on the held-out digits, write."""
    import sklearn

    from ported_models.model import PortedModel
    from ported_models.zoo import train_digits
    from ported_models.zoo.training import store, train

    data = train_digits.digits()
    (trained,) = train({NAME: module()}, data, epochs=EPOCHS, seed=train_digits.SEED, rate=RATE)
    state = {name: tensor.numpy() for name, tensor in trained.state_dict().items()}
    store(
        NAME,
        trained,
        data,
        facts={
            "seed": train_digits.SEED,
            "epochs": EPOCHS,
            "split": train_digits.SPLIT,
            "versions": {"scikit-learn": sklearn.__version__},
        },
        model=PortedModel.from_graph(graph_of(state)),
    )


if __name__ == "__main__":
    main()
