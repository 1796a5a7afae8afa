"""Trains `ecg-cnn1d` on simulated ECGs: ``python -m ported_models.zoo.train_ecg``.

Needs torch; writes the network, its facts and its examples into the zoo's data folder.
"""

from __future__ import annotations

import numpy as np

from ported_models.zoo.ecg_simulator import CLASSES, LEADS, RATE, SAMPLES, simulate
from ported_models.zoo.training import Data, store, train

NAME = "ecg-cnn1d"
SEED = 4
TRAINING, HELD_OUT = 4000, 1000
EPOCHS = 12


def recordings(training: int = TRAINING) -> Data:
    """Simulated recordings, (250, 12) in mV; training and held-out ones from two seeds."""
    seen = simulate(training, np.random.default_rng(SEED))
    held_out = simulate(HELD_OUT, np.random.default_rng(SEED + 1))
    return Data(*seen, *held_out)


def main() -> None:
    """Train, measure on the held-out recordings, write."""
    from torch import nn

    network = {
        "conv1": nn.Conv1d(len(LEADS), 32, 7, stride=2, padding=3, bias=False),
        "bn1": nn.BatchNorm1d(32),
        "conv1_relu": nn.ReLU(),
        "conv2": nn.Conv1d(32, 48, 5, dilation=2, padding="same", bias=False),
        "bn2": nn.BatchNorm1d(48),
        "conv2_relu": nn.ReLU(),
        "average_pool": nn.AvgPool1d(2),
        "conv3": nn.Conv1d(48, 64, 5, dilation=4, padding="same"),
        "bn3": nn.BatchNorm1d(64),
        "conv3_relu": nn.ReLU(),
        "conv4": nn.Conv1d(64, 64, 3, stride=2),
        "conv4_relu": nn.ReLU(),
        "global_average_pool": nn.AdaptiveAvgPool1d(1),
        "flatten": nn.Flatten(),
        "dense1": nn.Linear(64, 32),
        "dense1_relu": nn.ReLU(),
        "logits": nn.Linear(32, len(CLASSES)),
    }
    data = recordings()
    module = train(network, data, epochs=EPOCHS, seed=SEED)
    store(
        NAME,
        module,
        data,
        facts={
            "seed": SEED,
            "epochs": EPOCHS,
            "split": f"simulate({TRAINING}, default_rng({SEED})) to train, "
            f"simulate({HELD_OUT}, default_rng({SEED + 1})) held out; {SAMPLES} samples at {RATE} Hz",
            "versions": {},
        },
    )


if __name__ == "__main__":
    main()
