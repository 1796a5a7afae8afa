"""A Keras network that somebody ported to torch by hand: are they the same network, and is the method the same on both?

python examples/check_a_hand_port.py
"""

from __future__ import annotations

import keras
import numpy as np
import torch

import harness


def keras_network() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((12, 12, 3)),
            keras.layers.Conv2D(8, 3, strides=2, padding="same", activation="relu", name="conv_a"),
            keras.layers.Conv2D(16, 3, activation="relu", name="conv_b"),
            keras.layers.MaxPooling2D(2, name="pool"),
            keras.layers.Flatten(name="flatten"),
            keras.layers.Dense(5, activation="softmax", name="classes"),
        ]
    )


class TorchPort(torch.nn.Module):
    """The port: other names, channels first, and the rows of the dense kernel in torch's order."""

    def __init__(self, network: keras.Model, padding: tuple[int, int, int, int]) -> None:
        super().__init__()
        names = ("conv_a", "conv_b", "classes")
        kernels = [[torch.tensor(array) for array in network.get_layer(n).get_weights()] for n in names]
        self.pad = torch.nn.ZeroPad2d(padding)
        self.first = torch.nn.Conv2d(3, 8, 3, stride=2)
        self.second = torch.nn.Conv2d(8, 16, 3)
        self.pool = torch.nn.MaxPool2d(2)
        self.head = torch.nn.Linear(2 * 2 * 16, 5)
        for module, (kernel, bias) in zip((self.first, self.second), kernels[:2], strict=True):
            module.weight.data, module.bias.data = kernel.permute(3, 2, 0, 1), bias
        rows = kernels[2][0].reshape(2, 2, 16, 5).permute(2, 0, 1, 3).reshape(-1, 5)
        self.head.weight.data, self.head.bias.data = rows.T, kernels[2][1]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.first(self.pad(x)))
        x = self.pool(torch.relu(self.second(x)))
        return torch.softmax(self.head(torch.flatten(x, 1)), dim=1)


def main() -> None:
    keras.utils.set_random_seed(0)
    network = keras_network()
    x = np.random.default_rng(0).normal(size=(1, 12, 12, 3))
    # TensorFlow pads a stride of two at the end; the usual torch port pads both sides.
    for words, padding in (("padding as TensorFlow", (0, 1, 0, 1)), ("padding on both sides", (1, 1, 1, 1))):
        pair = harness.load_pair(network, TorchPort(network, padding).eval(), example=x)
        print(f"\n{words}: forward pass verified: {pair.verified}")
        reference = harness.explain(pair, x, "lrp.epsilon:epsilon=0.25", "tensorflow", dtype="float64")
        candidate = harness.explain(
            pair, x, "lrp.epsilon:epsilon=0.25", "torch", target=reference.target, dtype="float64"
        )
        comparison = harness.compare(reference, candidate)
        print(
            f"verdict: {comparison.verdict}; activations part first at {comparison.first_divergent_forward}"
        )
        print(comparison.table[["layer", "kind", "rel_l2", "floor", "verdict"]].to_string(index=False))


if __name__ == "__main__":
    main()
