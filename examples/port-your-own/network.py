"""The network of `network.keras`, ported to torch by hand; `network.pt` holds its weights in torch's layout."""

from pathlib import Path

import torch

HERE = Path(__file__).parent


class Network(torch.nn.Module):
    """x (batch, 1, 12, 12) -> logits (batch, 4)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = torch.nn.Conv2d(1, 6, 3, padding=1)
        self.conv2 = torch.nn.Conv2d(6, 8, 3)
        self.pool = torch.nn.MaxPool2d(2)
        self.hidden = torch.nn.Linear(8 * 5 * 5, 12)
        self.classes = torch.nn.Linear(12, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.conv1(x))
        x = self.pool(torch.relu(self.conv2(x)))
        x = torch.flatten(x, 1)
        return self.classes(torch.relu(self.hidden(x)))


def load() -> Network:
    network = Network()
    network.load_state_dict(torch.load(HERE / "network.pt", weights_only=True))
    return network.eval()
