"""Trains `digits-cnn` on scikit-learn's digits: ``python -m ported_models.zoo.train_digits``.

Needs torch and scikit-learn; writes the network, its facts and its examples into the zoo's data folder.
"""

from __future__ import annotations

import numpy as np

from ported_models.zoo.training import Data, store, train

NAME = "digits-cnn"
SEED = 2
HELD_OUT = 360
EPOCHS = 40
SPLIT = f"numpy default_rng({SEED}).permutation(1797): the last {HELD_OUT} are held out"


def digits() -> Data:
    """scikit-learn's 1797 digits, (8, 8, 1) in [0, 1], split by a seeded permutation."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = (bunch.images[..., None] / 16.0).astype(np.float32)
    order = np.random.default_rng(SEED).permutation(len(images))
    rest, held_out = order[:-HELD_OUT], order[-HELD_OUT:]
    return Data(images[rest], bunch.target[rest], images[held_out], bunch.target[held_out])


def main() -> None:
    """Train, measure on the held-out digits, write."""
    import sklearn
    from torch import nn

    network = {
        "conv1": nn.Conv2d(1, 16, 3, padding="same"),
        "bn1": nn.BatchNorm2d(16),
        "conv1_relu": nn.ReLU(),
        "conv2": nn.Conv2d(16, 24, 3, padding="same"),
        "conv2_relu": nn.ReLU(),
        "max_pool": nn.MaxPool2d(2),
        "conv3": nn.Conv2d(24, 32, 3, padding="same"),
        "conv3_relu": nn.ReLU(),
        "average_pool": nn.AvgPool2d(2),
        "flatten": nn.Flatten(),
        "dense1": nn.Linear(128, 48),
        "dense1_relu": nn.ReLU(),
        "logits": nn.Linear(48, 10),
    }
    data = digits()
    module = train(network, data, epochs=EPOCHS, seed=SEED)
    store(
        NAME,
        module,
        data,
        facts={
            "seed": SEED,
            "epochs": EPOCHS,
            "split": SPLIT,
            "versions": {"scikit-learn": sklearn.__version__},
        },
    )


if __name__ == "__main__":
    main()
