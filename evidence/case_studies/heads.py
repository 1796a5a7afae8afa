"""Study 3: eight heads that all get the whole relevance."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch

from evidence.case_studies import ports
from evidence.case_studies.measure import Json, Kept, diagnosed, port_run, reference_run
from evidence.case_studies.planted import EVERY_HEAD
from evidence.case_studies.ports import Port
from harness.api import load_model

METHOD = "lrp.epsilon"
PORT = Port("heads not divided", ports.heads_not_divided, (EVERY_HEAD,))
HEADS, TOKENS, FEATURES, CLASSES = 8, 12, 32, 4
SEED = 20251203


class EightHeads(torch.nn.Module):
    """Tokens whose features eight heads map each on its own part, without bias, so that relevance is conserved."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = torch.nn.Conv1d(16, FEATURES, 1, bias=False)
        self.heads = torch.nn.Conv1d(FEATURES, FEATURES, 1, groups=HEADS, bias=False)
        self.join = torch.nn.Conv1d(FEATURES, FEATURES, 1, bias=False)
        self.logits = torch.nn.Linear(FEATURES, CLASSES, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.heads(torch.relu(self.embed(x))))
        logits: torch.Tensor = self.logits(torch.relu(self.join(x)).mean(2))
        return logits


def network() -> Any:
    """The network with seeded weights, as a model of the harness."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        module = EightHeads().eval()
    return load_model(module, name="eight-heads", example=torch.zeros(1, 16, TOKENS))


def measure(kept: Kept) -> None:
    """Measure what is not there yet."""
    model = network()
    x = np.random.default_rng(SEED).normal(size=(1, TOKENS, 16)).astype(np.float32)
    kept.case("heads: sums", partial(_sums, model, x))
    kept.case("heads: diagnosis", partial(diagnosed, model, x, METHOD, PORT))


def _sums(model: Any, x: np.ndarray) -> Json:
    """The sum of relevance at every layer's output, input last."""
    reference = reference_run(model, x, METHOD)
    candidate = port_run(model, x, METHOD, PORT, reference)
    return {
        "logit": float(reference.logits[0, reference.target[0]]),
        "layers": [
            {
                "layer": layer.name,
                "kind": layer.kind,
                "reference": float(np.asarray(reference.layers[layer.name].relevance).sum()),
                "candidate": float(np.asarray(candidate.layers[layer.name].relevance).sum()),
            }
            for layer in reversed(model.graph.layers)
        ],
    }
